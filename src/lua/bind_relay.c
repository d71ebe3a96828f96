#include "../relay/reload.h"
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

enum { ERROR };
static const char *const event_names[] = {"error", NULL};

enum { PATH_LENGTH = 107 }; /* Linux takes no more, and others less */

static struct rover__lua_relay **check_box(lua_State *L) {
  return luaL_checkudata(L, 1, ROVER__LUA_RELAY_TYPE);
}

static struct rover__lua_relay *check_open(lua_State *L) {
  struct rover__lua_relay *r = *check_box(L);
  if (!r || r->closing) luaL_argerror(L, 1, "the relay is closed");
  return r;
}

static int return_self(lua_State *L) {
  lua_settop(L, 1);
  return 1;
}

/* A relay that is declared or listens is anchored, until it has closed. */
static void anchor(lua_State *L, int index, struct rover__lua_relay *r) {
  lua_pushvalue(L, index);
  r->anchor = luaL_ref(L, LUA_REGISTRYINDEX);
}

static void push_box(lua_State *L, const struct rover__lua_relay *r) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, r->anchor);
}

/* -- Errors --------------------------------------------------------------- */

void rover__lua_relay_error(lua_State *L, struct rover__lua_relay *r,
                            int status, int message) {
  int top = lua_gettop(L), failed;

  message = lua_absindex(L, message);
  push_box(L, r);
  lua_getiuservalue(L, -1, 1);
  rover__lua_push_error_of(L, status, message);
  lua_pushvalue(L, -1);
  lua_insert(L, top + 1); /* error, box, own, error */
  int handlers = rover__lua_emit(r->lua, L, top + 3, ERROR, 1, &failed);
  if (handlers == 0) {
    lua_pushfstring(L, "unhandled 'error' event of relay '%s': ", r->name);
    luaL_tolstring(L, top + 1, NULL);
    lua_concat(L, 2);
    lua_error(L);
  }
  lua_settop(L, top);
}

struct outcome {
  int status;
  const char *message;
};

static int error_event(lua_State *L) {
  const struct outcome *outcome = lua_touserdata(L, 2);
  lua_pushstring(L, outcome->message);
  rover__lua_relay_error(L, lua_touserdata(L, 1), outcome->status, -1);
  return 0;
}

static void on_error(rover_relay_t *relay, int status, const char *message) {
  struct rover__lua_relay *r = rover_relay_data(relay);
  struct outcome outcome = {status, message};
  struct rover__lua_occasion occasion = {.event = "error", .relay = r->name};
  rover__lua_tell(r->lua, &occasion, error_event, r, &outcome);
}

/* Pushes where the relay listens, or is to. */
static const char *push_address(lua_State *L,
                                const struct rover__lua_relay *r) {
  const rover_address_t *a = &rover_relay_options(r->relay)->address;
  if (a->path) return lua_pushstring(L, a->path);
  return lua_pushfstring(L, strchr(a->host, ':') ? "[%s]:%d" : "%s:%d", a->host,
                         a->port);
}

/* Whether a relay of this state is to have that listener. */
static bool is_taken(const rover__lua_t *lua,
                     const struct rover__lua_relay *source) {
  struct rover__lua_relay *r = lua->relays;
  while (r && r->source != source) r = r->next;
  return r != NULL;
}

/* Which relay of the state `from` has the port that this one is to have, or
 * NULL. */
static const struct rover__lua_relay *
find_rival(const rover__lua_t *from, const struct rover__lua_relay *r) {
  const rover_address_t *own = &rover_relay_options(r->relay)->address;
  const struct rover__lua_relay *other = from ? from->relays : NULL;

  if (own->path) return NULL;
  for (; other; other = other->next) {
    if (rover_relay_is_listening(other->relay) && !is_taken(r->lua, other) &&
        rover_relay_options(other->relay)->address.port == own->port)
      return other;
  }
  return NULL;
}

