#include "query.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "valid are a, b, c" */
static void list(char *out, size_t size, const char *const words[]) {
  size_t used = (size_t)snprintf(out, size, "valid are");

  for (size_t i = 0; words[i] && used < size; i++)
    used += (size_t)snprintf(out + used, size - used, "%s %s", i > 0 ? "," : "",
                             words[i]);
}

/* The parameter at the start of `rest`, which is moved behind it. */
static struct admin__text next(struct admin__text *rest) {
  const char *end = memchr(rest->bytes, '&', rest->length);
  size_t length = end ? (size_t)(end - rest->bytes) : rest->length;
  struct admin__text parameter = {rest->bytes, length};
  size_t step = end ? length + 1 : length;

  rest->bytes += step;
  rest->length -= step;
  const char *equals = memchr(parameter.bytes, '=', parameter.length);
  if (equals) parameter.length = (size_t)(equals - parameter.bytes);
  return parameter;
}

struct admin__query admin__query_open(const struct admin__request *request,
                                      const char *const names[]) {
  struct admin__query query = {.text = request->query};
  struct admin__text rest = request->query;
  unsigned seen = 0;

  while (rest.length > 0 && !query.why[0]) {
    struct admin__text name = next(&rest);
    size_t i = 0;
    while (names[i] && !admin__text_is(name, names[i])) i++;
    if (!names[i]) {
      size_t used = (size_t)snprintf(
          query.why, sizeof query.why, "there is no parameter '%.*s'; ",
          (int)(name.length < 40 ? name.length : 40), name.bytes);
      list(query.why + used, sizeof query.why - used, names);
    } else if (seen & 1u << i) {
      snprintf(query.why, sizeof query.why, "%s is given twice", names[i]);
    }
    seen |= 1u << i;
  }
  return query;
}

const char *admin__query_text(struct admin__query *query, const char *name,
                              char *out, size_t size) {
  int length = admin__query_get(query->text, name, out, size);

  if (length == -2)
    snprintf(query->why, sizeof query->why,
             "%s is too long, or not encoded as in a URL", name);
  return length >= 0 ? out : NULL;
}

int admin__query_word(struct admin__query *query, const char *name,
                      const char *const words[], int preset) {
  char word[24];

  if (!admin__query_text(query, name, word, sizeof word)) return preset;
  for (int i = 0; words[i]; i++)
    if (!strcmp(word, words[i])) return i;
  size_t used = (size_t)snprintf(query->why, sizeof query->why,
                                 "%s is not '%s'; ", name, word);
  list(query->why + used, sizeof query->why - used, words);
  return preset;
}

size_t admin__query_number(struct admin__query *query, const char *name,
                           size_t most) {
  char text[24], *end;

  if (!admin__query_text(query, name, text, sizeof text)) return 0;
  unsigned long long number = strtoull(text, &end, 10);
  if (isdigit((unsigned char)*text) && !*end && number <= most)
    return (size_t)number;
  snprintf(query->why, sizeof query->why, "%s is a number from 0 to %zu", name,
           most);
  return 0;
}
