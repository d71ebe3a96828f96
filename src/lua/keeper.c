#include "keeper.h"

#include "../rover/keep.h"
#include "bind_books.h"
#include "check.h"
#include "kept.h"
#include "socket.h"

/* Calling Lua for each connection takes ten times as long as all else about it,
 * mostly to fetch what has left the caches. So while nothing but a pool listens
 * to a rover's `connection`, this decides as the pool would: it keeps a
 * connection, replaces one that it has kept, or rejects it, and sets when the
 * next attempt is made. Such connections have no userdata. The pool is told of
 * all of them before it lends one, says what it has, or is used in any other
 * way, and from then on they are the pool's alone. Of one that is lost it is
 * told at once, and so of an answer of a server that it has marked.
 *
 * The pool says at the end of each of its own events what it holds and how it
 * is paced (leave), and asks at the beginning of the next what has become of
 * that (enter). */

static const char type[] = "callosum.keeper";

/* The keeper's uservalues: functions of the pool, and its books. */
enum { REACHED = 1, ENDED, SEE, FUNCTIONS = SEE, BOOKS };

/* What is decided here, beside what the rover rejects: NOTHING, what the pool
 * would reject, or EVERYTHING. */
enum mode { NOTHING, REJECTIONS, EVERYTHING };

/* In the table of a rover's handlers, a key that no event has. */
enum { KEEPER = 32 };

struct rover__lua_keeper {
  struct rover__lua_rover *rover; /* NULL once it is closed, or let go */
  struct rover__own_books *books;
  /* Options of the pool; 0 for false. */
  lua_Integer target, most;
  double fill, longest, jitter, growth;
  lua_Integer patience, hopeless;
  /* As the pool has left it. */
  enum mode mode;
  bool alone, filling;
  lua_Integer seen; /* how many it has */
  int top;          /* the highest of their slots, or -1 */
  uint64_t due;     /* when it wants to be told of the next answer */
  unsigned drops;
  /* What goes on here. */
  bool was_full;
  bool moved;                 /* an attempt has ended */
  bool asked;                 /* ... at a server that was asked by name */
  lua_Integer rejected, vain; /* in a row: while full, and while filling */
  lua_Integer uncounted;      /* that the rover has rejected since */
  uint64_t random;
  rover_socket_t *first; /* competes with the next */
  struct rover__lua_kept_list kept;
};

static rover_t *rover_of(const struct rover__lua_keeper *k) {
  return k->rover->object.rover;
}

/* -- What is kept --------------------------------------------------------- */

static int highest(const struct rover__lua_keeper *k) {
  const struct rover__lua_kept *own = rover__lua_kept_highest(&k->kept);
  return own && own->slot > k->top ? own->slot : k->top;
}

static lua_Integer size_of(const struct rover__lua_keeper *k) {
  return k->seen + (lua_Integer)k->kept.count;
}

static bool is_filling(const struct rover__lua_keeper *k) {
  return k->mode == EVERYTHING ? size_of(k) < k->target : k->filling;
}

static void remove_at(struct rover__lua_keeper *k, size_t at) {
  if (k->kept.all[at].socket == k->first) k->first = NULL;
  rover__lua_kept_remove(&k->kept, at);
}

static void close_at(struct rover__lua_keeper *k, size_t at) {
  rover_socket_t *socket = k->kept.all[at].socket;

  remove_at(k, at);
  rover__books_lose(k->books);
  rover_socket_close(socket);
  k->rover->object.holds--; /* an attempt keeps the rover meanwhile */
}

/* -- Pace: as lua/callosum/pool/pacing.lua -------------------------------- */

static double fraction(struct rover__lua_keeper *k) {
  k->random = k->random * 6364136223846793005u + 1442695040888963407u;
  return (double)(k->random >> 11) / 9007199254740992.0;
}

static bool is_paced(const struct rover__lua_keeper *k) {
  return k->fill > 0 || k->longest > 0;
}

