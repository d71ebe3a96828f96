/* Private to src/rover: small writes that are held until the events of a batch
 * were delivered. Owner: stream.c.
 *
 * Where many sockets are ready at once, each answer that is sent between two
 * callbacks wakes its peer, which answers it and sleeps again: that costs both
 * sides more than the sending itself. So such bytes are collected here, and sent
 * in a row. They are in the order in which the sockets wrote them; the places of
 * sockets are counted from 1, and 0 is none. */
#ifndef ROVER_OUTBOX_H
#define ROVER_OUTBOX_H

#include "base.h"

struct rover__outbox;

/* The most bytes of a write that are worth a copy. */
enum { ROVER__HELD_MAX = 2048 };

/* Allocates the rover's, if it has none. Errors: UV_ENOMEM. */
int rover__outbox_open(rover_t *rover);
size_t rover__outbox_memory(const struct rover__outbox *outbox);

/* Adds bytes behind those that the socket has at `place`. Returns its place, or
 * 0 if there is no room. */
unsigned char rover__outbox_put(struct rover__outbox *outbox,
                                rover_socket_t *socket, unsigned char place,
                                const uv_buf_t buffers[], unsigned count);

/* Removes what is at a place, and returns it, which is valid until more is
 * put. */
uv_buf_t rover__outbox_take(struct rover__outbox *outbox, unsigned char place);

/* The socket that was the first to put something there, or NULL. */
rover_socket_t *rover__outbox_first(const struct rover__outbox *outbox);

#endif
