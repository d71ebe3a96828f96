#include "reconcile.h"

#include <stdlib.h>
#include <string.h>

#ifndef NDEBUG
#define NDEBUG
#endif
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(element) ((element)->lost = true)
#include <uthash.h>

enum {
  SERVERS_MAX = 2 * ROVER_SOURCE_SERVERS_MAX, /* with those that are not listed */
  CHANGES_MAX = 1000,    /* in a turn of the loop, ... */
  PIECE_NS = 500 * 1000, /* ... and how long that takes */
  STEPS = 32,            /* between looks at the clock */
  STARVED_MS = 1000
};

struct discover__server {
  UT_hash_handle hh;
  uint64_t left; /* when it was listed no more, in the loop's time; 0: it is */
  struct discover__server *prev, *next; /* of those that leave */
  uint32_t round;                       /* of the last answer that listed it, */
  uint32_t asked; /* and of the last that was asked for and did so; 0: none */
  uint32_t weight;
  unsigned short port, host; /* the host's offset in text */
  bool lost;                 /* there was no memory to hash it */
  bool missed;               /* by the last answer that was doubted */
  char text[];               /* id NUL host NUL */
};

/* What a turn of the loop has done so far. */
struct discover__piece {
  uint64_t until;
  unsigned steps, changes;
  bool over;
  bool finished; /* the answer */
  size_t added_count, dropped_count;
  const char *added[CHANGES_MAX];
  const char *dropped[CHANGES_MAX];
  struct discover__server *gone; /* to be freed, linked by next */
};

static uv_loop_t *loop_of(const struct discover__table *table) {
  return table->work.loop;
}

static const char *host_of(const struct discover__server *server) {
  return server->text + server->host;
}

static bool lasts(struct discover__piece *piece) {
  if (piece->changes >= CHANGES_MAX ||
      (++piece->steps % STEPS == 0 && uv_hrtime() >= piece->until))
    piece->over = true;
  return !piece->over;
}

/* -- Servers -------------------------------------------------------------- */

static struct discover__server *server_new(const char *id,
                                           const struct discover__entry *e) {
  size_t id_size = strlen(id) + 1, host_size = strlen(e->host) + 1;
  struct discover__server *server = malloc(sizeof *server + id_size + host_size);
  if (!server) return NULL;
  *server = (struct discover__server){.weight = e->weight,
                                      .port = (unsigned short)e->port,
                                      .host = (unsigned short)id_size};
  memcpy(server->text, id, id_size);
  memcpy(server->text + id_size, e->host, host_size);
  return server;
}

/* With its part of the hash table. */
static size_t memory_of(const struct discover__server *server) {
  return sizeof *server + server->host + strlen(host_of(server)) + 1 +
         2 * sizeof(void *);
}

static void count_memory(const struct discover__table *table,
                         const struct discover__server *server, int sign) {
  size_t bytes = memory_of(server);
  if (table->memory) *table->memory += sign > 0 ? bytes : 0 - bytes;
}

/* The answer that is dealt with lists it. */
static void list_in(const struct discover__table *table,
                    struct discover__server *server) {
  server->round = table->round;
  if (!table->list->is_unasked) server->asked = table->round;
}

/* Whether the last answer that was asked for, and believed, lists it. */
static bool was_asked(const struct discover__table *table,
                      const struct discover__server *server) {
  return server->asked >= table->asked && table->asked > 0;
}

static struct discover__server *insert(struct discover__table *table,
                                       const char *id,
                                       const struct discover__entry *e) {
  struct discover__server *server = server_new(id, e);
  if (!server) return NULL;
  size_t length = server->host - 1u;
  uint32_t hash = net__hash(&table->key, server->text, length);
  HASH_ADD_KEYPTR_BYHASHVALUE(hh, table->by_id, server->text, length, hash,
                              server);
  if (server->lost) {
    free(server);
    return NULL;
  }
  list_in(table, server);
  count_memory(table, server, 1);
  table->listed++;
  struct discover__target *t;
  for (t = table->targets; t; t = t->next)
    if (!t->cursor && !t->leaving) t->cursor = server;
  return server;
}

static void unlink_leaving(struct discover__table *table,
                           struct discover__server *server) {
  *(server->prev ? &server->prev->next : &table->leaving) = server->next;
  *(server->next ? &server->next->prev : &table->last) = server->prev;
  table->leaving_count--;
}

static void stay(struct discover__table *table,
                 struct discover__server *server) {
  unlink_leaving(table, server);
  server->left = 0;
  if (was_asked(table, server)) table->taken--;
  table->listed++;
}