static double limit_of(const struct rover__lua_keeper *k) {
  double own = (double)rover_roving_interval(rover_of(k));
  return k->longest > own ? k->longest : own;
}

/* How many more may be rejected before the interval grows. */
static lua_Integer patience_of(const struct rover__lua_keeper *k,
                               bool filling) {
  return filling ? k->hopeless - k->vain : k->patience - k->rejected;
}

static double interval_of(const struct rover__lua_keeper *k, bool filling) {
  double ms = (double)rover_roving_interval(rover_of(k)), most = limit_of(k);
  if (filling && k->fill > 0 && k->fill < ms) ms = k->fill;
  if (k->longest > 0)
    for (lua_Integer n = patience_of(k, filling); n <= 0 && ms < most; n++)
      ms *= k->growth;
  return ms < most ? ms : most;
}

static void rove_in(struct rover__lua_keeper *k, double ms) {
  ms *= 1 + k->jitter * (2 * fraction(k) - 1);
  if (ms > (double)ROVER_MS_MAX) ms = (double)ROVER_MS_MAX;
  rover_rove_in(rover_of(k), ms < 1 ? 1 : (uint64_t)ms);
}

/* Counts what the rover has rejected. */
static void catch_up(struct rover__lua_keeper *k) {
  lua_Integer count = k->uncounted;

  k->uncounted = 0;
  if (count == 0) return;
  k->moved = true;
  if (is_filling(k)) k->vain += count;
  else k->rejected += count;
}

/* Whether a server has left the list since the pool looked at it. */
static bool has_dropped(const struct rover__lua_keeper *k) {
  return rover_drops(rover_of(k)) != k->drops;
}

/* Has the rover reject what would be rejected here. Once a server has left the
 * list the pool is to replace its connections, whatever the slot. */
static void bound(struct rover__lua_keeper *k) {
  rover_rejection_t r = {0};
  bool filling = is_filling(k), full = size_of(k) >= k->most && !k->first;
  int top = highest(k);

  if (k->alone && k->mode >= REJECTIONS && full && top > 0 && !has_dropped(k))
    r.slot_limit = (unsigned)top;
  if (is_paced(k)) {
    double ms = interval_of(k, filling), most = limit_of(k);
    lua_Integer patience = patience_of(k, filling) - 1;
    r.interval = ms < 1 ? 1 : (uint64_t)ms;
    r.patience = patience > 0 ? (unsigned)patience : 0;
    r.max_interval = (uint64_t)most;
  }
  r.growth = k->longest > 0 ? k->growth : 1;
  r.jitter = k->jitter;
  rover_set_rejection(rover_of(k), &r);
  rover_limit_until_drop(rover_of(k));
}

/* -- Telling the pool ----------------------------------------------------- */

struct news {
  struct rover__lua_keeper *k;
  int function;
  const char *server;
  bool kept, competed, full;   /* of an answer */
  struct rover__lua_kept lost; /* that the server has ended */
};

static int tell_news(lua_State *L) {
  const struct news *news = lua_touserdata(L, 2);
  int count = 2;

  rover__lua_object_push_handlers(L, &news->k->rover->object);
  lua_rawgeti(L, -1, KEEPER);
  lua_getiuservalue(L, -1, news->function);
  lua_pushstring(L, news->server);
  if (news->function == REACHED) {
    lua_pushboolean(L, news->kept);
  } else {
    lua_pushnumber(L, (double)news->lost.since / 1e6);
    lua_pushinteger(L, news->lost.strikes);
    count++;
  }
  lua_call(L, count, 0);
  return 0;
}

/* Returns whether the keeper is to go on. */
static bool tell(struct rover__lua_keeper *k, struct news *news,
                 rover_socket_t *socket) {
  struct rover__lua_rover *r = k->rover;
  struct rover__lua_object *o = &r->object;
  news->k = k;
  news->server = rover_server_id(rover_socket_server(socket));
  struct rover__lua_occasion occasion = {
      .event = news->function == REACHED ? "connection" : "close",
      .noun = o->kind->noun,
      .name = o->name,
      .server = news->server,
      .socket = socket};
  rover__lua_tell(o->lua, &occasion, tell_news, o, news);
  return r->keeper == k && !o->closing;
}