static const char *push_in_use(lua_State *L, const struct rover__lua_relay *r,
                               const rover__lua_t *from) {
  const struct rover__lua_relay *rival = find_rival(from, r);
  if (!rival) return "somebody listens there";
  return lua_pushfstring(
      L, "the policy that is to be replaced listens on %s, and does until "
         "then; reload it with another port first, or without that relay, or "
         "start anew", push_address(L, rival));
}

/* Pushes why it cannot listen, with relays of `from`, if that is not NULL, that
 * listen. */
static const char *push_failure(lua_State *L, const struct rover__lua_relay *r,
                                int status, const rover__lua_t *from) {
  const char *where = push_address(L, r), *why;

  switch (status) {
    case UV_EADDRINUSE: why = push_in_use(L, r, from); break;
    case UV_ENOTSOCK: why = "there is something else than a socket"; break;
    case UV_EADDRNOTAVAIL:
      why = "no interface of this machine has that address";
      break;
    default: why = uv_strerror(status);
  }
  return lua_pushfstring(L, "relay '%s': cannot listen on %s: %s", r->name,
                         where, why);
}

/* -- Events --------------------------------------------------------------- */

static const rover_relay_events_t events = {
    .client = rover__lua_offer_client,
    .close = rover__lua_client_closed,
    .error = on_error};

/* -- Options -------------------------------------------------------------- */

static const struct rover__lua_option options[] = {
    {.name = "name"},
    {.name = "listen"},
    {.name = "pick", .kind = ROVER__LUA_FUNCTION},
    {.name = "giveBack", .kind = ROVER__LUA_FUNCTION},
#define XX(type, field, kind, least, most, initial, lua, text)                 \
  {lua, ROVER__LUA_##kind, least, most,                                        \
   offsetof(rover_relay_options_t, field)},
    ROVER_RELAY_OPTIONS_MAP(XX)
#undef XX
    {.name = NULL},
};

/* Of a Unix socket: text, since Lua has no octal numbers to mistake for
 * decimal ones. */
static int check_mode(lua_State *L, int index) {
  const char *text =
      lua_type(L, index) == LUA_TSTRING ? lua_tostring(L, index) : "";
  size_t length = strspn(text, "01234567");
  long mode = strtol(text, NULL, 8);
  if (length == 0 || length > 4 || text[length] || mode < 1 || mode > 0777)
    rover__lua_expected(L, index, 1, "listen: mode",
                        "text of octal digits such as '0660'");
  return (int)mode;
}

/* The table at `index`; leaves the text on the stack. */
static rover_address_t check_listen(lua_State *L, int index) {
  static const char *const fields[] = {"host", "port", "path", "mode", NULL};
  rover_address_t address = {0};

  if (!lua_istable(L, index))
    luaL_argerror(L, 1, lua_pushfstring(L, "listen: table {host=, port=} or "
                                           "{path=, mode=} expected, got %s",
                                        luaL_typename(L, index)));
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1))
    rover__lua_check_key(L, lua_gettop(L) - 1, 1, "listen: unknown field",
                         fields);
  if (lua_getfield(L, index, "mode") != LUA_TNIL)
    address.mode = check_mode(L, lua_gettop(L));
  bool is_path = lua_getfield(L, index, "path") != LUA_TNIL;
  bool has_host = lua_getfield(L, index, "host") != LUA_TNIL;
  bool has_port = lua_getfield(L, index, "port") != LUA_TNIL;
  int top = lua_gettop(L);
  if (is_path ? has_host || has_port : address.mode > 0)
    luaL_argerror(L, 1, "listen: either host and port, or path and mode");
  if (is_path) {
    address.path =
        rover__lua_check_text(L, top - 2, 1, PATH_LENGTH, "listen: path");
    return address;
  }
  address.port =
      (int)rover__lua_check_integer(L, top, 1, "listen: port", 0, 65535);
  if (has_host)
    address.host = rover__lua_check_text(L, top - 1, 1, ROVER_HOST_MAX,
                                         "listen: host");
  return address;
}

