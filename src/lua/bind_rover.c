#include "../rover/reload.h"
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#define ROVER_TYPE "callosum.rover"

enum { CONNECTION, UNREACHABLE, ERROR };
static const char *const event_names[] = {"connection", "unreachable", "error",
                                          NULL};

static struct rover__lua_rover **check_box(lua_State *L) {
  return luaL_checkudata(L, 1, ROVER_TYPE);
}

static struct rover__lua_rover *check_open(lua_State *L) {
  struct rover__lua_rover *r = *check_box(L);
  if (!r) luaL_argerror(L, 1, "the rover is closed");
  return r;
}

/* Methods with nothing to return return the rover. */
static int return_self(lua_State *L) {
  lua_settop(L, 1);
  return 1;
}

/* -- Anchoring ------------------------------------------------------------ */

static bool may_call_back(const struct rover__lua_rover *r) {
  rover_stats_t stats;
  if (r->closing) return true; /* on_closed() is to come */
  rover_stats_get(r->rover, &stats);
  return rover_is_started(r->rover) || stats.in_flight > 0 ||
         r->sockets > 0 || r->lua->staged;
}

static void release(struct rover__lua_rover *r) {
  luaL_unref(r->lua->L, LUA_REGISTRYINDEX, r->anchor);
  r->anchor = LUA_NOREF;
}

/* The box is at `index`. May raise, so it is called before what makes the rover
 * call back. */
static void anchor(lua_State *L, int index, struct rover__lua_rover *r) {
  if (r->anchor != LUA_NOREF) return;
  lua_pushvalue(L, index);
  r->anchor = luaL_ref(L, LUA_REGISTRYINDEX);
}

void rover__lua_rover_settle(struct rover__lua_rover *r) {
  if (r->anchor != LUA_NOREF && !may_call_back(r)) release(r);
}

static void push_box(lua_State *L, const struct rover__lua_rover *r) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, r->anchor);
}

/* -- Events --------------------------------------------------------------- */

/* The server, the fourth argument of `connection`, is a new table each time,
 * since handlers may change it. It is made if one has ever been registered that
 * has a parameter for it: the table of handlers then holds true here. */
enum { WANTS_SERVER = 0 };

static void note_wants_server(lua_State *L, int fn, int table) {
  lua_Debug ar;
  lua_pushvalue(L, fn);
  lua_getinfo(L, ">u", &ar);
  if (ar.nparams < 4 && !ar.isvararg) return;
  lua_pushboolean(L, true);
  lua_rawseti(L, table, WANTS_SERVER);
}

/* Pushes the table of handlers of the rover. */
static void push_handlers(lua_State *L, const struct rover__lua_rover *r) {
  push_box(L, r);
  lua_getiuservalue(L, -1, 1);
  lua_remove(L, -2);
}

static int connection_event(lua_State *L) {
  struct rover__lua_rover *r = lua_touserdata(L, 1);
  rover_socket_t *socket = lua_touserdata(L, 2);
  int failed, nargs = 3;

  rover__lua_push_socket(L, socket);
  push_handlers(L, r);
  lua_pushinteger(L, rover_socket_slot(socket));
  lua_pushvalue(L, 3);
  rover__lua_push_id(L, 3);
  if (lua_rawgeti(L, 4, WANTS_SERVER) == LUA_TNIL) {
    lua_pop(L, 1);
  } else {
    rover__lua_push_server(L, rover_socket_server(socket));
    lua_replace(L, -2);
    nargs = 4;
  }
  int handlers = rover__lua_emit_last(r->lua, L, 4, CONNECTION, nargs, &failed);
  if (handlers == 0 || failed > 0) rover_socket_close(socket);
  return 0;
}

void rover__lua_deliver(struct rover__lua_rover *r, rover_socket_t *socket) {
  r->sockets++; /* until it has its userdata: a finalizer may stop the rover */
  struct rover__lua_occasion occasion = {
      .event = "connection",
      .rover = r->name,
      .server = rover_server_id(rover_socket_server(socket)),
      .socket = socket,
      .outcome = "the socket is closed"};
  if (rover__lua_tell(r->lua, &occasion, connection_event, r, socket) < 0)
    rover_socket_close(socket);
  r->sockets--;
  rover__lua_rover_settle(r);
}

