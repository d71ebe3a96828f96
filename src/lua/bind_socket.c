#include "bind_socket.h"

#include "check.h"
#include "error.h"
#include "name.h"
#include "plain.h"
#include "server.h"

#include <stdint.h>
#include <string.h>

#define SOCKET_TYPE "callosum.socket"

enum { DATA, END, CLOSE, DRAIN };
static const char *const event_names[] = {"data", "end", "close", "drain",
                                          NULL};

/* What stays readable when the socket is gone. It has no finalizer: most sockets
 * are refused at once, and one for each would cost more than all else. So its
 * server, which outlives it, is held by an object that the sockets of one server
 * share. The uservalue is that, or a table of the handlers which has it at
 * SERVER, and socket.state in `state`. */
struct rover__lua_socket {
  rover_socket_t *socket; /* NULL once closed, or taken by another state */
  rover__lua_t *lua;
  unsigned slot : 31;
  unsigned adopted : 1; /* by this state, from the one before */
  int anchor : 27; /* reference in the registry until closed */
  unsigned has_own : 1; /* table */
  unsigned lost : 1; /* bytes, for want of memory */
  unsigned awaited : 1; /* its `connection` is yet to come */
  unsigned ended : 1; /* by the peer, maybe while it was awaited */
  unsigned paused : 1;
};

enum { SERVER = 0 };

static struct rover__lua_socket *check_box(lua_State *L) {
  return luaL_checkudata(L, 1, SOCKET_TYPE);
}

static bool is_closed(const struct rover__lua_socket *box) {
  return !box->socket || box->lua->dead ||
         rover_socket_is_closing(box->socket);
}

rover_socket_t *rover__lua_check_socket(lua_State *L, int index) {
  struct rover__lua_socket *box = luaL_checkudata(L, index, SOCKET_TYPE);
  return is_closed(box) ? NULL : box->socket;
}

bool rover__lua_is_socket(lua_State *L, int index) {
  return luaL_testudata(L, index, SOCKET_TYPE) != NULL;
}

/* One that is closed for any other reason has had its anchor. */
static bool is_passed_on(const struct rover__lua_socket *box) {
  return !box->socket && box->anchor == LUA_NOREF;
}

static int fail_closed(lua_State *L, const struct rover__lua_socket *box) {
  return rover__lua_fail(L, UV_ENOTCONN, is_passed_on(box)
                                             ? "the socket was passed on"
                                             : "the socket is closed");
}

static int return_self(lua_State *L) { return rover__lua_return_self(L); }

static struct rover__lua_object *rover_of(const rover_socket_t *socket) {
  return rover_data(rover_socket_rover(socket));
}

/* NULL once the state is gone, and the userdata with it; or once another has
 * taken its rover over, which knows nothing of what was closing then. */
static rover__lua_t *lua_of(const rover_socket_t *socket) {
  const struct rover__lua_socket *box = rover_socket_data(socket);
  rover__lua_t *lua = rover_of(socket)->lua;
  return box->lua == lua ? lua : NULL;
}

/* -- The server ----------------------------------------------------------- */

/* Pushes what holds that of the socket at `index`. */
static void push_holder(lua_State *L, int index) {
  if (lua_getiuservalue(L, index, 1) != LUA_TTABLE) return;
  lua_rawgeti(L, -1, SERVER);
  lua_remove(L, -2);
}

void rover__lua_push_id(lua_State *L, int index) {
  push_holder(L, index);
  lua_getiuservalue(L, -1, 1);
  lua_remove(L, -2);
}

/* The field `server` of the socket at index 1. */
static void push_server(lua_State *L) {
  push_holder(L, 1);
  rover__lua_push_held(L, lua_gettop(L));
}

/* -- Its own table -------------------------------------------------------- */

/* Pushes the table of the socket at `index`, made if there is none. */
static void push_table(lua_State *L, struct rover__lua_socket *box, int index) {
  if (lua_getiuservalue(L, index, 1) == LUA_TTABLE) return;
  lua_createtable(L, 0, 2);
  lua_insert(L, -2);
  lua_rawseti(L, -2, SERVER);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, index, 1);
  box->has_own = true;
}

