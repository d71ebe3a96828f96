#include "bind_metrics.h"

#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "metrics.h"

/* callosum.metrics: metrics of a script's own. Declaring one again gives the
 * same object. Label values follow the number, in the order of the labels:
 * counter:inc(1, "GET"). */

/* Their addresses are what rover__lua_check_type() knows them by. */
static const char counter_type[] = ROVER__LUA_COUNTER_TYPE;
static const char gauge_type[] = ROVER__LUA_GAUGE_TYPE;
static const char histogram_type[] = ROVER__LUA_HISTOGRAM_TYPE;

static const char *const types[] = {[ROVER__COUNTER] = counter_type,
                                    [ROVER__GAUGE] = gauge_type,
                                    [ROVER__HISTOGRAM] = histogram_type};
static const char *const nouns[] = {[ROVER__COUNTER] = "counter",
                                    [ROVER__GAUGE] = "gauge",
                                    [ROVER__HISTOGRAM] = "histogram"};

/* -- Declaring ------------------------------------------------------------ */

enum { NAME_SIZE = ROVER__LABEL_MAX + 1, HELP_MAX = 1000 };

/* Whatever the locale takes for letters. */
static bool is_name(const char *name) {
  static const char valid[] = "_abcdefghijklmnopqrstuvwxyz"
                              "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
  bool has_digit_first = *name >= '0' && *name <= '9';
  return !has_digit_first && !name[strspn(name, valid)];
}