/* Leaves the name at index 2, and what the address consists of above it. */
static void check_options(lua_State *L, rover_relay_options_t *out) {
  rover__lua_check_options(L, options, out);
  if (lua_getfield(L, 1, "name") == LUA_TNIL) {
    lua_pop(L, 1);
    lua_pushliteral(L, "main");
  }
  rover__lua_check_text(L, 2, 1, ROVER_ID_MAX, "name");
  if (lua_getfield(L, 1, "pick") == LUA_TNIL)
    luaL_argerror(L, 1, "pick: function expected, got nil");
  lua_getfield(L, 1, "listen");
  out->address = check_listen(L, 4);
}

static void check_name(lua_State *L, rover__lua_t *lua, const char *name) {
  struct rover__lua_relay *r;
  DL_FOREACH(lua->relays, r) {
    if (lua->unique_names && !r->closing && !strcmp(r->name, name))
      luaL_argerror(L, 1, lua_pushfstring(L, "name: there is a relay '%s' "
                                             "already", name));
  }
}

/* -- Life ----------------------------------------------------------------- */

static void on_closed(rover_relay_t *relay) {
  struct rover__lua_relay *r = rover_relay_data(relay);
  struct rover__lua_owner *owner = r->owner;
  if (r->lua) {
    DL_DELETE(r->lua->relays, r);
    luaL_unref(r->lua->L, LUA_REGISTRYINDEX, r->anchor);
    *r->box = NULL;
    owner = NULL;
  } else if (owner) {
    DL_DELETE(owner->relays, r);
  }
  r->gone = true;
  if (!r->offering) free(r);
  if (owner) owner->closed(owner);
}

void rover__lua_relay_abandon(struct rover__lua_relay *r) {
  /* A client that is about to be closed still refers to its box. */
  static const rover_relay_events_t orphaned = {
      .close = rover__lua_client_closed};
  uint64_t drain =
      r->owner ? rover_relay_options(r->relay)->drain_timeout : 0;

  if (r->prev) DL_DELETE(r->lua->relays, r);
  if (r->owner) DL_APPEND(r->owner->relays, r);
  *r->box = NULL;
  r->box = NULL;
  r->lua = NULL;
  rover_relay_set_events(r->relay, &orphaned, r);
  rover_relay_close(r->relay, drain, on_closed);
}

/* Only when the state closes, or it was never declared. */
static int l_gc(lua_State *L) {
  struct rover__lua_relay **box = check_box(L);
  if (*box) rover__lua_relay_abandon(*box);
  return 0;
}

static void close_relay(struct rover__lua_relay *r, uint64_t ms) {
  r->closing = true;
  rover_relay_close(r->relay, ms, on_closed);
}

/* Pushes the userdata, with what it is to keep; the relay comes later. */
static struct rover__lua_relay **push_new(lua_State *L) {
  static const char *const kept[] = {"pick", "giveBack"};
  struct rover__lua_relay **box = lua_newuserdatauv(L, sizeof *box, 1);

  *box = NULL;
  luaL_setmetatable(L, ROVER__LUA_RELAY_TYPE);
  lua_newtable(L);
  lua_pushvalue(L, 2);
  lua_setfield(L, -2, "name");
  for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
    lua_getfield(L, 1, kept[i]);
    lua_setfield(L, -2, kept[i]);
  }
  lua_setiuservalue(L, -2, 1);
  return box;
}

