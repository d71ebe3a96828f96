/* Private to src/lua and src/host: the metrics that a script declares, and the
 * books of its pools. A script's values belong to its Lua state, which has made
 * their memory; in a reload they are passed on to the next one by name. */
#ifndef LUA_METRICS_H
#define LUA_METRICS_H

#include <lua.h>

#include "exposition.h"

enum {
  ROVER__LINES_MAX = 1000, /* of all series: a histogram has several */
  ROVER__METRICS_MAX = 1000,
  ROVER__METRIC_LABELS_MAX = 8,
  ROVER__LABEL_MAX = 255, /* bytes of a name or value */
  ROVER__METRIC_BUCKETS_MAX = 50
};

/* One metric with one set of label values. */
struct rover__series {
  struct rover__series *next;
  struct rover__series *heir; /* in the state to which it is passed, or NULL */
  struct rover__text labels;  /* in its own memory */
  const char *key; /* the values of its labels, each after its length */
  size_t key_length;
  bool is_set;  /* (gauge) and not only counted up or down */
  double value; /* of a histogram the sum */
  uint64_t counts[];
};

struct rover__metric {
  struct rover__family base;
  struct rover__metric *next;
  struct rover__metrics *owner;
  struct rover__series *series, **last;
  struct rover__series *only; /* if it has no labels: its series, or NULL */
  size_t lines;               /* of each series */
  size_t label_count, bucket_count; /* the last bucket has no bound */
  const char *const *labels;
  const double *bounds;
};

/* Of one Lua state. */
struct rover__metrics {
  struct rover__metric *list, **last;
  size_t count, lines;
  uint64_t lost; /* observations, for want of lines */
  struct rover__books *books; /* see bind_books.h */
};

/* The state's own; opens it if need be. May raise. */
struct rover__metrics *rover__metrics_of(lua_State *L);

/* Pushes the metric of that name, without _total, or nil. */
struct rover__metric *rover__metric_push(lua_State *L, const char *name);

/* Pushes a metric of that shape, whose texts and arrays are copied, and which
 * is of the type with that metatable. Returns the name of the sample that
 * another one has, or NULL. */
const char *rover__metric_new(lua_State *L, const struct rover__metric *shape,
                              const char *type);

bool rover__metric_is_like(const struct rover__metric *one,
                           const struct rover__metric *other);

/* The series of the metric at `index` with that key, which is made if need be.
 * NULL if there are too many, which is counted. */
struct rover__series *rover__series_get(lua_State *L, int index,
                                        const char *key, size_t length);

/* Sees to it that everything of `from` that the script of `L` declares, too, has
 * its series there. May raise. */
void rover__metrics_prepare(lua_State *L, struct rover__metrics *from);

/* After that: adds the values to those of the other state, and begins anew. To
 * be done again for what has been counted meanwhile. */
void rover__metrics_pass(struct rover__metrics *from, bool again);

#endif
