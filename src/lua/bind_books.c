#include "bind_books.h"

#include <lauxlib.h>
#include <string.h>
#include <time.h>

#include "check.h"
#include "metrics.h"

/* Each pool has an object with its own counts, for its stats(); at the same time
 * they are added to those of all pools of its name, which go on in the next
 * policy. A connection of a pool is in one of the states below. */

static const char type[] = "callosum.books";

enum { GONE, IDLE, LEASED, RETIRING };

struct rover__own_books {
  struct rover__books *all; /* kept by the uservalue */
  struct rover__pool_stats stats;
};

const double rover__pool_bounds[] = {.0001, .00025, .0005, .001, .0025, .005,
                                     .01,   .025,   .05,   .1,   .25,   .5,
                                     1,     2.5,    5,     10};

struct rover__own_books *rover__lua_check_books(lua_State *L, int arg) {
  return rover__lua_check_type(L, arg, type);
}

static struct rover__own_books *check_own(lua_State *L) {
  return rover__lua_check_books(L, 1);
}

/* -- Counting ------------------------------------------------------------- */

/* Negative numbers, too: it wraps around, and back. */
#define ADD(own, name, n)                                                      \
  ((own)->stats.name += (uint64_t)(n), (own)->all->stats.name += (uint64_t)(n))

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void add_time(struct rover__pool_times *times, int64_t ns) {
  double seconds = ns > 0 ? (double)ns / 1e9 : 0;
  int i = 0;
  while (i < ROVER__POOL_BUCKETS - 1 && seconds > rover__pool_bounds[i]) i++;
  times->counts[i]++;
  times->sum += seconds;
}

static void count_state(struct rover__own_books *own, int state, int n) {
  switch (state) {
    case IDLE:
      ADD(own, idle, n);
      ADD(own, size, n);
      break;
    case LEASED:
      ADD(own, leased, n);
      ADD(own, size, n);
      break;
    case RETIRING: ADD(own, retiring, n); break;
    default: break;
  }
}

void rover__books_keep(struct rover__own_books *own) {
  count_state(own, IDLE, 1);
  ADD(own, kept, 1);
}

void rover__books_lose(struct rover__own_books *own) {
  count_state(own, IDLE, -1);
}

void rover__books_reject(struct rover__own_books *own) {
  ADD(own, rejected, 1);
}

static int check_state(lua_State *L, int arg) {
  return (int)rover__lua_check_integer(L, arg, arg, "state", GONE, RETIRING);
}

/* move(from, to) */
static int l_move(lua_State *L) {
  struct rover__own_books *own = check_own(L);
  int from = check_state(L, 2), to = check_state(L, 3);
  count_state(own, from, -1);
  count_state(own, to, 1);
  return 0;
}

/* lend(waited): an idle one, for which somebody has waited so many ns. */
static int l_lend(lua_State *L) {
  struct rover__own_books *own = check_own(L);
  count_state(own, IDLE, -1);
  count_state(own, LEASED, 1);
  ADD(own, lent, 1);
  add_time(&own->all->wait, luaL_optinteger(L, 2, 0));
  return 0;
}

/* over(began): a lease that began at that time of callosum.options. */
static int l_over(lua_State *L) {
  struct rover__own_books *own = check_own(L);
  add_time(&own->all->lease, now() - luaL_checkinteger(L, 2));
  return 0;
}

/* wait(n): so many more wait. */
static int l_wait(lua_State *L) {
  struct rover__own_books *own = check_own(L);
  ADD(own, waiting, luaL_checkinteger(L, 2));
  return 0;
}

/* expire(waited): a request, after so many ns. */
static int l_expire(lua_State *L) {
  struct rover__own_books *own = check_own(L);
  ADD(own, expired, 1);
  add_time(&own->all->wait, luaL_checkinteger(L, 2));
  return 0;
}

/* kept(n), rejected(n), unsolicited() */
static int l_kept(lua_State *L) {
  struct rover__own_books *own = check_own(L);
  ADD(own, kept, luaL_checkinteger(L, 2));
  return 0;
}

static int l_rejected(lua_State *L) {
  struct rover__own_books *own = check_own(L);
  ADD(own, rejected, luaL_checkinteger(L, 2));
  return 0;
}

static int l_unsolicited(lua_State *L) {
  struct rover__own_books *own = check_own(L);
  ADD(own, unsolicited, 1);
  return 0;
}

