#include "text.h"

#include <stdlib.h>
#include <string.h>

static bool grow(struct rover__text *text, size_t length) {
  size_t capacity = text->capacity ? text->capacity : 512;
  while (capacity < text->length + length) capacity *= 2;
  char *bytes = realloc(text->bytes, capacity);
  if (!bytes) return false;
  text->bytes = bytes;
  text->capacity = capacity;
  return true;
}

void rover__text_add(struct rover__text *text, const void *bytes,
                     size_t length) {
  if (text->failed) return;
  if (length > text->capacity - text->length && !grow(text, length)) {
    text->failed = true;
    return;
  }
  if (length > 0) memcpy(text->bytes + text->length, bytes, length);
  text->length += length;
}

void rover__text_string(struct rover__text *text, const char *string) {
  rover__text_add(text, string, strlen(string));
}

void rover__text_count(struct rover__text *text, uint64_t count) {
  char digits[20], *first = digits + sizeof digits;
  do *--first = (char)('0' + count % 10);
  while ((count /= 10) > 0);
  rover__text_add(text, first, (size_t)(digits + sizeof digits - first));
}
