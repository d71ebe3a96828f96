#include "bind_relay.h"

#include "../relay/reload.h"
#include "bind_client.h"
#include "check.h"
#include "cidrs.h"
#include "error.h"
#include "listen.h"
#include "pick.h"

#include <stdlib.h>

enum { ERROR };
static const char *const event_names[] = {"error", NULL};

/* -- Listening ------------------------------------------------------------ */

static const rover_address_t *address(const struct rover__lua_object *o) {
  return &rover_relay_options(o->relay)->address;
}

static bool is_on(const struct rover__lua_object *o) {
  return rover_relay_is_listening(o->relay);
}

static int listen_on(struct rover__lua_object *o) {
  return rover_relay_listen(o->relay);
}

static int listen_on_fd(struct rover__lua_object *o, int fd) {
  return rover_relay_listen_fd(o->relay, fd);
}

static bool is_for_fd(const struct rover__lua_object *o, int fd,
                      const char *path, bool any_port) {
  return rover_relay_is_for_fd(o->relay, fd, path, any_port);
}

static bool is_for(const struct rover__lua_object *other,
                   const struct rover__lua_object *o) {
  return rover_relay_listens_for(other->relay, o->relay);
}

static int take(struct rover__lua_object *o, struct rover__lua_object *from) {
  return rover_relay_take_listener(o->relay, from->relay);
}

static uint64_t joined(const struct rover__lua_object *o) {
  rover_relay_stats_t s;
  rover_relay_stats_get(o->relay, &s);
  return s.running;
}

static const struct rover__lua_listens listens = {
    address, is_on, listen_on, listen_on_fd, is_for_fd, is_for, take, joined};

/* A relay is anchored from its declaration until it has closed. */
static const struct rover__lua_kind kind = {
    .list = ROVER__LUA_RELAYS,
    .type = "callosum.relay",
    .noun = "relay",
    .size = sizeof(struct rover__lua_relay),
    .events = event_names,
    .error = ERROR,
    .listens = &listens};

static struct rover__lua_object *check_open(lua_State *L) {
  return rover__lua_object_check(L, &kind);
}

/* -- Events --------------------------------------------------------------- */

static void on_error(rover_relay_t *relay, int status, const char *message) {
  rover__lua_object_report(rover_relay_data(relay), NULL, status, message);
}

static const rover_relay_events_t events = {
    .client = rover__lua_offer_client,
    .close = rover__lua_client_closed,
    .error = on_error};

/* -- Options -------------------------------------------------------------- */

static const struct rover__lua_option known[] = {
    {.name = "name"},
    {.name = "listen"},
    {.name = "pick", .kind = ROVER__LUA_FUNCTION},
    {.name = "returnSocket", .kind = ROVER__LUA_FUNCTION},
#define XX(type, field, kind, least, most, initial, lua, text)                 \
  {lua, ROVER__LUA_##kind, least, most, offsetof(rover_relay_options_t, field)},
    ROVER_RELAY_OPTIONS_MAP(XX)
#undef XX
    {.name = "trusted"},
    {.name = NULL},
};

/* Leaves the name at index 2, and the strings of the address above it. */
static void check_options(lua_State *L, rover_relay_options_t *out) {
  rover__lua_object_check_new(L, &kind, known, out);
  if (lua_getfield(L, 1, "pick") == LUA_TNIL)
    luaL_argerror(L, 1, "pick: function expected, got nil");
  lua_getfield(L, 1, "listen");
  out->address = rover__lua_check_address(L, 4, "listen", true);
  if (lua_getfield(L, 1, "trusted") != LUA_TNIL)
    out->trusted = rover__lua_check_cidrs(L, lua_gettop(L), "trusted");
  if (out->accept_proxy && !out->address.path &&
      (!out->trusted || !out->trusted[0]))
    luaL_argerror(L, 1, "trusted: acceptProxy needs the addresses of the "
                        "proxies");
}

/* -- Life ----------------------------------------------------------------- */

static void on_closed(rover_relay_t *relay) {
  struct rover__lua_object *o = rover_relay_data(relay);
  struct rover__lua_owner *owner = rover__lua_object_closed(o);
  rover__lua_object_unref(o);
  if (owner) owner->closed(owner);
}

void rover__lua_relay_abandon(struct rover__lua_object *o) {
  /* Clients that are about to be closed still point to their userdata. */
  static const rover_relay_events_t orphaned = {
      .close = rover__lua_client_closed};
  uint64_t drain = o->owner ? rover_relay_options(o->relay)->drain_timeout : 0;

  rover__lua_object_abandon(o);
  rover_relay_set_events(o->relay, &orphaned, o);
  rover_relay_close(o->relay, drain, on_closed);
}

/* The state is closing, or the relay was never declared. */
static int l_gc(lua_State *L) {
  struct rover__lua_object *o = rover__lua_object_test(L, &kind);
  if (o) rover__lua_relay_abandon(o);
  return 0;
}

static void close_relay(struct rover__lua_object *o, uint64_t ms) {
  o->closing = true;
  rover_relay_close(o->relay, ms, on_closed);
}

/* Pushes the box, with the functions that the relay keeps. */
static void push_new(lua_State *L) {
  static const char *const kept[] = {"pick", "returnSocket"};

  rover__lua_object_push_new(L, &kind);
  for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
    lua_getfield(L, 1, kept[i]);
    lua_setfield(L, -2, kept[i]);
  }
  lua_pop(L, 1);
}

