#include "drain.h"

#include "../net/clock.h"
#include "conn.h"
#include "front.h"

/* A drain allows fewer and fewer connections, in a line from how many there
 * were to its goal. Whenever there are more, one is ended: first those that are
 * unused, then those that are quiet, longest first; if nobody is, it waits.
 * At its end the rest is reset. Those that end by themselves count as ended, so
 * nobody is ended who need not be. */

enum { TICK_MIN = 20, TICK_MAX = 1000 }; /* ms */

static uint64_t allowed(const struct front__drain *drain, uint64_t now) {
  if (drain->until == NET_NEVER) return UINT64_MAX;
  if (now >= drain->until) return drain->goal;
  double left = (double)(drain->until - now);
  double total = (double)(drain->until - drain->from);
  return drain->goal +
         (uint64_t)((double)(drain->begin - drain->goal) * left / total);
}

/* Often enough to end them one by one, but for thousands. */
static uint64_t tick(const struct front__drain *drain) {
  uint64_t ms = (drain->until - drain->from) / (drain->begin - drain->goal + 1);
  return ms < TICK_MIN ? TICK_MIN : ms > TICK_MAX ? TICK_MAX : ms;
}

/* -- Whom ----------------------------------------------------------------- */

static bool end_unused(rover_front_t *front) {
  if (front->conns[FRONT_UNUSED]) {
    front__conn_end(front->conns[FRONT_UNUSED]);
    return true;
  }
  for (struct net__pair *pair = front->pairs.open; pair; pair = pair->next)
    if (pair->spoke == NET_NOBODY && front__conn_end_pair(pair)) return true;
  return false;
}

/* The list is in the order of their last byte. */
static bool end_quiet(rover_front_t *front, uint64_t now) {
  struct net__pair *pair = front->pairs.open;

  for (; pair && pair->since + front->options.quiet_time <= now;
       pair = pair->next)
    if (pair->spoke == NET_FAR && front__conn_end_pair(pair)) return true;
  return false;
}

static void cut_one(rover_front_t *front) {
  for (int state = FRONT_UNUSED; state < FRONT_ENDING; state++) {
    if (!front->conns[state]) continue;
    front__conn_cut(front->conns[state]);
    return;
  }
  struct net__pairs *pairs = &front->pairs;
  net__pair_cut(pairs->open ? pairs->open : pairs->half_closed);
}

/* -- The whole ------------------------------------------------------------ */

void front__drain_init(struct front__drain *drain) {
  *drain = (struct front__drain){.until = NET_NEVER, .due = NET_NEVER};
}

bool front__drain_is_on(const struct front__drain *drain) {
  return drain->due < NET_NEVER;
}

void front__drain_begin(rover_front_t *front, uint64_t goal, uint64_t ms) {
  struct front__drain *drain = &front->drain;
  uint64_t now = net__now();

  drain->from = now;
  drain->until = net__after(now, ms);
  drain->begin = front__active(front);
  drain->goal = goal < drain->begin ? goal : drain->begin;
  drain->due = now;
  front__arm_soon(front);
}

void front__drain_stop(struct front__drain *drain) {
  drain->due = NET_NEVER;
  drain->refuses = false;
}

static void cut_rest(rover_front_t *front) {
  struct front__drain *drain = &front->drain;

  drain->due = NET_NEVER;
  if (drain->refuses) front__conns_cut(front);
  else
    while (front__active(front) > drain->goal) cut_one(front);
}

void front__drain_run(rover_front_t *front, uint64_t polled) {
  struct front__drain *drain = &front->drain;
  uint64_t now = net__now();

  if (drain->due > now) return;
  if (drain->until <= polled) {
    cut_rest(front);
    return;
  }
  uint64_t most = allowed(drain, now);
  while (front__active(front) > most &&
         (end_unused(front) || end_quiet(front, now)))
    continue;
  if (drain->until == NET_NEVER) drain->due = NET_NEVER;
  else drain->due = net__sooner(net__after(now, tick(drain)), drain->until);
}
