#include "tally.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../net/clock.h"

/* The life of a tally: the first attempt at a server makes one, or steering
 * does. The rover lists it by id for as long as it has a server of that id, or
 * connections to it that are kept or joined, or somebody steers it. So it
 * outlives the server being dropped, added again, moved, and replaced in a
 * reload. All servers of that id refer to it, and so do joined connections,
 * which may outlive the rover. */

static ptrdiff_t size_of(const struct rover__tally *tally) {
  return (ptrdiff_t)(sizeof *tally +
                     (tally->failure ? sizeof *tally->failure : 0));
}

void rover__tally_unref(struct rover__tally *tally) {
  if (--tally->refs > 0) return;
  free(tally->failure);
  free(tally);
}

static void refer(rover_server_t *server, struct rover__tally *tally) {
  if (server->tally == tally) return;
  tally->refs++;
  if (server->tally) rover__tally_unref(server->tally);
  server->tally = tally;
}

/* The server is the one to be known by that id, of which it has the text. */
static void set_server(struct rover__tally *tally, rover_server_t *server) {
  rover_server_t *old = tally->server;

  refer(server, tally);
  tally->server = rover_server_ref(server);
  tally->hh.key = rover_server_id(server);
  tally->is_listed = 1;
  if (old) rover_server_unref(old);
}

/* The rover does not list it any more. */
static void forget(struct rover__tally *tally) {
  rover_t *rover = tally->rover;
  rover_server_t *server = tally->server;

  HASH_DEL(rover->tallies, tally);
  rover__count_memory(rover, -size_of(tally));
  if (tally->steer) rover->steered--;
  tally->rover = NULL;
  tally->server = NULL;
  rover__tally_unref(tally);
  rover_server_unref(server);
}

struct rover__tally *rover__tally_find(const rover_t *rover, const char *id) {
  struct rover__tally *tally;
  size_t length = strlen(id);
  uint32_t hash = net__hash(&rover->tally_key, id, length);
  HASH_FIND_BYHASHVALUE(hh, rover->tallies, id, length, hash, tally);
  return tally;
}

struct rover__tally *rover__tally_get(rover_t *rover, rover_server_t *server) {
  if (server->tally && server->tally->rover == rover) return server->tally;
  struct rover__tally *tally = calloc(1, sizeof *tally);
  if (!tally) return NULL;
  const char *id = rover_server_id(server);
  size_t length = strlen(id);
  uint32_t hash = net__hash(&rover->tally_key, id, length);
  HASH_ADD_KEYPTR_BYHASHVALUE(hh, rover->tallies, id, length, hash, tally);
  if (tally->is_lost) {
    free(tally);
    return NULL;
  }
  tally->rover = rover;
  tally->refs = 1;
  tally->last_slot = -1;
  set_server(tally, server);
  rover__count_memory(rover, size_of(tally));
  return tally;
}

void rover__tally_list(rover_t *rover, rover_server_t *server) {
  struct rover__tally *tally =
      rover->tallies ? rover__tally_find(rover, rover_server_id(server)) : NULL;
  if (tally) set_server(tally, server);
}

void rover__tally_settle(struct rover__tally *tally) {
  if (tally->rover && !tally->is_listed && !tally->steer &&
      tally->kept + tally->joined == 0)
    forget(tally);
}

void rover__tally_delist(const rover_server_t *server) {
  struct rover__tally *tally = server->tally;

  if (!tally || tally->server != server) return;
  tally->is_listed = tally->pinned = 0;
  if (tally->rover) tally->rover->drops++;
  rover__tally_settle(tally);
}

void rover__tallies_clear(rover_t *rover) {
  struct rover__tally *tally = rover->tallies, *next;

  for (; tally; tally = next) {
    next = tally->hh.next;
    forget(tally);
  }
}

/* -- Counting ------------------------------------------------------------- */

void rover__tally_fail(struct rover__tally *tally, int status,
                       const char *message) {
  struct rover__failure *failure = tally->failure;

  if (!failure) {
    failure = tally->failure = malloc(sizeof *failure);
    if (!failure) return; /* it is counted all the same */
    if (tally->rover) rover__count_memory(tally->rover, sizeof *failure);
  }
  failure->at = net__now();
  failure->status = status;
  snprintf(failure->message, sizeof failure->message, "%s", message);
}

void rover__tally_reject(struct rover__tally *tally, int slot) {
  tally->rejected++;
  tally->last_slot = slot;
  tally->failing = 0;
}

void rover__tally_keep(struct rover__tally *tally, int slot) {
  tally->kept++;
  tally->connections++;
  tally->last_slot = slot;
  tally->failing = 0;
}

void rover__tally_lose(struct rover__tally *tally, bool lent) {
  tally->kept--;
  tally->lent -= lent;
  rover__tally_settle(tally);
}

void rover_server_stats_get(const rover_server_t *server,
                            rover_server_stats_t *stats) {
  const struct rover__tally *tally = server->tally;

  *stats = (rover_server_stats_t){0};
  if (!tally) return;
#define XX(name, kind, lua, text) stats->name = tally->name;
  ROVER_SERVER_STATS_MAP(XX)
#undef XX
}
