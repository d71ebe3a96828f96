#include "socket.h"

#include <stdint.h>
#include <string.h>

#include "error.h"
#include "plain.h"
#include "server.h"

static int fail_closed(lua_State *L, const struct rover__lua_socket *box) {
  return rover__lua_fail(L, UV_ENOTCONN,
                         rover__lua_socket_is_passed_on(box)
                             ? "the socket was passed on"
                             : "the socket is closed");
}

/* A handler of `data` has removed itself, perhaps the last one. */
static int follow(lua_State *L) {
  struct rover__lua_socket *box = rover__lua_socket_box(L);
  if (!rover__lua_socket_is_closed(box))
    rover__lua_follow_listeners(L, 1, box->socket);
  return 0;
}

/* Removes all handlers but observers from the table on top. */
static void remove_handlers(lua_State *L) {
  for (int event = 0; rover__lua_socket_events[event]; event++) {
    lua_pushnil(L);
    lua_rawseti(L, -2, event + 1);
  }
}

static int off_all(lua_State *L, struct rover__lua_socket *box) {
  rover__lua_push_own(L, 1);
  remove_handlers(L);
  box->paused = false;
  if (!rover__lua_socket_is_closed(box)) rover_socket_read_stop(box->socket);
  return rover__lua_return_self(L);
}

static int l_change(lua_State *L) {
  struct rover__lua_socket *box = rover__lua_socket_box(L);
  int method = rover__lua_method(L);
  if (method == ROVER__LUA_OFF && lua_gettop(L) == 1) return off_all(L, box);
  struct rover__lua_change change =
      rover__lua_check_change(L, 2, rover__lua_socket_events, method);
  if (change.event == ROVER__LUA_DATA) change.gone = follow;
  rover__lua_push_own(L, 1);           /* 4: handlers by event */
  lua_rawgeti(L, 4, change.event + 1); /* 5: those of this one so far */
  rover__lua_change_handlers(L, 4, 3, &change);
  int err = rover__lua_socket_is_closed(box)
                ? 0
                : rover__lua_follow_listeners(L, 1, box->socket);
  if (err == 0 || method == ROVER__LUA_OFF) return rover__lua_return_self(L);
  lua_settop(L, 5);
  if (!change.observer) lua_rawseti(L, 4, change.event + 1);
  return rover__lua_fail(L, err, NULL);
}

static int set_paused(lua_State *L, bool paused) {
  struct rover__lua_socket *box = rover__lua_socket_box(L);
  if (rover__lua_socket_is_closed(box)) return rover__lua_return_self(L);
  box->paused = paused;
  int err = rover__lua_follow_listeners(L, 1, box->socket);
  return err < 0 ? rover__lua_fail(L, err, NULL) : rover__lua_return_self(L);
}

static int l_pause(lua_State *L) { return set_paused(L, true); }

static int l_resume(lua_State *L) { return set_paused(L, false); }

/* A reference to the optional function at `arg`, or LUA_NOREF. */
static int refer_to(lua_State *L, int arg) {
  if (lua_isnoneornil(L, arg)) return LUA_NOREF;
  lua_pushvalue(L, arg);
  return luaL_ref(L, LUA_REGISTRYINDEX);
}

/* Returns the result of a request with such a function. */
static int requested(lua_State *L, int err, int fn) {
  if (err == 0) return rover__lua_return_self(L);
  luaL_unref(L, LUA_REGISTRYINDEX, fn);
  return rover__lua_fail(L, err, NULL);
}

static int l_write(lua_State *L) {
  struct rover__lua_socket *box = rover__lua_socket_box(L);
  bool tells = !lua_isnoneornil(L, 3); /* what is pushed later is no argument */
  unsigned count;
  size_t length;
  uv_buf_t one;
  uv_buf_t *buffers = rover__lua_check_buffers(L, 2, &one, &count, &length);
  if (tells) luaL_checktype(L, 3, LUA_TFUNCTION);
  if (rover__lua_socket_is_closed(box)) return fail_closed(L, box);

  if (!rover__lua_may_have(box->lua, length))
    return rover__lua_fail(L, UV_ENOBUFS,
                           "too many bytes are queued: continue "
                           "after 'drain'");
  int fn = tells ? refer_to(L, 3) : LUA_NOREF;
  int err = rover_socket_write(box->socket, buffers, count,
                               fn == LUA_NOREF ? NULL : rover__lua_socket_done,
                               (void *)(intptr_t)fn);
  return requested(L, err, fn);
}

