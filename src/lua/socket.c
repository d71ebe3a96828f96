#include "socket.h"

#include "../rover/reload.h"
#include "error.h"
#include "plain.h"
#include "server.h"

#include <stdint.h>
#include <string.h>

const char rover__lua_socket_type[] = "callosum.socket";
const char *const rover__lua_socket_events[] = {"data", "end", "close", "drain",
                                                NULL};

/* Where the table of a socket has the object that holds its server. */
enum { SERVER = 0 };

struct rover__lua_socket *rover__lua_socket_box(lua_State *L) {
  return rover__lua_check_type(L, 1, rover__lua_socket_type);
}

bool rover__lua_socket_is_closed(const struct rover__lua_socket *box) {
  return !box->socket || box->lua->dead || rover_socket_is_closing(box->socket);
}

rover_socket_t *rover__lua_check_socket(lua_State *L, int index) {
  struct rover__lua_socket *box =
      rover__lua_check_type(L, index, rover__lua_socket_type);
  return rover__lua_socket_is_closed(box) ? NULL : box->socket;
}

bool rover__lua_is_socket(lua_State *L, int index) {
  return rover__lua_is_type(L, index, rover__lua_socket_type);
}

static struct rover__lua_object *rover_of(const rover_socket_t *socket) {
  return rover_data(rover_socket_rover(socket));
}

/* NULL once the state and the userdata are gone, or once another state has
 * taken over the rover: it does not know the sockets that were closing then. */
static rover__lua_t *lua_of(const rover_socket_t *socket) {
  const struct rover__lua_socket *box = rover_socket_data(socket);
  rover__lua_t *lua = rover_of(socket)->lua;
  return box->lua == lua ? lua : NULL;
}

/* -- The server ----------------------------------------------------------- */

void rover__lua_push_holder(lua_State *L, int index) {
  if (lua_getiuservalue(L, index, 1) != LUA_TTABLE) return;
  lua_rawgeti(L, -1, SERVER);
  lua_remove(L, -2);
}

void rover__lua_push_id(lua_State *L, int index) {
  rover__lua_push_holder(L, index);
  lua_getiuservalue(L, -1, 1);
  lua_remove(L, -2);
}

/* -- Its own table -------------------------------------------------------- */

void rover__lua_push_own(lua_State *L, int index) {
  struct rover__lua_socket *box = lua_touserdata(L, index);
  if (lua_getiuservalue(L, index, 1) == LUA_TTABLE) return;
  lua_createtable(L, 1, 2); /* `data` is the first */
  lua_insert(L, -2);
  lua_rawseti(L, -2, SERVER);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, index, 1);
  box->has_own = true;
}

/* -- Events --------------------------------------------------------------- */

struct event {
  rover_socket_t *socket;
  int event;
  int status;
  const char *bytes; /* of data */
  size_t length;
  bool told; /* to the handlers */
};

/* Pushes the error of a status, or nil. */
static void push_status(lua_State *L, rover_socket_t *socket, int status) {
  if (status == 0) lua_pushnil(L);
  else
    rover__lua_push_error(L, status, NULL,
                          rover_server_id(rover_socket_server(socket)));
}

static int socket_event(lua_State *L) {
  struct event *e = lua_touserdata(L, 1);
  const struct rover__lua_socket *box = rover_socket_data(e->socket);
  int nargs = 0, failed;

  lua_rawgeti(L, LUA_REGISTRYINDEX, box->anchor); /* 3: keeps the box */
  lua_getiuservalue(L, 3, 1);                     /* 4: handlers */
  if (e->event == ROVER__LUA_DATA) {
    lua_pushlstring(L, e->bytes, e->length);
    nargs = 1;
  } else if (e->event == ROVER__LUA_CLOSE) {
    push_status(L, e->socket, e->status);
    nargs = 1;
  }
  e->told = true;
  if (rover__lua_push_only(L, 4, e->event)) {
    if (nargs > 0) lua_pushvalue(L, 5);
    lua_call(L, nargs, 0);
  } else {
    rover__lua_emit_last(box->lua, L, 4, e->event, nargs, &failed);
  }
  return 0;
}

/* A socket stays open after an error in its handlers, unless it ends anyway. */
static struct rover__lua_occasion
occasion_of(const char *event, const rover_socket_t *socket, bool stays) {
  const struct rover__lua_object *rover = rover_of(socket);
  return (struct rover__lua_occasion){
      .event = event,
      .noun = rover->kind->noun,
      .name = rover->name,
      .server = rover_server_id(rover_socket_server(socket)),
      .socket = socket,
      .outcome = stays ? "the socket stays" : NULL};
}

