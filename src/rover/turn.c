#include "turn.h"

#include <stdlib.h>

int rover_turn_new(rover_turn_t **out, uv_loop_t *loop) {
  if (!out || !loop) return UV_EINVAL;
  rover_turn_t *turn = calloc(1, sizeof *turn);
  if (!turn) return UV_ENOMEM;
  net__turn_init(&turn->base, loop);
  *out = turn;
  return 0;
}

static void on_closed(struct net__turn *base) {
  rover_turn_t *turn = (rover_turn_t *)base; /* `base` is its first field */
  if (turn->close_cb) turn->close_cb(turn->data);
  free(turn);
}

void rover_turn_close(rover_turn_t *turn, rover_turn_close_cb cb, void *data) {
  if (!cb && !turn->base.has_idle) {
    free(turn);
    return;
  }
  turn->close_cb = cb;
  turn->data = data;
  net__turn_close(&turn->base, on_closed);
}
