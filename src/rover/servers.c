#include "servers.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "../net/clock.h"
#include "../net/options.h"
#include "attempt.h"
#include "hold.h"
#include "ids.h"
#include "reload.h"
#include "server.h"
#include "tally.h"

enum { DRAWS_MAX = 64 };

/* -- Finding -------------------------------------------------------------- */

static size_t total(const struct rover__server_table *table) {
  return table->ends[ROVER__HIDDEN];
}

static uint32_t seek(const rover_t *rover, const char *id) {
  return rover__ids_seek(&rover->servers.by_id, id);
}

static rover_server_t *find_by(const rover_t *rover, uint32_t hash,
                               const char *id) {
  return rover__ids_find(&rover->servers.by_id, hash, id);
}

static rover_server_t *find(const rover_t *rover, const char *id) {
  return find_by(rover, seek(rover, id), id);
}

rover_server_t *rover__servers_same(const rover_t *rover,
                                    const rover_server_t *as) {
  rover_server_t *server = find(rover, as->text);
  return server && rover__server_is_at(server, as) ? server : NULL;
}

enum rover__class rover__servers_class(const rover_t *rover,
                                       const rover_server_t *server) {
  const size_t *ends = rover->servers.ends;
  return server->index < ends[ROVER__ASKED]   ? ROVER__ASKED
         : server->index < ends[ROVER__ASIDE] ? ROVER__ASIDE
                                              : ROVER__HIDDEN;
}

/* For the program, what was dropped by hand is not there, nor what it has
 * dropped itself. */
static rover_server_t *find_listed(const rover_t *rover, const char *id) {
  rover_server_t *server = id ? find(rover, id) : NULL;
  bool is = server && rover__servers_class(rover, server) < ROVER__HIDDEN;
  return is ? server : NULL;
}

/* -- The table ------------------------------------------------------------ */

static int grow(struct rover__server_table *table) {
  size_t capacity = table->capacity ? table->capacity * 2 : 16;
  rover_server_t **all = realloc(table->all, capacity * sizeof *all);
  if (!all) return UV_ENOMEM;
  table->all = all;
  table->capacity = capacity;
  return 0;
}

static void put_at(rover_t *rover, rover_server_t *server, size_t index) {
  server->index = (uint32_t)index;
  rover->servers.all[index] = server;
  if (server->is_new && index < rover->told) rover->told = index;
}

/* Moves a server to another class, by way of those between. */
static void move_to(rover_t *rover, rover_server_t *server,
                    enum rover__class class) {
  struct rover__server_table *table = &rover->servers;
  int now = (int)rover__servers_class(rover, server);

  while (now != (int)class) {
    bool on = now < (int)class;
    size_t from = server->index;
    size_t to = on ? --table->ends[now++] : table->ends[--now]++;
    put_at(rover, table->all[to], from);
    put_at(rover, server, to);
  }
}

static enum rover__class class_of(const rover_server_t *server) {
  const struct rover__tally *tally = server->tally;
  if (server->dropped) return ROVER__HIDDEN;
  if (!tally || !tally->steer) return ROVER__ASKED;
  return tally->steer == ROVER_STEER_DROP ? ROVER__HIDDEN : ROVER__ASIDE;
}

void rover__servers_reclass(rover_t *rover, rover_server_t *server) {
  move_to(rover, server, class_of(server));
}

/* Appends it to those of its class. */
static void append(rover_t *rover, rover_server_t *server) {
  put_at(rover, server, rover->servers.ends[ROVER__HIDDEN]++);
  rover__servers_reclass(rover, server);
}

/* A new server is in the table, and has the tally of its id. */
static void enlist(rover_t *rover, rover_server_t *server) {
  if (!server->dropped) rover__tally_list(rover, server);
  append(rover, server);
}

/* Puts a new server, which is yet to be appended, into the table, even if there
 * is one with that id. Returns false if there is no memory for it, or was none
 * to make it. */
