#include "pick.h"

#include "../relay/reload.h"
#include "bind_client.h"
#include "socket.h"
#include "traceback.h"

#include <stdlib.h>

/* A relay's function pick is called in a coroutine, so that it may wait for a
 * socket. On the coroutine's stack are the relay, the client, and then what
 * pick gave. */

/* For one client, while the sockets prove to be over. */
enum { PICKS_MAX = 16 };

/* A socket that came too late for its client goes back, or is closed. */
static void return_socket(lua_State *L, rover_socket_t *socket) {
  if (!socket) return;
  lua_getiuservalue(L, 1, 1);
  if (lua_getfield(L, -1, "returnSocket") == LUA_TNIL) {
    rover_socket_close(socket);
    return;
  }
  lua_pushvalue(L, 3);
  lua_call(L, 1, 0);
}

static int pick(lua_State *L, lua_KContext picks);

/* Without a socket, the client goes on waiting. Pops why there is none. */
static void set_why(lua_State *L) {
  lua_getiuservalue(L, 1, 1);
  lua_insert(L, -2);
  lua_setfield(L, -2, "why");
}

/* Joins the client with the picked socket. */
static int join(lua_State *L, lua_KContext picks) {
  struct rover__lua_client *box = lua_touserdata(L, 2);
  rover_socket_t *socket = rover__lua_check_socket(L, 3);

  if (!rover__lua_is_waiting(box)) {
    return_socket(L, socket);
    return 0;
  }
  int err = socket ? rover__lua_join(box, socket) : UV_ENOTCONN;
  if (err == 0) return 0;
  if (err == UV_ENOTCONN || err == UV_ECONNRESET || err == UV_ETIMEDOUT) {
    if (socket) rover_socket_close(socket);
    if (picks < PICKS_MAX) return pick(L, picks + 1);
    socket = NULL;
  }
  if (err == UV_EMFILE || err == UV_ENFILE) {
    lua_pushstring(L, uv_strerror(err));
    set_why(L);
  } else {
    lua_pushfstring(L, "the picked socket cannot be used: %s",
                    uv_strerror(err));
    rover__lua_refuse(L, 2, err, -1);
  }
  return_socket(L, socket); /* after that, for it may raise, or call offer() */
  return 0;
}

static int picked(lua_State *L, int status, lua_KContext picks) {
  struct rover__lua_client *box = lua_touserdata(L, 2);

  box->picking = false;
  lua_remove(L, 3);
  if (status != LUA_OK && status != LUA_YIELD) {
    if (rover__lua_is_waiting(box)) rover_relay_client_refuse(box->client);
    return lua_error(L);
  }
  if (rover__lua_is_socket(L, 3)) return join(L, picks);
  if (lua_isnil(L, 3)) {
    if (lua_type(L, 4) == LUA_TSTRING && rover__lua_is_waiting(box)) {
      lua_pushvalue(L, 4);
      set_why(L);
    }
    return 0;
  }
  if (rover__lua_is_waiting(box)) rover_relay_client_refuse(box->client);
  return luaL_error(L, "pick: a socket or nothing expected, got %s",
                    luaL_typename(L, 3));
}

static int pick(lua_State *L, lua_KContext picks) {
  struct rover__lua_client *box = lua_touserdata(L, 2);

  lua_settop(L, 2);
  lua_getiuservalue(L, 1, 1);
  lua_getfield(L, 3, "pick");
  lua_replace(L, 3);
  lua_pushvalue(L, 2);
  lua_pushcfunction(L, rover__lua_add_traceback);
  lua_insert(L, 3); /* where picked() drops it */
  box->picking = true;
  int status = lua_pcallk(L, 1, 2, 3, picks, picked);
  return picked(L, status, picks);
}

static int l_pick(lua_State *L) {
  struct rover__lua_object *const *relay = lua_touserdata(L, 1);
  (*relay)->lua->pick->coroutine = L;
  return pick(L, 0);
}

/* Once pick has yielded, which most never do, a table has the client by
 * coroutine. Both are weak, for the stack of a coroutine that runs has its
 * client. */
int rover__lua_picking(lua_State *L) {
  const rover__lua_t *lua = rover__lua_of(L);

  if (lua->pick && lua->pick->coroutine == L) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, lua->pick->anchor);
    return 1;
  }
  lua_rawgeti(L, LUA_REGISTRYINDEX, lua->picks);
  lua_pushthread(L);
  lua_rawget(L, -2);
  return 1;
}

/* Notes for which client, at index 3, a coroutine has yielded. If there is no
 * memory for that, the client is refused. */
static void note(lua_State *L, struct rover__lua_relay *r, lua_State *coroutine,
                 int picks) {
  r->making = rover__lua_is_waiting(lua_touserdata(L, 3));
  lua_rawgeti(L, LUA_REGISTRYINDEX, picks);
  lua_pushthread(coroutine);
  lua_xmove(coroutine, L, 1);
  lua_pushvalue(L, 3);
  lua_rawset(L, -3);
  r->making = false;
}

