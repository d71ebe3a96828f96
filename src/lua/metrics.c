#include "metrics.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

/* Everything here is in userdata, so that the limit of the state's memory
 * applies. They are linked, for reports, which do not touch the Lua state; and
 * kept from being collected by tables, in which Lua code finds them: the
 * registry's has metrics by name, each of these has its series by key. */

static const char registry;

/* In the table of metrics, the names of samples that are taken are keys, too:
 * "x_total" for the metric "x", and in front of them a blank. */

/* -- The registry --------------------------------------------------------- */

struct rover__metrics *rover__metrics_of(lua_State *L) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &registry) == LUA_TNIL) {
    struct rover__metrics *made = lua_newuserdatauv(L, sizeof *made, 1);
    *made = (struct rover__metrics){.last = &made->list};
    lua_newtable(L);
    lua_setiuservalue(L, -2, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &registry);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &registry);
    lua_remove(L, -2);
  }
  struct rover__metrics *metrics = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return metrics;
}

/* Pushes its table. */
static struct rover__metrics *push_table(lua_State *L) {
  struct rover__metrics *metrics = rover__metrics_of(L);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &registry);
  lua_getiuservalue(L, -1, 1);
  lua_remove(L, -2);
  return metrics;
}

/* -- Metrics -------------------------------------------------------------- */

struct rover__metric *rover__metric_push(lua_State *L, const char *name) {
  push_table(L);
  lua_getfield(L, -1, name);
  lua_remove(L, -2);
  return lua_touserdata(L, -1);
}

bool rover__metric_is_like(const struct rover__metric *one,
                           const struct rover__metric *other) {
  if (one->base.type != other->base.type ||
      one->label_count != other->label_count ||
      one->bucket_count != other->bucket_count)
    return false;
  for (size_t i = 0; i < one->label_count; i++)
    if (strcmp(one->labels[i], other->labels[i]) != 0) return false;
  for (size_t i = 0; i + 1 < one->bucket_count; i++)
    if (one->bounds[i] != other->bounds[i]) return false;
  return true;
}

/* Pushes a blank and the i-th name that samples of this metric have, also in
 * formats that we do not write; or nothing. */
static const char *push_sample(lua_State *L, const struct rover__family *family,
                               int i) {
  static const char *const suffixes[][6] = {
      [ROVER__COUNTER] = {"", "_total", "_created"},
      [ROVER__GAUGE] = {""},
      [ROVER__HISTOGRAM] = {"", "_bucket", "_count", "_sum", "_created"}};
  const char *suffix = suffixes[family->type][i];
  return suffix ? lua_pushfstring(L, " %s%s", family->name, suffix) + 1 : NULL;
}

/* Of the names of its samples the one that is taken, by the table on top, or
 * NULL. */
static const char *find_taken(lua_State *L,
                              const struct rover__family *family) {
  const char *name;

  for (int i = 0; (name = push_sample(L, family, i)); i++) {
    lua_pushvalue(L, -1);
    if (lua_rawget(L, -3) != LUA_TNIL) return name;
    lua_pop(L, 2);
  }
  return NULL;
}

static void take_names(lua_State *L, const struct rover__family *family) {
  for (int i = 0; push_sample(L, family, i); i++) {
    lua_pushboolean(L, true);
    lua_rawset(L, -3);
  }
}

static char *copy(char **to, const char *text) {
  char *start = *to;
  *to += strlen(text) + 1;
  return strcpy(start, text);
}

/* Pushes a copy, in one piece. */
static struct rover__metric *push_copy(lua_State *L,
                                       const struct rover__metric *shape) {
  size_t bounds = shape->bucket_count > 0 ? shape->bucket_count - 1 : 0;
  size_t size = sizeof *shape + bounds * sizeof *shape->bounds +
                shape->label_count * sizeof *shape->labels +
                strlen(shape->base.name) + strlen(shape->base.help) + 2;
  for (size_t i = 0; i < shape->label_count; i++)
    size += strlen(shape->labels[i]) + 1;

  struct rover__metric *metric = lua_newuserdatauv(L, size, 1);
  double *to_bounds = (double *)(metric + 1);
  const char **to_labels = (const char **)(to_bounds + bounds);
  char *text = (char *)(to_labels + shape->label_count);
  *metric = *shape;
  metric->bounds = to_bounds;
  metric->labels = to_labels;
  if (bounds > 0) memcpy(to_bounds, shape->bounds, bounds * sizeof *to_bounds);
  metric->base.name = copy(&text, shape->base.name);
  metric->base.help = copy(&text, shape->base.help);
  for (size_t i = 0; i < shape->label_count; i++)
    to_labels[i] = copy(&text, shape->labels[i]);
  metric->next = NULL;
  metric->series = metric->only = NULL;
  metric->last = &metric->series;
  return metric;
}