/* That of the socket at index 1. */
static void push_own(lua_State *L) {
  push_table(L, lua_touserdata(L, 1), 1);
}

/* -- Events --------------------------------------------------------------- */

struct event {
  rover_socket_t *socket;
  int event;
  int status;
  const char *bytes; /* of data */
  size_t length;
  bool told; /* the handlers have been called */
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
  struct rover__lua_socket *box = rover_socket_data(e->socket);
  int failed;

  if (e->event == DATA) lua_pushlstring(L, e->bytes, e->length);
  if (e->event == CLOSE) push_status(L, e->socket, e->status);
  int nargs = lua_gettop(L) - 2;
  lua_rawgeti(L, LUA_REGISTRYINDEX, box->anchor);
  lua_getiuservalue(L, -1, 1);
  int table = lua_gettop(L);
  if (nargs > 0) lua_pushvalue(L, 3);
  e->told = true;
  rover__lua_emit_last(box->lua, L, table, e->event, nargs, &failed);
  return 0;
}

/* A socket stays after what its own handlers raise, unless it ends anyway. */
static struct rover__lua_occasion occasion_of(const char *event,
                                              const rover_socket_t *socket,
                                              bool stays) {
  return (struct rover__lua_occasion){
      .event = event,
      .rover = rover_of(socket)->name,
      .server = rover_server_id(rover_socket_server(socket)),
      .socket = socket,
      .outcome = stays ? "the socket stays" : NULL};
}

static void emit(struct event *e) {
  const struct rover__lua_socket *box = rover_socket_data(e->socket);
  rover__lua_t *lua = lua_of(e->socket);
  if (!lua || box->awaited) return;
  struct rover__lua_occasion occasion = occasion_of(
      event_names[e->event], e->socket, e->event == DATA || e->event == DRAIN);
  rover__lua_tell(lua, &occasion, socket_event, e, NULL);
}

/* Bytes that there is no memory for are lost, so the stream cannot go on. */
static void on_data(rover_socket_t *socket, const char *bytes, size_t length) {
  struct event event = {
      .socket = socket, .event = DATA, .bytes = bytes, .length = length};
  const rover__lua_t *lua = lua_of(socket);

  if (!lua || lua->retired) return;
  emit(&event);
  if (event.told) return;
  struct rover__lua_socket *box = rover_socket_data(socket);
  box->lost = true;
  rover_socket_close(socket);
}

static void on_end(rover_socket_t *socket) {
  struct rover__lua_socket *box = rover_socket_data(socket);
  box->ended = true;
  emit(&(struct event){.socket = socket, .event = END});
}

static void on_drain(rover_socket_t *socket) {
  emit(&(struct event){.socket = socket, .event = DRAIN});
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
    emit(&(struct event){.socket = socket, .event = CLOSE, .status = status});
  box->socket = NULL;
  luaL_unref(lua->L, LUA_REGISTRYINDEX, box->anchor);
  rover__lua_object_release(rover);
}

/* All sockets of a rover have these, or none, so that setting them cannot
 * fail. */
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

