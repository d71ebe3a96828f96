/* Private to src/host: JSON by jansson, as a text in pieces. */
#ifndef HOST_JSON_H
#define HOST_JSON_H

#include <jansson.h>
#include <stdbool.h>

#include "../lua/text.h"

/* The functions below take what is NULL, for want of memory, as a failure, and
 * what they make of it is NULL or notes it, too. */

/* Strings may have any bytes: what is not UTF-8 becomes U+FFFD. NULL is
 * null. */
json_t *host__json_string(const char *string);
json_t *host__json_count(uint64_t count);
/* A number that is finite; else null. */
json_t *host__json_number(double number);

/* An object that is built field by field. Starts as host__json_object(). */
struct host__json {
  json_t *object; /* NULL once something has failed */
};

struct host__json host__json_object(void);
void host__json_set(struct host__json *o, const char *key, json_t *value);

/* Appends to an array, which becomes NULL if that fails. */
void host__json_append(json_t **array, json_t *value);

/* Appends JSON to a text, and releases it. With `embed`, an object is written
 * without its braces. */
void host__json_write(struct rover__text *text, json_t *json, bool embed);

#endif