const char *rover__metric_new(lua_State *L, const struct rover__metric *shape,
                              const char *type) {
  struct rover__metrics *metrics = push_table(L);
  int table = lua_gettop(L);

  struct rover__metric *metric = push_copy(L, shape);
  lua_newtable(L);
  lua_setiuservalue(L, -2, 1);
  luaL_setmetatable(L, type);
  lua_insert(L, table); /* metric, table */
  const char *taken = find_taken(L, &metric->base);
  if (taken) return taken;
  metric->owner = metrics;
  metric->lines =
      metric->bucket_count > 0 ? metric->bucket_count + 2 : (size_t)1;
  lua_pushvalue(L, table);
  lua_setfield(L, -2, metric->base.name);
  *metrics->last = metric;
  metrics->last = &metric->next;
  metrics->count++;
  take_names(L, &metric->base);
  lua_settop(L, table);
  if (metric->label_count == 0)
    metric->only = rover__series_get(L, table, "", 0);
  return NULL;
}

/* -- Series --------------------------------------------------------------- */

/* The text of labels is never longer. */
enum {
  LABELS_SIZE =
      ROVER__METRIC_LABELS_MAX * (ROVER__LABEL_MAX + 5 * ROVER__LABEL_MAX + 4)
};

static void write_labels(const struct rover__metric *metric, const char *key,
                         struct rover__text *text) {
  for (size_t i = 0; i < metric->label_count; i++) {
    size_t length = (unsigned char)*key++;
    rover__expose_label(text, metric->labels[i], key, length);
    key += length;
  }
}

static struct rover__series *push_series(lua_State *L,
                                         const struct rover__metric *metric,
                                         const char *key, size_t length) {
  char labels[LABELS_SIZE] = "";
  struct rover__text text = {.bytes = labels, .capacity = sizeof labels};

  write_labels(metric, key, &text);
  size_t counts = metric->bucket_count * sizeof(uint64_t);
  size_t size = sizeof(struct rover__series) + counts;
  struct rover__series *series =
      lua_newuserdatauv(L, size + text.length + length, 0);
  memset(series, 0, size);
  char *bytes = (char *)series + size;
  series->labels.bytes = memcpy(bytes, labels, text.length);
  series->labels.length = text.length;
  series->key = memcpy(bytes + text.length, key, length);
  series->key_length = length;
  return series;
}

/* NULL if there are too many. */
static struct rover__series *get_series(lua_State *L, int index,
                                        const char *key, size_t length) {
  struct rover__metric *metric = lua_touserdata(L, index);
  struct rover__metrics *owner = metric->owner;
  int top = lua_gettop(L);

  lua_getiuservalue(L, index, 1);
  lua_pushlstring(L, key, length);
  lua_pushvalue(L, -1);
  lua_rawget(L, -3); /* series by key, key, series */
  struct rover__series *series = lua_touserdata(L, -1);
  if (!series && owner->lines + metric->lines <= ROVER__LINES_MAX) {
    lua_pop(L, 1);
    series = push_series(L, metric, key, length);
    lua_rawset(L, -3);
    *metric->last = series;
    metric->last = &series->next;
    owner->lines += metric->lines;
  }
  lua_settop(L, top);
  return series;
}

struct rover__series *rover__series_get(lua_State *L, int index,
                                        const char *key, size_t length) {
  const struct rover__metric *metric = lua_touserdata(L, index);
  struct rover__series *series = get_series(L, index, key, length);
  if (!series && metric->owner->lost++ == 0)
    lua_warning(L, "callosum.metrics: there are so many series that what would "
                   "need another one is lost", 0);
  return series;
}

/* -- Reloads -------------------------------------------------------------- */

static void prepare_metric(lua_State *L, struct rover__metric *metric) {
  const struct rover__metric *heir = rover__metric_push(L, metric->base.name);
  bool passes = heir && rover__metric_is_like(metric, heir);

  for (struct rover__series *s = metric->series; s; s = s->next)
    s->heir = passes ? get_series(L, lua_gettop(L), s->key, s->key_length) : NULL;
  lua_pop(L, 1);
}

void rover__metrics_prepare(lua_State *L, struct rover__metrics *from) {
  rover__metrics_of(L)->lost += from->lost;
  for (struct rover__metric *m = from->list; m; m = m->next)
    prepare_metric(L, m);
}

static void pass_series(const struct rover__metric *metric,
                        struct rover__series *from, bool again) {
  struct rover__series *to = from->heir;

  for (size_t i = 0; i < metric->bucket_count; i++) {
    to->counts[i] += from->counts[i];
    from->counts[i] = 0;
  }
  /* What the new policy has set a gauge to is what counts. */
  if (metric->base.type != ROVER__GAUGE || (!again && !to->is_set))
    to->value += from->value;
  from->value = 0;
}

void rover__metrics_pass(struct rover__metrics *from, bool again) {
  for (struct rover__metric *m = from->list; m; m = m->next)
    for (struct rover__series *s = m->series; s; s = s->next)
      if (s->heir) pass_series(m, s, again);
}