static void on_connection(rover_t *rover, int slot, rover_socket_t *socket) {
  struct rover__lua_rover *r = rover_data(rover);
  (void)slot;
  rover__lua_deliver(r, socket);
  /* What it is kept for may be a client that waits. */
  if (r->lua) rover__lua_offer_all(r->lua, UINT64_MAX);
}

struct outcome {
  const rover_server_t *server;
  int status;
  const char *message;
};

static int unreachable_event(lua_State *L) {
  struct rover__lua_rover *r = lua_touserdata(L, 1);
  const struct outcome *outcome = lua_touserdata(L, 2);
  const char *id = rover_server_id(outcome->server);
  int failed;

  push_handlers(L, r);
  lua_pushstring(L, id);
  rover__lua_push_server(L, outcome->server);
  rover__lua_push_error(L, outcome->status, outcome->message, id);
  rover__lua_emit_last(r->lua, L, 3, UNREACHABLE, 3, &failed);
  return 0;
}

static void on_unreachable(rover_t *rover, const rover_server_t *server,
                           int status) {
  struct rover__lua_rover *r = rover_data(rover);
  struct outcome outcome = {server, status, rover_unreachable_message(rover)};
  char id[ROVER_ID_MAX + 1]; /* the handlers may drop the server */
  snprintf(id, sizeof id, "%s", rover_server_id(server));
  struct rover__lua_occasion occasion = {
      .event = "unreachable", .rover = r->name, .server = id};
  rover__lua_tell(r->lua, &occasion, unreachable_event, r, &outcome);
  rover__lua_rover_settle(r);
}

/* An error nobody listens to is raised, for lua->call to report. */
static int error_event(lua_State *L) {
  struct rover__lua_rover *r = lua_touserdata(L, 1);
  const struct outcome *outcome = lua_touserdata(L, 2);
  int failed;

  push_handlers(L, r);
  rover__lua_push_error(L, outcome->status, outcome->message,
                        outcome->server ? rover_server_id(outcome->server)
                                        : NULL);
  lua_pushvalue(L, 4);
  if (rover__lua_emit_last(r->lua, L, 3, ERROR, 1, &failed) > 0)
    return 0;
  lua_pushfstring(L, "unhandled 'error' event of rover '%s': ", r->name);
  luaL_tolstring(L, 4, NULL);
  lua_concat(L, 2);
  return lua_error(L);
}

static void tell_error(struct rover__lua_rover *r, const rover_server_t *server,
                       int status, const char *message) {
  struct outcome outcome = {server, status, message};
  struct rover__lua_occasion occasion = {.event = "error", .rover = r->name};
  rover__lua_tell(r->lua, &occasion, error_event, r, &outcome);
}

static void on_error(rover_t *rover, const rover_server_t *server, int status,
                     const char *message) {
  struct rover__lua_rover *r = rover_data(rover);
  tell_error(r, server, status, message);
  rover__lua_rover_settle(r);
}

void rover__lua_rover_begin(struct rover__lua_rover *r) {
  unsigned wanted = r->connects_wanted;

  if (r->start_wanted) rover_start(r->rover);
  r->start_wanted = false;
  for (r->connects_wanted = 0; wanted > 0; wanted--)
    if (!rover__lua_may_have(r->lua, 0) ||
        rover_connect(r->rover) == UV_ENOMEM)
      r->connects_wanted++;
}

void rover__lua_rover_begun(struct rover__lua_rover *r) {
  while (r->connects_wanted > 0) {
    r->connects_wanted--;
    tell_error(r, NULL, UV_ENOMEM, "out of memory");
  }
  rover__lua_rover_settle(r);
}

static const rover_events_t events = {.connection = on_connection,
                                      .unreachable = on_unreachable,
                                      .error = on_error};

typedef void (*change_handlers)(lua_State *L, int table, int event, int fn);

static int change(lua_State *L, change_handlers function) {
  check_open(L);
  int event = rover__lua_check_event(L, 2, event_names);
  luaL_checktype(L, 3, LUA_TFUNCTION);
  lua_settop(L, 3);
  lua_getiuservalue(L, 1, 1);
  if (event == CONNECTION) note_wants_server(L, 3, 4);
  function(L, 4, event, 3);
  return return_self(L);
}

