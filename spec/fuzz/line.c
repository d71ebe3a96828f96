/* The slot line, cut anywhere, and how wrong bytes are quoted.
 *
 * Input: four bytes that say where to cut, two bits a piece; one byte that says
 * how much room a quote has; then what a server sends. */
#include "fuzz.h"
#include "rover/line.h"

#include <callosum/rover.h>

/* Of a copy that ends where its memory does, so that reading on is noticed. */
static int parse(const uint8_t *bytes, size_t length, int *slot) {
  char *copy = malloc(length ? length : 1);
  check(copy);
  memcpy(copy, bytes, length);
  int result = rover__line_parse(copy, length, slot);
  free(copy);
  return result;
}

/* How many bytes what came so far is short of the shortest line that begins
 * like it. */
static size_t shortest_rest(const uint8_t *bytes, size_t length) {
  static const char *const rests[] = {"\n", "\r\n", "0\r\n"};
  uint8_t line[ROVER__LINE_MAX + 3];
  int slot;
  size_t used;

  memcpy(line, bytes, length);
  for (size_t i = 0; i < sizeof rests / sizeof *rests; i++) {
    size_t rest = strlen(rests[i]);
    memcpy(line + length, rests[i], rest);
    if (judge(line, length + rest, &slot, &used) == LINE) return rest;
  }
  return 0;
}

/* Reads as an attempt does: never more than it is told to, perhaps less. */
static void read_line(const uint8_t *bytes, size_t size, uint32_t cuts) {
  size_t length = 0;
  for (;;) {
    int slot = -1, expected = -1;
    size_t used = 0;
    int wanted = parse(bytes, length, &slot);
    enum verdict verdict = judge(bytes, length, &expected, &used);

    check(slot == expected);
    check((wanted == 0) == (verdict == LINE));
    check((wanted == UV_EPROTO) == (verdict == NO_LINE));
    check(verdict != LINE || used == length);
    if (verdict != MORE) return;
    check((size_t)wanted == shortest_rest(bytes, length));
    check(length + (size_t)wanted <= ROVER__LINE_MAX);

    size_t piece = 1 + (cuts & 3);
    if (piece > (size_t)wanted) piece = (size_t)wanted;
    if (piece > size - length) piece = size - length;
    if (piece == 0) return;
    length += piece;
    cuts = cuts >> 2 | cuts << 30;
  }
}

/* Takes the next byte from a quote as C would read it. */
static int unquote(const char **at) {
  int byte = (unsigned char)*(*at)++;
  check(byte >= ' ' && byte <= '~' && byte != '"');
  if (byte != '\\') return byte;
  switch (*(*at)++) {
    case 'r': return '\r';
    case 'n': return '\n';
    case '"': return '"';
    case '\\': return '\\';
    case 'x': break;
    default: check(!"an escape of C");
  }
  char hex[3] = {(*at)[0], (*at)[1], 0}, *end;
  byte = (int)strtol(hex, &end, 16);
  check(end == hex + 2);
  *at += 2;
  return byte;
}

/* A quote tells all, or what begins it where there is no room for all. */
static void quote(const uint8_t *bytes, size_t size, size_t room) {
  char *whole = malloc(4 * size + 8), *cut = malloc(room);
  check(whole && cut);
  rover__quote(whole, 4 * size + 8, (const char *)bytes, size);
  rover__quote(cut, room, (const char *)bytes, size);

  const char *at = whole;
  check(*at++ == '"');
  for (size_t i = 0; i < size; i++) check(unquote(&at) == bytes[i]);
  check(!strcmp(at, "\""));

  size_t length = strnlen(cut, room);
  check(length < room);
  if (strcmp(cut, whole) != 0) {
    check(room < strlen(whole) + sizeof "...");
    check(length >= 5 && !strcmp(cut + length - 4, "...\""));
    check(!strncmp(cut, whole, length - 4));
  }
  free(whole);
  free(cut);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  struct input in = {bytes, size};
  uint32_t cuts;

  take(&in, &cuts, sizeof cuts);
  size_t room = 8 + (size_t)take_byte(&in);
  read_line(in.bytes, in.left, cuts);
  quote(in.bytes, in.left, room);
  return 0;
}