static void leave(struct discover__table *table,
                  struct discover__server *server) {
  server->left = uv_now(loop_of(table));
  if (server->left == 0) server->left = 1;
  server->prev = table->last;
  server->next = NULL;
  *(table->last ? &table->last->next : &table->leaving) = server;
  table->last = server;
  table->leaving_count++;
  table->listed--;
  if (was_asked(table, server)) table->taken++;
}

static void reweigh(struct discover__table *table,
                    struct discover__server *server, unsigned weight) {
  struct discover__target *t;
  server->weight = weight;
  for (t = table->targets; t; t = t->next)
    if (!t->leaving)
      rover_server_set_weight(t->holder.rover, server->text, weight);
}

/* -- Rovers --------------------------------------------------------------- */

static void put_last(struct discover__table *table, struct discover__target *t) {
  struct discover__target **at = &table->targets;
  while (*at) at = &(*at)->next;
  *at = t;
  t->next = NULL;
  t->table = table;
}

static void take_out(struct discover__table *table,
                     const struct discover__target *t) {
  struct discover__target **at = &table->targets;
  while (*at && *at != t) at = &(*at)->next;
  *at = t->next;
}

static void target_free(struct discover__table *table,
                        struct discover__target *t) {
  rover_holder_leave(&t->holder);
  take_out(table, t);
  free(t);
}

static void close_if_empty(struct discover__table *table);

/* Its rover closes. */
static void on_gone(rover_holder_t *holder) {
  struct discover__target *t = (struct discover__target *)holder;
  struct discover__table *table = t->table;
  target_free(table, t);
  close_if_empty(table);
}

static struct discover__target *find_target(const struct discover__table *table,
                                            const rover_t *rover) {
  struct discover__target *t;
  for (t = table->targets; t; t = t->next)
    if (t->holder.rover == rover && !t->leaving) return t;
  return NULL;
}

static void on_idle(uv_idle_t *work);

static void go_on(struct discover__table *table) {
  if (table->handles > 0 && !uv_is_closing((uv_handle_t *)&table->work))
    uv_idle_start(&table->work, on_idle);
}

int discover__table_attach(struct discover__table *table, rover_t *rover) {
  if (find_target(table, rover)) return 0;
  struct discover__target *t = calloc(1, sizeof *t);
  if (!t) return UV_ENOMEM;
  t->holder.gone = on_gone;
  t->holder.pending = !table->known;
  t->cursor = table->by_id;
  put_last(table, t);
  rover_holder_join(rover, &t->holder);
  go_on(table);
  return 0;
}

/* It loses the servers that it was given. */
static void detach(struct discover__target *t) {
  if (t->leaving) return;
  t->leaving = true;
  t->end = t->cursor;
  t->cursor = t->table->by_id;
}

void discover__table_follow(struct discover__table *table,
                            struct discover__table *from) {
  struct discover__target *t, *next;

  for (t = table->targets; t; t = t->next)
    if (!find_target(from, t->holder.rover)) detach(t);
  for (t = from->targets; t; t = next) {
    next = t->next;
    if (find_target(table, t->holder.rover)) {
      target_free(from, t);
      continue;
    }
    take_out(from, t);
    put_last(table, t);
    t->cursor = table->by_id;
    t->holder.pending = !table->known;
  }
  go_on(table);
}

void discover__table_know(struct discover__table *table) {
  struct discover__target *t;

  table->known = true;
  for (t = table->targets; t; t = t->next) t->holder.pending = false;
}

/* Gives it the servers that it has not yet. Returns false if there is no
 * memory. */
static bool fill(struct discover__target *t, struct discover__piece *piece) {
  while (t->cursor) {
    const struct discover__server *s = t->cursor;
    rover_server_entry_t entry = {.id = s->text,
                                  .host = host_of(s),
                                  .port = s->port,
                                  .weight = s->weight};
    rover_t *rover = t->holder.rover;
    if (rover_server_hold(rover, &entry) == UV_ENOMEM) return false;
    /* The one that it has been waiting for. */
    if (t->holder.pending && rover_server_count(rover) == 1)
      rover_rove_in(rover, 0);
    t->cursor = s->hh.next;
    piece->changes++;
    if (!lasts(piece)) break;
  }
  return true;
}

static void empty(struct discover__table *table, struct discover__target *t,
                  struct discover__piece *piece) {
  while (t->cursor != t->end) {
    rover_server_release(t->holder.rover, t->cursor->text);
    t->cursor = t->cursor->hh.next;
    piece->changes++;
    if (!lasts(piece)) return;
  }
  target_free(table, t);
}

/* The one that has not all servers that it is to have. */
static struct discover__target *find_behind(const struct discover__table *table) {
  struct discover__target *t = table->targets;
  while (t && !t->leaving && !t->cursor) t = t->next;
  return t;
}

