/* Private to src/discover: bytes that are received, of which there may be many.
 * They are in blocks, so that no megabytes are copied on the loop. */
#ifndef DISCOVER_BUFFER_H
#define DISCOVER_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

struct discover__block {
  struct discover__block *next;
  size_t length, room;
  char bytes[];
};

/* Empty if it is zero. May be moved. */
struct discover__buffer {
  struct discover__block *first, *last;
  size_t length;
};

/* Returns false if there is no memory, or these would be more than `most`. */
bool discover__buffer_add(struct discover__buffer *buffer, const char *bytes,
                          size_t length, size_t most);

/* Moves what is in `from` to the end. */
void discover__buffer_append(struct discover__buffer *buffer,
                             struct discover__buffer *from);

/* Empties it. Returns what was in it, with a NUL behind, to be freed; or NULL, if
 * there is no memory. Takes a millisecond for a few megabytes. */
char *discover__buffer_join(struct discover__buffer *buffer, size_t *length);

void discover__buffer_clear(struct discover__buffer *buffer);

#endif
