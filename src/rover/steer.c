#include "steer.h"

#include <string.h>

#include "../net/clock.h"
#include "attempt.h"
#include "hold.h"
#include "known.h"
#include "servers.h"
#include "socket.h"
#include "tally.h"

/* Steering is by id, and whoever adds, drops or replaces servers meanwhile does
 * not change it: it belongs to the tally, which stays for as long. Servers that
 * are set aside are behind the others in the table (see servers.c), so none of
 * them is picked.
 *
 * A drain ends the kept sockets of its server, the highest slots first, and
 * evenly spread over its time. Those that are lent, or have bytes to be sent,
 * are ended once they are not and do not any more. */

enum { TICK_MIN = 20, TICK_MAX = 1000 }; /* ms */

/* Rounded up, so that the first one has its share of the time, too. */
static uint32_t allowed(const struct rover__drain *drain, uint64_t now) {
  if (now >= drain->until) return 0;
  double left = (double)(drain->until - now);
  double exact = drain->begin * left / (double)(drain->until - drain->from);
  uint32_t below = (uint32_t)exact;
  return below < exact ? below + 1 : below;
}

/* Often enough to end them one by one, unless there are thousands. */
static uint64_t tick(const struct rover__drain *drain) {
  uint64_t ms = (drain->until - drain->from) / (drain->begin + UINT64_C(1));
  return ms < TICK_MIN ? TICK_MIN : ms > TICK_MAX ? TICK_MAX : ms;
}

/* Works out how many are to be ended; returns when to look again, in ms, or 0
 * if there is nothing to wait for but the return of what is lent. */
static uint64_t measure(struct rover__tally *tally, uint64_t now) {
  struct rover__drain *drain = &tally->drain;
  uint32_t most = allowed(drain, now);

  drain->surplus = tally->kept > most ? tally->kept - most : 0;
  return tally->kept > tally->lent ? tick(drain) : 0;
}

static bool may_end(const rover_socket_t *socket) {
  return !socket->lent && rover_socket_write_queue_size(socket) == 0;
}

static void end_surplus(rover_t *rover) {
  rover_socket_t *first = rover_socket_first(rover); /* sorts them */
  rover_socket_t *socket = first ? first->prev : NULL, *before;

  for (; socket; socket = before) {
    struct rover__tally *tally = socket->server->tally;
    before = socket == first ? NULL : socket->prev;
    if (tally->steer != ROVER_STEER_DRAIN || tally->drain.surplus == 0 ||
        !may_end(socket))
      continue;
    tally->drain.surplus--;
    rover_socket_close(socket);
  }
}

void rover__steer_drain(uv_timer_t *timer) {
  rover_t *rover = timer->data;
  uint64_t now = net__now(), next = 0;
  struct rover__tally *tally = rover->tallies;

  for (; tally; tally = tally->hh.next) {
    if (tally->steer != ROVER_STEER_DRAIN) continue;
    uint64_t ms = measure(tally, now);
    if (ms > 0 && (next == 0 || ms < next)) next = ms;
  }
  end_surplus(rover);
  if (next > 0) uv_timer_start(timer, rover__steer_drain, next, 0);
}

static void begin_drain(rover_t *rover, struct rover__tally *tally,
                        uint64_t ms) {
  uint64_t now = net__now();
  tally->drain = (struct rover__drain){now, now + ms, tally->kept, 0};
  uv_timer_start(&rover->drain, rover__steer_drain, 0, 0);
}

static void release(rover_t *rover, struct rover__tally *tally,
                    rover_server_t *server) {
  if (server) {
    rover__servers_reclass(rover, server);
    rover__servers_announce(rover, server);
  }
  rover__tally_settle(tally);
}

