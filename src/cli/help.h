/* Private to src/cli: what --help and --version print. */
#ifndef CLI_HELP_H
#define CLI_HELP_H

#include <stdio.h>

#include "parsed.h"

/* The names, as in enum cli_command, ended by NULL. */
extern const char *const cli_commands[];

/* Of one command, or with CLI_COMMANDS of all. */
void cli_help_usage(FILE *out, enum cli_command command);

/* Exits. `of` is the bit of one command, or that of none for all. */
_Noreturn void cli_help(unsigned of);
_Noreturn void cli_help_version(void);

#endif