static bool put_in(rover_t *rover, rover_server_t *server) {
  struct rover__server_table *table = &rover->servers;
  bool full = total(table) == table->capacity;

  if (!server) return false;
  if (total(table) == UINT32_MAX || (full && grow(table) < 0) ||
      !rover__ids_add(&table->by_id, server)) {
    rover_server_unref(server);
    return false;
  }
  rover__count_memory(rover, rover__server_memory(server));
  return true;
}

static rover_server_t *make(rover_t *rover, const rover_server_entry_t *entry,
                            uint32_t hash) {
  rover_server_t *server = rover__server_new(entry, hash);
  return put_in(rover, server) ? server : NULL;
}

/* A server was added, and is to be told of. */
static void announce(rover_t *rover, rover_server_t *server) {
  if (!rover->started || !rover->options.events.added) return;
  if (rover__servers_class(rover, server) != ROVER__ASKED) return;
  server->is_new = 1;
  if (server->index < rover->told) rover->told = server->index;
  net__turn_wait(&rover->turn->base, &rover->news);
}

static rover_server_t *next_new(rover_t *rover) {
  while (rover->told < rover->servers.ends[ROVER__ASKED]) {
    rover_server_t *server = rover->servers.all[rover->told++];
    if (server->is_new) return server;
  }
  return NULL;
}

void rover__servers_tell(struct net__source *news) {
  rover_t *rover = (rover_t *)((char *)news - offsetof(rover_t, news));
  rover_server_t *server;

  if (rover->held) return; /* until it no longer is */
  while ((server = next_new(rover))) {
    rover_added_cb added = rover->options.events.added;
    server->is_new = 0;
    rover_server_ref(server);
    if (added) added(rover, server);
    rover_server_unref(server);
    if (rover->closing) return;
    if (!net__turn_lasts(&rover->turn->base)) {
      net__turn_wait(&rover->turn->base, news);
      return;
    }
  }
}

void rover__servers_pass_news(rover_t *rover, const rover_t *other) {
  rover->told = 0;
  if (!net__source_waits(&rover->news)) return;
  for (size_t i = 0; i < other->servers.ends[ROVER__ASKED]; i++) {
    const rover_server_t *old = other->servers.all[i];
    rover_server_t *new = old->is_new ? rover__servers_same(rover, old) : NULL;
    if (new) new->is_new = 1;
  }
}

static void take_out(rover_t *rover, rover_server_t *server) {
  struct rover__server_table *table = &rover->servers;

  move_to(rover, server, ROVER__HIDDEN);
  put_at(rover, table->all[--table->ends[ROVER__HIDDEN]], server->index);
  rover__ids_remove(&table->by_id, server);
  rover__count_memory(rover, -rover__server_memory(server));
  rover__attempt_cancel(rover, server);
  rover__tally_delist(server);
  rover_server_unref(server);
}

/* The program drops a server that is held: it stays in the table, hidden, so
 * that the holds of it are still counted when it is added again. */
static void hide(rover_t *rover, rover_server_t *server) {
  server->dropped = 1;
  server->declared = server->is_new = 0;
  rover__servers_reclass(rover, server);
  rover__attempt_cancel(rover, server);
  rover__tally_delist(server);
}

/* As if it were new. */
static void unhide(rover_t *rover, rover_server_t *server) {
  server->dropped = server->exempt = 0;
  server->paused_until = 0;
  rover__tally_list(rover, server);
}

void rover__servers_return(rover_t *rover, rover_server_t *server) {
  if (!server->dropped) return;
  unhide(rover, server);
  rover__servers_reclass(rover, server);
  announce(rover, server);
}

static bool is_length(const char *text, size_t max) {
  return text && text[0] && strnlen(text, max + 1) <= max;
}

static bool is_valid(const rover_server_entry_t *entry) {
  return is_length(entry->id, ROVER_ID_MAX) &&
         is_length(entry->host, ROVER_HOST_MAX) && entry->port >= 1 &&
         entry->port <= 65535 && entry->weight <= UINT32_MAX &&
         !(entry->plain && entry->tls) && rover__tls_is_valid(entry->tls) &&
         NET__IS_UNUSED(entry->reserved);
}

/* The server takes the place of another of its id, or of NULL. */
static void replace(rover_server_t *server, const rover_server_t *old) {
  if (!old) return;
  server->holders = old->holders;
  server->weight = old->weight;
}

