#include "json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Copies `text` with each byte that is not ASCII replaced. */
static json_t *without_others(const char *text) {
  static const char mark[] = "\xef\xbf\xbd"; /* U+FFFD */
  char *copy = malloc(strlen(text) * (sizeof mark - 1) + 1), *to = copy;

  if (!copy) return NULL;
  for (; *text; text++) {
    if ((unsigned char)*text < 0x80) *to++ = *text;
    else to = (char *)memcpy(to, mark, sizeof mark - 1) + sizeof mark - 1;
  }
  *to = '\0';
  json_t *json = json_string(copy);
  free(copy);
  return json;
}

json_t *admin__json_string(const char *text) {
  if (!text) return json_null();
  json_t *json = json_string(text);
  return json ? json : without_others(text);
}

struct admin__answer admin__json_answer(int status, json_t *json) {
  char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
  size_t length = text ? strlen(text) : 0;

  json_decref(json);
  if (!text) return admin__answer_text(500, "out of memory");
  text[length] = '\n'; /* in place of its end */
  return (struct admin__answer){
      .status = status,
      .type = "application/json",
      .body = {
          .free = free, .data = text, .bytes = text, .length = length + 1}};
}

struct admin__answer admin__json_error(int status, const char *what) {
  return admin__json_answer(
      status, json_pack("{s:o}", "error", admin__json_string(what)));
}

json_t *admin__json_parse(const struct admin__request *request, char *why,
                          size_t size) {
  json_error_t error;

  if (request->body.length == 0) return json_object();
  json_t *json = json_loadb(request->body.bytes, request->body.length,
                            JSON_REJECT_DUPLICATES, &error);
  if (json_is_object(json)) return json;
  snprintf(why, size, "the body has to be a JSON object%s%s", json ? "" : ": ",
           json ? "" : error.text);
  json_decref(json);
  return NULL;
}
