#include "rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../rover/known.h"
#include "json.h"
#include "record.h"

/* First all servers are gone through, for the ones asked for and the sum of
 * their connections. These are sorted, and a page of them becomes rows. Then
 * all connections are gone through, for the slots of these rows. */

enum { NO_ROW = UINT32_MAX };

struct host__row {
  rover_server_t *server;
  struct rover_known known; /* without its pointers */
  double failed_at;
  char *message;
  int *slots;
  size_t count; /* of these */
};

struct candidate {
  rover_server_t *server;
  uint64_t key;
};

struct search {
  const rover_host_status_options_t *options;
  struct candidate *list;
  size_t count, capacity;
  uint64_t connections;
  bool failed;
};

/* -- Finding -------------------------------------------------------------- */

static uint64_t key_of(const struct rover_known *known,
                       rover_host_sort_t sort) {
  switch (sort) {
    case ROVER_HOST_BY_CONNECTIONS:
    case ROVER_HOST_BY_SHARE: return known->stats.kept + known->stats.joined;
    case ROVER_HOST_BY_SLOT: return (uint64_t)(known->last_slot + INT64_C(1));
    case ROVER_HOST_BY_UNREACHABLE: return known->stats.unreachable;
    case ROVER_HOST_BY_ID: break;
  }
  return 0;
}

static void consider(const struct rover_known *known, void *arg) {
  struct search *s = arg;
  const char *search = s->options->search;

  s->connections += known->stats.kept + known->stats.joined;
  if (known->row) *known->row = NO_ROW;
  if (search && !strstr(rover_server_id(known->server), search)) return;
  if (s->count == s->capacity) {
    size_t capacity = s->capacity ? s->capacity * 2 : 64;
    struct candidate *list = realloc(s->list, capacity * sizeof *list);
    if (!list) {
      s->failed = true;
      return;
    }
    s->list = list;
    s->capacity = capacity;
  }
  s->list[s->count++] =
      (struct candidate){known->server, key_of(known, s->options->sort)};
}

static int by_id(const struct candidate *one, const struct candidate *other) {
  return strcmp(rover_server_id(one->server), rover_server_id(other->server));
}

static int ascending(const void *a, const void *b) {
  const struct candidate *one = a, *other = b;
  int order = (one->key > other->key) - (one->key < other->key);
  return order ? order : by_id(one, other);
}

static int descending(const void *a, const void *b) {
  const struct candidate *one = a, *other = b;
  int order = (one->key < other->key) - (one->key > other->key);
  return order ? order : by_id(one, other);
}

static int reversed(const void *a, const void *b) { return by_id(b, a); }

static void sort(struct search *s) {
  rover_host_order_t order = s->options->order;
  bool is_by_id = s->options->sort == ROVER_HOST_BY_ID;
  int (*compare)(const void *, const void *) = descending;

  if (order == ROVER_HOST_ASCENDING || (is_by_id && order == ROVER_HOST_ORDER))
    compare = ascending;
  else if (is_by_id) compare = reversed;
  if (s->count > 0) qsort(s->list, s->count, sizeof *s->list, compare);
}

/* -- Taking --------------------------------------------------------------- */

static bool take_row(struct host__row *row, rover_server_t *server, double now,
                     uint32_t index) {
  struct rover_known *known = &row->known;

  rover_known_get(server, known);
  if (known->row) *known->row = index;
  row->server = rover_server_ref(server);
  row->failed_at = now - (double)known->ago / 1000;
  row->message = known->message ? strdup(known->message) : NULL;
  bool done = row->message || !known->message;
  known->message = NULL;
  known->row = NULL;
  return done;
}

/* Gives each row its part of `slots`. */
static bool divide_slots(struct host__rows *rows) {
  size_t total = 0;

  for (size_t i = 0; i < rows->count; i++) {
    const rover_server_stats_t *stats = &rows->rows[i].known.stats;
    total += stats->kept + stats->joined;
  }
  rows->slots = malloc((total + 1) * sizeof *rows->slots);
  int *next = rows->slots;
  for (size_t i = 0; next && i < rows->count; i++) {
    const rover_server_stats_t *stats = &rows->rows[i].known.stats;
    rows->rows[i].slots = next;
    next += stats->kept + stats->joined;
  }
  return rows->slots != NULL;
}

static void note_slot(uint32_t index, int slot, void *arg) {
  struct host__rows *rows = arg;
  if (index == NO_ROW) return;
  struct host__row *row = &rows->rows[index];
  row->slots[row->count++] = slot;
}