static int l_shutdown(lua_State *L) {
  struct rover__lua_socket *box = rover__lua_socket_box(L);
  if (!lua_isnoneornil(L, 2)) luaL_checktype(L, 2, LUA_TFUNCTION);
  if (rover__lua_socket_is_closed(box)) return fail_closed(L, box);

  int fn = refer_to(L, 2);
  int err = rover_socket_shutdown(
      box->socket, fn == LUA_NOREF ? NULL : rover__lua_socket_done,
      (void *)(intptr_t)fn);
  return requested(L, err, fn);
}

static int l_close(lua_State *L) {
  struct rover__lua_socket *box = rover__lua_socket_box(L);
  if (!rover__lua_socket_is_closed(box)) rover_socket_close(box->socket);
  return rover__lua_return_self(L);
}

static int l_detach(lua_State *L) {
  struct rover__lua_socket *box = rover__lua_socket_box(L);
  if (rover__lua_socket_is_closed(box)) return fail_closed(L, box);
  int fd = rover_socket_detach(box->socket);
  if (fd == UV_EBUSY)
    return rover__lua_fail(L, fd,
                           "writes are queued or a shutdown is in progress");
  if (fd == UV_ENOTSUP)
    return rover__lua_fail(L, fd,
                           "the connection is secured by TLS, whose keys stay "
                           "here: its descriptor alone is of no use");
  if (fd < 0) return rover__lua_fail(L, fd, NULL);
  lua_pushinteger(L, fd);
  return 1;
}

/* The new object gets everything but the handlers; the old one keeps only what
 * says which server it was of, so that whoever still has it can do no harm to
 * the connection. */
static int l_pass(lua_State *L) {
  struct rover__lua_socket *box = rover__lua_socket_box(L);
  lua_settop(L, 1);
  struct rover__lua_socket *new = lua_newuserdatauv(L, sizeof *new, 1);
  if (rover__lua_socket_is_passed_on(box))
    return rover__lua_fail(L, UV_EALREADY, "the socket was passed on before");
  /* Only now: a finalizer may have closed it. */
  if (rover__lua_socket_is_closed(box)) return fail_closed(L, box);

  *new = *box;
  new->paused = false;
  lua_rawgeti(L, LUA_REGISTRYINDEX, box->lua->socket_type);
  lua_setmetatable(L, 2);
  rover__lua_push_holder(L, 1);
  lua_getiuservalue(L, 1, 1);
  if (box->has_own) remove_handlers(L);
  lua_setiuservalue(L, 2, 1);
  lua_setiuservalue(L, 1, 1);
  lua_pushvalue(L, 2);
  lua_rawseti(L, LUA_REGISTRYINDEX, new->anchor);
  *box = (struct rover__lua_socket){.lua = box->lua,
                                    .slot = box->slot,
                                    .adopted = box->adopted,
                                    .anchor = LUA_NOREF};
  rover_socket_read_stop(new->socket);
  rover_socket_set_data(new->socket, new);
  return 1;
}

static int push_name(lua_State *L, const struct rover__lua_socket *box,
                     int (*get)(const rover_socket_t *,
                                struct sockaddr_storage *)) {
  struct sockaddr_storage name;

  if (rover__lua_socket_is_closed(box)) return fail_closed(L, box);
  int err = get(box->socket, &name);
  return rover__lua_push_name(L, err, &name);
}

static int l_peername(lua_State *L) {
  return push_name(L, rover__lua_socket_box(L), rover_socket_peername);
}

static int l_sockname(lua_State *L) {
  return push_name(L, rover__lua_socket_box(L), rover_socket_sockname);
}

static int l_write_queue_size(lua_State *L) {
  struct rover__lua_socket *box = rover__lua_socket_box(L);
  size_t size = rover__lua_socket_is_closed(box)
                    ? 0
                    : rover_socket_write_queue_size(box->socket);
  lua_pushinteger(L, (lua_Integer)size);
  return 1;
}

