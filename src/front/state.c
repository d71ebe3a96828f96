#include "state.h"

#include "../net/clock.h"
#include "../net/list.h"

/* Connections of one state are a list, in the order in which they entered it, so
 * that only its first has to be checked for its deadline. */

static void count(const struct front__conn *conn, int by) {
  rover_front_stats_t *stats = &conn->front->stats;

  switch (conn->state) {
    case FRONT_SECURING:
      if (!conn->has_index) stats->securing += (uint64_t)by;
      break;
    case FRONT_UNUSED: stats->unused += (uint64_t)by; break;
    case FRONT_ENDING: stats->ending += (uint64_t)by; break;
    case FRONT_JOINED: stats->running += (uint64_t)by; break;
    default: break;
  }
}

void front__state_leave(struct front__conn *conn) {
  rover_front_t *front = conn->front;

  count(conn, -1);
  if (conn->list) DL_DELETE(*conn->list, conn);
  conn->list = NULL;
  if (conn->queued) DL_DELETE2(front->queue, conn, queue_prev, queue_next);
  conn->queued = false;
}

uint64_t front__state_due(const rover_front_t *front, int state) {
  const rover_front_options_t *o = &front->options;
  const struct front__conn *first = front->conns[state];
  uint64_t ms = NET_NEVER;

  if (!first) return NET_NEVER;
  switch (state) {
    case FRONT_SECURING: ms = o->handshake_timeout; break;
    case FRONT_UNUSED:
      ms = o->idle_timeout;
      if (o->connect_on == ROVER_FRONT_ON_KEPT)
        ms = net__sooner(ms, o->kept_after);
      break;
    case FRONT_HEADER: ms = o->header_timeout; break;
    case FRONT_CONNECTING: ms = o->connect_timeout; break;
    case FRONT_ENDING: ms = o->half_close_timeout; break;
    default: break;
  }
  return net__after(first->since, ms);
}

void front__state_enter(struct front__conn *conn, enum front__state state) {
  rover_front_t *front = conn->front;

  conn->state = (unsigned char)state;
  conn->since = net__now();
  conn->list = &front->conns[state];
  DL_APPEND(*conn->list, conn);
  if (*conn->list == conn)
    net__alarm_set(&front->alarm, front__state_due(front, state));
  count(conn, 1);
}

void front__state_move(struct front__conn *conn, enum front__state state) {
  front__state_leave(conn);
  front__state_enter(conn, state);
}
