/* Private to src/cli: what is asked of a running host. */
#ifndef CLI_ASK_H
#define CLI_ASK_H

#include <jansson.h>

#include "client.h"
#include "options.h"

/* An exit status: no host answers. */
enum { EXIT_NOBODY = 3 };

struct cli_reply {
  struct cli_answer answer;
  json_t *json; /* or NULL, if the answer is none */
  char why[CLI_WHY];
};

/* Exits with a usage error if there is no right address. */
void cli_ask_check(struct cli_options *options);

/* Asks, with a body or NULL. Returns the exit status, EXIT_SUCCESS if the host
 * has done it; otherwise `why` is a sentence. The reply is to be freed. */
int cli_ask(const struct cli_options *options, const char *method,
            const char *target, const char *body, double seconds,
            struct cli_reply *reply);
void cli_ask_free(struct cli_reply *reply);

/* Prints why, as an error, and returns the status. */
int cli_ask_fail(const struct cli_reply *reply, int status);

/* Prints the answer as it is. */
void cli_ask_print(const struct cli_reply *reply);

/* Appends a parameter to a target with its value, encoded, unless that is
 * NULL. */
void cli_ask_add(char *target, size_t size, const char *name,
                 const char *value);

/* Parts of an answer: "" or 0 if there is no such text or number. */
const char *cli_ask_text(const json_t *of, const char *name);
double cli_ask_number(const json_t *of, const char *name);

#endif