bool host__rows_take(struct host__rows *rows, rover_t *rover,
                     const rover_host_status_options_t *options) {
  struct search s = {.options = options};
  double now = host__wall_time();

  rover_known_each(rover, consider, &s);
  sort(&s);
  rows->found = s.count;
  rows->connections = s.connections;
  size_t from = options->offset < s.count ? options->offset : s.count;
  size_t count = s.count - from;
  if (count > options->limit) count = options->limit;
  if (options->no_servers) count = 0;
  rows->rows = calloc(count + 1, sizeof *rows->rows);
  for (; rows->rows && !s.failed && rows->count < count; rows->count++)
    s.failed = !take_row(&rows->rows[rows->count],
                         s.list[from + rows->count].server, now,
                         (uint32_t)rows->count);
  free(s.list);
  if (!rows->rows || s.failed || !divide_slots(rows)) return false;
  if (rows->count > 0) rover_known_slots(rover, note_slot, rows);
  return true;
}

void host__rows_free(struct host__rows *rows) {
  for (size_t i = 0; i < rows->count; i++) {
    rover_server_unref(rows->rows[i].server);
    free(rows->rows[i].message);
  }
  free(rows->rows);
  free(rows->slots);
}

/* -- Writing -------------------------------------------------------------- */

static int by_slot(const void *a, const void *b) {
  const int *one = a, *other = b;
  return (*one > *other) - (*one < *other);
}

/* How many connections have each slot. */
static json_t *slots_of(const struct host__row *row) {
  struct host__json o = host__json_object();
  char key[16];

  if (row->count > 0)
    qsort(row->slots, row->count, sizeof *row->slots, by_slot);
  for (size_t i = 0, same; i < row->count; i += same) {
    for (same = 1; i + same < row->count; same++)
      if (row->slots[i + same] != row->slots[i]) break;
    snprintf(key, sizeof key, "%d", row->slots[i]);
    host__json_set(&o, key, host__json_count(same));
  }
  return o.object;
}

static json_t *last_error_of(const struct host__row *row) {
  struct host__json o = host__json_object();

  if (!row->message) {
    json_decref(o.object);
    return json_null();
  }
  host__json_set(&o, "at", host__json_number(row->failed_at));
  int status = row->known.status;
  host__json_set(&o, "code",
                 host__json_string(status == ROVER_ECERT ? "ECERT"
                                                         : uv_err_name(status)));
  host__json_set(&o, "message", host__json_string(row->message));
  return o.object;
}

static const char *state_of(const struct rover_known *known) {
  switch (known->state) {
    case ROVER_UNREACHABLE: return "unreachable";
    case ROVER_PAUSED: return "paused";
    case ROVER_DRAINING: return "draining";
    case ROVER_DROPPED: return "dropped";
    case ROVER_UP: break;
  }
  return "up";
}

json_t *host__rows_json(const struct host__rows *rows, size_t index) {
  const struct host__row *row = &rows->rows[index];
  const struct rover_known *known = &row->known;
  const rover_server_stats_t *stats = &known->stats;
  uint64_t count = stats->kept + stats->joined, all = rows->connections;
  struct host__json o = host__json_object();

  host__json_set(&o, "id", host__json_string(rover_server_id(row->server)));
  host__json_set(&o, "host", host__json_string(rover_server_host(row->server)));
  host__json_set(&o, "port",
                 host__json_count((uint64_t)rover_server_port(row->server)));
  host__json_set(&o, "weight",
                 host__json_count(rover_server_weight(row->server)));
  host__json_set(&o, "state", host__json_string(state_of(known)));
  host__json_set(&o, "byHand", json_boolean(known->by_hand));
  host__json_set(&o, "connections", host__json_count(count));
  host__json_set(&o, "share",
                 host__json_number(all > 0 ? (double)count / (double)all : 0));
  host__json_set(&o, "slots", slots_of(row));
#define XX(name, kind, lua, text)                                              \
  host__json_set(&o, lua, host__json_count(stats->name));
  ROVER_SERVER_STATS_MAP(XX)
#undef XX
  host__json_set(&o, "lastError", last_error_of(row));
  host__json_set(&o, "lastSlot",
                 known->last_slot < 0
                     ? json_null()
                     : host__json_count((uint64_t)known->last_slot));
  return o.object;
}