static int l_new(lua_State *L) {
  rover__lua_t *lua = rover__lua_of(L);
  rover_relay_options_t o = {.events = events};
  if (lua->dead) return luaL_error(L, "this policy has ended");

  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  check_options(L, &o);
  const char *name = lua_tostring(L, 2);
  struct rover__lua_relay **box = push_new(L);
  int index = lua_gettop(L);
  check_name(L, lua, name); /* last: a finalizer may make one */
  struct rover__lua_relay *r = o.data = calloc(1, sizeof *r);
  int err = r ? rover_relay_new(&r->relay, lua->loop, &o) : UV_ENOMEM;
  if (err < 0) {
    free(r);
    if (err == UV_ENOMEM) return rover__lua_no_memory(L);
    if (err == UV_ENAMETOOLONG)
      luaL_argerror(L, 1, "listen: path: too long for this system");
    if (err == UV_EINVAL)
      luaL_argerror(L, 1, lua_pushfstring(L, "listen: host: an IP address or "
                                             "'localhost' expected, got '%s'",
                                          o.address.host));
    return luaL_error(L, "cannot make a relay: %s", uv_strerror(err));
  }
  r->box = box;
  r->lua = lua;
  r->owner = lua->owner;
  r->name = name; /* the uservalue keeps it */
  *box = r;
  anchor(L, index, r); /* if this raises, the box is garbage */
  DL_APPEND(lua->relays, r);
  if (!lua->staged && (err = rover_relay_listen(r->relay)) < 0) {
    const char *message = push_failure(L, r, err, NULL);
    close_relay(r, 0);
    return rover__lua_fail(L, err, message);
  }
  lua_settop(L, index);
  return 1;
}

static int l_close(lua_State *L) {
  struct rover__lua_relay *r = *check_box(L);
  if (!r) return return_self(L);
  uint64_t ms = rover_relay_options(r->relay)->drain_timeout;
  if (!lua_isnoneornil(L, 2))
    ms = (uint64_t)rover__lua_check_integer(L, 2, 2, "time", 0,
                                            ROVER__LUA_COUNT_MAX);
  close_relay(r, ms);
  return return_self(L);
}

/* At the end of a block, or of its error. */
static int l_close_now(lua_State *L) {
  lua_settop(L, 1);
  return l_close(L);
}

static int l_tostring(lua_State *L) {
  struct rover__lua_relay *r = *check_box(L);
  const char *where = r && !r->closing ? push_address(L, r) : "closed";
  lua_getiuservalue(L, 1, 1);
  lua_getfield(L, -1, "name");
  lua_pushfstring(L, "relay '%s' (%s)", lua_tostring(L, -1), where);
  return 1;
}

/* -- Staging -------------------------------------------------------------- */

static struct rover__lua_relay *find(const rover__lua_t *lua,
                                     const char *name) {
  struct rover__lua_relay *r = lua->relays;
  while (r && (r->closing || strcmp(r->name, name) != 0)) r = r->next;
  return r;
}

/* Notes which relay of the other state listens where this one is to: that of
 * the same name, or any. */
static void find_source(struct rover__lua_relay *r, const rover__lua_t *from,
                        bool any) {
  struct rover__lua_relay *source = any ? from->relays : r->old;
  for (; source && !r->source; source = any ? source->next : NULL) {
    if (!source->closing && rover_relay_listens_for(source->relay, r->relay) &&
        !is_taken(r->lua, source))
      r->source = source;
  }
}

void rover__lua_listen(rover__lua_t *lua, const rover__lua_t *from) {
  lua_State *L = lua->L;
  struct rover__lua_relay *r;

  if (from) {
    DL_FOREACH(lua->relays, r) {
      r->old = r->closing ? NULL : find(from, r->name);
      find_source(r, from, false);
    }
    DL_FOREACH(lua->relays, r) find_source(r, from, !r->closing);
  }
  DL_FOREACH(lua->relays, r) {
    if (r->closing || r->source) continue;
    int err = rover_relay_listen(r->relay);
    if (err == UV_ENOMEM) rover__lua_no_memory(L);
    if (err < 0) luaL_error(L, "%s", push_failure(L, r, err, from));
  }
}

/* What it declares is the new one's, what is under way stays. */
static void take_over(struct rover__lua_relay *r) {
  rover_relay_t *relay = r->old->relay;
  rover_relay_client_t *client = rover_relay_client_first(relay);

  for (; client; client = rover_relay_client_next(client))
    rover__lua_part_client(client);
  rover_relay_stats_get(relay, &r->old->last);
  r->old->replaced = true;
  rover_relay_exchange(relay, r->relay);
  r->old->relay = r->relay;
  r->relay = relay;
  r->old = NULL;
}

