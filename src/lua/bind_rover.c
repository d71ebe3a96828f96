#include "bind_rover.h"

#include "../rover/hold.h"
#include "../rover/reload.h"
#include "check.h"
#include "error.h"
#include "keeper.h"
#include "rejection.h"
#include "rover_object.h"
#include "server.h"
#include "socket.h"
#include "tls_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct rover__lua_kind *const kind = &rover__lua_rover_kind;

static struct rover__lua_object *check_open(lua_State *L) {
  return rover__lua_object_check(L, kind);
}

struct rover__lua_object *rover__lua_check_rover(lua_State *L, int arg) {
  struct rover__lua_object **box = rover__lua_check_type(L, arg, kind->type);
  if (!*box || (*box)->closing)
    rover__lua_misuse(L, arg, "the %s is closed", kind->noun);
  return *box;
}

/* -- Events --------------------------------------------------------------- */

/* The server, the fourth argument of `connection`, is a new table each time,
 * since handlers may change it. It is made once a handler with a parameter for
 * it has been registered. */
static bool wants_server(lua_State *L) {
  lua_Debug ar;
  if (!lua_isfunction(L, 3) || lua_type(L, 2) != LUA_TSTRING ||
      strcmp(lua_tostring(L, 2), kind->events[ROVER__LUA_CONNECTION]) != 0)
    return false;
  lua_pushvalue(L, 3);
  lua_getinfo(L, ">u", &ar);
  return ar.nparams >= 4 || ar.isvararg;
}

static int connection_event(lua_State *L) {
  struct rover__lua_object *o = lua_touserdata(L, 1);
  rover_socket_t *socket = lua_touserdata(L, 2);
  int failed, nargs = 3;

  rover__lua_push_socket(L, socket); /* 3 */
  rover__lua_object_push(L, o);
  lua_getiuservalue(L, 4, 1); /* 5: the handlers */
  rover__lua_push_holder(L, 3);
  lua_pushinteger(L, rover_socket_slot(socket));
  lua_pushvalue(L, 3);
  lua_getiuservalue(L, 6, 1); /* the server's id */
  if (rover__lua_rover_of(o)->wants_server) {
    rover__lua_push_server(L, rover_socket_server(socket));
    nargs = 4;
  }
  int handlers =
      rover__lua_emit_last(o->lua, L, 5, ROVER__LUA_CONNECTION, nargs, &failed);
  bool stays = handlers > 0 || rover__lua_keeps_all(o);
  if (!stays || failed > 0) rover_socket_close(socket);
  return 0;
}

void rover__lua_deliver(struct rover__lua_object *o, rover_socket_t *socket) {
  o->holds++; /* until it has its userdata: a finalizer may stop the rover */
  struct rover__lua_occasion occasion = {
      .event = "connection",
      .noun = kind->noun,
      .name = o->name,
      .server = rover_server_id(rover_socket_server(socket)),
      .socket = socket,
      .outcome = "the socket is closed"};
  if (rover__lua_tell(o->lua, &occasion, connection_event, o, socket) < 0)
    rover_socket_close(socket);
  rover__lua_object_release(o);
}

static void on_connection(rover_t *rover, int slot, rover_socket_t *socket) {
  struct rover__lua_object *o = rover_data(rover);
  struct rover__lua_rover *r = rover__lua_rover_of(o);
  (void)slot;
  /* Without a userdata, it does not keep the rover: its clock does. */
  if (rover__lua_keeper_take(r, socket)) rover__lua_object_settle(o);
  else if (r->heard || !rover__lua_keeps_all(o) || !rover_is_started(rover))
    rover__lua_deliver(o, socket);
  /* A client may be waiting for it. */
  if (o->lua && o->lua->objects[ROVER__LUA_RELAYS]) o->lua->kept(o->lua);
}

struct outcome {
  rover_server_t *server;
  int status;
  const char *message;
};

static int unreachable_event(lua_State *L) {
  struct rover__lua_object *o = lua_touserdata(L, 1);
  const struct outcome *outcome = lua_touserdata(L, 2);
  const char *id = rover_server_id(outcome->server);
  int failed;

  rover__lua_object_push_handlers(L, o);
  lua_pushstring(L, id);
  rover__lua_push_server(L, outcome->server);
  rover__lua_push_error(L, outcome->status, outcome->message, id);
  rover__lua_emit_last(o->lua, L, 3, ROVER__LUA_UNREACHABLE, 3, &failed);
  return 0;
}