/* `arg` is the function's reference in the registry. */
static void on_done(rover_socket_t *socket, int status, void *arg) {
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
  *box = (struct rover__lua_socket){
      .lua = lua,
      .slot = (unsigned)rover_socket_slot(socket),
      .anchor = LUA_NOREF};
  lua_rawgeti(L, LUA_REGISTRYINDEX, lua->socket_type);
  lua_setmetatable(L, -2);
  rover__lua_hold_server(L, lua, rover_socket_server(socket));
  lua_setiuservalue(L, -2, 1);
  lua_pushvalue(L, -1);
  box->anchor = luaL_ref(L, LUA_REGISTRYINDEX);
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
  if (push_known(L, socket)) { /* a finalizer has asked for it meanwhile */
    luaL_unref(L, LUA_REGISTRYINDEX, box->anchor);
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
    push_table(L, box, lua_gettop(L));
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
  rover_of(socket)->holds++;
  box->awaited = true;
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

/* All that may call back are anchored. */
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

/* -- Methods -------------------------------------------------------------- */

/* Reading goes on while somebody listens to data, and it is not paused. What is
 * left once the peer has ended it is read all the same: to stop then would close
 * it. The socket is at `index`. */
static int follow_listeners(lua_State *L, int index, rover_socket_t *socket) {
  const struct rover__lua_socket *box = rover_socket_data(socket);
  if (box->awaited) return 0;
  lua_getiuservalue(L, index, 1);
  if (!rover__lua_has_handler(L, -1, DATA)) rover_socket_read_stop(socket);
  else if (!box->paused) return rover_socket_read_start(socket);
  else if (!box->ended) rover_socket_read_stop(socket);
  return 0;
}

void rover__lua_expect_no_more(rover_socket_t *socket) {
  struct rover__lua_socket *box = rover_socket_data(socket);
  box->awaited = false;
}

/* Who had a handler before may not have been able to read. */
void rover__lua_catch_up(rover_socket_t *socket) {
  struct rover__lua_socket *box = rover_socket_data(socket);
  lua_State *L = box->lua->L;
  int top = lua_gettop(L), err = UV_ENOMEM;

  if (lua_checkstack(L, 4)) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, box->anchor);
    err = follow_listeners(L, top + 1, socket);
    lua_settop(L, top);
  }
  if (err < 0) rover_socket_close(socket);
  else if (box->ended) on_end(socket);
}

/* The last handler of `data` is off its list. */
static int follow(lua_State *L) {
  struct rover__lua_socket *box = check_box(L);
  if (!is_closed(box)) follow_listeners(L, 1, box->socket);
  return 0;
}

static int add(lua_State *L, enum rover__lua_method method) {
  struct rover__lua_socket *box = check_box(L);
  struct rover__lua_change change =
      rover__lua_check_change(L, 2, event_names, method);
  if (change.event == DATA) change.gone = follow;
  push_own(L);                         /* 4: handlers by event */
  lua_rawgeti(L, 4, change.event + 1); /* 5: those of this one so far */
  rover__lua_change_handlers(L, 4, 3, &change);
  int err = is_closed(box) ? 0 : follow_listeners(L, 1, box->socket);
  if (err == 0) return return_self(L);
  lua_settop(L, 5);
  lua_rawseti(L, 4, change.event + 1);
  return rover__lua_fail(L, err, NULL);
}

static int l_on(lua_State *L) { return add(L, ROVER__LUA_ON); }

static int l_once(lua_State *L) { return add(L, ROVER__LUA_ONCE); }

/* All handlers but observers go from the table on top. */
static void remove_handlers(lua_State *L) {
  for (int event = 0; event_names[event]; event++) {
    lua_pushnil(L);
    lua_rawseti(L, -2, event + 1);
  }
}

static int off_all(lua_State *L, struct rover__lua_socket *box) {
  push_own(L);
  remove_handlers(L);
  box->paused = false;
  if (!is_closed(box)) rover_socket_read_stop(box->socket);
  return return_self(L);
}

static int l_off(lua_State *L) {
  struct rover__lua_socket *box = check_box(L);
  if (lua_gettop(L) == 1) return off_all(L, box);
  struct rover__lua_change change =
      rover__lua_check_change(L, 2, event_names, ROVER__LUA_OFF);
  push_own(L);
  rover__lua_change_handlers(L, -1, 3, &change);
  if (!is_closed(box)) follow_listeners(L, 1, box->socket);
  return return_self(L);
}

static int set_paused(lua_State *L, bool paused) {
  struct rover__lua_socket *box = check_box(L);
  if (is_closed(box)) return return_self(L);
  box->paused = paused;
  int err = follow_listeners(L, 1, box->socket);
  return err < 0 ? rover__lua_fail(L, err, NULL) : return_self(L);
}

static int l_pause(lua_State *L) { return set_paused(L, true); }

static int l_resume(lua_State *L) { return set_paused(L, false); }

/* The optional function at `arg` as a reference, or LUA_NOREF. */
static int check_done(lua_State *L, int arg) {
  if (lua_isnoneornil(L, arg)) return LUA_NOREF;
  luaL_checktype(L, arg, LUA_TFUNCTION);
  lua_pushvalue(L, arg);
  return luaL_ref(L, LUA_REGISTRYINDEX);
}

