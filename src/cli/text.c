#include "text.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Ids, messages and tracebacks come from policies, servers and name servers:
 * none of them may move the cursor, change colours or the title, send what the
 * terminal answers, or have a line read from right to left. */

/* Decodes the character at `text`. Returns its length, or 0 if it is none. */
static size_t decode(const unsigned char *text, size_t length, uint32_t *code) {
  static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  size_t n = *text < 0x80   ? 1
             : *text < 0xc2 ? 0
             : *text < 0xe0 ? 2
             : *text < 0xf0 ? 3
             : *text < 0xf5 ? 4
                            : 0;

  if (n == 0 || n > length) return 0;
  *code = n == 1 ? *text : *text & (0x7fu >> n);
  for (size_t i = 1; i < n; i++) {
    if ((text[i] & 0xc0) != 0x80) return 0;
    *code = *code << 6 | (text[i] & 0x3f);
  }
  bool is_surrogate = *code >= 0xd800 && *code < 0xe000;
  return *code < least[n] || *code > 0x10ffff || is_surrogate ? 0 : n;
}

/* Controls; what joins, reorders, or takes no column; tags; private use. */
static bool is_shown(uint32_t code) {
  static const uint32_t hidden[][2] = {
      {0, 0x1f},          {0x7f, 0x9f},       {0xad, 0xad},
      {0x300, 0x36f},     {0x61c, 0x61c},     {0x115f, 0x1160},
      {0x17b4, 0x17b5},   {0x180b, 0x180f},   {0x200b, 0x200f},
      {0x2028, 0x202e},   {0x2060, 0x206f},   {0x3164, 0x3164},
      {0xe000, 0xf8ff},   {0xfe00, 0xfe0f},   {0xfeff, 0xfeff},
      {0xffa0, 0xffa0},   {0xfff0, 0xffff},   {0x1bca0, 0x1bca3},
      {0x1d173, 0x1d17a}, {0xe0000, 0x10ffff}};

  for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++)
    if (code >= hidden[i][0] && code <= hidden[i][1]) return false;
  return true;
}

static bool is_wide(uint32_t code) {
  static const uint32_t wide[][2] = {
      {0x1100, 0x115f}, {0x2e80, 0xa4cf},   {0xac00, 0xd7a3},
      {0xf900, 0xfaff}, {0xfe30, 0xfe6f},   {0xff01, 0xff60},
      {0xffe0, 0xffe6}, {0x1f300, 0x1faff}, {0x20000, 0x3fffd}};

  for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
    if (code >= wide[i][0] && code <= wide[i][1]) return true;
  return false;
}

/* Writes the character at `text` to `shown`, and how many columns it takes.
 * Returns its length. */
static size_t show(const char *text, size_t length, char shown[16],
                   size_t *columns) {
  uint32_t code;
  size_t n = decode((const unsigned char *)text, length, &code);

  if (n > 0 && is_shown(code)) {
    memcpy(shown, text, n);
    shown[n] = '\0';
    *columns = is_wide(code) ? 2 : 1;
    return n;
  }
  int width =
      n > 1 ? snprintf(shown, 16, "\\u%04lx", (unsigned long)code)
            : snprintf(shown, 16, "\\x%02x", (unsigned)(unsigned char)*text);
  *columns = (size_t)width;
  return n > 1 ? n : 1;
}

/* The bytes that "~" would be written at, if the next character did not fit,
 * are those after the last one that leaves it room. */
size_t cli_text_clean(char *to, size_t size, const char *text, size_t length,
                      size_t columns) {
  size_t used = 0, width = 0, cut = 0, cut_width = 0, next;
  char shown[16];

  if (size == 0) return 0;
  to[0] = '\0';
  for (size_t at = 0; at < length; width += next) {
    size_t n = show(text + at, length - at, shown, &next),
           bytes = strlen(shown);
    if (width + next > columns || used + bytes >= size) {
      if (columns == 0 || size < 2) return 0;
      snprintf(to + cut, size - cut, "~");
      return cut_width + 1;
    }
    memcpy(to + used, shown, bytes + 1);
    used += bytes;
    at += n;
    if (width + next < columns && used + 1 < size) {
      cut = used;
      cut_width = width + next;
    }
  }
  return width;
}