/* stats(): a new table. */
static int l_stats(lua_State *L) {
  const struct rover__own_books *own = check_own(L);
  lua_newtable(L);
#define XX(name, kind, lua, text)                                              \
  lua_pushinteger(L, (lua_Integer)own->stats.name);                            \
  lua_setfield(L, -2, lua);
  ROVER__POOL_STATS_MAP(XX)
#undef XX
  return 1;
}

/* -- Life ----------------------------------------------------------------- */

/* Nobody can use what it had. */
static int l_gc(lua_State *L) {
  struct rover__own_books *own = check_own(L);
#define COUNTER(name)
#define GAUGE(name) own->all->stats.name -= own->stats.name;
#define XX(name, kind, lua, text) kind(name)
  ROVER__POOL_STATS_MAP(XX)
#undef XX
#undef GAUGE
#undef COUNTER
  return 0;
}

static struct rover__books *find(const struct rover__metrics *metrics,
                                 const char *name) {
  struct rover__books *books = metrics->books;
  while (books && strcmp(books->name, name) != 0) books = books->next;
  return books;
}

/* Pushes the books of that name. They are kept, as metrics are, by a key in the
 * registry. */
static struct rover__books *push_books(lua_State *L, const char *name) {
  struct rover__metrics *metrics = rover__metrics_of(L);
  struct rover__books *books = find(metrics, name);

  if (books) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, books);
    return books;
  }
  size_t size = strlen(name) + 1;
  books = lua_newuserdatauv(L, sizeof *books + size, 0);
  *books = (struct rover__books){0};
  books->name = memcpy(books + 1, name, size);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, books);
  books->next = metrics->books;
  metrics->books = books;
  return books;
}

/* new(name) */
static int l_new(lua_State *L) {
  const char *name = rover__lua_check_text(L, 1, 1, ROVER__LABEL_MAX, "name");
  struct rover__own_books *own = lua_newuserdatauv(L, sizeof *own, 1);

  *own = (struct rover__own_books){.all = push_books(L, name)};
  lua_setiuservalue(L, -2, 1);
  lua_rawgetp(L, LUA_REGISTRYINDEX, type);
  lua_setmetatable(L, -2);
  return 1;
}

void rover__lua_open_books(lua_State *L) {
  static const luaL_Reg methods[] = {{"move", l_move},
                                     {"lend", l_lend},
                                     {"over", l_over},
                                     {"wait", l_wait},
                                     {"expire", l_expire},
                                     {"kept", l_kept},
                                     {"rejected", l_rejected},
                                     {"unsolicited", l_unsolicited},
                                     {"stats", l_stats},
                                     {NULL, NULL}};
  static const luaL_Reg functions[] = {{"new", l_new}, {NULL, NULL}};
  static const struct {
    const char *name;
    int state;
  } states[] = {
      {"GONE", GONE}, {"IDLE", IDLE}, {"LEASED", LEASED}, {"RETIRING", RETIRING}};

  rover__lua_new_type(L, type);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, type);
  lua_pushcfunction(L, l_gc);
  lua_setfield(L, -2, "__gc");
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
    lua_pushinteger(L, states[i].state);
    lua_setfield(L, -2, states[i].name);
  }
}

/* -- Reloads -------------------------------------------------------------- */

void rover__books_prepare(lua_State *L, const struct rover__metrics *from) {
  const struct rover__metrics *to = rover__metrics_of(L);
  for (struct rover__books *books = from->books; books; books = books->next)
    books->heir = find(to, books->name);
}

static void pass_times(struct rover__pool_times *from,
                       struct rover__pool_times *to) {
  for (int i = 0; i < ROVER__POOL_BUCKETS; i++) to->counts[i] += from->counts[i];
  to->sum += from->sum;
  *from = (struct rover__pool_times){0};
}

static void pass_books(struct rover__books *from) {
#define GAUGE(name)
#define COUNTER(name)                                                          \
  from->heir->stats.name += from->stats.name;                                  \
  from->stats.name = 0;
#define XX(name, kind, lua, text) kind(name)
  ROVER__POOL_STATS_MAP(XX)
#undef XX
#undef GAUGE
#undef COUNTER
  pass_times(&from->wait, &from->heir->wait);
  pass_times(&from->lease, &from->heir->lease);
}

void rover__books_pass(const struct rover__metrics *from) {
  for (struct rover__books *books = from->books; books; books = books->next)
    if (books->heir) pass_books(books);
}
