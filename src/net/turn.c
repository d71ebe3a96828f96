#include "turn.h"

#include "clock.h"
#include "list.h"

enum { SHARE_MS = 10 };

bool net__is_late(const uv_loop_t *loop) {
  return net__now_coarse() >= uv_now(loop) + SHARE_MS;
}

bool net__turn_lasts_at(const struct net__turn *turn, uint64_t now) {
  return now < uv_now(turn->loop) + SHARE_MS || now < turn->served + SHARE_MS;
}

bool net__turn_lasts(const struct net__turn *turn) {
  return net__turn_lasts_at(turn, net__now_coarse());
}

static void on_idle(uv_idle_t *idle) {
  struct net__turn *turn = idle->data;

  turn->served = net__now_coarse();
  while (turn->queue) {
    struct net__source *source = turn->queue;
    net__turn_leave(turn, source);
    source->go_on(source);
    if (!net__turn_lasts(turn)) break;
  }
  if (!turn->queue) uv_idle_stop(idle);
}

static void open_idle(struct net__turn *turn) {
  if (turn->has_idle) return;
  uv_idle_init(turn->loop, &turn->idle);
  turn->idle.data = turn;
  turn->has_idle = true;
}

/* What a closing turn has left is delivered by the code that closes it. */
static bool is_closing(const struct net__turn *turn) {
  return turn->has_idle && uv_is_closing((const uv_handle_t *)&turn->idle);
}

void net__turn_wait(struct net__turn *turn, struct net__source *source) {
  if (net__source_waits(source) || is_closing(turn)) return;
  DL_APPEND(turn->queue, source);
  open_idle(turn);
  uv_idle_start(&turn->idle, on_idle);
}

bool net__turn_take(struct net__turn *turn, struct net__source *source) {
  if (!turn->queue && net__turn_lasts(turn)) return true;
  net__turn_wait(turn, source);
  return false;
}

void net__turn_leave(struct net__turn *turn, struct net__source *source) {
  if (!net__source_waits(source)) return;
  DL_DELETE(turn->queue, source);
  source->prev = NULL;
}

bool net__source_waits(const struct net__source *source) {
  return source->prev != NULL;
}

/* -- Life ----------------------------------------------------------------- */

void net__turn_init(struct net__turn *turn, uv_loop_t *loop) {
  *turn = (struct net__turn){.loop = loop};
}

static void on_closed(uv_handle_t *idle) {
  struct net__turn *turn = idle->data;
  turn->closed(turn);
}

void net__turn_close(struct net__turn *turn,
                     void (*closed)(struct net__turn *turn)) {
  open_idle(turn);
  turn->closed = closed;
  uv_close((uv_handle_t *)&turn->idle, on_closed);
}
