#include "line.h"

#include <callosum/rover.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { DIGITS_MAX = 10 };

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

int rover__line_parse(const char *line, size_t length, int *slot) {
  uint64_t value = 0;
  size_t digits = 0;

  while (digits < length && digits < DIGITS_MAX && is_digit(line[digits]))
    value = value * 10 + (uint64_t)(line[digits++] - '0');
  if (value > ROVER_SLOT_MAX) return UV_EPROTO;
  if (length == 0) return 3; /* the shortest line is "0\r\n" */
  if (digits == 0) return UV_EPROTO;
  if (length == digits) return 2;
  if (line[digits] != '\r') return UV_EPROTO;
  if (length == digits + 1) return 1;
  if (line[digits + 1] != '\n') return UV_EPROTO;
  *slot = (int)value;
  return 0;
}

void rover__quote(char *out, size_t size, const char *bytes, size_t length) {
  static const char end[] = "...\"";
  size_t used = 0;

  out[used++] = '"';
  for (size_t i = 0; i < length; i++) {
    unsigned char c = (unsigned char)bytes[i];
    char text[5];
    if (c == '\r') strcpy(text, "\\r");
    else if (c == '\n') strcpy(text, "\\n");
    else if (c == '"' || c == '\\') snprintf(text, sizeof text, "\\%c", c);
    else if (c < 0x20 || c > 0x7e) snprintf(text, sizeof text, "\\x%02x", c);
    else snprintf(text, sizeof text, "%c", c);
    size_t wanted = strlen(text);
    if (used + wanted + sizeof end > size) {
      memcpy(out + used, end, sizeof end);
      return;
    }
    memcpy(out + used, text, wanted);
    used += wanted;
  }
  memcpy(out + used, "\"", 2);
}
