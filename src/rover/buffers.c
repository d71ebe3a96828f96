#include "buffers.h"

#include <limits.h>
#include <string.h>
#include <sys/socket.h>

#include "../net/transport.h"
#include "base.h"

/* As many as Linux takes in one call. */
enum { BUFFERS_MAX = 1024 };

/* Where a list of buffers is up to. */
struct place {
  const uv_buf_t *buffer, *end;
  size_t skip; /* bytes of the first */
};

/* The next bytes, at most a record's if they come from several buffers, which
 * `room` is for: a record costs as much as some hundred bytes. */
static uv_buf_t piece(struct place place, char room[NET_RECORD_MAX]) {
  size_t length = 0;

  while (place.buffer < place.end && place.buffer->len == place.skip) {
    place.buffer++;
    place.skip = 0;
  }
  if (place.buffer == place.end) return uv_buf_init(NULL, 0);
  size_t own = place.buffer->len - place.skip;
  if (own >= NET_RECORD_MAX || place.buffer + 1 == place.end)
    return (uv_buf_t){.base = place.buffer->base + place.skip, .len = own};
  for (; place.buffer < place.end && length < NET_RECORD_MAX; place.buffer++) {
    size_t left = place.buffer->len - place.skip;
    if (left > NET_RECORD_MAX - length) left = NET_RECORD_MAX - length;
    if (left > 0) memcpy(room + length, place.buffer->base + place.skip, left);
    length += left;
    place.skip = 0;
  }
  return (uv_buf_t){.base = room, .len = length};
}

static void advance(struct place *place, size_t bytes) {
  while (bytes > 0) {
    size_t left = place->buffer->len - place->skip;
    if (bytes < left) {
      place->skip += bytes;
      return;
    }
    bytes -= left;
    place->buffer++;
    place->skip = 0;
  }
}

static int send_secured(const struct net__poll *poll, const uv_buf_t buffers[],
                        unsigned count) {
  struct place place = {buffers, buffers + count, 0};
  char room[NET_RECORD_MAX];
  size_t sent = 0;
  ssize_t n = 0;
  uv_buf_t next;

  while (sent < INT_MAX - ROVER__BUFFER_SIZE &&
         (next = piece(place, room)).len > 0) {
    n = net__send(poll, next.base,
                  next.len < ROVER__BUFFER_SIZE ? next.len : ROVER__BUFFER_SIZE,
                  0);
    if (n < 0) break;
    sent += (size_t)n;
    advance(&place, (size_t)n);
  }
  return sent > 0 || n == 0 ? (int)sent : (int)n;
}

/* Of more buffers than the kernel takes at once, the first. */
static int send_plain(const struct net__poll *poll, const uv_buf_t buffers[],
                      unsigned count) {
  ssize_t n;

  if (count == 1) {
    n = net__send(poll, buffers->base,
                  buffers->len < INT_MAX ? buffers->len : INT_MAX, 0);
    return (int)n;
  }
  if (count > BUFFERS_MAX) count = BUFFERS_MAX;
  /* A uv_buf_t is a struct iovec, as libuv documents. */
  struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)buffers,
                           .msg_iovlen = count};
  do n = sendmsg(poll->fd, &message, MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  return n < 0 ? -errno : (int)n;
}

int rover__buffers_send(const struct net__poll *poll, const uv_buf_t buffers[],
                        unsigned count) {
  return poll->tls ? send_secured(poll, buffers, count)
                   : send_plain(poll, buffers, count);
}
