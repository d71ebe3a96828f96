/* Private to src/cli: parses the command line. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "parsed.h"

/* An exit status, beside EXIT_SUCCESS and EXIT_FAILURE. */
enum { EXIT_USAGE = 2 };

/* Exits after --help and --version, and on a usage error. */
void cli_options_parse(struct cli_options *options, int argc, char **argv);

/* Exits with a message: the name is none of these, which end with NULL. */
_Noreturn void cli_options_no_such(const char *noun, const char *given,
                                   const char *const names[]);

/* Exits with a message (`value` may be NULL) and the usage. */
_Noreturn void cli_options_fail(const char *what, const char *value);

#endif