int rover_server_add(rover_t *rover, const char *id, const char *host,
                     int port) {
  const rover_server_entry_t entry = {.id = id, .host = host, .port = port};
  return rover_server_add_entry(rover, &entry);
}

/* One that is there already is added. */
static void add_again(rover_t *rover, rover_server_t *server,
                      const rover_server_entry_t *entry) {
  server->mark = 0;
  server->paused_until = 0;
  server->declared = 1;
  if (entry->weight > 0) server->weight = (uint32_t)entry->weight;
  rover__servers_return(rover, server);
}

int rover_server_add_entry(rover_t *rover, const rover_server_entry_t *entry) {
  if (rover->closing || !entry || !is_valid(entry)) return UV_EINVAL;

  /* Made before it is known to be needed: its place is loaded meanwhile. */
  uint32_t hash = seek(rover, entry->id);
  rover_server_t *server = rover__server_new(entry, hash);
  rover_server_t *old = find_by(rover, hash, entry->id);
  if (old && rover__server_is(old, entry)) {
    if (server) rover_server_unref(server);
    add_again(rover, old, entry);
    return 0;
  }
  /* The new one is added first, under the same id, so that a failure leaves the
   * old one in place. */
  if (!put_in(rover, server)) return UV_ENOMEM;
  replace(server, old);
  if (entry->weight > 0) server->weight = (uint32_t)entry->weight;
  server->declared = 1;
  enlist(rover, server); /* first, so that its tally stays */
  if (old) take_out(rover, old);
  announce(rover, server);
  return 0;
}

int rover_server_drop(rover_t *rover, const char *id) {
  rover_server_t *server = id ? find(rover, id) : NULL;
  if (!server || server->dropped) return 0;
  if (server->tally && server->tally->pinned) server->holders--;
  if (server->holders > 0) hide(rover, server);
  else take_out(rover, server);
  return 1;
}

/* -- Sources -------------------------------------------------------------- */

int rover_server_hold(rover_t *rover, const rover_server_entry_t *entry) {
  if (rover->closing || !is_valid(entry)) return UV_EINVAL;
  uint32_t hash = seek(rover, entry->id);
  rover_server_t *server = find_by(rover, hash, entry->id);
  bool is_there = server != NULL;
  if (!is_there) server = make(rover, entry, hash);
  if (!server) return UV_ENOMEM;
  if (!is_there) enlist(rover, server);
  server->holders++;
  if (entry->weight > 0) server->weight = (uint32_t)entry->weight;
  if (!is_there) announce(rover, server);
  return !is_there;
}

int rover_server_release(rover_t *rover, const char *id) {
  rover_server_t *server = find(rover, id);
  if (!server || server->holders == 0) return 0;
  server->holders--;
  if (server->holders > 0 || server->declared) return 0;
  bool was_there = !server->dropped;
  take_out(rover, server);
  return was_there;
}

int rover_server_set_weight(rover_t *rover, const char *id, unsigned weight) {
  rover_server_t *server = find(rover, id);
  if (server) server->weight = weight;
  return server != NULL;
}

int rover_server_keep(rover_t *rover, const rover_server_t *old,
                      rover_tls_t *tls) {
  rover_server_entry_t entry = rover__server_entry(old);
  if (entry.tls) entry.tls = tls;
  uint32_t hash = seek(rover, old->text);
  rover_server_t *server = find_by(rover, hash, old->text);
  bool is_there = server != NULL;

  if (is_there && old->holders == 0) return 0;
  if (!is_there) server = make(rover, &entry, hash);
  if (!server) return UV_ENOMEM;
  if (!is_there) {
    server->dropped = old->dropped;
    enlist(rover, server);
  }
  server->holders = old->holders;
  if (!server->weight) server->weight = old->weight;
  if (!is_there) server->declared = old->declared && !old->mark;
  return 0;
}

int rover_server_is_held(const rover_server_t *server) {
  return server->holders > 0;
}

/* -- All of them at once -------------------------------------------------- */

