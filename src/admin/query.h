/* Private to src/admin: the parameters of a request, "?sort=id&limit=5". */
#ifndef ADMIN_QUERY_H
#define ADMIN_QUERY_H

#include <stddef.h>

#include "request.h"

/* Reads a request's parameters one by one; `why` is set once one is wrong. */
struct admin__query {
  struct admin__text text;
  char why[160]; /* "" while nothing is */
};

/* Begins. `names`, ended by NULL, are the parameters that there may be, each
 * once. */
struct admin__query admin__query_open(const struct admin__request *request,
                                      const char *const names[]);

/* Copies a text to `out`. Returns it, or NULL if it is not there. */
const char *admin__query_text(struct admin__query *query, const char *name,
                              char *out, size_t size);

/* Where one of these words, ended by NULL, is; `preset` if none is given. */
int admin__query_word(struct admin__query *query, const char *name,
                      const char *const words[], int preset);

/* A number from 0 to `most`; 0 if none is given. */
size_t admin__query_number(struct admin__query *query, const char *name,
                           size_t most);

#endif