/* -- Sockets -------------------------------------------------------------- */

/* Clients that lose theirs at the same moment come back spread over an
 * interval. One that is due within that is soon enough. */
static void hurry(struct rover__lua_keeper *k) {
  uint64_t due;

  if (!is_paced(k) || !rover_due_in(rover_of(k), &due)) return;
  double ms = interval_of(k, is_filling(k));
  if ((double)due > ms * (1 + k->jitter)) rove_in(k, ms * fraction(k));
}

static void lost(rover_socket_t *socket, bool broken) {
  struct rover__lua_rover *r =
      rover__lua_rover_of(rover_data(rover_socket_rover(socket)));
  struct rover__lua_keeper *k = r->keeper;
  size_t at = k ? rover__lua_kept_find(&k->kept, socket) : 0;

  if (!k || at == k->kept.count) return; /* it was closed here */
  struct news news = {.function = ENDED, .lost = k->kept.all[at]};
  catch_up(k);
  r->object.holds++; /* meanwhile */
  close_at(k, at);
  if (!broken || tell(k, &news, socket)) {
    k->vain = 0;
    hurry(k);
    bound(k);
  }
  rover__lua_object_release(&r->object);
}

static void on_end(rover_socket_t *socket) { lost(socket, true); }

static void on_close(rover_socket_t *socket, int status) {
  lost(socket, status < 0);
}

static const rover_socket_events_t events = {.end = on_end, .close = on_close};

/* There is room for it. */
static bool keep(struct rover__lua_keeper *k, rover_socket_t *socket) {
  rover__lua_kept_add(&k->kept, socket);
  k->rover->object.holds++;
  rover__books_keep(k->books);
  return true;
}

static bool reject(struct rover__lua_keeper *k, rover_socket_t *socket) {
  rover_socket_close(socket);
  rover__books_reject(k->books);
  return false;
}

static bool offer(struct rover__lua_keeper *k, rover_socket_t *socket) {
  if (size_of(k) < k->most) return keep(k, socket);
  if (k->kept.count == 0 || rover_socket_slot(socket) >= highest(k))
    return reject(k, socket);
  close_at(k, k->kept.count - 1);
  return keep(k, socket);
}

/* A pool that was full before replaces what it has lost by the better of two
 * connections: the first is kept, and competes with the next, which follows at
 * once, unless its slot is lower than the highest. */
static bool refill(struct rover__lua_keeper *k, rover_socket_t *socket,
                   bool *competed) {
  rover_socket_t *first = k->first;
  int slot = rover_socket_slot(socket);
  bool is_good = slot < highest(k);

  k->first = NULL;
  *competed = first != NULL;
  if (!first) {
    bool kept = offer(k, socket);
    if (kept && k->was_full && !is_good &&
        rover__lua_may_have(k->rover->object.lua, 0) &&
        rover_connect(rover_of(k)) == 0)
      k->first = socket;
    return kept;
  }
  if (slot >= rover_socket_slot(first)) return reject(k, socket);
  close_at(k, rover__lua_kept_find(&k->kept, first));
  return offer(k, socket);
}

/* Whether the pool is to decide: one of its own would be replaced, or a server
 * has left the list. */
static bool is_for_the_pool(const struct rover__lua_keeper *k, int slot) {
  if (has_dropped(k)) return true;
  if (size_of(k) < k->most || k->first || slot >= k->top) return false;
  return highest(k) == k->top;
}

/* After an answer of a server that was asked by name, the clock goes on. */
static void go_on(struct rover__lua_keeper *k, const struct news *news) {
  bool filling = is_filling(k) || k->first;
  if (news->competed || !(news->full && k->asked)) {
    if (news->competed) {
      /* That is no sign of what there is to be found. */
    } else if (news->kept) {
      k->vain = 0;
      if (news->full) k->rejected /= 2;
    } else if (filling) {
      k->vain++;
    } else {
      k->rejected++;
    }
    if (is_paced(k)) rove_in(k, interval_of(k, filling));
  }
  bound(k);
}

