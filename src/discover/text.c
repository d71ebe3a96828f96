#include "text.h"

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- To write ------------------------------------------------------------- */

static void add(struct discover__text *text, const char *part, size_t length) {
  char *grown =
      text->failed ? NULL : realloc(text->bytes, text->length + length + 1);

  if (!grown) {
    text->failed = true;
    return;
  }
  memcpy(grown + text->length, part, length);
  text->bytes = grown;
  text->length += length;
  text->bytes[text->length] = '\0';
}

void discover__text_add(struct discover__text *text, const char *part) {
  add(text, part, strlen(part));
}

void discover__text_add_number(struct discover__text *text,
                               unsigned long long number) {
  char part[24];

  snprintf(part, sizeof part, "%llu", number);
  discover__text_add(text, part);
}

void discover__text_add_escaped(struct discover__text *text, const char *part) {
  for (; *part; part++) {
    unsigned char c = (unsigned char)*part;
    char escape[4];
    snprintf(escape, sizeof escape, "%%%02X", c);
    if (isascii(c) && (isalnum(c) || strchr("-._~", c))) add(text, part, 1);
    else add(text, escape, 3);
  }
}

static const char digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void discover__text_add_base64(struct discover__text *text, const void *bytes,
                               size_t length) {
  const unsigned char *at = bytes;

  for (; length > 0; at += 3) {
    unsigned long three = (unsigned long)at[0] << 16;
    if (length > 1) three |= (unsigned long)at[1] << 8;
    if (length > 2) three |= at[2];
    char four[] = {digits[three >> 18], digits[three >> 12 & 63],
                   digits[three >> 6 & 63], digits[three & 63]};
    if (length < 3) four[3] = '=';
    if (length < 2) four[2] = '=';
    add(text, four, sizeof four);
    length -= length < 3 ? length : 3;
  }
}

void discover__text_free(struct discover__text *text) { free(text->bytes); }

/* -- To read -------------------------------------------------------------- */

char *discover__text_decode(const char *base64, size_t *length) {
  size_t size = strlen(base64);
  char *bytes = size % 4 == 0 ? malloc(size / 4 * 3 + 1) : NULL;
  uint32_t bits = 0;
  unsigned count = 0;

  if (!bytes) return NULL;
  *length = 0;
  while (size > 0 && base64[size - 1] == '=') size--;
  for (size_t i = 0; i < size; i++) {
    const char *digit = memchr(digits, base64[i], sizeof digits - 1);
    if (!digit) {
      free(bytes);
      return NULL;
    }
    bits = bits << 6 | (uint32_t)(digit - digits);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes[(*length)++] = (char)(bits >> count);
  }
  bytes[*length] = '\0';
  return bytes;
}
