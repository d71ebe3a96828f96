/* Private to src/sim: a queue of bytes. */
#ifndef SIM_BYTES_H
#define SIM_BYTES_H

#include <stddef.h>

struct sim__chunk;

struct sim__bytes {
  struct sim__chunk *first, *last;
  size_t start; /* in the first chunk */
};

void sim__bytes_add(struct sim__bytes *queue, const void *bytes, size_t count);

/* Takes `count` of them, which are there; `to` NULL discards them. */
void sim__bytes_take(struct sim__bytes *queue, void *to, size_t count);

/* Copies them, and leaves them there. */
void sim__bytes_peek(const struct sim__bytes *queue, void *to, size_t count);

void sim__bytes_clear(struct sim__bytes *queue);

#endif