static bool begins_with(const char *text, const char *prefix) {
  return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* The name in the table at index 1, without the _total of a counter. */
static void check_name(lua_State *L, enum rover__metric_type type,
                       char name[NAME_SIZE]) {
  lua_getfield(L, 1, "name");
  snprintf(name, NAME_SIZE, "%s",
           rover__lua_check_text(L, -1, 1, ROVER__LABEL_MAX, "name"));
  if (!is_name(name))
    rover__lua_misuse(L, 1,
                      "name: letters, digits and _ expected, not beginning "
                      "with a digit, got '%s'", name);
  if (begins_with(name, "callosum_"))
    rover__lua_misuse(L, 1,
                      "name: '%s' begins with callosum_, as only the host's "
                      "own do", name);
  char *total = name + strlen(name) - strlen("_total");
  bool has_total = total > name && !strcmp(total, "_total");
  if (has_total && type != ROVER__COUNTER)
    rover__lua_misuse(L, 1, "name: '%s' ends with _total, as only those of "
                            "counters do", name);
  if (has_total) *total = '\0';
  lua_pop(L, 1);
}

static const char *check_help(lua_State *L) {
  if (lua_getfield(L, 1, "help") == LUA_TNIL)
    lua_pushliteral(L, "A metric of the policy's own.");
  return rover__lua_check_text(L, -1, 1, HELP_MAX, "help"); /* on the stack */
}

static void check_label(lua_State *L, const struct rover__metric *shape,
                        const char *label) {
  if (!is_name(label) || begins_with(label, "__"))
    rover__lua_misuse(L, 1,
                      "labels: names of letters, digits and _ expected, not "
                      "beginning with a digit or __, got '%s'", label);
  if (!strcmp(label, "le") || !strcmp(label, "quantile"))
    rover__lua_misuse(L, 1, "labels: '%s' has a meaning of its own", label);
  for (size_t i = 0; i < shape->label_count; i++)
    if (!strcmp(shape->labels[i], label))
      rover__lua_misuse(L, 1, "labels: '%s' comes twice", label);
}

/* Leaves the strings on the stack. */
static void check_labels(lua_State *L, struct rover__metric *shape,
                         const char *labels[ROVER__METRIC_LABELS_MAX]) {
  shape->labels = labels;
  if (lua_getfield(L, 1, "labels") == LUA_TNIL) return;
  int array = lua_gettop(L);
  if (!lua_istable(L, array) ||
      lua_rawlen(L, array) > ROVER__METRIC_LABELS_MAX)
    rover__lua_misuse(L, 1, "labels: array of at most %d names expected, got %s",
                      ROVER__METRIC_LABELS_MAX, luaL_typename(L, array));
  for (size_t i = 0; i < lua_rawlen(L, array); i++) {
    lua_rawgeti(L, array, (lua_Integer)i + 1);
    const char *label =
        rover__lua_check_text(L, -1, 1, ROVER__LABEL_MAX, "labels");
    check_label(L, shape, label);
    labels[shape->label_count++] = label;
  }
}

static const double default_bounds[] = {.005, .01, .025, .05, .1, .25,
                                        .5,   1,   2.5,  5,   10};

/* Takes the array on top. Returns how many there are. */
static size_t check_bounds(lua_State *L,
                           double bounds[ROVER__METRIC_BUCKETS_MAX]) {
  size_t count = lua_istable(L, -1) ? lua_rawlen(L, -1) : 0;

  if (count < 1 || count > ROVER__METRIC_BUCKETS_MAX)
    rover__lua_misuse(L, 1, "buckets: array of 1 to %d numbers expected, got %s",
                      ROVER__METRIC_BUCKETS_MAX, luaL_typename(L, -1));
  for (size_t i = 0; i < count; i++) {
    lua_rawgeti(L, -1, (lua_Integer)i + 1);
    bounds[i] = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : -1;
    if (!(bounds[i] >= 0) || isinf(bounds[i]) ||
        (i > 0 && bounds[i] <= bounds[i - 1]))
      rover__lua_misuse(L, 1, "buckets: ascending numbers from 0 expected, got "
                              "%s at index %d",
                        luaL_tolstring(L, -1, NULL), (int)i + 1);
    lua_pop(L, 1);
  }
  return count;
}

static void check_buckets(lua_State *L, struct rover__metric *shape,
                          double bounds[ROVER__METRIC_BUCKETS_MAX]) {
  size_t count = sizeof default_bounds / sizeof *default_bounds;

  if (lua_getfield(L, 1, "buckets") == LUA_TNIL)
    memcpy(bounds, default_bounds, sizeof default_bounds);
  else count = check_bounds(L, bounds);
  shape->bucket_count = count + 1;
}

/* Pushes how to say what a metric is: "a counter with the labels a, b". */
static const char *push_shape(lua_State *L, const struct rover__metric *metric) {
  lua_pushfstring(L, "a %s with %s", nouns[metric->base.type],
                  metric->label_count == 0 ? "no labels" : "the labels ");
  for (size_t i = 0; i < metric->label_count; i++) {
    lua_pushfstring(L, "%s%s", i > 0 ? ", " : "", metric->labels[i]);
    lua_concat(L, 2);
  }
  return lua_tostring(L, -1);
}

/* Pushes the metric of that shape. */
static int declare(lua_State *L, const struct rover__metric *shape) {
  const struct rover__metric *there = rover__metric_push(L, shape->base.name);

  if (there && rover__metric_is_like(there, shape)) return 1;
  if (there)
    return rover__lua_misuse(
        L, 1, "name: there is a metric '%s' already, %s%s", shape->base.name,
        push_shape(L, there),
        there->bucket_count > 0 ? " and its own buckets" : "");
  if (rover__metrics_of(L)->count >= ROVER__METRICS_MAX)
    return rover__lua_misuse(L, 1, "there are %d metrics already",
                             ROVER__METRICS_MAX);
  const char *taken = rover__metric_new(L, shape, types[shape->base.type]);
  if (taken)
    return rover__lua_misuse(L, 1,
                             "name: '%s' clashes with another metric, as both "
                             "would have samples named '%s'",
                             shape->base.name, taken);
  return 1;
}

static void check_keys(lua_State *L, enum rover__metric_type type) {
  static const char *const names[] = {"name", "help", "labels", NULL};
  static const char *const with_buckets[] = {"name", "help", "labels",
                                             "buckets", NULL};

  if (!lua_istable(L, 1))
    rover__lua_misuse(L, 1, "table expected, got %s", luaL_typename(L, 1));
  lua_settop(L, 1);
  lua_pushliteral(L, "counter");
  if (lua_rawget(L, 1) == LUA_TFUNCTION)
    rover__lua_misuse(L, 1, "call it with a dot, not a colon: metrics.%s { ... }",
                      nouns[type]);
  lua_pop(L, 1);
  for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1))
    rover__lua_check_key(L, 2, 1, "unknown option",
                         type == ROVER__HISTOGRAM ? with_buckets : names);
}

static int declare_of(lua_State *L, enum rover__metric_type type) {
  const char *labels[ROVER__METRIC_LABELS_MAX];
  double bounds[ROVER__METRIC_BUCKETS_MAX];
  char name[NAME_SIZE];
  struct rover__metric shape = {.base = {.type = type}, .bounds = bounds};

  luaL_checkstack(L, ROVER__METRIC_LABELS_MAX + 8, NULL);
  check_keys(L, type);
  check_name(L, type, name);
  shape.base.name = name;
  shape.base.help = check_help(L);
  check_labels(L, &shape, labels);
  if (type == ROVER__HISTOGRAM) check_buckets(L, &shape, bounds);
  return declare(L, &shape);
}

static int l_counter(lua_State *L) { return declare_of(L, ROVER__COUNTER); }
static int l_gauge(lua_State *L) { return declare_of(L, ROVER__GAUGE); }
static int l_histogram(lua_State *L) { return declare_of(L, ROVER__HISTOGRAM); }

/* -- Observing ------------------------------------------------------------ */

