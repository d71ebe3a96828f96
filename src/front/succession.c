#include "front.h"

/* A front as another process takes over from this one: it leaves its listener,
 * and tells which of its indices are taken; there, they are held until they are
 * told to be free. An index that is held is taken, too, and one of `held`. */

int rover_front_fd(const rover_front_t *front) {
  return front->listener ? net__listener_fd(front->listener) : UV_EBADF;
}

int rover_front_leave(rover_front_t *front, rover_front_index_cb cb,
                      void *arg) {
  if (!front->listener) return UV_EBADF;
  front->index_cb = cb;
  front->index_arg = arg;
  for (uint32_t i = 0; i < front->slots.count; i++)
    if (front__slots_has(&front->slots, i)) cb(front, i, 1, arg);
  return net__listener_leave(front->listener);
}

int rover_front_stay(rover_front_t *front, int owns_file) {
  if (!front->listener) return UV_EBADF;
  front->index_cb = NULL;
  net__listener_stay(front->listener, owns_file, front->options.address.mode);
  return 0;
}

int rover_front_hold(rover_front_t *front, uint32_t index) {
  if (front->closing || index == ROVER_FRONT_ALL) return UV_EINVAL;
  if (front__slots_has(&front->slots, index)) return UV_EALREADY;
  int err = front__slots_take(&front->held, index);
  if (err < 0) return err;
  err = front__slots_take(&front->slots, index);
  if (err < 0) front__slots_put(&front->held, index);
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
  front__slots_put(&front->held, index);
  front__slots_put(&front->slots, index);
  front->stats.held--;
  return 0;
}