/* What rover_server_set() does with a server. New servers are added beside
 * those that they replace, so that a failure only has to remove them again. */
enum fate { DROPPED, STAYS, REPLACED, ADDED };

/* What is not listed, but held, stays. Returns how many are listed that the
 * program had dropped. */
static size_t follow_list(rover_t *rover) {
  const struct rover__server_table *table = &rover->servers;
  size_t back = 0;

  for (size_t i = 0; i < total(table); i++) {
    rover_server_t *server = table->all[i];
    server->declared = server->fate != DROPPED;
    if (server->dropped && server->declared) {
      back++;
      if (server->fate == STAYS) {
        unhide(rover, server);
        server->fate = ADDED;
      }
    }
    if (server->fate == DROPPED && server->holders > 0) server->fate = STAYS;
  }
  return back;
}

static void follow_weights(rover_t *rover,
                           const rover_server_entry_t servers[], size_t count) {
  for (size_t i = 0; i < count; i++)
    rover_server_set_weight(rover, servers[i].id, (unsigned)servers[i].weight);
}

/* Removes the servers with these fates, and keeps the order of the others,
 * unless some are set aside. */
static void sweep(rover_t *rover, unsigned fates) {
  struct rover__server_table *table = &rover->servers;
  size_t count = total(table);

  for (size_t i = 0; i < ROVER__CLASSES; i++) table->ends[i] = 0;
  rover->told = 0;
  for (size_t i = 0; i < count; i++) {
    rover_server_t *server = table->all[i];
    bool goes = fates >> server->fate & 1, comes = server->fate == ADDED;
    server->fate = 0;
    if (goes) {
      rover__ids_remove(&table->by_id, server);
      rover__count_memory(rover, -rover__server_memory(server));
      rover__tally_delist(server);
      rover_server_unref(server);
    } else {
      append(rover, server);
      if (comes) announce(rover, server);
    }
  }
}

static int by_id(const void *a, const void *b) {
  const rover_server_t *const *one = a, *const *other = b;
  return strcmp((*one)->text, (*other)->text);
}

static int set_one(rover_t *rover, const rover_server_entry_t *entry,
                   rover_server_changes_t *changes, bool *weighs) {
  if (!is_valid(entry)) return UV_EINVAL;
  uint32_t hash = seek(rover, entry->id);
  rover_server_t *old = find_by(rover, hash, entry->id);
  if (old && old->fate != DROPPED) return UV_EINVAL; /* a duplicate id */
  *weighs |= entry->weight != (old ? old->weight : 0);
  bool is_there = old && !old->dropped;
  if (old && rover__server_is(old, entry)) {
    old->fate = STAYS;
    if (!is_there) changes->added++;
    return 0;
  }
  rover_server_t *server = make(rover, entry, hash);
  if (!server) return UV_ENOMEM;
  replace(server, old);
  server->fate = ADDED;
  put_at(rover, server, rover->servers.ends[ROVER__HIDDEN]++);
  if (old) old->fate = REPLACED;
  *(is_there ? &changes->changed : &changes->added) += 1;
  return 0;
}

int rover_server_set(rover_t *rover, const rover_server_entry_t servers[],
                     size_t count, rover_server_changes_t *changes) {
  rover_server_changes_t made = {0};
  size_t before = total(&rover->servers);
  int err = rover->closing || (!servers && count > 0) ? UV_EINVAL : 0;
  size_t i = err < 0 ? count : 0;
  bool weighs = false;

  while (i < count && (err = set_one(rover, &servers[i], &made, &weighs)) == 0)
    i++;
  if (err < 0) {
    sweep(rover, 1u << ADDED);
    if (changes) changes->wrong = i;
    return err;
  }
  /* So a seeded rover picks the same servers whatever the order of the list. */
  size_t added = total(&rover->servers) - before;
  if (added > 0)
    qsort(rover->servers.all + before, added, sizeof *rover->servers.all, by_id);
  size_t back = follow_list(rover);
  for (i = before; i < before + added; i++)
    rover__tally_list(rover, rover->servers.all[i]);
  sweep(rover, 1u << DROPPED | 1u << REPLACED);
  if (weighs) follow_weights(rover, servers, count);
  rover__servers_follow(rover);
  made.dropped = before + made.added - back - total(&rover->servers);
  if (changes) *changes = made;
  return 0;
}

