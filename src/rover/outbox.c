#include "outbox.h"

#include <stdlib.h>
#include <string.h>

enum { SOCKETS = 32, BYTES = 16 * 1024 };

struct rover__outbox {
  unsigned char first, end; /* places in use */
  size_t used;
  struct {
    rover_socket_t *socket; /* NULL once taken */
    size_t at, length;
  } held[SOCKETS];
  char bytes[BYTES];
};

int rover__outbox_open(rover_t *rover) {
  if (rover->outbox) return 0;
  rover->outbox = malloc(sizeof *rover->outbox);
  if (!rover->outbox) return UV_ENOMEM;
  rover->outbox->first = rover->outbox->end = 0;
  rover->outbox->used = 0;
  rover__count_memory(rover, sizeof *rover->outbox);
  return 0;
}

size_t rover__outbox_memory(const struct rover__outbox *outbox) {
  return outbox ? sizeof *outbox : 0;
}

/* Only what is last can grow. */
static bool has_room(const struct rover__outbox *outbox, unsigned char place,
                     size_t bytes) {
  if (bytes > BYTES - outbox->used) return false;
  return place > 0 ? place == outbox->end : outbox->end < SOCKETS;
}

unsigned char rover__outbox_put(struct rover__outbox *outbox,
                                rover_socket_t *socket, unsigned char place,
                                const uv_buf_t buffers[], unsigned count) {
  size_t total = 0;

  for (unsigned i = 0; i < count; i++) total += buffers[i].len;
  if (!has_room(outbox, place, total)) return 0;
  if (place == 0) {
    place = ++outbox->end;
    outbox->held[place - 1].socket = socket;
    outbox->held[place - 1].at = outbox->used;
    outbox->held[place - 1].length = 0;
  }
  for (unsigned i = 0; i < count; i++) {
    if (buffers[i].len == 0) continue; /* its base may be NULL */
    memcpy(outbox->bytes + outbox->used, buffers[i].base, buffers[i].len);
    outbox->used += buffers[i].len;
  }
  outbox->held[place - 1].length += total;
  return place;
}

uv_buf_t rover__outbox_take(struct rover__outbox *outbox, unsigned char place) {
  unsigned char i = place - 1;
  uv_buf_t bytes = {.base = outbox->bytes + outbox->held[i].at,
                    .len = outbox->held[i].length};

  outbox->held[i].socket = NULL;
  while (outbox->first < outbox->end && !outbox->held[outbox->first].socket)
    outbox->first++;
  if (outbox->first < outbox->end) return bytes;
  outbox->first = outbox->end = 0;
  outbox->used = 0;
  return bytes;
}

rover_socket_t *rover__outbox_first(const struct rover__outbox *outbox) {
  if (!outbox || outbox->first == outbox->end) return NULL;
  return outbox->held[outbox->first].socket;
}
