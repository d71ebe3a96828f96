/* Private to src/admin: answers and bodies in JSON. */
#ifndef ADMIN_JSON_H
#define ADMIN_JSON_H

#include <jansson.h>

#include "answer.h"
#include "request.h"

/* A string, in which what is not UTF-8 is replaced. NULL becomes null. */
json_t *admin__json_string(const char *text);

/* Ownership: `json` is released; NULL stands for no memory. */
struct admin__answer admin__json_answer(int status, json_t *json);

/* {"error": what}, where a byte that is not UTF-8 is replaced. */
struct admin__answer admin__json_error(int status, const char *what);

/* Parses the body, an object or nothing, which is an empty one. Ownership: the
 * caller's. Returns NULL, and why. */
json_t *admin__json_parse(const struct admin__request *request, char *why,
                          size_t size);

#endif