/* -- An answer ------------------------------------------------------------ */

static void begin(struct discover__table *table) {
  table->list = table->next;
  table->next = NULL;
  table->index = table->seen = 0;
  table->before = table->listed + table->taken;
  table->phase = DISCOVER__COMPARING;
  table->different = false;
  table->round++;
}

void discover__table_take(struct discover__table *table,
                          struct discover__list *list) {
  free(table->next);
  table->next = list;
  if (!table->list) begin(table);
  go_on(table);
}

void discover__table_forget(struct discover__table *table) {
  free(table->list);
  free(table->next);
  table->list = table->next = NULL;
}

bool discover__table_is_busy(const struct discover__table *table) {
  return table->list != NULL;
}

/* One that is in the table already. */
static void meet(struct discover__table *table, struct discover__server *server,
                 unsigned weight) {
  if (server->round == table->round) return; /* it is listed twice */
  if (server->left == 0 || was_asked(table, server)) table->seen++;
  if (server->left > 0) {
    stay(table, server);
    table->different = true;
  }
  list_in(table, server);
  if (weight == server->weight) return;
  reweigh(table, server, weight);
  table->different = true;
}

/* One that is not. Returns false if there is no memory. */
static bool come(struct discover__table *table, const char *id,
                 const struct discover__entry *e,
                 struct discover__piece *piece) {
  if (HASH_COUNT(table->by_id) >= SERVERS_MAX) {
    table->list->overflows = true;
    return true;
  }
  const struct discover__server *server = insert(table, id, e);
  if (!server) return false;
  table->different = true;
  piece->added[piece->added_count++] = server->text;
  piece->changes++;
  return true;
}

static void sweep_from(struct discover__table *table, bool is_believed) {
  bool is_less = table->gone > table->taken;

  table->phase = DISCOVER__SWEEPING;
  table->cursor = is_believed && is_less ? table->by_id : NULL;
  if (!is_believed || table->list->is_unasked) return;
  table->asked = table->round;
  table->taken = 0;
}

/* All that it lists is there. */
static void judge(struct discover__table *table) {
  table->gone = table->before - table->seen;
  table->alike = table->taken;
  if (table->taken > 0) table->before = table->listed + table->taken;
  if (!table->list->is_partial && table->events->doubts(table) &&
      table->gone > table->taken) {
    table->phase = DISCOVER__WEIGHING;
    table->cursor = table->by_id;
  } else {
    sweep_from(table, !table->list->is_partial);
  }
}

/* Returns false if there is no memory. */
static bool compare(struct discover__table *table,
                    struct discover__piece *piece) {
  while (table->index < table->list->count) {
    const struct discover__entry *e = &table->list->entries[table->index];
    char id[DISCOVER__ID_SIZE];
    struct discover__server *server;

    discover__list_id(id, e->host, e->port);
    size_t length = strlen(id);
    uint32_t hash = net__hash(&table->key, id, length);
    HASH_FIND_BYHASHVALUE(hh, table->by_id, id, length, hash, server);
    if (server) meet(table, server, e->weight);
    else if (!come(table, id, e, piece)) return false;
    table->index++;
    if (find_behind(table)) return true;
    if (!lasts(piece)) return true;
  }
  judge(table);
  return true;
}

static bool is_missing(const struct discover__table *table,
                       const struct discover__server *server) {
  return server->round != table->round && server->left == 0;
}

/* What it lacks is remembered, and held against what the one before lacked. */
static void weigh(struct discover__table *table, struct discover__piece *piece) {
  while (table->cursor) {
    struct discover__server *server = table->cursor;
    bool misses = is_missing(table, server);
    if (misses && server->missed) table->alike++;
    server->missed = misses;
    table->cursor = server->hh.next;
    if (!lasts(piece)) return;
  }
  sweep_from(table, table->events->believes(table));
}

static void sweep(struct discover__table *table, struct discover__piece *piece) {
  while (table->cursor) {
    struct discover__server *server = table->cursor;
    table->cursor = server->hh.next;
    if (is_missing(table, server)) {
      leave(table, server);
      table->different = true;
    }
    if (!lasts(piece)) return;
  }
  piece->finished = true;
}

/* -- Dropping ------------------------------------------------------------- */

/* In ms, until the first of those that leave goes; UINT64_MAX: never. */
static uint64_t due_in(const struct discover__table *table) {
  uint64_t delay = table->removal_delay;

  if (!table->leaving) return UINT64_MAX;
  uint64_t passed = uv_now(loop_of(table)) - table->leaving->left;
  return delay > passed ? delay - passed : 0;
}

