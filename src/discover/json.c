#include "json.h"

#include <string.h>

#include <uv.h>

/* An array or an object is counted twice, which is fair: each takes more memory
 * than what is in it. */
bool discover__json_fits(const char *bytes, size_t length, int depth_max) {
  size_t values = 0;
  int depth = 0;
  bool quoted = false;

  for (size_t i = 0; i < length; i++) {
    char c = bytes[i];
    if (quoted) {
      if (c == '\\') i++;
      else if (c == '"') quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      values++;
      if (++depth > depth_max) return false;
    } else if (c == ']' || c == '}') {
      depth--;
    } else if (c == ',') {
      values++;
    }
    if (values > DISCOVER__JSON_VALUES_MAX) return false;
  }
  return true;
}

int discover__json_load(json_t **root, const char *bytes, size_t length) {
  *root = NULL;
  if (!discover__json_fits(bytes, length, DISCOVER__JSON_DEPTH_MAX))
    return UV_E2BIG;
  *root = json_loadb(bytes, length, 0, NULL);
  return *root ? 0 : UV_EPROTO;
}

/* -- One by one ----------------------------------------------------------- */

struct cursor {
  const char *at, *end;
};

static bool skip(struct cursor *cursor, char expected) {
  while (cursor->at < cursor->end && strchr(" \t\r\n", *cursor->at) &&
         *cursor->at)
    cursor->at++;
  if (cursor->at == cursor->end || *cursor->at != expected) return false;
  cursor->at++;
  return true;
}

/* NULL: there is no value, or it is a wrong one. */
static json_t *next_value(struct cursor *cursor) {
  const size_t flags = JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK;
  json_error_t error;
  json_t *value =
      json_loadb(cursor->at, (size_t)(cursor->end - cursor->at), flags, &error);

  if (value) cursor->at += error.position;
  return value;
}

static int each_element(struct cursor *cursor, discover__json_each_cb each,
                        void *data) {
  int err = 0;

  if (!skip(cursor, '[')) return UV_EPROTO;
  if (skip(cursor, ']')) return 0;
  do {
    json_t *element = next_value(cursor);
    err = json_is_object(element) ? each(element, data) : UV_EPROTO;
    json_decref(element);
  } while (err == 0 && skip(cursor, ','));
  if (err == 0 && !skip(cursor, ']')) err = UV_EPROTO;
  return err;
}

static int each_member(struct cursor *cursor, json_t *rest, const char *name,
                       discover__json_each_cb each, void *data) {
  int err = 0;

  if (!skip(cursor, '{')) return UV_EPROTO;
  if (skip(cursor, '}')) return 0;
  do {
    json_t *key = next_value(cursor);
    const char *text = json_string_value(key);
    if (!text || !skip(cursor, ':')) err = UV_EPROTO;
    else if (!strcmp(text, name)) err = each_element(cursor, each, data);
    if (err == 0 &&
        json_object_set_new(rest, text,
                            strcmp(text, name) != 0 ? next_value(cursor)
                                                    : json_true()) < 0)
      err = UV_EPROTO;
    json_decref(key);
  } while (err == 0 && skip(cursor, ','));
  if (err == 0 && !skip(cursor, '}')) err = UV_EPROTO;
  return err;
}

int discover__json_each(json_t **rest, const char *bytes, size_t length,
                        const char *name, discover__json_each_cb each,
                        void *data) {
  struct cursor cursor = {bytes, bytes + length};

  *rest = NULL;
  if (!discover__json_fits(bytes, length, DISCOVER__JSON_DEPTH_MAX))
    return UV_E2BIG;
  if (name) *rest = json_object();
  if (name && !*rest) return UV_ENOMEM;
  int err = name ? each_member(&cursor, *rest, name, each, data)
                 : each_element(&cursor, each, data);
  if (err == 0 && (skip(&cursor, '\0') || cursor.at < cursor.end))
    err = UV_EPROTO;
  return err;
}
