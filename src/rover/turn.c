#include "internal.h"

#include <stdlib.h>
#include <time.h>

#include <utlist.h>

/* However much is ready at once, and however long each callback takes, the loop
 * comes round. What has events to hand out, a source, asks before each whether a
 * turn's share of time is over. If so, it waits in line, and goes on in a later
 * turn, one event at least of whoever comes first, and nothing that is new
 * comes before. So a turn takes its share and one callback.
 *
 * The share begins when libuv last took the time, which it does before it runs
 * timers and after it has polled, or when the line was last served. */

enum { SHARE_MS = 10 };

struct rover_turn_s {
  uv_loop_t *loop;
  uv_idle_t idle; /* runs while something waits; idle.data is the turn */
  bool has_idle;  /* since something waited */
  struct rover__source *waiting; /* longest first */
  uint64_t served; /* when that last began, in ms of uv_hrtime() */
  struct rover__lookups lookups;
  rover_turn_close_cb close_cb;
  void *data;
};

/* Asked after each event. A few ms more or less do not matter, and the clock that
 * only ticks is looked at in a fifth of the time. */
static uint64_t now_in_ms(void) {
#ifdef CLOCK_MONOTONIC_COARSE
  struct timespec now;
  if (clock_gettime(CLOCK_MONOTONIC_COARSE, &now) == 0)
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
#endif
  return rover__now();
}

bool rover__is_late(const uv_loop_t *loop) {
  return now_in_ms() >= uv_now(loop) + SHARE_MS;
}

bool rover__turn_lasts(const rover_turn_t *turn) {
  uint64_t now = now_in_ms();
  return now < uv_now(turn->loop) + SHARE_MS || now < turn->served + SHARE_MS;
}

static void on_idle(uv_idle_t *idle) {
  rover_turn_t *turn = idle->data;

  turn->served = now_in_ms();
  while (turn->waiting) {
    struct rover__source *source = turn->waiting;
    rover__turn_leave(turn, source);
    source->go_on(source);
    if (!rover__turn_lasts(turn)) break;
  }
  if (!turn->waiting) uv_idle_stop(idle);
}

static void open_idle(rover_turn_t *turn) {
  if (turn->has_idle) return;
  uv_idle_init(turn->loop, &turn->idle);
  turn->idle.data = turn;
  turn->has_idle = true;
}

/* Once a turn closes, what is left to tell is the business of who closes it. */
static bool is_closing(const rover_turn_t *turn) {
  return turn->has_idle && uv_is_closing((const uv_handle_t *)&turn->idle);
}

void rover__turn_wait(rover_turn_t *turn, struct rover__source *source) {
  if (rover__source_waits(source) || is_closing(turn)) return;
  DL_APPEND(turn->waiting, source);
  open_idle(turn);
  uv_idle_start(&turn->idle, on_idle);
}

bool rover__turn_take(rover_turn_t *turn, struct rover__source *source) {
  if (!turn->waiting && rover__turn_lasts(turn)) return true;
  rover__turn_wait(turn, source);
  return false;
}

void rover__turn_leave(rover_turn_t *turn, struct rover__source *source) {
  if (!rover__source_waits(source)) return;
  DL_DELETE(turn->waiting, source);
  source->prev = NULL;
}

bool rover__source_waits(const struct rover__source *source) {
  return source->prev != NULL;
}

struct rover__lookups *rover__turn_lookups(rover_turn_t *turn) {
  return &turn->lookups;
}

/* -- Life ----------------------------------------------------------------- */

int rover_turn_new(rover_turn_t **out, uv_loop_t *loop) {
  if (!out || !loop) return UV_EINVAL;
  rover_turn_t *turn = calloc(1, sizeof *turn);
  if (!turn) return UV_ENOMEM;
  turn->loop = loop;
  *out = turn;
  return 0;
}

static void on_closed(uv_handle_t *idle) {
  rover_turn_t *turn = idle->data;
  if (turn->close_cb) turn->close_cb(turn->data);
  free(turn);
}

void rover_turn_close(rover_turn_t *turn, rover_turn_close_cb cb, void *data) {
  if (!cb && !turn->has_idle) {
    free(turn);
    return;
  }
  open_idle(turn);
  turn->close_cb = cb;
  turn->data = data;
  uv_close((uv_handle_t *)&turn->idle, on_closed);
}