/* -- The rest ------------------------------------------------------------- */

int rover_server_pause(rover_t *rover, const char *id, uint64_t ms) {
  rover_server_t *server = find_listed(rover, id);
  if (rover->closing || ms > ROVER_MS_MAX) return UV_EINVAL;
  if (!server) return 0;
  server->paused_until = net__now() + ms;
  if (ms > 0) rover__attempt_cancel(rover, server);
  return 1;
}

int rover_server_exempt(rover_t *rover, const char *id, int exempt) {
  rover_server_t *server = rover_server_get(rover, id);
  if (!server) return 0;
  server->exempt = exempt != 0;
  return 1;
}

size_t rover_server_count(const rover_t *rover) {
  return rover->servers.ends[ROVER__ASIDE];
}

rover_server_t *rover_server_at(const rover_t *rover, size_t index) {
  return index < rover_server_count(rover) ? rover->servers.all[index] : NULL;
}

rover_server_t *rover_server_any_at(const rover_t *rover, size_t index) {
  return index < total(&rover->servers) ? rover->servers.all[index] : NULL;
}

rover_server_t *rover_server_get(const rover_t *rover, const char *id) {
  return find_listed(rover, id);
}

rover_server_t *rover__servers_asked(const rover_t *rover, const char *id) {
  rover_server_t *server = find_listed(rover, id);
  bool is = server && rover__servers_class(rover, server) == ROVER__ASKED;
  return is ? server : NULL;
}

rover_server_t *rover__servers_find(const rover_t *rover, const char *id) {
  return find(rover, id);
}

void rover__servers_announce(rover_t *rover, rover_server_t *server) {
  announce(rover, server);
}

rover_server_t *rover__servers_pick(rover_t *rover, uint64_t *awake) {
  const struct rover__server_table *table = &rover->servers;
  uint64_t now = net__now();

  /* Drawing again is uniform among the servers that are not paused, and does
   * not need the table to be kept sorted by pause. */
  size_t count = table->ends[ROVER__ASKED];
  for (int draws = 0; count > 0 && draws < DRAWS_MAX; draws++) {
    rover_server_t *server =
        table->all[rover__random_below(&rover->random.picks, count)];
    if (server->paused_until <= now) return server;
    if (server->paused_until < *awake) *awake = server->paused_until;
  }
  return NULL;
}

/* The tallies stay the rover's. */
void rover__servers_follow(rover_t *rover) {
  struct rover__tally *tally = rover->tallies, *next;

  for (; tally; tally = next) {
    next = tally->hh.next;
    const rover_server_t *old = tally->server;
    rover_server_t *server = find(rover, old->text);
    tally->is_listed = 0;
    rover->drops++;
    if (server && !server->dropped) {
      rover__tally_list(rover, server);
      rover__servers_reclass(rover, server);
    } else {
      rover__tally_settle(tally);
    }
  }
  rover__attempt_follow(rover, rover__servers_same);
}

void rover__servers_follow_tls(rover_t *rover, const rover_t *other) {
  for (size_t i = 0; i < total(&rover->servers); i++) {
    const rover_server_t *server = rover->servers.all[i];
    if (!server->has_tls) continue;
    const rover_server_t *old = find(other, server->text);
    if (old)
      rover__tls_follow(rover_server_tls(server),
                        rover_server_tls(old));
  }
}

ptrdiff_t rover__servers_memory(const rover_t *rover) {
  ptrdiff_t bytes = 0;
  for (size_t i = 0; i < total(&rover->servers); i++)
    bytes += rover__server_memory(rover->servers.all[i]);
  return bytes;
}

void rover__servers_clear(rover_t *rover) {
  struct rover__server_table *table = &rover->servers;
  rover__ids_clear(&table->by_id);
  for (size_t i = 0; i < total(table); i++) rover_server_unref(table->all[i]);
  free(table->all);
  *table = (struct rover__server_table){0};
}
