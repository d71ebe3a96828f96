#include "json.h"

#include <string.h>

#include <uv.h>

/* Looks at a value up to its end, if it is an array or an object. Sets the number
 * of values in it; an array or an object is counted twice, which is fair: each
 * takes more memory than what is in it. Returns false if it has more levels than
 * `depth_max`, or more values than `most`. */
static bool measure(const char *bytes, size_t length, int depth_max,
                    size_t most, size_t *values) {
  int depth = 0;
  bool quoted = false;

  *values = 0;
  for (size_t i = 0; i < length; i++) {
    char c = bytes[i];
    if (quoted) {
      if (c == '\\') i++;
      else if (c == '"') quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      ++*values;
      if (++depth > depth_max) return false;
    } else if (c == ']' || c == '}') {
      if (--depth == 0) break;
    } else if (c == ',') {
      ++*values;
    }
    if (*values > most) return false;
  }
  return true;
}

bool discover__json_fits(const char *bytes, size_t length, int depth_max) {
  size_t values;
  return measure(bytes, length, depth_max, DISCOVER__JSON_VALUES_MAX, &values);
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

static void skip_blanks(struct cursor *cursor) {
  while (cursor->at < cursor->end && strchr(" \t\r\n", *cursor->at) &&
         *cursor->at)
    cursor->at++;
}

static bool skip(struct cursor *cursor, char expected) {
  skip_blanks(cursor);
  if (cursor->at == cursor->end || *cursor->at != expected) return false;
  cursor->at++;
  return true;
}

static bool skip_null(struct cursor *cursor) {
  static const char null[] = "null";
  size_t length = strlen(null);

  if ((size_t)(cursor->end - cursor->at) < length ||
      memcmp(cursor->at, null, length) != 0)
    return false;
  cursor->at += length;
  return true;
}

/* Reduces `left`, the number of values that it may still have. Errors: UV_EPROTO
 * (there is no value, or it is a wrong one), UV_E2BIG. */
static int next_value(struct cursor *cursor, size_t *left, json_t **value) {
  const size_t flags = JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK;
  size_t length, values = 0;
  json_error_t error;

  *value = NULL;
  skip_blanks(cursor);
  length = (size_t)(cursor->end - cursor->at);
  if (length > 0 && strchr("[{", *cursor->at) && *cursor->at &&
      !measure(cursor->at, length, DISCOVER__JSON_DEPTH_MAX, *left, &values))
    return UV_E2BIG;
  if (*left < ++values) return UV_E2BIG;
  *left -= values;
  *value = json_loadb(cursor->at, length, flags, &error);
  if (!*value) return UV_EPROTO;
  cursor->at += error.position;
  return 0;
}

/* None in `null`: so an empty slice is written by Go. */
static int each_element(struct cursor *cursor, discover__json_each_cb each,
                        void *data) {
  int err = 0;

  if (!skip(cursor, '[')) return skip_null(cursor) ? 0 : UV_EPROTO;
  if (skip(cursor, ']')) return 0;
  do {
    size_t left = DISCOVER__JSON_VALUES_MAX;
    json_t *element;
    err = next_value(cursor, &left, &element);
    if (err == 0)
      err = json_is_object(element) ? each(element, data) : UV_EPROTO;
    json_decref(element);
  } while (err == 0 && skip(cursor, ','));
  if (err == 0 && !skip(cursor, ']')) err = UV_EPROTO;
  return err;
}

struct members {
  json_t *rest;
  const char *name;
  size_t left; /* how many values the rest may still have */
};

static int next_member(struct cursor *cursor, struct members *members,
                       discover__json_each_cb each, void *data) {
  json_t *key, *value = NULL;
  int err = next_value(cursor, &members->left, &key);
  const char *text = json_string_value(key);

  if (err == 0 && (!text || !skip(cursor, ':'))) err = UV_EPROTO;
  if (err == 0 && strcmp(text, members->name) != 0) {
    err = next_value(cursor, &members->left, &value);
  } else if (err == 0) {
    err = each_element(cursor, each, data);
    value = json_true();
  }
  if (err == 0 && json_object_set(members->rest, text, value) < 0)
    err = UV_EPROTO;
  json_decref(value);
  json_decref(key);
  return err;
}

static int each_member(struct cursor *cursor, json_t *rest, const char *name,
                       discover__json_each_cb each, void *data) {
  struct members members = {rest, name, DISCOVER__JSON_VALUES_MAX};
  int err = 0;

  if (!skip(cursor, '{')) return UV_EPROTO;
  if (skip(cursor, '}')) return 0;
  do err = next_member(cursor, &members, each, data);
  while (err == 0 && skip(cursor, ','));
  if (err == 0 && !skip(cursor, '}')) err = UV_EPROTO;
  return err;
}

int discover__json_each(json_t **rest, const char *bytes, size_t length,
                        const char *name, discover__json_each_cb each,
                        void *data) {
  struct cursor cursor = {bytes, bytes + length};

  *rest = NULL;
  if (name) *rest = json_object();
  if (name && !*rest) return UV_ENOMEM;
  int err = name ? each_member(&cursor, *rest, name, each, data)
                 : each_element(&cursor, each, data);
  if (err == 0 && (skip(&cursor, '\0') || cursor.at < cursor.end))
    err = UV_EPROTO;
  return err;
}