void rover__lua_take_relays(rover__lua_t *lua) {
  struct rover__lua_relay *r;

  /* Addresses may have changed places, so that all are taken first. */
  DL_FOREACH(lua->relays, r) {
    if (!r->source) continue;
    r->status = rover_relay_take_listener(r->relay, r->source->relay);
    r->source = NULL;
  }
  DL_FOREACH(lua->relays, r) {
    if (r->old) take_over(r);
  }
}

static int status_event(lua_State *L) {
  struct rover__lua_relay *r = lua_touserdata(L, 1);
  const char *where = push_address(L, r);
  lua_pushfstring(L, "the permissions of %s stay as they were: %s", where,
                  uv_strerror(r->status));
  rover__lua_relay_error(L, r, r->status, -1);
  return 0;
}

bool rover__lua_begin_relays(rover__lua_t *lua, uint64_t until) {
  struct rover__lua_relay *r;
  DL_FOREACH(lua->relays, r) {
    if (r->status < 0) rover__lua_protect(lua, status_event, r, NULL);
    r->status = 0;
  }
  return rover__lua_offer_all(lua, until);
}

/* -- Methods -------------------------------------------------------------- */

typedef void (*change_handlers)(lua_State *L, int table, int event, int fn);

static int change(lua_State *L, change_handlers function) {
  check_open(L);
  int event = rover__lua_check_event(L, 2, event_names);
  luaL_checktype(L, 3, LUA_TFUNCTION);
  lua_getiuservalue(L, 1, 1);
  function(L, -1, event, 3);
  return return_self(L);
}

static int l_on(lua_State *L) { return change(L, rover__lua_add_handler); }

static int l_off(lua_State *L) { return change(L, rover__lua_remove_handler); }

static int l_offer(lua_State *L) {
  struct rover__lua_relay *r = check_open(L);
  if (!r->lua->staged) rover__lua_offer(r, UINT64_MAX);
  if (r->gone) free(r);
  return return_self(L);
}

static int l_address(lua_State *L) {
  struct rover__lua_relay *r = check_open(L);
  const rover_address_t *a = &rover_relay_options(r->relay)->address;
  lua_pushstring(L, a->path ? a->path : a->host);
  if (a->path) return 1;
  lua_pushinteger(L, a->port);
  return 2;
}

static int l_stats(lua_State *L) {
  struct rover__lua_relay *r = *check_box(L);
  rover_relay_stats_t s;
  if (!r) return luaL_argerror(L, 1, "the relay is closed");

  if (r->replaced) s = r->last;
  else rover_relay_stats_get(r->relay, &s);
  lua_newtable(L);
#define XX(name, kind, lua, text)                                              \
  lua_pushinteger(L, (lua_Integer)s.name);                                     \
  lua_setfield(L, -2, lua);
  ROVER_RELAY_STATS_MAP(XX)
#undef XX
  return 1;
}

static const luaL_Reg methods[] = {
    {"on", l_on},
    {"off", l_off},
    {"offer", l_offer},
    {"address", l_address},
    {"stats", l_stats},
    {"close", l_close},
    {NULL, NULL},
};

static const luaL_Reg metamethods[] = {
    {"__gc", l_gc},
    {"__close", l_close_now},
    {"__tostring", l_tostring},
    {NULL, NULL},
};

void rover__lua_open_relay(lua_State *L) {
  luaL_newmetatable(L, ROVER__LUA_RELAY_TYPE);
  luaL_setfuncs(L, metamethods, 0);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_createtable(L, 0, 1); /* shared, metatable, module */
  lua_pushvalue(L, -3);
  lua_pushcclosure(L, l_new, 1);
  lua_setfield(L, -2, "new");
  lua_pushcfunction(L, rover__lua_picking);
  lua_setfield(L, -2, "client");
  lua_pushvalue(L, -1);
  lua_setfield(L, -3, "module");
  lua_remove(L, -2);
}
