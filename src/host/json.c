#include "json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* -- Strings -------------------------------------------------------------- */

/* How many bytes the UTF-8 character there has, as jansson sees it; 0: it is
 * none. */
static size_t character(const unsigned char *at, size_t left) {
  static const struct {
    unsigned char from, to, length, second_from, second_to;
  } ranges[] = {{0x00, 0x7f, 1, 0, 0},       {0xc2, 0xdf, 2, 0x80, 0xbf},
                {0xe0, 0xe0, 3, 0xa0, 0xbf}, {0xe1, 0xec, 3, 0x80, 0xbf},
                {0xed, 0xed, 3, 0x80, 0x9f}, {0xee, 0xef, 3, 0x80, 0xbf},
                {0xf0, 0xf0, 4, 0x90, 0xbf}, {0xf1, 0xf3, 4, 0x80, 0xbf},
                {0xf4, 0xf4, 4, 0x80, 0x8f}};

  for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
    size_t length = ranges[i].length;
    if (*at < ranges[i].from || *at > ranges[i].to) continue;
    if (length == 1) return 1;
    if (left < length || at[1] < ranges[i].second_from ||
        at[1] > ranges[i].second_to)
      return 0;
    for (size_t k = 2; k < length; k++)
      if ((at[k] & 0xc0) != 0x80) return 0;
    return length;
  }
  return 0;
}

static json_t *mended(const char *bytes, size_t length) {
  struct rover__text text = {0};
  json_t *json = NULL;

  while (length > 0) {
    size_t count = character((const unsigned char *)bytes, length);
    if (count > 0) rover__text_add(&text, bytes, count);
    else rover__text_add(&text, "\xef\xbf\xbd", 3);
    if (count == 0) count = 1;
    bytes += count;
    length -= count;
  }
  if (!text.failed) json = json_stringn_nocheck(text.bytes, text.length);
  free(text.bytes);
  return json;
}

json_t *host__json_string(const char *string) {
  if (!string) return json_null();
  size_t length = strlen(string);
  json_t *json = json_stringn(string, length);
  return json || length == 0 ? json : mended(string, length);
}

/* -- Numbers -------------------------------------------------------------- */

json_t *host__json_count(uint64_t count) {
  return json_integer((json_int_t)count);
}

json_t *host__json_number(double number) {
  return isfinite(number) ? json_real(number) : json_null();
}

/* -- Objects and arrays --------------------------------------------------- */

struct host__json host__json_object(void) {
  return (struct host__json){json_object()};
}

void host__json_set(struct host__json *o, const char *key, json_t *value) {
  if (json_object_set_new_nocheck(o->object, key, value) == 0) return;
  json_decref(o->object);
  o->object = NULL;
}

void host__json_append(json_t **array, json_t *value) {
  if (json_array_append_new(*array, value) == 0) return;
  json_decref(*array);
  *array = NULL;
}

/* -- Writing -------------------------------------------------------------- */

static int write_bytes(const char *bytes, size_t length, void *text) {
  rover__text_add(text, bytes, length);
  return 0;
}

void host__json_write(struct rover__text *text, json_t *json, bool embed) {
  /* As many digits as a time in milliseconds has, and no more. */
  size_t flags = JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(14);

  if (embed) flags |= JSON_EMBED;
  if (!json || json_dump_callback(json, write_bytes, text, flags) < 0)
    text->failed = true;
  json_decref(json);
}
