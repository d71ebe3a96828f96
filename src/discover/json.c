#include "json.h"

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
