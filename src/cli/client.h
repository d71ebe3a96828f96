/* Private to src/cli: one request to a host's admin, by HTTP/1.1. */
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

struct cli_request {
  const char *address; /* a path with a slash, HOST:PORT, [HOST]:PORT or PORT */
  const char *method;  /* "POST" changes something */
  const char *target;  /* path and query, encoded */
  const char *body;    /* JSON, or NULL */
  unsigned ms;         /* how long all of it may take */
};

struct cli_answer {
  int status;
  char *body; /* ended by a NUL that does not count; to be freed */
  size_t length;
  bool refused; /* none, as the system does not let us connect */
};

enum { CLI_WHY = 600 };

/* Why `address` is none, or NULL. */
const char *cli_client_check(const char *address);

/* Waits for the whole answer. False if there is none: `why` is a sentence on
 * what is wrong and what to do. */
bool cli_client_ask(const struct cli_request *request,
                    struct cli_answer *answer, char why[CLI_WHY]);

/* Appends the text to a path or query, percent-encoded; cut to `size`. */
void cli_client_encode(char *target, size_t size, const char *text);

#endif
