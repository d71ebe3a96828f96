/* Private to src/discover: JSON of others, within bounds that its size does not
 * set: a byte of "[]" becomes a hundred in memory. */
#ifndef DISCOVER_JSON_H
#define DISCOVER_JSON_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

/* An API's objects have about ten levels. */
enum { DISCOVER__JSON_DEPTH_MAX = 32, DISCOVER__JSON_VALUES_MAX = 2000000 };

/* Looks at the text before any of it is parsed. */
bool discover__json_fits(const char *bytes, size_t length, int depth_max);

/* Errors: UV_EPROTO; UV_E2BIG: it does not fit; *root is NULL then. */
int discover__json_load(json_t **root, const char *bytes, size_t length);

#endif