static int l_on(lua_State *L) {
  bool bystander = rover__lua_is_bystander(L, 4);
  return change(L, bystander ? rover__lua_add_bystander
                             : rover__lua_add_handler);
}

static int l_off(lua_State *L) { return change(L, rover__lua_remove_handler); }

/* -- Life ----------------------------------------------------------------- */

static const struct rover__lua_option options[] = {
    {.name = "name"},
    {.name = "servers"},
#define XX(type, field, kind, least, most, initial, lua, text)                 \
  {lua, ROVER__LUA_##kind, least, most, offsetof(rover_options_t, field)},
    ROVER_OPTIONS_MAP(XX)
#undef XX
    {.name = NULL},
};

/* Pushes the name. */
static void check_name(lua_State *L) {
  lua_getfield(L, 1, "name");
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    lua_pushliteral(L, "main");
  }
  rover__lua_check_text(L, -1, 1, ROVER_ID_MAX, "name");
}

static void check_is_only(lua_State *L, const rover__lua_t *lua,
                          const char *name) {
  const struct rover__lua_rover *r;
  DL_FOREACH(lua->rovers, r) {
    if (lua->unique_names && !r->closing && !strcmp(r->name, name))
      luaL_argerror(L, 1, lua_pushfstring(L, "name: there is a rover '%s' "
                                             "already", name));
  }
}

static int l_new(lua_State *L) {
  rover__lua_t *lua = rover__lua_of(L);
  rover_options_t o = {.events = events};
  if (lua->dead) return luaL_error(L, "this policy has ended");

  if (lua_isnoneornil(L, 1)) {
    lua_settop(L, 0);
    lua_newtable(L);
  }
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  rover__lua_check_options(L, options, &o);
  rover__lua_check_servers(L);
  check_name(L); /* 2: name */
  check_is_only(L, lua, lua_tostring(L, 2));

  struct rover__lua_rover **box = lua_newuserdatauv(L, sizeof *box, 1);
  *box = NULL;
  luaL_setmetatable(L, ROVER_TYPE); /* 3: the box */
  lua_newtable(L);
  lua_pushvalue(L, 2);
  lua_setfield(L, -2, "name");
  lua_setiuservalue(L, 3, 1);
  if (lua->owner) {
    o.memory = &lua->owner->memory;
    o.turn = lua->owner->turn;
  }
  bool may = rover__lua_may_have(lua, 0);
  struct rover__lua_rover *r = o.data = may ? calloc(1, sizeof *r) : NULL;
  int err = r ? rover_new(&r->rover, lua->loop, &o) : UV_ENOMEM;
  if (err < 0) {
    free(r);
    if (may && err == UV_ENOMEM) return rover__lua_no_memory(L);
    return luaL_error(L, "cannot make a rover: %s", uv_strerror(err));
  }
  r->box = box;
  r->lua = lua;
  r->owner = lua->owner;
  if (r->owner) r->owner->rovers++;
  r->name = lua_tostring(L, 2); /* the uservalue keeps it */
  r->anchor = LUA_NOREF;
  *box = r;

  /* If one of these raises, the box is garbage, and no rover is declared. */
  rover__lua_add_servers(L, r);
  check_is_only(L, lua, r->name); /* a finalizer may have made one */
  /* What a script declares stays declared, even if nothing refers to it. */
  if (lua->staged) anchor(L, 3, r);
  rover_hold(r->rover, lua->adopting);
  DL_APPEND(lua->rovers, r);
  lua_settop(L, 3);
  return 1;
}

static void on_closed(rover_t *rover) {
  struct rover__lua_rover *r = rover_data(rover);
  struct rover__lua_owner *owner = r->owner;
  if (r->lua) {
    DL_DELETE(r->lua->rovers, r);
    release(r);
  }
  free(r);
  if (!owner) return;
  owner->rovers--;
  owner->closed(owner);
}