bool rover__lua_keeper_take(struct rover__lua_rover *r,
                            rover_socket_t *socket) {
  struct rover__lua_keeper *k = r->keeper;
  int slot = rover_socket_slot(socket);

  if (!k || !k->alone || k->mode < EVERYTHING || is_for_the_pool(k, slot) ||
      !rover__lua_kept_reserve(&k->kept, r->object.lua) ||
      rover_socket_set_events(socket, &events, NULL) < 0)
    return false;
  catch_up(k);
  struct news news = {.function = REACHED, .full = !is_filling(k)};
  if (size_of(k) == 0) k->was_full = false;
  if (news.full && !k->first) news.kept = offer(k, socket);
  else news.kept = refill(k, socket, &news.competed);
  if (!is_filling(k)) k->was_full = true;
  k->moved = true;
  k->asked = false;
  r->object.holds++; /* meanwhile */
  bool matters = rover_server_is_exempt(rover_socket_server(socket)) ||
                 uv_hrtime() >= k->due;
  if (!matters || tell(k, &news, socket)) go_on(k, &news);
  rover__lua_object_release(&r->object);
  return true;
}

/* -- The pool's side ------------------------------------------------------ */

static struct rover__lua_keeper *check_keeper(lua_State *L) {
  return rover__lua_check_type(L, 1, type);
}

static struct rover__lua_object *open_rover(const struct rover__lua_keeper *k) {
  return k->rover && !k->rover->object.closing ? &k->rover->object : NULL;
}

/* enter(): how many are kept that the pool has not seen, how many were rejected
 * in a row while it was full and while it was filling, whether an attempt has
 * ended, whether it was full, and whether a server has left the rover's list
 * since looked(). */
static int l_enter(lua_State *L) {
  struct rover__lua_keeper *k = check_keeper(L);
  if (open_rover(k)) catch_up(k);
  lua_pushinteger(L, (lua_Integer)k->kept.count);
  lua_pushinteger(L, k->rejected);
  lua_pushinteger(L, k->vain);
  lua_pushboolean(L, k->moved);
  lua_pushboolean(L, k->was_full);
  lua_pushboolean(L, open_rover(k) && has_dropped(k));
  k->moved = false;
  return 6;
}

/* When the pool wants to be told of the next answer; nil: not at all. */
static void set_due(lua_State *L, int index, struct rover__lua_keeper *k) {
  k->due = lua_isnoneornil(L, index) ? UINT64_MAX
                                     : (uint64_t)lua_tointeger(L, index);
}

/* leave(mode, filling, seen, top, wasFull, due, rejected, vain) */
static int l_leave(lua_State *L) {
  struct rover__lua_keeper *k = check_keeper(L);
  k->mode = (enum mode)lua_tointeger(L, 2);
  k->filling = lua_toboolean(L, 3);
  k->seen = lua_tointeger(L, 4);
  k->top = (int)lua_tointeger(L, 5);
  k->was_full = lua_toboolean(L, 6);
  set_due(L, 7, k);
  k->rejected = lua_tointeger(L, 8);
  k->vain = lua_tointeger(L, 9);
  if (open_rover(k)) bound(k);
  return 0;
}

/* looked(): the pool knows which of the servers that it has seen are listed. */
static int l_looked(lua_State *L) {
  struct rover__lua_keeper *k = check_keeper(L);
  if (open_rover(k) && k->kept.count == 0) k->drops = rover_drops(rover_of(k));
  return 0;
}

/* note(due, asked, strikes): of the server that the pool was told of, whether it
 * was asked by name, and the strikes that it had. */
