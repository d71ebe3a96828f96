/* Private to src/discover: JSON of others, within bounds that its size does not
 * set: a byte of "[]" becomes a hundred in memory. */
#ifndef DISCOVER_JSON_H
#define DISCOVER_JSON_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

/* An API's objects have about ten levels. */
enum { DISCOVER__JSON_DEPTH_MAX = 32, DISCOVER__JSON_VALUES_MAX = 2000000 };

/* Looks at the text before any of it is parsed: at its levels, and values, of
 * which there are at most DISCOVER__JSON_VALUES_MAX. */
bool discover__json_fits(const char *bytes, size_t length, int depth_max);

/* Errors: UV_EPROTO; UV_E2BIG: it does not fit; *root is NULL then. */
int discover__json_load(json_t **root, const char *bytes, size_t length);

/* An element of an array. Returns 0, or an error, which ends it. */
typedef int (*discover__json_each_cb)(const json_t *element, void *data);

/* Parses the elements of an array, each an object, one after the other, since all
 * at once take ten times the memory of the text; `null` has none. So the bounds
 * are those of an element. The array is the text, or, with a name, that member of
 * the object that is the text. *rest is then an object of all members, in which
 * this one, if it is there, is `true`; to be freed, also after an error. Errors:
 * as above, and those of `each`. */
int discover__json_each(json_t **rest, const char *bytes, size_t length,
                        const char *name, discover__json_each_cb each,
                        void *data);

#endif