void rover__lua_rover_abandon(struct rover__lua_rover *r) {
  if (r->prev) DL_DELETE(r->lua->rovers, r); /* else it was never declared */
  if (r->box) *r->box = NULL;
  r->box = NULL;
  r->lua = NULL;
  rover_set_events(r->rover, NULL, r);
  if (!r->closing) rover_close(r->rover, on_closed);
}

/* Collected, because nothing refers to it and it does nothing, or because the
 * state is closing. */
static int l_gc(lua_State *L) {
  struct rover__lua_rover **box = check_box(L);
  if (*box && (*box)->sockets > 0) rover__lua_part_sockets((*box)->lua);
  if (*box) rover__lua_rover_abandon(*box);
  return 0;
}

static int l_close(lua_State *L) {
  struct rover__lua_rover **box = check_box(L), *r = *box;
  if (!r) return return_self(L);
  *box = NULL;
  r->box = NULL;
  r->closing = true;
  r->start_wanted = false;
  r->connects_wanted = 0;
  rover_close(r->rover, on_closed);
  return return_self(L);
}

static int l_tostring(lua_State *L) {
  bool closed = !*check_box(L);
  lua_getiuservalue(L, 1, 1);
  lua_getfield(L, -1, "name");
  lua_pushfstring(L, "rover '%s'%s", lua_tostring(L, -1),
                  closed ? " (closed)" : "");
  return 1;
}

/* -- Methods -------------------------------------------------------------- */

static int l_add_server(lua_State *L) {
  struct rover__lua_rover *r = check_open(L);
  lua_settop(L, 3); /* what is pushed is no argument */
  const char *id = rover__lua_check_text(L, 2, 2, ROVER_ID_MAX, "server id");
  rover__lua_add_server(L, r, id, rover__lua_check_server(L, 3, 3, id));
  return return_self(L);
}

static int l_drop_server(lua_State *L) {
  struct rover__lua_rover *r = check_open(L);
  luaL_checktype(L, 2, LUA_TSTRING);
  size_t length;
  const char *id = lua_tolstring(L, 2, &length);
  /* No server has an id with a NUL in it. */
  bool dropped = strlen(id) == length && rover_server_drop(r->rover, id);
  lua_pushboolean(L, dropped);
  rover__lua_rover_settle(r);
  return 1;
}

static int l_pause_server(lua_State *L) {
  struct rover__lua_rover *r = check_open(L);
  lua_settop(L, 3);
  luaL_checktype(L, 2, LUA_TSTRING);
  size_t length;
  const char *id = lua_tolstring(L, 2, &length);
  lua_Integer ms = rover__lua_check_integer(L, 3, 3, "pause", 0,
                                           ROVER__LUA_COUNT_MAX);
  /* No server has an id with a NUL in it. */
  lua_pushboolean(L, strlen(id) == length &&
                         rover_server_pause(r->rover, id, (uint64_t)ms) == 1);
  rover__lua_rover_settle(r);
  return 1;
}

/* With nobody to ask and nobody listening to errors, an attempt could only end
 * where no one sees it: say so here instead. */
static void check_somebody_listens(lua_State *L, struct rover__lua_rover *r) {
  if (r->lua->staged || rover_server_count(r->rover) > 0) return;
  lua_getiuservalue(L, 1, 1);
  if (!rover__lua_has_handler(L, -1, ERROR))
    luaL_error(L, "No servers to contact (rover '%s' has none, and nobody "
                  "listens to its 'error' event)", r->name);
  lua_pop(L, 1);
}

static int l_start(lua_State *L) {
  struct rover__lua_rover *r = check_open(L);
  check_somebody_listens(L, r);
  anchor(L, 1, r);
  if (r->lua->staged) r->start_wanted = true;
  else rover_start(r->rover);
  return return_self(L);
}

static int l_stop(lua_State *L) {
  struct rover__lua_rover *r = check_open(L);
  r->start_wanted = false;
  r->connects_wanted = 0;
  rover_stop(r->rover);
  rover__lua_rover_settle(r);
  return return_self(L);
}