static bool is_due(const struct discover__table *table) {
  return due_in(table) == 0;
}

static void drop(struct discover__table *table, struct discover__piece *piece) {
  while (is_due(table)) {
    struct discover__server *server = table->leaving;
    struct discover__target *t;
    for (t = table->targets; t; t = t->next)
      rover_server_release(t->holder.rover, server->text);
    unlink_leaving(table, server);
    if (table->by_id) HASH_DEL(table->by_id, server);
    count_memory(table, server, -1);
    server->next = piece->gone;
    piece->gone = server;
    piece->dropped[piece->dropped_count++] = server->text;
    piece->changes++;
    if (!lasts(piece)) return;
  }
}

/* -- Pieces --------------------------------------------------------------- */

/* Returns false if there is no memory. */
static bool deal(struct discover__table *table, struct discover__piece *piece) {
  switch (table->phase) {
    case DISCOVER__COMPARING: return compare(table, piece);
    case DISCOVER__WEIGHING: weigh(table, piece); break;
    case DISCOVER__SWEEPING: sweep(table, piece); break;
  }
  return true;
}

/* Returns false if there is no memory. Sets *rest if there is more to be done. */
static bool work(struct discover__table *table, struct discover__piece *piece,
                 bool *rest) {
  *rest = true;
  do {
    bool has_memory = true;
    struct discover__target *behind = find_behind(table);
    if (behind && behind->leaving) empty(table, behind, piece);
    else if (behind) has_memory = fill(behind, piece);
    else if (table->list) has_memory = deal(table, piece);
    else if (is_due(table)) drop(table, piece);
    else *rest = false;
    if (!has_memory) return false;
  } while (*rest && !piece->finished && lasts(piece));
  return true;
}

static void on_later(uv_timer_t *later) {
  go_on((struct discover__table *)later->data);
}

static void rest(struct discover__table *table, uint64_t ms) {
  uv_idle_stop(&table->work);
  if (table->closing && !table->targets) return;
  if (ms < UINT64_MAX) uv_timer_start(&table->later, on_later, ms, 0);
  else uv_timer_stop(&table->later);
}

static void finish(struct discover__table *table) {
  struct discover__list *list = table->list;
  bool different = table->different;

  table->list = NULL;
  discover__table_know(table);
  if (table->next) begin(table);
  if (list) table->events->done(table, list, different);
}

static void on_idle(uv_idle_t *idle) {
  struct discover__table *table = idle->data;
  struct discover__piece piece = {.until = uv_hrtime() + PIECE_NS};
  bool more, has_memory = work(table, &piece, &more);

  if (!has_memory) rest(table, STARVED_MS);
  else if (!more) rest(table, due_in(table));
  bool changed = piece.added_count + piece.dropped_count > 0;
  if (changed && !table->closing)
    table->events->changed(table, piece.added, piece.added_count,
                           piece.dropped, piece.dropped_count);
  while (piece.gone) {
    struct discover__server *server = piece.gone;
    piece.gone = server->next;
    free(server);
  }
  if (!has_memory && !table->closing) table->events->starved(table);
  if (piece.finished && !table->closing) finish(table);
  close_if_empty(table);
}

/* -- Life ----------------------------------------------------------------- */

int discover__table_init(struct discover__table *table, uv_loop_t *loop,
                         const struct discover__table_events *events,
                         size_t *memory) {
  *table = (struct discover__table){.events = events, .memory = memory};
  int err = net__hash_key_draw(&table->key);
  if (err < 0) return err;
  uv_idle_init(loop, &table->work);
  uv_timer_init(loop, &table->later);
  table->work.data = table->later.data = table;
  table->handles = 2;
  return 0;
}

static void on_closed(uv_handle_t *handle) {
  struct discover__table *table = handle->data;
  struct discover__server *server = table->by_id, *next;

  if (--table->handles > 0) return;
  HASH_CLEAR(hh, table->by_id);
  for (; server; server = next) {
    next = server->hh.next;
    count_memory(table, server, -1);
    free(server);
  }
  table->events->closed(table);
}

static void close_if_empty(struct discover__table *table) {
  if (!table->closing || table->targets ||
      uv_is_closing((uv_handle_t *)&table->work))
    return;
  uv_close((uv_handle_t *)&table->work, on_closed);
  uv_close((uv_handle_t *)&table->later, on_closed);
}

void discover__table_close(struct discover__table *table) {
  struct discover__target *t;

  table->closing = true;
  discover__table_forget(table);
  for (t = table->targets; t; t = t->next) detach(t);
  go_on(table);
  close_if_empty(table);
}
