/* Private to src/sim: bytes from one end to the other, with windows. */
#ifndef SIM_STREAM_H
#define SIM_STREAM_H

#include <sys/types.h>

#include "net.h"

/* What an end sends. */
static inline struct sim__stream *sim__stream_out(const struct sim__end *end) {
  return &sim__peer(end)->in;
}

/* Bytes that can be read, whether there is room to write, and how many bytes
 * are not acknowledged. */
uint64_t sim__end_unread(const struct sim__end *end);
bool sim__end_is_writable(struct sim__end *end);
uint64_t sim__end_unsent(struct sim__end *end);

/* As of recv() and send(), without blocking. `to` NULL discards. */
ssize_t sim__end_read(struct sim__end *end, void *to, size_t size, bool peek);
ssize_t sim__end_write(struct sim__end *end, const void *from, size_t size);
/* Knows acknowledgements that have come by now. */
void sim__end_settle(struct sim__end *end);

/* The window that the other end begins with. */
void sim__stream_open(struct sim__end *end);

/* Bytes and a FIN that the window allows are sent. */
void sim__stream_send(struct sim__end *end);

/* Everything that was sent and has not arrived is sent again. */
void sim__stream_send_again(struct sim__end *end);

/* Bytes have arrived at an end, up to there. */
void sim__stream_arrived(struct sim__end *end, uint64_t upto);

/* An end tells its peer what has arrived, and what it has room for. */
void sim__stream_acknowledge(struct sim__end *end);

/* Has `acked` of the end happen when it knows more, if it waits for that. */
void sim__stream_expect(struct sim__end *end);

#endif