static int l_connect(lua_State *L) {
  struct rover__lua_rover *r = check_open(L);
  check_somebody_listens(L, r);
  anchor(L, 1, r);
  if (r->lua->staged) {
    r->connects_wanted++;
    return return_self(L);
  }
  int err = UV_ENOMEM;
  if (rover__lua_may_have(r->lua, 0)) err = rover_connect(r->rover);
  rover__lua_rover_settle(r);
  if (err == UV_EAGAIN)
    return rover__lua_fail(L, err, "maxAttempts attempts are in flight, or "
                                   "every server is paused");
  return err < 0 ? rover__lua_fail(L, err, NULL) : return_self(L);
}

static int l_set_roving_interval(lua_State *L) {
  struct rover__lua_rover *r = check_open(L);
  lua_settop(L, 2);
  lua_Integer ms = rover__lua_check_integer(L, 2, 2, "rovingInterval", 1,
                                           ROVER__LUA_COUNT_MAX);
  rover_set_roving_interval(r->rover, (uint64_t)ms);
  return return_self(L);
}

static int l_roving_interval(lua_State *L) {
  struct rover__lua_rover *r = check_open(L);
  lua_pushinteger(L, (lua_Integer)rover_roving_interval(r->rover));
  return 1;
}

static int l_rove_in(lua_State *L) {
  struct rover__lua_rover *r = check_open(L);
  lua_settop(L, 2);
  lua_Integer ms = rover__lua_check_integer(L, 2, 2, "delay", 0,
                                           ROVER__LUA_COUNT_MAX);
  lua_pushboolean(L, rover_rove_in(r->rover, (uint64_t)ms) == 1);
  return 1;
}

static int l_due_in(lua_State *L) {
  struct rover__lua_rover *r = check_open(L);
  uint64_t ms;
  if (rover_due_in(r->rover, &ms)) lua_pushinteger(L, (lua_Integer)ms);
  else lua_pushnil(L);
  return 1;
}

static int l_servers(lua_State *L) {
  struct rover__lua_rover *r = check_open(L);
  size_t count = rover_server_count(r->rover);
  lua_createtable(L, 0, (int)count);
  /* A finalizer may drop servers, that which is being pushed, too. */
  for (size_t i = 0; i < rover_server_count(r->rover); i++) {
    const rover_server_t *server = rover_server_at(r->rover, i);
    char id[ROVER_ID_MAX + 1];
    snprintf(id, sizeof id, "%s", rover_server_id(server));
    rover__lua_push_server(L, server);
    lua_setfield(L, -2, id);
  }
  return 1;
}

static int l_sockets(lua_State *L) {
  struct rover__lua_rover *r = check_open(L);
  lua_Integer i = 0;
  lua_newtable(L);
  for (rover_socket_t *socket = rover_socket_first(r->rover); socket;
       socket = rover_socket_next(socket)) {
    rover__lua_push_socket(L, socket);
    lua_rawseti(L, -2, ++i);
  }
  return 1;
}

static void set_count(lua_State *L, const char *name, uint64_t count) {
  lua_pushinteger(L, (lua_Integer)count);
  lua_setfield(L, -2, name);
}

static int l_stats(lua_State *L) {
  struct rover__lua_rover *r = check_open(L);
  rover_stats_t s;

  rover_stats_get(r->rover, &s);
  lua_newtable(L);
#define XX(name, kind, lua, text) set_count(L, lua, s.name);
  ROVER_STATS_MAP(XX)
#undef XX
  lua_newtable(L);
#define XX(code, message)                                                      \
  if (rover_unreachable_count(r->rover, UV_##code))                          \
    set_count(L, #code, rover_unreachable_count(r->rover, UV_##code));
  UV_ERRNO_MAP(XX)
#undef XX
  lua_setfield(L, -2, "causes");
  return 1;
}

static const luaL_Reg methods[] = {
    {"on", l_on},
    {"off", l_off},
    {"addServer", l_add_server},
    {"dropServer", l_drop_server},
    {"pauseServer", l_pause_server},
    {"start", l_start},
    {"stop", l_stop},
    {"connect", l_connect},
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
  luaL_newmetatable(L, ROVER_TYPE);
  luaL_setfuncs(L, metamethods, 0);
  luaL_newlibtable(L, methods);
  lua_pushvalue(L, -3);
  luaL_setfuncs(L, methods, 1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  lua_pushcclosure(L, l_new, 1);
}