static int added_event(lua_State *L) {
  struct rover__lua_object *o = lua_touserdata(L, 1);
  rover_server_t *server = lua_touserdata(L, 2);
  int failed;

  rover__lua_object_push_handlers(L, o);
  lua_pushstring(L, rover_server_id(server));
  rover__lua_push_server(L, server);
  rover__lua_emit_last(o->lua, L, 3, ROVER__LUA_ADDED, 2, &failed);
  return 0;
}

static void tell_of_server(struct rover__lua_object *o, int event,
                           rover_server_t *server, lua_CFunction function,
                           void *value) {
  char id[ROVER_ID_MAX + 1]; /* the handlers may drop the server */
  snprintf(id, sizeof id, "%s", rover_server_id(server));
  struct rover__lua_occasion occasion = {.event = kind->events[event],
                                         .noun = kind->noun,
                                         .name = o->name,
                                         .server = id};
  rover__lua_tell(o->lua, &occasion, function, o, value);
  rover__lua_object_settle(o);
}

static void on_unreachable(rover_t *rover, rover_server_t *server, int status) {
  struct outcome outcome = {server, status, rover_unreachable_message(rover)};
  tell_of_server(rover_data(rover), ROVER__LUA_UNREACHABLE, server,
                 unreachable_event, &outcome);
}

static void on_added(rover_t *rover, rover_server_t *server) {
  tell_of_server(rover_data(rover), ROVER__LUA_ADDED, server, added_event,
                 server);
}

static void on_error(rover_t *rover, rover_server_t *server, int status,
                     const char *message) {
  struct rover__lua_object *o = rover_data(rover);
  rover__lua_object_report(o, server ? rover_server_id(server) : NULL, status,
                           message);
  rover__lua_object_settle(o);
}

/* Nothing is called in the policy: that is what limits are for. */
static void on_rejected(rover_t *rover, int slot, rover_server_t *server) {
  (void)slot;
  (void)server;
  rover__lua_keeper_rejected(rover__lua_rover_of(rover_data(rover)));
  rover__lua_object_settle(rover_data(rover));
}

/* Servers are told of once a handler has asked for that. */
static const rover_events_t events = {.connection = on_connection,
                                      .unreachable = on_unreachable,
                                      .error = on_error,
                                      .rejected = on_rejected},
                            all_events = {.connection = on_connection,
                                          .unreachable = on_unreachable,
                                          .error = on_error,
                                          .added = on_added,
                                          .rejected = on_rejected};

static bool wants_added(lua_State *L) {
  return lua_type(L, 2) == LUA_TSTRING &&
         !strcmp(lua_tostring(L, 2), kind->events[ROVER__LUA_ADDED]);
}

/* What one handler would reject may be what another is waiting for. */
static int change(lua_State *L) {
  struct rover__lua_object *o = rover__lua_object_test(L, kind);
  int results = rover__lua_object_change(L, kind);
  if (!o || o->closing) return results;
  size_t count = rover__lua_count_listeners(L);
  rover__lua_rover_of(o)->heard = count > 0;
  rover__lua_keeper_set_alone(rover__lua_rover_of(o), count == 1);
  if (count != 1) rover_set_rejection(o->rover, NULL);
  return results;
}

static int l_change(lua_State *L) {
  if (wants_added(L)) {
    struct rover__lua_object *o = check_open(L);
    rover_set_events(o->rover, &all_events, o);
  }
  if (wants_server(L)) {
    rover__lua_rover_of(check_open(L))->wants_server = true;
  }
  return change(L);
}

/* -- Life ----------------------------------------------------------------- */

static const struct rover__lua_option known[] = {
    {.name = "name"},
    {.name = "servers"},
    {.name = "tls"},
#define XX(type, field, kind, least, most, initial, lua, text)                 \
  {lua, ROVER__LUA_##kind, (double)(least), (double)(most),                    \
   offsetof(rover_options_t, field)},
    ROVER_OPTIONS_MAP(XX)
#undef XX
    {.name = NULL},
};

/* The option `tls`: 0, or what it fails with, and pushes the message. */
static int take_tls(lua_State *L, rover__lua_t *lua, rover_tls_t **tls) {
  int status = 0;

  if (lua_getfield(L, 1, "tls") != LUA_TNIL &&
      (!lua_isboolean(L, -1) || lua_toboolean(L, -1))) {
    int at = lua_gettop(L);
    rover__lua_check_tls_client(L, at, 1, "tls");
    *tls = rover__lua_tls_client(L, lua, at, 1, "tls", &status);
    lua_remove(L, at);
  } else {
    lua_pop(L, 1);
  }
  return status;
}