static void emit(rover__lua_t *lua, struct event *e) {
  const struct rover__lua_socket *box = rover_socket_data(e->socket);
  if (!lua || box->awaited) return;
  struct rover__lua_occasion occasion =
      occasion_of(rover__lua_socket_events[e->event], e->socket,
                  e->event == ROVER__LUA_DATA || e->event == ROVER__LUA_DRAIN);
  rover__lua_tell(lua, &occasion, socket_event, e, NULL);
}

/* If there is no memory for the bytes they are lost, and the stream cannot go
 * on. */
static void on_data(rover_socket_t *socket, const char *bytes, size_t length) {
  struct event event = {.socket = socket,
                        .event = ROVER__LUA_DATA,
                        .bytes = bytes,
                        .length = length};
  rover__lua_t *lua = lua_of(socket);

  if (!lua || lua->retired) return;
  emit(lua, &event);
  if (event.told) return;
  struct rover__lua_socket *box = rover_socket_data(socket);
  box->lost = true;
  rover_socket_close(socket);
}

static void on_end(rover_socket_t *socket) {
  struct rover__lua_socket *box = rover_socket_data(socket);
  box->ended = true;
  emit(lua_of(socket),
       &(struct event){.socket = socket, .event = ROVER__LUA_END});
}

static void on_drain(rover_socket_t *socket) {
  emit(lua_of(socket),
       &(struct event){.socket = socket, .event = ROVER__LUA_DRAIN});
}

static void on_close(rover_socket_t *socket, int status) {
  struct rover__lua_object *rover = rover_of(socket);
  struct rover__lua_socket *box = rover_socket_data(socket);
  rover__lua_t *lua = lua_of(socket);

  if (!lua) {
    box->socket = NULL;
    return;
  }
  if (box->lost) status = UV_ENOMEM;
  if (box->awaited && (status < 0 || box->ended)) lua->adopted--;
  if (box->has_own)
    emit(lua, &(struct event){
        .socket = socket, .event = ROVER__LUA_CLOSE, .status = status});
  box->socket = NULL;
  rover__lua_free_anchor(lua, lua->L, box->anchor);
  rover__lua_object_release(rover);
}

/* All sockets of a rover have these or none, so setting them cannot fail. */
static const rover_socket_events_t events = {
    .data = on_data, .end = on_end, .drain = on_drain, .close = on_close};

struct done {
  const rover__lua_t *lua;
  rover_socket_t *socket;
  int status;
  int fn;
};

static int done_event(lua_State *L) {
  struct done *done = lua_touserdata(L, 1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, done->fn);
  push_status(L, done->socket, done->status);
  done->lua->call(L, 1, 0, ROVER__LUA_NOEXIT);
  return 0;
}

void rover__lua_socket_done(rover_socket_t *socket, int status, void *arg) {
  rover__lua_t *lua = lua_of(socket);
  struct done done = {lua, socket, status, (int)(intptr_t)arg};
  if (!lua) return;
  struct rover__lua_occasion occasion =
      occasion_of("write or shutdown", socket, status == 0);
  rover__lua_tell(lua, &occasion, done_event, &done, NULL);
  luaL_unref(lua->L, LUA_REGISTRYINDEX, done.fn);
}

static struct rover__lua_socket *push_new(lua_State *L, rover__lua_t *lua,
                                          const rover_socket_t *socket) {
  struct rover__lua_socket *box = lua_newuserdatauv(L, sizeof *box, 1);
  *box = (struct rover__lua_socket){.lua = lua,
                                    .slot = (unsigned)rover_socket_slot(socket),
                                    .anchor = LUA_NOREF};
  lua_rawgeti(L, LUA_REGISTRYINDEX, lua->socket_type);
  lua_setmetatable(L, -2);
  rover__lua_hold_server(L, lua, rover_socket_server(socket));
  lua_setiuservalue(L, -2, 1);
  lua_pushvalue(L, -1);
  box->anchor = rover__lua_anchor(lua, L);
  return box;
}

static bool push_known(lua_State *L, const rover_socket_t *socket) {
  const struct rover__lua_socket *box = rover_socket_data(socket);
  if (box) lua_rawgeti(L, LUA_REGISTRYINDEX, box->anchor);
  return box != NULL;
}

void rover__lua_push_socket(lua_State *L, rover_socket_t *socket) {
  if (push_known(L, socket)) return;
  struct rover__lua_socket *box = push_new(L, rover_of(socket)->lua, socket);
  if (push_known(L, socket)) { /* a finalizer has pushed it meanwhile */
    rover__lua_free_anchor(box->lua, L, box->anchor);
    lua_remove(L, -2);
    return;
  }
  box->socket = socket;
  rover_socket_set_events(socket, &events, box);
  rover_of(socket)->holds++;
}

