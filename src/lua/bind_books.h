/* Private to src/lua and src/host: the books of pools. A pool, which is in Lua,
 * keeps its counts here, where a report finds them without calling Lua. */
#ifndef LUA_BIND_BOOKS_H
#define LUA_BIND_BOOKS_H

#include <lua.h>
#include <stdint.h>

struct rover__metrics;

/* As ROVER_STATS_MAP of <callosum/rover.h>. */
#define ROVER__POOL_STATS_MAP(XX)                                              \
  XX(size, GAUGE, "size",                                                      \
     "Connections held, idle or leased; at most `maxSlots`.")                  \
  XX(idle, GAUGE, "idle", "Connections that can be lent out.")                 \
  XX(leased, GAUGE, "leased", "Connections that are lent out.")                \
  XX(retiring, GAUGE, "retiring",                                              \
     "Connections that are lent out and no longer held, as a lower slot has "  \
     "taken their place or the server has ended them. They are closed when "   \
     "returned.")                                                              \
  XX(waiting, GAUGE, "waiting", "Requests in the queue.")                      \
  XX(kept, COUNTER, "kept", "New connections that were kept.")                 \
  XX(rejected, COUNTER, "rejected", "New connections that were closed.")       \
  XX(unsolicited, COUNTER, "unsolicited",                                      \
     "Connections closed for unsolicited bytes.")                              \
  XX(lent, COUNTER, "lent", "Connections lent out so far.")                    \
  XX(expired, COUNTER, "expired", "Requests that waited in vain.")

struct rover__pool_stats {
#define XX(name, kind, lua, text) uint64_t name;
  ROVER__POOL_STATS_MAP(XX)
#undef XX
};

enum { ROVER__POOL_BUCKETS = 17 };
extern const double rover__pool_bounds[ROVER__POOL_BUCKETS - 1]; /* seconds */

struct rover__pool_times {
  uint64_t counts[ROVER__POOL_BUCKETS];
  double sum;
};

/* Of all pools of one name. */
struct rover__books {
  struct rover__books *next;
  struct rover__books *heir; /* in the state to which they are passed, or NULL */
  const char *name;
  struct rover__pool_stats stats;
  struct rover__pool_times wait, lease;
};

/* Pushes the module callosum.books. */
void rover__lua_open_books(lua_State *L);

/* For keeper.c: a pool's own books, which are argument `arg`; a new connection
 * is kept, an idle one lost, or a new one rejected. */
struct rover__own_books;
struct rover__own_books *rover__lua_check_books(lua_State *L, int arg);
void rover__books_keep(struct rover__own_books *own);
void rover__books_lose(struct rover__own_books *own);
void rover__books_reject(struct rover__own_books *own);

/* As rover__metrics_prepare() and rover__metrics_pass(). */
void rover__books_prepare(lua_State *L, const struct rover__metrics *from);
void rover__books_pass(const struct rover__metrics *from);

#endif