static int l_new(lua_State *L) {
  rover__lua_t *lua = rover__lua_of(L);
  rover_options_t options = {.events = events};

  if (lua_isnoneornil(L, 1)) {
    lua_settop(L, 0);
    lua_newtable(L);
  }
  rover__lua_object_check_new(L, kind, known, &options); /* 2: its name */
  int status = take_tls(L, lua, &options.tls);
  if (status == 0) status = rover__lua_check_servers(L, lua);
  if (status < 0)
    return rover__lua_tls_fail(L, lua, 1, status, lua_tostring(L, -1));
  rover__lua_object_push_new(L, kind); /* 3: the box, 4: its handlers */
  if (lua->owner) {
    options.memory = &lua->owner->memory;
    options.turn = lua->owner->turn;
  }
  bool may = rover__lua_may_have(lua, 0);
  struct rover__lua_object *o = may ? rover__lua_object_new(L, kind, 3) : NULL;
  options.data = o;
  int err = o ? rover_new(&o->rover, lua->loop, &options) : UV_ENOMEM;
  if (err < 0) {
    free(o);
    if (may && err == UV_ENOMEM) return rover__lua_no_memory(L);
    return luaL_error(L, "cannot make a rover: %s", rover__lua_explain(err));
  }
  *o->box = o;
  /* If one of these raises, the box is garbage, and no rover is declared. What
   * a script declares stays declared, even if nothing refers to it. */
  rover__lua_add_servers(L, lua, o->rover);
  rover__lua_object_declare(L, 3, o, lua->staged);
  rover_hold(o->rover, lua->adopting);
  lua_settop(L, 3);
  return 1;
}

static void on_closed(rover_t *rover) {
  struct rover__lua_object *o = rover_data(rover);
  struct rover__lua_owner *owner = rover__lua_object_closed(o);
  rover__lua_object_unref(o);
  if (owner) owner->closed(owner);
}

void rover__lua_rover_abandon(struct rover__lua_object *o) {
  rover__lua_keeper_end(rover__lua_rover_of(o));
  rover__lua_object_abandon(o);
  rover_set_events(o->rover, NULL, o);
  if (!o->closing) rover_close(o->rover, on_closed);
}

/* It is idle and nothing refers to it, or the state is closing. */
static int l_gc(lua_State *L) {
  struct rover__lua_object *o = rover__lua_object_test(L, kind);
  if (!o) return 0;
  if (o->holds > 0) rover__lua_part_sockets(o->lua);
  rover__lua_rover_abandon(o);
  return 0;
}

static void want_nothing(struct rover__lua_rover *r) {
  r->start_wanted = false;
  r->connects_wanted = r->ids_wanted = 0;
}

static int l_close(lua_State *L) {
  struct rover__lua_object *o = rover__lua_object_test(L, kind);
  if (!o) return rover__lua_return_self(L);
  struct rover__lua_rover *r = rover__lua_rover_of(o);
  rover__lua_keeper_tell_all(L, r);
  if (!rover__lua_object_test(L, kind)) return rover__lua_return_self(L);
  rover__lua_keeper_end(r);
  rover__lua_object_unbox(o);
  o->closing = true;
  want_nothing(r);
  rover_close(o->rover, on_closed);
  return rover__lua_return_self(L);
}

static int l_tostring(lua_State *L) {
  bool closed = !rover__lua_object_test(L, kind);
  lua_pushfstring(L, "rover '%s'%s", rover__lua_object_push_name(L),
                  closed ? " (closed)" : "");
  return 1;
}

/* -- Methods -------------------------------------------------------------- */

static int l_add_server(lua_State *L) {
  struct rover__lua_object *o = check_open(L);
  lua_settop(L, 3); /* what is pushed is no argument */
  const char *id = rover__lua_check_text(L, 2, 2, ROVER_ID_MAX, "server id");
  rover__lua_t *lua = o->lua;
  int status = rover__lua_add_server(L, lua, o->rover, id, 3, 3);
  if (status < 0)
    return rover__lua_tls_fail(L, lua, 3, status, lua_tostring(L, -1));
  return rover__lua_return_self(L);
}

static int l_set_servers(lua_State *L) {
  rover__lua_t *lua = check_open(L)->lua;
  lua_settop(L, 2); /* what is pushed is no argument */
  struct rover__lua_servers servers = rover__lua_push_servers(L, lua, 2, 2);
  if (servers.status < 0)
    return rover__lua_tls_fail(L, lua, 2, servers.status, lua_tostring(L, -1));
  struct rover__lua_object *o = check_open(L); /* a finalizer may close it */
  rover_server_changes_t changes =
      rover__lua_set_servers(L, o->lua, o->rover, servers);
  rover__lua_object_settle(o);
  lua_pushinteger(L, (lua_Integer)changes.added);
  lua_pushinteger(L, (lua_Integer)changes.dropped);
  lua_pushinteger(L, (lua_Integer)changes.changed);
  return 3;
}