static int l_note(lua_State *L) {
  struct rover__lua_keeper *k = check_keeper(L);
  struct rover__lua_kept *latest = rover__lua_kept_latest(&k->kept);
  int strikes = (int)lua_tointeger(L, 4);

  set_due(L, 2, k);
  k->asked = lua_toboolean(L, 3);
  if (latest && strikes > 0) latest->strikes = strikes;
  return 0;
}

/* Moves all that are kept to the table at index 1; `k` is at index 2. */
static int hand_over(lua_State *L) {
  struct rover__lua_keeper *k = lua_touserdata(L, 2);
  lua_Integer n = 0;

  while (k->rover && k->kept.count > 0) {
    rover_socket_t *socket = k->kept.all[0].socket;
    lua_settop(L, 2);
    lua_createtable(L, 4, 0);
    rover__lua_push_socket(L, socket);
    /* A finalizer may have closed it, or taken it. Nothing below allocates. */
    size_t at = rover__lua_kept_find(&k->kept, socket);
    if (at == k->kept.count) continue;
    lua_rawseti(L, -2, 1);
    lua_pushnumber(L, (double)k->kept.all[at].since / 1e6);
    lua_rawseti(L, -2, 2);
    lua_pushinteger(L, k->kept.all[at].strikes);
    lua_rawseti(L, -2, 3);
    lua_pushboolean(L, socket == k->first);
    lua_rawseti(L, -2, 4);
    lua_rawseti(L, 1, ++n);
    remove_at(k, at);
    k->rover->object.holds--; /* the userdata has its own */
  }
  return 0;
}

/* There was no memory for all: closes those in the table at index 1, of which
 * the pool does not learn. Allocates nothing. */
static void close_all(lua_State *L, struct rover__lua_keeper *k) {
  lua_Integer count = (lua_Integer)lua_rawlen(L, 1);

  for (lua_Integer i = 1; i <= count; i++) {
    lua_rawgeti(L, 1, i);
    lua_rawgeti(L, -1, 1);
    const struct rover__lua_socket *box = lua_touserdata(L, -1);
    if (!rover__lua_socket_is_closed(box)) rover_socket_close(box->socket);
    rover__books_lose(k->books);
    lua_pop(L, 2);
  }
  if (!open_rover(k)) return;
  catch_up(k);
  k->vain = 0;
  hurry(k);
  bound(k);
}

/* Returns nothing, or an array of what the pool has not seen, each {socket, since
 * when in ms, strikes, whether it competes}, which it is to hold from then on.
 * It is called for each lease, so the keeper is its upvalue. */
static int l_unseen(lua_State *L) {
  struct rover__lua_keeper *k = lua_touserdata(L, lua_upvalueindex(1));

  if (k->kept.count == 0) return 0;
  if (!k->rover || k->rover->object.lua->retired) {
    k->kept.count = 0; /* they are the next state's */
    return 0;
  }
  if (open_rover(k)) catch_up(k); /* by how full it still is */
  lua_settop(L, 0);
  lua_createtable(L, (int)k->kept.count, 0);
  lua_pushcfunction(L, hand_over);
  lua_pushvalue(L, 1);
  lua_pushlightuserdata(L, k);
  if (lua_pcall(L, 2, 0, 0) == LUA_OK) return 1;
  close_all(L, k);
  return lua_error(L);
}

void rover__lua_keeper_end(struct rover__lua_rover *r) {
  struct rover__lua_keeper *k = r->keeper;
  if (!k) return;
  r->keeper = NULL;
  k->rover = NULL;
  k->kept.count = 0;
}

/* stop(): the pool has seen all. */
static int l_stop(lua_State *L) {
  struct rover__lua_keeper *k = check_keeper(L);
  if (open_rover(k)) rover_set_rejection(rover_of(k), NULL);
  if (k->rover) rover__lua_keeper_end(k->rover);
  for (int i = 1; i <= FUNCTIONS; i++) { /* they refer to the pool */
    lua_pushnil(L);
    lua_setiuservalue(L, 1, i);
  }
  return 0;
}