/* Appends the label value at `index` to a key. */
static size_t add_value(lua_State *L, int index, const char *label, char *key) {
  size_t length;
  int type = lua_type(L, index);

  if (type != LUA_TSTRING && type != LUA_TNUMBER)
    return (size_t)rover__lua_misuse(
        L, index, "label '%s': string or number expected, got %s", label,
        luaL_typename(L, index));
  const char *value = lua_tolstring(L, index, &length);
  if (length > ROVER__LABEL_MAX)
    return (size_t)rover__lua_misuse(
        L, index, "label '%s': %d bytes are more than %d", label, (int)length,
        ROVER__LABEL_MAX);
  *key = (char)length;
  memcpy(key + 1, value, length);
  return length + 1;
}

/* The series for the label values behind argument 2; NULL if it is one too
 * many. */
static struct rover__series *series_of(lua_State *L,
                                       const struct rover__metric *metric) {
  char key[ROVER__METRIC_LABELS_MAX * (ROVER__LABEL_MAX + 1)];
  size_t length = 0;
  int given = lua_gettop(L) - 2, wanted = (int)metric->label_count;

  if (metric->only && given <= 0) return metric->only;
  if (given < 0) given = 0;
  if (given != wanted) {
    push_shape(L, metric);
    luaL_error(L, "%d label values given to '%s', which is %s", given,
               metric->base.name, lua_tostring(L, -1));
  }
  for (int i = 0; i < wanted; i++)
    length += add_value(L, 3 + i, metric->labels[i], key + length);
  return rover__series_get(L, 1, key, length);
}

static double check_number(lua_State *L, const char *expected, double least) {
  double value = luaL_checknumber(L, 2);
  if (!(value >= least) || isinf(value))
    rover__lua_expected(L, 2, 2, NULL, expected);
  return value;
}

static int l_inc(lua_State *L) {
  const struct rover__metric *metric = rover__lua_check_type(L, 1, counter_type);
  double by = lua_isnoneornil(L, 2)
                  ? 1
                  : check_number(L, "number from 0, as counters never fall,", 0);
  struct rover__series *series = series_of(L, metric);
  if (series) series->value += by;
  return 0;
}

static int change_gauge(lua_State *L, int sign) {
  const struct rover__metric *metric = rover__lua_check_type(L, 1, gauge_type);
  double by = luaL_optnumber(L, 2, 1);
  struct rover__series *series = series_of(L, metric);
  if (series) series->value += sign * by;
  return 0;
}

static int l_gauge_inc(lua_State *L) { return change_gauge(L, 1); }
static int l_gauge_dec(lua_State *L) { return change_gauge(L, -1); }

static int l_gauge_set(lua_State *L) {
  const struct rover__metric *metric = rover__lua_check_type(L, 1, gauge_type);
  double value = luaL_checknumber(L, 2);
  struct rover__series *series = series_of(L, metric);
  if (!series) return 0;
  series->value = value;
  series->is_set = true;
  return 0;
}

static int l_observe(lua_State *L) {
  const struct rover__metric *metric =
      rover__lua_check_type(L, 1, histogram_type);
  double value = check_number(L, "number from 0", 0);
  struct rover__series *series = series_of(L, metric);
  size_t i = 0;
  if (!series) return 0;
  while (i + 1 < metric->bucket_count && value > metric->bounds[i]) i++;
  series->counts[i]++;
  series->value += value;
  return 0;
}

/* -- The module ----------------------------------------------------------- */

static int l_tostring(lua_State *L) {
  const struct rover__metric *metric = lua_touserdata(L, 1);
  lua_pushfstring(L, "%s '%s'", nouns[metric->base.type], metric->base.name);
  return 1;
}

static void open_type(lua_State *L, enum rover__metric_type type,
                      const luaL_Reg methods[]) {
  rover__lua_new_type(L, types[type]);
  lua_pushcfunction(L, l_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_newtable(L);
  luaL_setfuncs(L, methods, 0);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}

void rover__lua_open_metrics(lua_State *L) {
  static const luaL_Reg of_counters[] = {{"inc", l_inc}, {NULL, NULL}};
  static const luaL_Reg of_gauges[] = {{"inc", l_gauge_inc},
                                       {"dec", l_gauge_dec},
                                       {"set", l_gauge_set},
                                       {NULL, NULL}};
  static const luaL_Reg of_histograms[] = {{"observe", l_observe},
                                           {NULL, NULL}};
  static const luaL_Reg functions[] = {{"counter", l_counter},
                                       {"gauge", l_gauge},
                                       {"histogram", l_histogram},
                                       {NULL, NULL}};

  open_type(L, ROVER__COUNTER, of_counters);
  open_type(L, ROVER__GAUGE, of_gauges);
  open_type(L, ROVER__HISTOGRAM, of_histograms);
  luaL_newlib(L, functions);
}