static int l_drop_server(lua_State *L) {
  struct rover__lua_object *o = check_open(L);
  lua_pushboolean(L, rover_server_drop(o->rover, rover__lua_check_id(L)));
  rover__lua_object_settle(o);
  return 1;
}

static int l_has_server(lua_State *L) {
  struct rover__lua_object *o = check_open(L);
  lua_pushboolean(L, rover_server_get(o->rover, rover__lua_check_id(L)) != NULL);
  return 1;
}

static int l_pause_server(lua_State *L) {
  struct rover__lua_object *o = check_open(L);
  const char *id = rover__lua_check_id(L);
  uint64_t ms = rover__lua_check_ms(L, 3, "pause", 0);
  lua_pushboolean(L, rover_server_pause(o->rover, id, ms) == 1);
  rover__lua_object_settle(o);
  return 1;
}

/* Without servers and handlers of `error`, an attempt would fail unnoticed. */
static void check_errors_heard(lua_State *L,
                               const struct rover__lua_object *o) {
  if (o->lua->staged || rover_server_count(o->rover) > 0 ||
      rover_is_awaiting(o->rover))
    return;
  lua_getiuservalue(L, 1, 1);
  if (!rover__lua_has_handler(L, -1, ROVER__LUA_ERROR))
    luaL_error(L, "No servers to contact (rover '%s' has none, and nothing "
                  "listens to its 'error' event)", o->name);
  lua_pop(L, 1);
}

static int l_start(lua_State *L) {
  struct rover__lua_object *o = check_open(L);
  check_errors_heard(L, o);
  rover__lua_object_anchor(L, 1, o);
  if (o->lua->staged) rover__lua_rover_of(o)->start_wanted = true;
  else rover_start(o->rover);
  return rover__lua_return_self(L);
}

/* Those of the rover at index 1. */
static void push_sockets(lua_State *L) {
  rover__lua_keeper_tell_all(L, rover__lua_rover_of(check_open(L)));
  rover_t *rover = check_open(L)->rover;
  lua_Integer i = 0;
  lua_newtable(L);
  for (rover_socket_t *socket = rover_socket_first(rover); socket;
       socket = rover_socket_next(socket)) {
    rover__lua_push_socket(L, socket);
    lua_rawseti(L, -2, ++i);
  }
}

static int l_stop(lua_State *L) {
  struct rover__lua_object *o = check_open(L);
  /* Without its clock they keep the rover. A finalizer may close it. */
  if (rover__lua_keeps_all(o)) push_sockets(L);
  o = check_open(L);
  want_nothing(rover__lua_rover_of(o));
  rover_stop(o->rover);
  rover__lua_object_settle(o);
  return rover__lua_return_self(L);
}

static int connect_to(lua_State *L, struct rover__lua_object *o) {
  const char *id = rover__lua_check_id(L);
  if (!rover_server_get(o->rover, id)) {
    lua_pushboolean(L, false);
    return 1;
  }
  rover__lua_object_anchor(L, 1, o);
  if (o->lua->staged) {
    rover__lua_stage_id(L, rover__lua_rover_of(o));
    return rover__lua_return_self(L);
  }
  int err = UV_ENOMEM;
  if (rover__lua_may_have(o->lua, 0)) err = rover_connect_to(o->rover, id);
  rover__lua_object_settle(o);
  if (err == UV_EAGAIN)
    return rover__lua_fail(L, err, "maxAttempts attempts are in flight");
  if (err < 0) return rover__lua_fail(L, err, NULL);
  if (err > 0) return rover__lua_return_self(L);
  lua_pushboolean(L, false); /* it is set aside by hand */
  return 1;
}

static int l_connect(lua_State *L) {
  struct rover__lua_object *o = check_open(L);
  if (!lua_isnoneornil(L, 2)) return connect_to(L, o);
  check_errors_heard(L, o);
  rover__lua_object_anchor(L, 1, o);
  if (o->lua->staged) {
    rover__lua_rover_of(o)->connects_wanted++;
    return rover__lua_return_self(L);
  }
  int err = UV_ENOMEM;
  if (rover__lua_may_have(o->lua, 0)) err = rover_connect(o->rover);
  rover__lua_object_settle(o);
  if (err == UV_EAGAIN)
    return rover__lua_fail(L, err, "maxAttempts attempts are in flight, or "
                                   "every server is paused");
  return err < 0 ? rover__lua_fail(L, err, NULL) : rover__lua_return_self(L);
}