/* Returns what a request with such a function has come to. */
static int requested(lua_State *L, int err, int fn) {
  if (err == 0) return return_self(L);
  luaL_unref(L, LUA_REGISTRYINDEX, fn);
  return rover__lua_fail(L, err, NULL);
}

static int l_write(lua_State *L) {
  struct rover__lua_socket *box = check_box(L);
  unsigned count;
  lua_settop(L, 3); /* what is pushed from here on is no argument */
  size_t length;
  uv_buf_t *buffers = rover__lua_check_buffers(L, 2, &count, &length);
  if (!lua_isnoneornil(L, 3)) luaL_checktype(L, 3, LUA_TFUNCTION);
  if (is_closed(box)) return fail_closed(L, box);

  if (!rover__lua_may_have(box->lua, length))
    return rover__lua_fail(L, UV_ENOBUFS, "too much waits to be sent: go on "
                                          "when 'drain' comes");
  int fn = check_done(L, 3);
  int err = rover_socket_write(box->socket, buffers, count,
                               fn == LUA_NOREF ? NULL : on_done,
                               (void *)(intptr_t)fn);
  return requested(L, err, fn);
}

static int l_shutdown(lua_State *L) {
  struct rover__lua_socket *box = check_box(L);
  if (!lua_isnoneornil(L, 2)) luaL_checktype(L, 2, LUA_TFUNCTION);
  if (is_closed(box)) return fail_closed(L, box);

  int fn = check_done(L, 2);
  int err = rover_socket_shutdown(box->socket,
                                  fn == LUA_NOREF ? NULL : on_done,
                                  (void *)(intptr_t)fn);
  return requested(L, err, fn);
}

static int l_close(lua_State *L) {
  struct rover__lua_socket *box = check_box(L);
  if (!is_closed(box)) rover_socket_close(box->socket);
  return return_self(L);
}

static int l_detach(lua_State *L) {
  struct rover__lua_socket *box = check_box(L);
  if (is_closed(box)) return fail_closed(L, box);
  int fd = rover_socket_detach(box->socket);
  if (fd == UV_EBUSY)
    return rover__lua_fail(L, fd, "what was written is not all sent, or a "
                                  "shutdown is under way");
  if (fd < 0) return rover__lua_fail(L, fd, NULL);
  lua_pushinteger(L, fd);
  return 1;
}

/* The new object has all but the handlers, and the old one only what tells
 * whose it was: so whoever still has that can do the connection no harm. */
static int l_pass(lua_State *L) {
  struct rover__lua_socket *box = check_box(L);
  lua_settop(L, 1);
  struct rover__lua_socket *new = lua_newuserdatauv(L, sizeof *new, 1);
  if (is_passed_on(box))
    return rover__lua_fail(L, UV_EALREADY, "the socket was passed on before");
  /* Now, for what makes memory free may have closed it. */
  if (is_closed(box)) return fail_closed(L, box);

  *new = *box;
  new->paused = false;
  lua_rawgeti(L, LUA_REGISTRYINDEX, box->lua->socket_type);
  lua_setmetatable(L, 2);
  push_holder(L, 1);
  lua_getiuservalue(L, 1, 1);
  if (box->has_own) remove_handlers(L);
  lua_setiuservalue(L, 2, 1);
  lua_setiuservalue(L, 1, 1);
  lua_pushvalue(L, 2);
  lua_rawseti(L, LUA_REGISTRYINDEX, new->anchor);
  *box = (struct rover__lua_socket){
      .lua = box->lua, .slot = box->slot, .adopted = box->adopted,
      .anchor = LUA_NOREF};
  rover_socket_read_stop(new->socket);
  rover_socket_set_data(new->socket, new);
  return 1;
}