struct rover__lua_socket *rover__lua_prepare_socket(rover__lua_t *lua,
                                                    rover_socket_t *socket) {
  lua_State *L = lua->L;
  struct rover__lua_socket *box = push_new(L, lua, socket);
  box->adopted = true;
  if (!lua_isnil(L, -2)) {
    rover__lua_push_own(L, lua_gettop(L));
    lua_pushvalue(L, -3);
    rover__plain_guard(L, -1, ROVER__PLAIN_STATE);
    lua_setfield(L, -2, "state");
    lua_pop(L, 1);
  }
  lua_pop(L, 2);
  return box;
}

void rover__lua_attach_socket(struct rover__lua_socket *box,
                              rover_socket_t *socket) {
  struct rover__lua_socket *old = rover_socket_data(socket);
  if (old) old->socket = NULL;
  box->socket = socket;
  rover_socket_set_events(socket, &events, box);
  rover_socket_set_lent(socket, false); /* by the old policy */
  rover_of(socket)->holds++;
  box->awaited = true;
  rover_socket_hold(socket, true);
  rover_socket_read_stop(socket);
}

bool rover__lua_is_awaited(const rover_socket_t *socket) {
  const struct rover__lua_socket *box = rover_socket_data(socket);
  return box && box->awaited && !rover_socket_is_closing(socket);
}

bool rover__lua_is_adopted(const rover_socket_t *socket) {
  const struct rover__lua_socket *box = rover_socket_data(socket);
  return box && box->adopted;
}

/* Those that may call back are all anchored. */
void rover__lua_part_sockets(rover__lua_t *lua) {
  lua_State *L = lua->L;
  lua_Integer count = (lua_Integer)lua_rawlen(L, LUA_REGISTRYINDEX);
  int top = lua_gettop(L);

  lua_rawgeti(L, LUA_REGISTRYINDEX, lua->socket_type);
  for (lua_Integer i = 1; i <= count; i++) {
    lua_settop(L, top + 1);
    if (lua_rawgeti(L, LUA_REGISTRYINDEX, i) != LUA_TUSERDATA ||
        !lua_getmetatable(L, -1) || !lua_rawequal(L, -1, top + 1))
      continue;
    struct rover__lua_socket *box = lua_touserdata(L, top + 2);
    if (box->lua != lua) continue; /* the module was loaded once more */
    if (box->socket) rover_socket_set_events(box->socket, NULL, NULL);
    box->socket = NULL;
  }
  lua_settop(L, top);
}

bool rover__lua_has_state(const rover_socket_t *socket) {
  const struct rover__lua_socket *box = rover_socket_data(socket);
  return box && box->has_own;
}

void rover__lua_push_state(lua_State *L, rover_socket_t *socket) {
  struct rover__lua_socket *box = rover_socket_data(socket);
  lua_pushnil(L);
  if (!box) return;
  lua_rawgeti(L, LUA_REGISTRYINDEX, box->anchor);
  if (lua_getiuservalue(L, -1, 1) == LUA_TTABLE) {
    lua_getfield(L, -1, "state");
    lua_replace(L, -4);
  }
  lua_pop(L, 2);
}

/* -- Reading -------------------------------------------------------------- */

/* The socket is read while it has a handler of `data` and is not paused. Once
 * the peer has ended its side, the rest is read even if it is paused, since
 * stopping would close the socket. */
int rover__lua_follow_listeners(lua_State *L, int index,
                                rover_socket_t *socket) {
  const struct rover__lua_socket *box = rover_socket_data(socket);
  if (box->awaited) return 0;
  lua_getiuservalue(L, index, 1);
  bool heard = rover__lua_has_handler(L, -1, ROVER__LUA_DATA);
  if (heard && !box->paused) return rover_socket_read_start(socket);
  if (!heard || !box->ended) rover_socket_read_stop(socket);
  return 0;
}

void rover__lua_expect_no_more(rover_socket_t *socket) {
  struct rover__lua_socket *box = rover_socket_data(socket);
  box->awaited = false;
  rover_socket_hold(socket, false);
}

/* Handlers that were added earlier could not start reading yet. */
void rover__lua_catch_up(rover_socket_t *socket) {
  struct rover__lua_socket *box = rover_socket_data(socket);
  lua_State *L = box->lua->L;
  int top = lua_gettop(L), err = UV_ENOMEM;

  if (!box->has_own && !box->ended) return; /* there are none */
  if (lua_checkstack(L, 4)) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, box->anchor);
    err = rover__lua_follow_listeners(L, top + 1, socket);
    lua_settop(L, top);
  }
  if (err < 0) rover_socket_close(socket);
  else if (box->ended) on_end(socket);
}
