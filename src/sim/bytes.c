#include "bytes.h"

#include <stdlib.h>
#include <string.h>

#include "memory.h"

/* A slot line has a chunk as small as it is; of a bulk transfer, each write has
 * one, and small writes share them. */

enum { LEAST = 40, MOST = 64 * 1024 };

struct sim__chunk {
  struct sim__chunk *next;
  unsigned length, room;
  char bytes[];
};

static size_t least(size_t one, size_t other) {
  return one < other ? one : other;
}

static struct sim__chunk *chunk_new(struct sim__bytes *queue, size_t wanted) {
  size_t room = wanted < LEAST ? LEAST : least(wanted, MOST);
  struct sim__chunk *chunk = sim__grow(NULL, sizeof *chunk + room);

  chunk->next = NULL;
  chunk->length = 0;
  chunk->room = (unsigned)room;
  if (queue->last) queue->last->next = chunk;
  else queue->first = chunk;
  return queue->last = chunk;
}

void sim__bytes_add(struct sim__bytes *queue, const void *bytes, size_t count) {
  const char *from = bytes;

  while (count > 0) {
    struct sim__chunk *chunk = queue->last;
    if (!chunk || chunk->length == chunk->room) chunk = chunk_new(queue, count);
    size_t n = least(count, chunk->room - chunk->length);
    memcpy(chunk->bytes + chunk->length, from, n);
    chunk->length += (unsigned)n;
    from += n;
    count -= n;
  }
}

static void drop_first(struct sim__bytes *queue) {
  struct sim__chunk *chunk = queue->first;

  queue->first = chunk->next;
  if (!queue->first) queue->last = NULL;
  queue->start = 0;
  free(chunk);
}

void sim__bytes_take(struct sim__bytes *queue, void *to, size_t count) {
  char *at = to;

  while (count > 0) {
    struct sim__chunk *chunk = queue->first;
    size_t n = least(count, chunk->length - queue->start);
    if (at) {
      memcpy(at, chunk->bytes + queue->start, n);
      at += n;
    }
    queue->start += n;
    count -= n;
    if (queue->start == chunk->length) drop_first(queue);
  }
}

void sim__bytes_peek(const struct sim__bytes *queue, void *to, size_t count) {
  size_t start = queue->start;
  char *at = to;

  for (const struct sim__chunk *chunk = queue->first; count > 0;
       chunk = chunk->next) {
    size_t n = least(count, chunk->length - start);
    memcpy(at, chunk->bytes + start, n);
    at += n;
    count -= n;
    start = 0;
  }
}

void sim__bytes_clear(struct sim__bytes *queue) {
  while (queue->first) drop_first(queue);
}