static int l_connect_in(lua_State *L) {
  struct rover__lua_object *o = check_open(L);
  const char *id = lua_isnoneornil(L, 2) ? NULL : rover__lua_check_id(L);
  uint64_t ms =
      lua_isnoneornil(L, 3) ? 0 : rover__lua_check_ms(L, 3, "delay", 0);
  lua_pushboolean(L, rover_connect_in(o->rover, id, ms) == 1);
  return 1;
}

static int l_set_roving_interval(lua_State *L) {
  struct rover__lua_object *o = check_open(L);
  rover_set_roving_interval(o->rover,
                            rover__lua_check_ms(L, 2, "rovingInterval", 1));
  return rover__lua_return_self(L);
}

static int l_roving_interval(lua_State *L) {
  struct rover__lua_object *o = check_open(L);
  lua_pushinteger(L, (lua_Integer)rover_roving_interval(o->rover));
  return 1;
}

static int l_rove_in(lua_State *L) {
  struct rover__lua_object *o = check_open(L);
  uint64_t ms = rover__lua_check_ms(L, 2, "delay", 0);
  lua_pushboolean(L, rover_rove_in(o->rover, ms) == 1);
  return 1;
}

static int l_due_in(lua_State *L) {
  struct rover__lua_object *o = check_open(L);
  uint64_t ms;
  if (rover_due_in(o->rover, &ms)) lua_pushinteger(L, (lua_Integer)ms);
  else lua_pushnil(L);
  return 1;
}

static int l_servers(lua_State *L) {
  struct rover__lua_object *o = check_open(L);
  size_t count = rover_server_count(o->rover);
  lua_createtable(L, 0, (int)count);
  /* A finalizer may drop servers, also the one that is being pushed. */
  for (size_t i = 0; i < rover_server_count(o->rover); i++) {
    rover_server_t *server = rover_server_at(o->rover, i);
    char id[ROVER_ID_MAX + 1];
    snprintf(id, sizeof id, "%s", rover_server_id(server));
    rover__lua_push_server(L, server);
    lua_setfield(L, -2, id);
  }
  return 1;
}

static int l_sockets(lua_State *L) {
  push_sockets(L);
  return 1;
}

static void set_count(lua_State *L, const char *name, uint64_t count) {
  lua_pushinteger(L, (lua_Integer)count);
  lua_setfield(L, -2, name);
}

static int l_stats(lua_State *L) {
  struct rover__lua_object *o = check_open(L);
  rover_stats_t s;

  rover_stats_get(o->rover, &s);
  lua_newtable(L);
#define XX(name, kind, lua, text) set_count(L, lua, s.name);
  ROVER_STATS_MAP(XX)
#undef XX
  lua_newtable(L);
#define XX(code, message)                                                      \
  if (rover_unreachable_count(o->rover, UV_##code))                            \
    set_count(L, #code, rover_unreachable_count(o->rover, UV_##code));
  UV_ERRNO_MAP(XX)
#undef XX
  lua_setfield(L, -2, "causes");
  return 1;
}

static const luaL_Reg methods[] = {
    {"addServer", l_add_server},
    {"setServers", l_set_servers},
    {"dropServer", l_drop_server},
    {"hasServer", l_has_server},
    {"pauseServer", l_pause_server},
    {"start", l_start},
    {"stop", l_stop},
    {"connect", l_connect},
    {"connectIn", l_connect_in},
    {"setRovingInterval", l_set_roving_interval},
    {"rovingInterval", l_roving_interval},
    {"roveIn", l_rove_in},
    {"dueIn", l_due_in},
    {"servers", l_servers},
    {"sockets", l_sockets},
    {"stats", l_stats},
    {"close", l_close},
    {NULL, NULL},
};

static const luaL_Reg metamethods[] = {
    {"__gc", l_gc},
    {"__close", l_close},
    {"__tostring", l_tostring},
    {NULL, NULL},
};

void rover__lua_open_rover(lua_State *L) {
  rover__lua_object_open(L, kind, methods, metamethods, l_change);
  luaL_getmetatable(L, kind->type);
  lua_getfield(L, -1, "__index");
  luaL_setfuncs(L, rover__lua_rejection_methods, 0);
  lua_pop(L, 2);
  lua_createtable(L, 0, 2); /* shared, module */
  lua_pushvalue(L, -2);
  lua_pushcclosure(L, l_new, 1);
  lua_setfield(L, -2, "new");
  lua_pushstring(L, rover_version_string());
  lua_setfield(L, -2, "_VERSION");
}
