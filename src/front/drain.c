#include "drain.h"

#include <stdlib.h>

#include "../net/clock.h"
#include "../net/list.h"
#include "conn.h"
#include "front.h"

/* A drain concerns the connections that are active when it begins. It allows
 * fewer and fewer of them, linearly, from how many there were to its goal.
 * It ends what is above that: first those that are unused, then those that are
 * quiet, the one quiet for longest first; if there are not enough, it waits.
 * At its deadline the rest is reset. Connections that end by themselves count,
 * so none is ended without need. */

enum {
  TICK_MIN = 20, /* ms */
  TICK_MAX = 1000,
  LOOKED_AT = 100 /* how many connections, for each ms until the next tick */
};

static uint64_t allowed(const struct front__drain *drain, uint64_t now) {
  if (drain->until == NET_NEVER) return UINT64_MAX;
  if (now >= drain->until) return drain->goal;
  double left = (double)(drain->until - now);
  double total = (double)(drain->until - drain->from);
  return drain->goal +
         (uint64_t)((double)(drain->begin - drain->goal) * left / total);
}

/* Often enough to end them one by one, unless there are thousands. */
static uint64_t tick(const struct front__drain *drain) {
  uint64_t ms = (drain->until - drain->from) / (drain->begin - drain->goal + 1);
  uint64_t least = TICK_MIN + drain->left / LOOKED_AT;
  return ms > TICK_MAX ? TICK_MAX : ms < least ? least : ms;
}

/* -- Which ---------------------------------------------------------------- */

/* Whether more than that would stay, if all end that were told to. */
static bool has_more(const struct front__drain *drain, uint64_t than) {
  return drain->left > drain->leaving && drain->left - drain->leaving > than;
}

/* The list is sorted by the time of acceptance. */
static void end_unused(rover_front_t *front, uint64_t most) {
  struct front__conn *first;

  while (has_more(&front->drain, most) &&
         (first = front->conns[FRONT_UNUSED]) && front__conn_is_drained(first))
    front__conn_end(first);
}

struct quiet {
  uint64_t since;
  struct front__conn *conn;
};

static int compare(const void *one, const void *other) {
  uint64_t since = ((const struct quiet *)one)->since;
  uint64_t than = ((const struct quiet *)other)->since;
  return (since > than) - (since < than);
}

/* Sorts joined ones whose last byte is that side's, and came `quiet` ms ago, the
 * one quiet for longest first. Returns how many there are; without memory,
 * none. */
static size_t sort_quiet(const rover_front_t *front, enum net__side spoke,
                         uint64_t quiet, struct quiet **sorted) {
  struct front__conn *conn;
  uint64_t now = net__now();
  size_t count = 0;

  *sorted = malloc((size_t)front->stats.running * sizeof **sorted);
  if (!*sorted) return 0;
  DL_FOREACH(front->conns[FRONT_JOINED], conn) {
    uint64_t since = conn->pair.since; /* a copy: it may change meanwhile */
    if (conn->pair.spoke == spoke && net__after(since, quiet) <= now &&
        !conn->leaves && front__conn_is_drained(conn))
      (*sorted)[count++] = (struct quiet){since, conn};
  }
  qsort(*sorted, count, sizeof **sorted, compare);
  return count;
}

static void end_quiet(rover_front_t *front, uint64_t most, enum net__side spoke,
                      uint64_t quiet) {
  struct quiet *sorted;

  if (!has_more(&front->drain, most)) return;
  size_t count = sort_quiet(front, spoke, quiet, &sorted);
  for (size_t i = 0; i < count && has_more(&front->drain, most); i++)
    front__conn_end_joined(sorted[i].conn, sorted[i].since, spoke);
  free(sorted);
}

static void cut_surplus(rover_front_t *front) {
  for (int state = FRONT_UNUSED; state < FRONT_STATES; state++) {
    struct front__conn *conn, *next;

    if (state == FRONT_ENDING) continue;
    DL_FOREACH_SAFE(front->conns[state], conn, next) {
      if (has_more(&front->drain, front->drain.goal) &&
          front__conn_is_drained(conn))
        front__conn_cut(conn);
    }
  }
}

/* -- Life ----------------------------------------------------------------- */

void front__drain_init(struct front__drain *drain) {
  *drain = (struct front__drain){.until = NET_NEVER, .due = NET_NEVER};
}

uint64_t front__drain_staying(const rover_front_t *front) {
  const struct front__drain *drain = &front->drain;
  uint64_t active = front__active(front);

  if (drain->due == NET_NEVER || drain->left <= drain->goal) return active;
  return active - (drain->left - drain->goal);
}

void front__drain_begin(rover_front_t *front, uint64_t goal, uint64_t ms) {
  struct front__drain *drain = &front->drain;
  uint64_t now = net__now();

  drain->from = now;
  drain->until = net__after(now, ms);
  drain->begin = drain->left = front__active(front);
  drain->goal = goal;
  drain->due = now;
  drain->serial++;
  net__alarm_soon(&front->alarm);
}

void front__drain_stop(struct front__drain *drain) {
  drain->due = NET_NEVER;
  drain->refuses = false;
}

static void cut_rest(rover_front_t *front) {
  struct front__drain *drain = &front->drain;

  drain->due = NET_NEVER;
  if (drain->refuses) front__conns_cut(front);
  else cut_surplus(front);
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
  end_unused(front, most);
  end_quiet(front, most, NET_NOBODY, 0);
  end_quiet(front, most, NET_FAR, front->options.quiet_time);
  if (drain->until == NET_NEVER) drain->due = NET_NEVER;
  else drain->due = net__sooner(net__after(now, tick(drain)), drain->until);
}