static int fail_new(lua_State *L, int err, const char *host) {
  switch (err) {
    case UV_ENOMEM: return rover__lua_no_memory(L);
    case UV_ENAMETOOLONG:
      return luaL_argerror(L, 1, "listen: path: too long for this system");
    case UV_EINVAL:
      return rover__lua_misuse(
          L, 1, "listen: host: an IP address or 'localhost' expected, got '%s'",
          host);
    default:
      return luaL_error(L, "cannot make a relay: %s", rover__lua_explain(err));
  }
}

static int l_new(lua_State *L) {
  rover__lua_t *lua = rover__lua_of(L);
  rover_relay_options_t options = {.events = events,
                                   .workers = rover__lua_workers(lua)};

  check_options(L, &options);
  push_new(L);
  int index = lua_gettop(L);
  struct rover__lua_object *o = options.data =
      rover__lua_object_new(L, &kind, index);
  int err = o ? rover_relay_new(&o->relay, lua->loop, &options) : UV_ENOMEM;
  if (err < 0) {
    free(o);
    return fail_new(L, err, options.address.host);
  }
  *o->box = o;
  rover__lua_object_declare(L, index, o, true); /* if it raises, o is garbage */
  if (!lua->staged && (err = rover__lua_listen_one(o)) < 0) {
    const char *message = rover__lua_push_unheard(L, o, err);
    close_relay(o, 0);
    return rover__lua_fail(L, err, message);
  }
  lua_settop(L, index);
  return 1;
}

static int l_close(lua_State *L) {
  struct rover__lua_object *o = rover__lua_object_test(L, &kind);
  if (!o) return rover__lua_return_self(L);
  uint64_t ms = rover_relay_options(o->relay)->drain_timeout;
  if (!lua_isnoneornil(L, 2)) ms = rover__lua_check_ms(L, 2, "time", 0);
  close_relay(o, ms);
  return rover__lua_return_self(L);
}

/* The second argument of __close is an error, not a time. */
static int l_close_now(lua_State *L) {
  lua_settop(L, 1);
  return l_close(L);
}

static int l_tostring(lua_State *L) {
  struct rover__lua_object *o = rover__lua_object_test(L, &kind);
  const char *where = o && !o->closing ? rover__lua_push_address(L, address(o))
                                         : "closed";
  lua_pushfstring(L, "relay '%s' (%s)", rover__lua_object_push_name(L), where);
  return 1;
}

/* -- Replacing ------------------------------------------------------------ */

/* Options are those of the new one; clients and counters go on. */
static void take_over(struct rover__lua_relay *r) {
  struct rover__lua_relay *old = rover__lua_relay_of(r->object.old);
  rover_relay_t *relay = old->object.relay;
  rover_relay_client_t *client = rover_relay_client_first(relay);

  for (; client; client = rover_relay_client_next(client))
    rover__lua_part_client(client);
  rover_relay_stats_get(relay, &old->last);
  old->replaced = true;
  rover_relay_exchange(relay, r->object.relay);
  old->object.relay = r->object.relay;
  r->object.relay = relay;
  r->object.old = NULL;
}

void rover__lua_take_relays(rover__lua_t *lua) {
  struct rover__lua_object *o = lua->objects[ROVER__LUA_RELAYS];
  for (; o; o = o->next)
    if (o->old) take_over(rover__lua_relay_of(o));
}

/* -- Methods -------------------------------------------------------------- */

static int l_change(lua_State *L) { return rover__lua_object_change(L, &kind); }

static int l_offer(lua_State *L) {
  rover__lua_offer_soon(rover__lua_relay_of(check_open(L)));
  return rover__lua_return_self(L);
}

static rover_relay_t *check_relay(lua_State *L) { return check_open(L)->relay; }

static int l_clients(lua_State *L) {
  lua_Integer count = 0;
  check_open(L);
  lua_settop(L, 1);
  lua_newtable(L);
  bool more = true;
  while (more) more = rover__lua_make_client(L, check_relay);
  /* All have a userdata now, so no finalizer runs, and the list stays. */
  rover_relay_client_t *client = rover_relay_client_first(check_relay(L));
  for (; client; client = rover_relay_client_next(client)) {
    rover__lua_push_client(L, client);
    lua_rawseti(L, 2, ++count);
  }
  return 1;
}

static int l_address(lua_State *L) {
  return rover__lua_return_address(L, address(check_open(L)));
}

static int l_stats(lua_State *L) {
  struct rover__lua_object *o = rover__lua_object_test(L, &kind);
  rover_relay_stats_t s;
  if (!o) return luaL_argerror(L, 1, "the relay is closed");

  if (rover__lua_relay_of(o)->replaced) s = rover__lua_relay_of(o)->last;
  else rover_relay_stats_get(o->relay, &s);
  lua_newtable(L);
#define XX(name, kind, lua, text)                                              \
  lua_pushinteger(L, (lua_Integer)s.name);                                     \
  lua_setfield(L, -2, lua);
  ROVER_RELAY_STATS_MAP(XX)
#undef XX
  return 1;
}

static const luaL_Reg methods[] = {
    {"offer", l_offer},
    {"clients", l_clients},
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
  rover__lua_open_client(L);
  rover__lua_object_open(L, &kind, methods, metamethods, l_change);
  lua_createtable(L, 0, 2); /* shared, module */
  lua_pushvalue(L, -2);
  lua_pushcclosure(L, l_new, 1);
  lua_setfield(L, -2, "new");
  lua_pushvalue(L, -2);
  lua_pushcclosure(L, rover__lua_picking, 1);
  lua_setfield(L, -2, "client");
}