int rover_server_steer(rover_t *rover, const char *id, rover_steer_t how,
                       uint64_t ms) {
  rover_server_t *server = id ? rover__servers_find(rover, id) : NULL;

  if (rover->closing || !id || (unsigned)how > ROVER_STEER_DROP ||
      ms > ROVER_MS_MAX)
    return UV_EINVAL;
  if (server && server->dropped) server = NULL;
  struct rover__tally *tally = server ? rover__tally_get(rover, server)
                                      : rover__tally_find(rover, id);
  if (!tally) return server ? UV_ENOMEM : 0;
  unsigned was = tally->steer;
  tally->steer = how;
  rover->steered += (how != ROVER_STEER_NONE) - (size_t)(was != 0);
  if (how == ROVER_STEER_NONE) {
    if (was) release(rover, tally, server);
    return server ? 1 : was ? UV_ESRCH : 0;
  }
  if (server) {
    rover__servers_reclass(rover, server);
    rover__attempt_cancel(rover, server);
  }
  if (how == ROVER_STEER_DRAIN) begin_drain(rover, tally, ms);
  return 1;
}

rover_steer_t rover_server_steered(const rover_server_t *server) {
  return server->tally ? (rover_steer_t)server->tally->steer : ROVER_STEER_NONE;
}

/* It was dropped by hand, and nobody but who added it by hand has it. */
static bool is_spare(const rover_server_t *server) {
  const struct rover__tally *tally = server->tally;
  return tally && tally->pinned && tally->steer == ROVER_STEER_DROP &&
         server->holders == 1 && !server->declared;
}

/* To another address. */
static int move(rover_t *rover, const rover_server_entry_t *entry) {
  int err = rover_server_add(rover, entry->id, entry->host, entry->port);
  if (err == 0) rover__servers_find(rover, entry->id)->declared = 0;
  return err;
}

int rover_server_pin(rover_t *rover, const rover_server_entry_t *entry) {
  rover_server_t *server = rover__servers_find(rover, entry->id);
  bool pinned = server && server->tally && server->tally->pinned;
  bool moves = server && (rover_server_port(server) != entry->port ||
                          strcmp(rover_server_host(server), entry->host) != 0);

  if (moves && !is_spare(server)) return UV_EEXIST;
  int err = moves    ? move(rover, entry)
            : pinned ? 0
                     : rover_server_hold(rover, entry);
  if (err < 0) return err;
  server = rover__servers_find(rover, entry->id);
  rover__servers_return(rover, server);
  struct rover__tally *tally = rover__tally_get(rover, server);
  if (!tally) {
    rover_server_release(rover, entry->id);
    return UV_ENOMEM;
  }
  tally->pinned = 1;
  return rover_server_steer(rover, entry->id, ROVER_STEER_NONE, 0);
}

/* -- What was decided ------------------------------------------------------ */

void rover_decisions_each(rover_t *rover,
                          void (*cb)(const struct rover_decision *decision,
                                     void *arg),
                          void *arg) {
  uint64_t now = net__now();
  const struct rover__tally *tally = rover->tallies;

  for (; tally; tally = tally->hh.next) {
    uint64_t until = tally->steer == ROVER_STEER_DRAIN ? tally->drain.until : 0;
    struct rover_decision decision = {
        .id = rover_server_id(tally->server),
        .host = rover_server_host(tally->server),
        .port = rover_server_port(tally->server),
        .pinned = tally->pinned,
        .how = (rover_steer_t)tally->steer,
        .ms = until > now ? until - now : 0};
    if (tally->pinned || tally->steer) cb(&decision, arg);
  }
}

/* For one that is not there yet, it is held as long as it takes to make its
 * tally, which stays. */
int rover_decide(rover_t *rover, const struct rover_decision *decision) {
  const rover_server_entry_t entry = {
      .id = decision->id, .host = decision->host, .port = decision->port};
  bool is_there = rover__servers_find(rover, decision->id);
  int err = 0;

  if (decision->pinned) err = rover_server_pin(rover, &entry);
  else if (!is_there) err = rover_server_hold(rover, &entry);
  if (err < 0 && err != UV_EEXIST) return err;
  if (decision->how != ROVER_STEER_NONE)
    err = rover_server_steer(rover, decision->id, decision->how, decision->ms);
  if (!decision->pinned && !is_there) rover_server_release(rover, decision->id);
  return err < 0 ? err : 0;
}
