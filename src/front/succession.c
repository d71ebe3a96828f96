#include <stdlib.h>

#include "conn.h"
#include "front.h"

/* A front as another process takes over from this one: it leaves its listener,
 * and tells which of its indices are taken, and from which addresses; there,
 * they are held until they are told to be free. An index that is held is taken,
 * too, and one of `held`. */

int rover_front_fd(const rover_front_t *front) {
  return net__place_fd(&front->place);
}

/* -- Leaving -------------------------------------------------------------- */

/* Handshakes that are under way go on here; what index they would get later
 * nobody could tell. Errors: UV_ENOMEM. */
static int take_indices(rover_front_t *front) {
  struct front__conn *conn = front->conns[FRONT_SECURING];

  for (; conn; conn = conn->next)
    if (!conn->has_index && !front__conn_take_index(conn)) return UV_ENOMEM;
  return 0;
}

/* All connections, by index. NULL if there is no memory. */
static const struct front__conn **sort(const rover_front_t *front) {
  const struct front__conn **sorted =
      calloc((size_t)front->slots.count + 1, sizeof *sorted);

  if (!sorted) return NULL;
  for (int state = FRONT_SECURING; state < FRONT_STATES; state++)
    for (const struct front__conn *c = front->conns[state]; c; c = c->next)
      sorted[c->index] = c;
  return sorted;
}

int rover_front_leave(rover_front_t *front, rover_front_index_cb cb,
                      void *arg) {
  if (!front->place.listener) return UV_EBADF;
  if (take_indices(front) < 0) return UV_ENOMEM;
  const struct front__conn **sorted = sort(front);
  if (!sorted) return UV_ENOMEM;
  front->index_cb = cb;
  front->index_arg = arg;
  for (uint32_t i = 0; i < front->slots.count; i++)
    if (front__slots_has(&front->slots, i))
      cb(front, i, 1, sorted[i] ? front__conn_peer(sorted[i]) : NULL, arg);
  free(sorted);
  return net__place_leave(&front->place);
}

int rover_front_stay(rover_front_t *front, int owns_file) {
  int err = net__place_stay(&front->place, owns_file);
  if (err == 0) front->index_cb = NULL;
  return err;
}

/* -- Holding -------------------------------------------------------------- */

static int reserve(rover_front_t *front, uint32_t index) {
  if (index < front->held_for_count) return 0;
  uint64_t count = 2 * (uint64_t)front->held_for_count;
  if (count <= index) count = (uint64_t)index + 1;
  if (count > UINT32_MAX) count = UINT32_MAX;
  struct front__address **all =
      realloc(front->held_for, (size_t)count * sizeof *all);
  if (!all) return UV_ENOMEM;
  for (uint32_t i = front->held_for_count; i < count; i++) all[i] = NULL;
  front->held_for = all;
  front->held_for_count = (uint32_t)count;
  return 0;
}

/* There may be more than max_per_address: they were let in there. */
static int count_in(rover_front_t *front, uint32_t index,
                    const struct sockaddr *peer) {
  bool is_ip =
      peer && (peer->sa_family == AF_INET || peer->sa_family == AF_INET6);

  if (!is_ip || front->options.max_per_address == UINT32_MAX) return 0;
  int err = reserve(front, index);
  if (err < 0) return err;
  struct front__address *address =
      front__addresses_add(&front->addresses, peer, UINT32_MAX);
  front->held_for[index] = address;
  return address ? 0 : UV_ENOMEM;
}

static void count_out(rover_front_t *front, uint32_t index) {
  if (index >= front->held_for_count || !front->held_for[index]) return;
  front__addresses_drop(&front->addresses, front->held_for[index]);
  front->held_for[index] = NULL;
}

int rover_front_hold(rover_front_t *front, uint32_t index,
                     const struct sockaddr *peer) {
  if (front->closing || index == ROVER_FRONT_ALL) return UV_EINVAL;
  if (front__slots_has(&front->slots, index)) return UV_EALREADY;
  int err = count_in(front, index, peer);
  if (err < 0) return err;
  err = front__slots_take(&front->held, index);
  if (err == 0) {
    err = front__slots_take(&front->slots, index);
    if (err < 0) front__slots_put(&front->held, index);
  }
  if (err < 0) count_out(front, index);
  else front->stats.held++;
  return err;
}

int rover_front_release(rover_front_t *front, uint32_t index) {
  if (index == ROVER_FRONT_ALL) {
    for (uint32_t i = 0; i < front->held.count; i++)
      rover_front_release(front, i);
    return 0;
  }
  if (!front__slots_has(&front->held, index)) return UV_ENOENT;
  count_out(front, index);
  front__slots_put(&front->held, index);
  front__slots_put(&front->slots, index);
  front->stats.held--;
  return 0;
}
