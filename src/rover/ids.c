#include "ids.h"

#include <stdlib.h>
#include <string.h>

#include "server.h"

/* An open-addressing table. There may be a million servers, in no order, so
 * whatever is looked at has left the caches: in lists of items that hash alike,
 * such as uthash's, a bucket and each of its items; here one or two places side
 * by side, and the server whose hash is the same.
 *
 * The place of a server is the one that its hash stands for (ideal), or the
 * next one that was free. Hashes stand for places in ascending order, so the
 * table is made larger from one end to the other. Removing a server moves up
 * those behind it, so that nothing is left in its place. */

enum { FEWEST = 16 };

/* Packed, so that most are within one line of the cache. */
struct rover__id {
  uint32_t hash; /* 0: the place is free */
  unsigned char server[sizeof(rover_server_t *)];
};

static size_t ideal(const struct rover__ids *ids, uint32_t hash) {
  return (size_t)((uint64_t)hash * ids->places >> 32);
}

static size_t next(const struct rover__ids *ids, size_t place) {
  return ++place < ids->places ? place : 0;
}

static rover_server_t *server_at(const struct rover__ids *ids, size_t place) {
  rover_server_t *server;
  memcpy(&server, ids->all[place].server, sizeof server);
  return server;
}

uint32_t rover__ids_seek(const struct rover__ids *ids, const char *id) {
  uint32_t hash = net__hash(&ids->key, id, strlen(id));
  if (hash == 0) hash = 1;
  if (ids->count > 0) __builtin_prefetch(&ids->all[ideal(ids, hash)]);
  return hash;
}

rover_server_t *rover__ids_find(const struct rover__ids *ids, uint32_t hash,
                                const char *id) {
  if (ids->count == 0) return NULL;
  for (size_t i = ideal(ids, hash); ids->all[i].hash; i = next(ids, i)) {
    if (ids->all[i].hash != hash) continue;
    rover_server_t *server = server_at(ids, i);
    if (!strcmp(server->text, id)) return server;
  }
  return NULL;
}

static void put(struct rover__ids *ids, struct rover__id id) {
  size_t i = ideal(ids, id.hash);
  while (ids->all[i].hash) i = next(ids, i);
  ids->all[i] = id;
}

/* Up to three quarters of the places are taken. */
static bool grow(struct rover__ids *ids) {
  struct rover__ids old = *ids;

  ids->places = old.places > 0 ? old.places * 2 : FEWEST;
  ids->all = calloc(ids->places, sizeof *ids->all);
  if (!ids->all) {
    *ids = old;
    return false;
  }
  for (size_t i = 0; i < old.places; i++)
    if (old.all[i].hash) put(ids, old.all[i]);
  free(old.all);
  return true;
}

bool rover__ids_add(struct rover__ids *ids, rover_server_t *server) {
  if (ids->count >= ids->places / 4 * 3 && !grow(ids)) return false;
  struct rover__id id = {.hash = server->hash};
  memcpy(id.server, &server, sizeof server);
  put(ids, id);
  ids->count++;
  return true;
}

/* Whether what is at a place may be moved to a free one before it: it must not
 * come to be before its ideal place. */
static bool may_move(const struct rover__ids *ids, size_t from, size_t to) {
  size_t best = ideal(ids, ids->all[from].hash);
  return to < from ? best <= to || best > from : best <= to && best > from;
}

void rover__ids_remove(struct rover__ids *ids, const rover_server_t *server) {
  size_t hole = ideal(ids, server->hash);

  while (server_at(ids, hole) != server) hole = next(ids, hole);
  for (size_t i = next(ids, hole); ids->all[i].hash; i = next(ids, i)) {
    if (!may_move(ids, i, hole)) continue;
    ids->all[hole] = ids->all[i];
    hole = i;
  }
  ids->all[hole].hash = 0;
  ids->count--;
}

void rover__ids_clear(struct rover__ids *ids) {
  free(ids->all);
  ids->all = NULL;
  ids->places = ids->count = 0;
}