static int push_name(lua_State *L, const struct rover__lua_socket *box,
                     int (*get)(const uv_tcp_t *, struct sockaddr *, int *)) {
  struct sockaddr_storage name;
  int size = sizeof name;

  if (is_closed(box)) return fail_closed(L, box);
  const uv_stream_t *stream = rover_socket_stream(box->socket);
  if (!stream) return rover__lua_no_memory(L);
  int err = get((const uv_tcp_t *)stream, (struct sockaddr *)&name, &size);
  if (err < 0) return rover__lua_fail(L, err, NULL);
  return rover__lua_push_name(L, (struct sockaddr *)&name);
}

static int l_peername(lua_State *L) {
  return push_name(L, check_box(L), uv_tcp_getpeername);
}

static int l_sockname(lua_State *L) {
  return push_name(L, check_box(L), uv_tcp_getsockname);
}

static int l_write_queue_size(lua_State *L) {
  struct rover__lua_socket *box = check_box(L);
  size_t size =
      is_closed(box) ? 0 : rover_socket_write_queue_size(box->socket);
  lua_pushinteger(L, (lua_Integer)size);
  return 1;
}

/* -- Fields --------------------------------------------------------------- */

/* Made when first asked for: most sockets never have one. */
static void push_state(lua_State *L) {
  push_own(L);
  if (lua_getfield(L, -1, "state") != LUA_TNIL) return;
  lua_pop(L, 1);
  lua_newtable(L);
  rover__plain_guard(L, -1, ROVER__PLAIN_STATE);
  lua_pushvalue(L, -1);
  lua_setfield(L, -3, "state");
}

/* Upvalue 1 is the table of methods. */
static int l_index(lua_State *L) {
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
  struct rover__lua_socket *box = check_box(L);
  const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
  if (!strcmp(name, "slot")) lua_pushinteger(L, box->slot);
  else if (!strcmp(name, "id")) rover__lua_push_id(L, 1);
  else if (!strcmp(name, "server")) push_server(L);
  else if (!strcmp(name, "closed")) lua_pushboolean(L, is_closed(box));
  else if (!strcmp(name, "adopted")) lua_pushboolean(L, box->adopted);
  else if (!strcmp(name, "state")) push_state(L);
  else lua_pushnil(L);
  return 1;
}

static int l_newindex(lua_State *L) {
  check_box(L);
  const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
  if (strcmp(name, "state") != 0)
    return luaL_error(L, "a socket's field '%s' cannot be set; what is yours "
                         "goes into its table 'state'", name);
  if (!lua_istable(L, 3))
    return luaL_error(L, "socket.state: table expected, got %s",
                      luaL_typename(L, 3));
  rover__plain_check(L, 3, "socket.state");
  rover__plain_guard(L, 3, ROVER__PLAIN_STATE);
  push_own(L);
  lua_pushvalue(L, 3);
  lua_setfield(L, -2, "state");
  return 0;
}

static int l_tostring(lua_State *L) {
  struct rover__lua_socket *box = check_box(L);
  rover__lua_push_id(L, 1);
  const char *more = is_passed_on(box) ? ", passed on"
                     : is_closed(box)  ? ", closed"
                                       : "";
  lua_pushfstring(L, "socket (slot %d of %s%s)", (int)box->slot,
                  lua_tostring(L, -1), more);
  return 1;
}

static const luaL_Reg methods[] = {
    {"write", l_write},
    {"on", l_on},
    {"once", l_once},
    {"off", l_off},
    {"shutdown", l_shutdown},
    {"close", l_close},
    {"detach", l_detach},
    {"pass", l_pass},
    {"pause", l_pause},
    {"resume", l_resume},
    {"peername", l_peername},
    {"sockname", l_sockname},
    {"writeQueueSize", l_write_queue_size},
    {NULL, NULL},
};

static const luaL_Reg metamethods[] = {
    {"__close", l_close},
    {"__newindex", l_newindex},
    {"__tostring", l_tostring},
    {NULL, NULL},
};

void rover__lua_open_socket(lua_State *L, rover__lua_t *lua) {
  luaL_newmetatable(L, SOCKET_TYPE);
  luaL_setfuncs(L, metamethods, 0);
  luaL_newlib(L, methods);
  lua_pushcclosure(L, l_index, 1);
  lua_setfield(L, -2, "__index");
  lua->socket_type = luaL_ref(L, LUA_REGISTRYINDEX);
}
