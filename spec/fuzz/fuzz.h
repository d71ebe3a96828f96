/* What the fuzz targets share. Each target is one file, run by libFuzzer; what
 * it finds wrong ends it by check(). */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lua.h>

/* libFuzzer calls the first once, if there is one, and the second with each of
 * its inputs. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

#define check(condition)                                                       \
  do {                                                                         \
    if (!(condition)) {                                                        \
      fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);  \
      abort();                                                                 \
    }                                                                          \
  } while (0)

/* What is left of an input, which goes on as zeros. */
struct input {
  const uint8_t *bytes;
  size_t left;
};

static inline uint8_t take_byte(struct input *in) {
  if (in->left == 0) return 0;
  in->left--;
  return *in->bytes++;
}

static inline void take(struct input *in, void *out, size_t size) {
  for (size_t i = 0; i < size; i++) ((uint8_t *)out)[i] = take_byte(in);
}

/* -- judge.c: what the slot line is, said a second time ------------------- */

enum verdict { LINE, NO_LINE, MORE };

/* Judges what a server sent so far. For LINE, sets *slot and *length, which
 * counts its bytes. */
enum verdict judge(const uint8_t *bytes, size_t size, int *slot,
                   size_t *length);

/* -- value.c: Lua values -------------------------------------------------- */

/* Pushes the value that the input describes. Its first byte is
 *
 *   t f    a boolean
 *   i d    an integer or a float; 8 bytes follow
 *   s      a string; a byte for its length follows, then its bytes
 *   L      a long string; a byte for its length, in units of `unit`, follows
 *   {      a table; keys and values follow, up to a key that cannot be one
 *   N      tables in one another; a byte for how many follows
 *   ^      a table made before; a byte says which
 *   M      a table with a metatable; a value, its __name, follows
 *   F      a function
 *
 * and else nil. */
void push_value(lua_State *L, struct input *in, size_t unit);

#endif