/* -- Fields --------------------------------------------------------------- */

/* Created on first use: most sockets never have one. */
static void push_state(lua_State *L) {
  rover__lua_push_own(L, 1);
  if (lua_getfield(L, -1, "state") != LUA_TNIL) return;
  lua_pop(L, 1);
  lua_newtable(L);
  rover__plain_guard(L, -1, ROVER__PLAIN_STATE);
  lua_pushvalue(L, -1);
  lua_setfield(L, -3, "state");
}

/* The field `server` of the socket at index 1. */
static void push_server(lua_State *L) {
  rover__lua_push_holder(L, 1);
  rover__lua_push_held(L, lua_gettop(L));
}

enum field { SLOT, ID, SERVER, CLOSED, ADOPTED, LENT, STATE, FIELDS };
static const char *const fields[FIELDS] = {
    "slot", "id", "server", "closed", "adopted", "lent", "state"};

/* Upvalue 1 is the table of methods, with the numbers of fields. */
static int l_index(lua_State *L) {
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNUMBER) return 1;
  struct rover__lua_socket *box = rover__lua_socket_box(L);
  switch ((enum field)lua_tointeger(L, -1)) {
    case SLOT: lua_pushinteger(L, box->slot); break;
    case ID: rover__lua_push_id(L, 1); break;
    case SERVER: push_server(L); break;
    case CLOSED: lua_pushboolean(L, rover__lua_socket_is_closed(box)); break;
    case ADOPTED: lua_pushboolean(L, box->adopted); break;
    case LENT:
      lua_pushboolean(L, !rover__lua_socket_is_closed(box) &&
                             rover_socket_is_lent(box->socket));
      break;
    case STATE: push_state(L); break;
    case FIELDS: lua_pushnil(L);
  }
  return 1;
}

static int set_lent(lua_State *L, const struct rover__lua_socket *box) {
  if (!lua_isboolean(L, 3))
    return luaL_error(L, "socket.lent: boolean expected, got %s",
                      luaL_typename(L, 3));
  if (!rover__lua_socket_is_closed(box))
    rover_socket_set_lent(box->socket, lua_toboolean(L, 3));
  return 0;
}

static int l_newindex(lua_State *L) {
  const struct rover__lua_socket *box = rover__lua_socket_box(L);
  const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
  if (!strcmp(name, "lent")) return set_lent(L, box);
  if (strcmp(name, "state") != 0)
    return luaL_error(L,
                      "a socket's field '%s' cannot be set; put what is yours "
                      "into its table 'state'",
                      name);
  if (!lua_istable(L, 3))
    return luaL_error(L, "socket.state: table expected, got %s",
                      luaL_typename(L, 3));
  rover__plain_check(L, 3, "socket.state");
  rover__plain_guard(L, 3, ROVER__PLAIN_STATE);
  rover__lua_push_own(L, 1);
  lua_pushvalue(L, 3);
  lua_setfield(L, -2, "state");
  return 0;
}

static int l_tostring(lua_State *L) {
  struct rover__lua_socket *box = rover__lua_socket_box(L);
  rover__lua_push_id(L, 1);
  const char *more = rover__lua_socket_is_passed_on(box) ? ", passed on"
                     : rover__lua_socket_is_closed(box)  ? ", closed"
                                                         : "";
  lua_pushfstring(L, "socket (slot %d of %s%s)", (int)box->slot,
                  lua_tostring(L, -1), more);
  return 1;
}

static const luaL_Reg methods[] = {
    {"write", l_write},
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
  rover__lua_new_type(L, rover__lua_socket_type);
  luaL_setfuncs(L, metamethods, 0);
  luaL_newlib(L, methods);
  rover__lua_set_changers(L, l_change);
  for (lua_Integer i = 0; i < FIELDS; i++) {
    lua_pushinteger(L, i);
    lua_setfield(L, -2, fields[i]);
  }
  lua_pushcclosure(L, l_index, 1);
  lua_setfield(L, -2, "__index");
  lua->socket_type = luaL_ref(L, LUA_REGISTRYINDEX);
}
