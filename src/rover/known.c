#include "known.h"

#include "../net/clock.h"
#include "joined.h"
#include "reload.h"
#include "servers.h"
#include "socket.h"
#include "tally.h"

static enum rover_known_state state_of(const rover_server_t *server,
                                       const struct rover__tally *tally,
                                       bool is_listed, uint64_t now) {
  switch (tally ? tally->steer : ROVER_STEER_NONE) {
    case ROVER_STEER_PAUSE: return ROVER_PAUSED;
    case ROVER_STEER_DRAIN: return ROVER_DRAINING;
    case ROVER_STEER_DROP: return ROVER_DROPPED;
  }
  if (!is_listed) return ROVER_DROPPED;
  if (tally && tally->failing) return ROVER_UNREACHABLE;
  return server->paused_until > now ? ROVER_PAUSED : ROVER_UP;
}

static struct rover_known know(rover_server_t *server, bool is_listed,
                               uint64_t now) {
  struct rover__tally *tally = server->tally;
  struct rover_known known = {
      .server = server,
      .state = state_of(server, tally, is_listed, now),
      .last_slot = tally ? tally->last_slot : -1};

  rover_server_stats_get(server, &known.stats);
  if (!tally) return known;
  known.by_hand = tally->steer != ROVER_STEER_NONE;
  known.row = &tally->row;
  if (!tally->failure) return known;
  known.message = tally->failure->message;
  known.status = tally->failure->status;
  known.ago = now - tally->failure->at;
  return known;
}

void rover_known_get(rover_server_t *server, struct rover_known *known) {
  const struct rover__tally *tally = server->tally;
  *known = know(server, !tally || tally->is_listed, net__now());
}

void rover_known_each(rover_t *rover,
                      void (*cb)(const struct rover_known *known, void *arg),
                      void *arg) {
  uint64_t now = net__now();
  struct rover_known known;
  rover_server_t *server;

  for (size_t i = 0; (server = rover_server_any_at(rover, i)); i++) {
    if (server->dropped) continue; /* among the tallies, if anywhere */
    known = know(server, true, now);
    cb(&known, arg);
  }
  for (const struct rover__tally *tally = rover->tallies; tally;
       tally = tally->hh.next) {
    if (tally->is_listed) continue;
    known = know(tally->server, false, now);
    cb(&known, arg);
  }
}

void rover_known_slots(rover_t *rover,
                       void (*cb)(uint32_t row, int slot, void *arg),
                       void *arg) {
  const struct rover__tally *tally = rover->tallies;
  rover_socket_t *socket = rover_socket_first(rover);

  for (; socket; socket = rover_socket_next(socket))
    cb(socket->server->tally->row, socket->slot, arg);
  for (; tally; tally = tally->hh.next) {
    const struct rover__joined *joined = tally->joins;
    for (; joined; joined = joined->next) cb(tally->row, joined->slot, arg);
  }
}

/* -- Balance -------------------------------------------------------------- */

void rover_balance_get(const rover_t *rover, rover_balance_t *out) {
  uint64_t servers = rover->servers.ends[ROVER__ASKED], asked = 0;
  uint64_t sum = 0, peak = 0, least = UINT64_MAX;
  double squares = 0;
  const struct rover__tally *tally = rover->tallies;

  for (; tally; tally = tally->hh.next) {
    if (!tally->is_listed || tally->steer) continue;
    uint64_t count = (uint64_t)tally->kept + tally->joined;
    asked++;
    sum += count;
    squares += (double)count * (double)count;
    if (count > peak) peak = count;
    if (count < least) least = count;
  }
  /* The others have no connections. */
  if (asked < servers || servers == 0) least = 0;
  double mean = servers > 0 ? (double)sum / (double)servers : 0;
  double variance = servers > 0 ? squares / (double)servers - mean * mean : 0;
  *out = (rover_balance_t){
      .servers = servers,
      .connections = sum,
      .peak = peak,
      .least = least,
      .mean = mean,
      .variance = variance > 0 ? variance : 0};
}
