/* Private to src/sim: work that is done in child processes. */
#ifndef SIM_CHILDREN_H
#define SIM_CHILDREN_H

#include <stdbool.h>
#include <stddef.h>

/* One piece of work, and what came of it. */
struct sim__child {
  char *text; /* what it returned, or NULL if the process ended without; freed
                 by the caller */
  size_t length;
  int status; /* of the process, as waitpid() gives it */
};

/* Does the piece `index` in a child process: hands its result, of `length`
 * bytes, to sim__children_return(), and returns. */
typedef void (*sim__children_work)(void *arg, size_t index);

/* Does all pieces, as many at a time as there are processors, and waits for
 * them. Their standard input is empty. SIGINT and SIGTERM go on to the
 * children, which are killed at the second one, or after 20 s. With `bar`,
 * shows on standard error how far they are. Errors: a negative UV_E* code if a
 * process cannot be started. */
int sim__children_run(size_t count, struct sim__child *children,
                      sim__children_work work, void *arg, bool bar);

/* -- In a child ------------------------------------------------------------ */

void sim__children_return(const char *text, size_t length);
/* Which part of the work is done, 0 to 1. Cheap enough to be called often. */
void sim__children_progress(double part);
/* Whether SIGINT or SIGTERM has come. */
bool sim__children_interrupted(void);

#endif