static int client_event(lua_State *L) {
  struct rover__lua_object *o = lua_touserdata(L, 1);
  const rover__lua_t *lua = o->lua;
  struct rover__lua_pick *own = lua->pick;
  struct rover__lua_client *box = rover__lua_push_offered(L, own);

  if (!box) return 0; /* a finalizer has seen to that */
  own->anchor = box->anchor;
  box->picking = true;
  lua_rawgeti(L, LUA_REGISTRYINDEX, lua->wrap);
  lua_pushcfunction(L, l_pick);
  lua_call(L, 1, 1);
  if (!own->client || !rover__lua_is_waiting(box)) return 0; /* as above */
  lua_pushvalue(L, 4); /* what stays keeps the coroutine */
  rover__lua_object_push(L, o);
  lua_pushvalue(L, 3);
  rover__lua_relay_of(o)->making = false;
  lua_call(L, 2, 0);
  if (box->picking) note(L, rover__lua_relay_of(o), own->coroutine, lua->picks);
  return 0;
}

static void offer(struct rover__lua_relay *r, rover_relay_client_t *client) {
  bool outer = r->asking;
  rover__lua_t *lua = r->object.lua;
  struct rover__lua_pick own = {
      .client = client, .anchor = LUA_NOREF, .outer = lua->pick};

  r->making = r->asking = true;
  lua->pick = &own;
  struct rover__lua_occasion occasion = {
      .event = "pick",
      .noun = r->object.kind->noun,
      .name = r->object.name,
      .outcome = "the client is closed"};
  rover__lua_tell(lua, &occasion, client_event, r, client);
  lua->pick = own.outer;
  if (own.is_last) luaL_unref(lua->L, LUA_REGISTRYINDEX, own.anchor);
  if (r->making && own.client) /* there was no memory */
    rover_relay_client_refuse(client);
  r->making = false;
  r->asking = outer;
}

void rover__lua_offer_client(rover_relay_t *relay,
                             rover_relay_client_t *client) {
  struct rover__lua_relay *r = rover__lua_relay_of(rover_relay_data(relay));
  r->object.refs++; /* pick may run the loop, and the relay be closed in it */
  offer(r, client);
  rover__lua_object_unref(&r->object);
}

/* The client that has waited longest of those that pick is not asked for, from
 * this one on. */
static rover_relay_client_t *next_to_offer(rover_relay_client_t *client) {
  for (; client; client = rover_relay_client_next(client)) {
    const struct rover__lua_client *box = rover_relay_client_data(client);
    if (!box || !box->picking) break;
  }
  return client;
}

/* So many waited, and do not any more. */
static uint64_t count_left(const rover_relay_t *relay) {
  rover_relay_stats_t s;
  rover_relay_stats_get(relay, &s);
  return s.accepted - s.waiting - s.handshaking;
}

static bool offer_waiting(struct rover__lua_relay *r, uint64_t until) {
  rover_relay_client_t *from = NULL; /* pick is asked for all before it */
  bool all = true;

  if (r->offering || r->making) return true;
  r->offering = true;
  r->object.refs++;
  while (!r->object.closing) {
    rover_relay_client_t *client =
        next_to_offer(from ? from : rover_relay_client_first(r->object.relay));
    if (!client) break;
    uint64_t left = count_left(r->object.relay);
    offer(r, client);
    if (r->object.closing) break;
    /* Whoever has left may be freed, since pick may run the loop. */
    from = count_left(r->object.relay) == left ? client : NULL;
    if (client ==
        next_to_offer(from ? from : rover_relay_client_first(r->object.relay)))
      break; /* pick has none */
    all = uv_hrtime() < until;
    if (!all) break;
  }
  r->offering = false;
  rover__lua_object_unref(&r->object);
  return all;
}

/* The first relay that has not been reached by this round, or a later one. */
static struct rover__lua_relay *next_in_round(const rover__lua_t *lua,
                                              uint64_t round) {
  struct rover__lua_object *o = lua->objects[ROVER__LUA_RELAYS];

  while (o && rover__lua_relay_of(o)->round >= round) o = o->next;
  return o ? rover__lua_relay_of(o) : NULL;
}

/* As pick may run the loop, any relay may be gone after it, and another round
 * have begun: so each step searches the list anew. */
bool rover__lua_offer_all(rover__lua_t *lua, uint64_t until) {
  uint64_t round = ++lua->offer_rounds;
  struct rover__lua_relay *r;

  while ((r = next_in_round(lua, round))) {
    r->round = round;
    if (!offer_waiting(r, until)) return false;
  }
  return true;
}

static void on_wake(rover_relay_t *relay) {
  struct rover__lua_object *o = rover_relay_data(relay);
  if (o->lua) offer_waiting(rover__lua_relay_of(o), UINT64_MAX);
}

void rover__lua_offer_soon(struct rover__lua_relay *r) {
  const struct rover__lua_object *o = &r->object;
  if (!o->lua->staged && !r->asking) rover_relay_wake(o->relay, on_wake);
}

static void on_kept(rover__lua_t *lua) {
  rover__lua_offer_all(lua, UINT64_MAX);
}

void rover__lua_open_pick(lua_State *L, rover__lua_t *lua) {
  lua_getglobal(L, "coroutine");
  lua_getfield(L, -1, "wrap");
  lua->wrap = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_pop(L, 1);
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "kv");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  lua->picks = luaL_ref(L, LUA_REGISTRYINDEX);
  lua->kept = on_kept;
}