static int l_gc(lua_State *L) {
  struct rover__lua_keeper *k = check_keeper(L);
  if (k->rover) rover__lua_keeper_end(k->rover);
  rover__lua_kept_free(&k->kept);
  return 0;
}

/* A number in the table at index 3; 0 for false. */
static double option(lua_State *L, const char *name, double least,
                     double most) {
  lua_getfield(L, 3, name);
  double value = lua_tonumber(L, -1);
  lua_pop(L, 1);
  if (!(value >= least && value <= most))
    luaL_error(L, "%s: out of range", name);
  return value;
}

/* new(rover, books, options, reached, ended, see): `options` are those of the
 * pool, with what its pacing adds. Returns a keeper, and the function unseen. */
static int l_new(lua_State *L) {
  struct rover__lua_object *o =
      rover__lua_object_check(L, &rover__lua_rover_kind);
  struct rover__own_books *books = rover__lua_check_books(L, 2);
  luaL_checktype(L, 3, LUA_TTABLE);
  lua_settop(L, 3 + FUNCTIONS);
  struct rover__lua_keeper *k = lua_newuserdatauv(L, sizeof *k, BOOKS);
  *k = (struct rover__lua_keeper){
      .books = books,
      .kept = {.owner = o->lua->owner},
      .target = (lua_Integer)option(L, "target", 0, INT32_MAX),
      .most = (lua_Integer)option(L, "maxSlots", 1, INT32_MAX),
      .fill = option(L, "fillInterval", 0, (double)ROVER_MS_MAX),
      .longest = option(L, "maxInterval", 0, (double)ROVER_MS_MAX),
      .jitter = option(L, "jitter", 0, 1),
      .growth = option(L, "growth", 1.1, 256),
      .patience = (lua_Integer)option(L, "patience", 0, INT32_MAX),
      .hopeless = (lua_Integer)option(L, "hopeless", 0, INT32_MAX),
      .random = (uint64_t)option(L, "seed", 0, (double)INT64_MAX / 2),
      .top = -1};
  luaL_setmetatable(L, type);
  for (int i = 1; i <= FUNCTIONS; i++) {
    lua_pushvalue(L, 3 + i);
    lua_setiuservalue(L, -2, i);
  }
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, -2, BOOKS);
  lua_getiuservalue(L, 1, 1);
  lua_pushvalue(L, -2);
  lua_rawseti(L, -2, KEEPER);
  lua_pop(L, 1);
  rover__lua_keeper_end(rover__lua_rover_of(o));
  k->rover = rover__lua_rover_of(o);
  k->rover->keeper = k;
  k->alone = rover__lua_count_listeners(L) == 1;
  lua_pushvalue(L, -1);
  lua_pushcclosure(L, l_unseen, 1);
  return 2;
}

void rover__lua_keeper_set_alone(const struct rover__lua_rover *r, bool alone) {
  if (r->keeper) r->keeper->alone = alone;
}

void rover__lua_keeper_rejected(const struct rover__lua_rover *r) {
  struct rover__lua_keeper *k = r->keeper;
  if (!k) return;
  k->uncounted++;
  rover__books_reject(k->books);
}

void rover__lua_keeper_tell_all(lua_State *L, struct rover__lua_rover *r) {
  if (!r->keeper || r->keeper->kept.count == 0) return;
  lua_getiuservalue(L, 1, 1);
  lua_rawgeti(L, -1, KEEPER);
  lua_getiuservalue(L, -1, SEE);
  lua_call(L, 0, 0);
  lua_pop(L, 2);
}

void rover__lua_open_keeper(lua_State *L) {
  static const luaL_Reg methods[] = {{"enter", l_enter},   {"leave", l_leave},
                                     {"looked", l_looked}, {"note", l_note},
                                     {"stop", l_stop},     {NULL, NULL}};

  rover__lua_new_type(L, type);
  lua_pushcfunction(L, l_gc);
  lua_setfield(L, -2, "__gc");
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, l_new);
  lua_setfield(L, -2, "new");
}
