/* Private to src/lua and src/host: a text that grows. */
#ifndef LUA_TEXT_H
#define LUA_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Starts as {0}. Ownership: free the bytes. */
struct rover__text {
  char *bytes; /* without a NUL behind them */
  size_t length, capacity;
  bool failed; /* there was no memory, and something is missing */
};

void rover__text_add(struct rover__text *text, const void *bytes,
                     size_t length);
void rover__text_string(struct rover__text *text, const char *string);
void rover__text_count(struct rover__text *text, uint64_t count);

#endif
