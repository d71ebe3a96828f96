#include "buffer.h"

#include <stdlib.h>
#include <string.h>

enum { LEAST = 1000, MOST = 64000 }; /* of a block */

/* Blocks become larger as there are more of them. */
static struct discover__block *grow(struct discover__buffer *buffer) {
  size_t room = buffer->length < LEAST  ? LEAST
                : buffer->length > MOST ? MOST
                                        : buffer->length;
  struct discover__block *block = malloc(sizeof *block + room);

  if (!block) return NULL;
  *block = (struct discover__block){.room = room};
  if (buffer->last) buffer->last->next = block;
  else buffer->first = block;
  return buffer->last = block;
}

bool discover__buffer_add(struct discover__buffer *buffer, const char *bytes,
                          size_t length, size_t most) {
  struct discover__block *last = buffer->last;

  if (length > most || buffer->length > most - length) return false;
  while (length > 0) {
    size_t left = last ? last->room - last->length : 0;
    size_t part = length < left ? length : left;
    if (part == 0) {
      last = grow(buffer);
      if (!last) return false;
      continue;
    }
    memcpy(last->bytes + last->length, bytes, part);
    last->length += part;
    buffer->length += part;
    bytes += part;
    length -= part;
  }
  return true;
}

void discover__buffer_append(struct discover__buffer *buffer,
                             struct discover__buffer *from) {
  if (!from->first) return;
  if (buffer->last) buffer->last->next = from->first;
  else buffer->first = from->first;
  buffer->last = from->last;
  buffer->length += from->length;
  *from = (struct discover__buffer){0};
}

char *discover__buffer_join(struct discover__buffer *buffer, size_t *length) {
  char *bytes = malloc(buffer->length + 1), *at = bytes;

  /* Frees them one by one: a large answer is not in memory twice. */
  while (bytes && buffer->first) {
    struct discover__block *block = buffer->first;
    memcpy(at, block->bytes, block->length);
    at += block->length;
    buffer->first = block->next;
    free(block);
  }
  if (bytes) *at = '\0';
  *length = buffer->length;
  discover__buffer_clear(buffer);
  return bytes;
}

void discover__buffer_clear(struct discover__buffer *buffer) {
  struct discover__block *block = buffer->first, *next;

  *buffer = (struct discover__buffer){0};
  for (; block; block = next) {
    next = block->next;
    free(block);
  }
}
