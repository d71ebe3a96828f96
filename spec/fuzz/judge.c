#include "fuzz.h"

#include <ctype.h>

enum verdict judge(const uint8_t *bytes, size_t size, int *slot,
                   size_t *length) {
  char digits[11] = "";
  size_t i = 0;

  for (; i < size && i < 10 && isdigit(bytes[i]); i++)
    digits[i] = (char)bytes[i];
  if (strtoll(digits, NULL, 10) > INT32_MAX) return NO_LINE;
  for (const char *end = "\r\n"; *end; end++, i++) {
    if (i == size) return MORE;
    if (i == 0 || bytes[i] != (uint8_t)*end) return NO_LINE;
  }
  *slot = (int)strtol(digits, NULL, 10);
  *length = i;
  return LINE;
}
