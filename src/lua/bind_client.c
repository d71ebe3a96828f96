#include "bind_client.h"

#include "error.h"
#include "socket.h"

#include <string.h>

#define CLIENT_TYPE "callosum.client"

enum { CLOSE };
static const char *const event_names[] = {"close", NULL};

static struct rover__lua_client *check_box(lua_State *L) {
  return luaL_checkudata(L, 1, CLIENT_TYPE);
}

bool rover__lua_is_waiting(const struct rover__lua_client *box) {
  return box->client && rover_relay_client_is_waiting(box->client);
}

static struct rover__lua_object *relay_of(const rover_relay_client_t *client) {
  return rover_relay_data(rover_relay_client_relay(client));
}

static int fail_gone(lua_State *L) {
  return rover__lua_fail(L, UV_ECANCELED, "the client is no longer waiting");
}

/* Pushes the uservalue of the client at `index`, made a table. */
static void push_own(lua_State *L, int index) {
  if (lua_getiuservalue(L, index, 1) == LUA_TTABLE) return;
  lua_pop(L, 1);
  lua_newtable(L);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, index, 1);
}

/* -- Life ----------------------------------------------------------------- */

/* Pushes one without a client. */
static struct rover__lua_client *push_new(lua_State *L, rover__lua_t *lua) {
  struct rover__lua_client *box = lua_newuserdatauv(L, sizeof *box, 1);
  *box = (struct rover__lua_client){.lua = lua, .anchor = LUA_NOREF};
  luaL_setmetatable(L, CLIENT_TYPE);
  return box;
}

/* Gives a client to the userdata on top. */
static void attach(lua_State *L, struct rover__lua_client *box,
                   rover_relay_client_t *client) {
  lua_pushvalue(L, -1);
  box->anchor = luaL_ref(L, LUA_REGISTRYINDEX);
  box->client = client;
  rover_relay_client_set_data(client, box);
}

void rover__lua_push_client(lua_State *L, const rover_relay_client_t *client) {
  const struct rover__lua_client *box = rover_relay_client_data(client);
  lua_rawgeti(L, LUA_REGISTRYINDEX, box->anchor);
}

/* A finalizer may run when the userdata is created, and have caused one for the
 * client, or have closed it; it may even run the loop. */
struct rover__lua_client *
rover__lua_push_offered(lua_State *L, const struct rover__lua_pick *pick) {
  if (!rover_relay_client_data(pick->client)) {
    struct rover__lua_client *new = push_new(L, relay_of(pick->client)->lua);
    rover_relay_client_t *client = pick->client;
    if (client && rover_relay_client_is_waiting(client) &&
        !rover_relay_client_data(client)) {
      attach(L, new, client);
      return new;
    }
    lua_pop(L, 1);
  }
  if (!pick->client || !rover_relay_client_is_waiting(pick->client))
    return NULL;
  rover__lua_push_client(L, pick->client);
  return rover_relay_client_data(pick->client);
}

static rover_relay_client_t *find_new(const rover_relay_t *relay) {
  rover_relay_client_t *client = rover_relay_client_first(relay);
  while (client && rover_relay_client_data(client))
    client = rover_relay_client_next(client);
  return client;
}

bool rover__lua_make_client(lua_State *L,
                            rover_relay_t *(*check)(lua_State *)) {
  rover_relay_client_t *client = find_new(check(L));
  if (!client) return false;
  struct rover__lua_client *box = push_new(L, relay_of(client)->lua);
  /* Again: a finalizer may have closed clients, or the relay. */
  client = find_new(check(L));
  if (client) attach(L, box, client);
  lua_pop(L, 1);
  return true;
}

/* The client is joined or closed: pick is no longer to be called for it. */
static void forget(const rover__lua_t *lua,
                   const rover_relay_client_t *client) {
  struct rover__lua_pick *pick = lua->pick;
  for (; pick; pick = pick->outer)
    if (pick->client == client) pick->client = NULL;
}

/* The same, and its userdata is no longer anchored. */
static void part(struct rover__lua_client *box) {
  struct rover__lua_pick *pick = box->lua->pick;

  forget(box->lua, box->client);
  while (pick && pick->anchor != box->anchor) pick = pick->outer;
  if (pick) pick->is_last = true;
  else luaL_unref(box->lua->L, LUA_REGISTRYINDEX, box->anchor);
  box->anchor = LUA_NOREF;
  box->client = NULL;
}

void rover__lua_part_client(rover_relay_client_t *client) {
  struct rover__lua_client *box = rover_relay_client_data(client);
  if (box) box->client = NULL;
  rover_relay_client_set_data(client, NULL);
}

/* It is anchored while it has a client: if it has one, the state is closing. */
static int l_gc(lua_State *L) {
  struct rover__lua_client *box = check_box(L);
  if (box->client) rover__lua_part_client(box->client);
  return 0;
}

int rover__lua_join(struct rover__lua_client *box, rover_socket_t *socket) {
  rover_relay_client_t *client = box->client;

  rover_relay_client_set_data(client, NULL);
  int err = rover_relay_client_join(client, socket);
  if (err < 0) rover_relay_client_set_data(client, box);
  else part(box);
  return err;
}

void rover__lua_refuse(lua_State *L, int index, int status, int reason) {
  struct rover__lua_client *box = lua_touserdata(L, index);

  reason = lua_absindex(L, reason);
  box->status = status;
  push_own(L, index);
  lua_pushvalue(L, reason);
  lua_setfield(L, -2, "reason");
  lua_pop(L, 1);
  rover_relay_client_refuse(box->client);
}

/* -- Events --------------------------------------------------------------- */

struct closed {
  rover_relay_client_t *client;
  int status;
};

/* Pushes: "a client from 192.0.2.7 was reset: its PROXY header is wrong". */
static void push_rejected(lua_State *L, const rover_relay_client_t *client,
                          int status) {
  struct sockaddr_storage name;
  int size = sizeof name;

  int err =
      rover_relay_client_peername(client, (struct sockaddr *)&name, &size);
  int found = rover__lua_push_name(L, err, &name);
  const char *host = found == 2 ? lua_tostring(L, -2) : NULL;
  lua_pushfstring(L, "a client%s%s was reset: %s%s", host ? " from " : "",
                  host ? host : "",
                  status == UV_EPROTO ? "its PROXY header is wrong: " : "",
                  rover_relay_client_reason(client));
}

/* Pushes why a client was closed that could not be joined, or nil. */
static void push_why(lua_State *L, const struct rover__lua_object *o,
                     const struct closed *closed) {
  const rover_relay_options_t *options = rover_relay_options(o->relay);
  LUAI_UACINT ms = (LUAI_UACINT)options->wait_timeout;

  if (rover_relay_client_reason(closed->client)) {
    push_rejected(L, closed->client, closed->status);
    return;
  }
  switch (closed->status) {
    case UV_ETIMEDOUT:
      rover__lua_object_push_handlers(L, o);
      lua_getfield(L, -1, "why");
      lua_pushfstring(L, "no socket for a client in %I ms%s", ms,
                      lua_isnil(L, -1) ? "" : ": ");
      lua_insert(L, -2);
      if (lua_isnil(L, -1)) lua_pop(L, 1);
      else lua_concat(L, 2);
      break;
    case UV_EMFILE:
      lua_pushfstring(L, "no descriptor for a client in %I ms; raise this "
                         "process's limit of open files (ulimit -n)", ms);
      break;
    case UV_ENOBUFS:
      lua_pushfstring(L, "more than %I clients: the one that has waited "
                         "longest is closed",
                      (LUAI_UACINT)options->max_clients);
      break;
    default: lua_pushnil(L);
  }
}

static int closed_event(lua_State *L) {
  struct rover__lua_object *o = lua_touserdata(L, 1);
  const struct closed *closed = lua_touserdata(L, 2);
  struct rover__lua_client *box = rover_relay_client_data(closed->client);
  int status = closed->status, failed;

  push_why(L, o, closed);
  lua_replace(L, 2);
  lua_settop(L, 2); /* relay, why */
  if (box) { /* otherwise pick was never called for it */
    lua_rawgeti(L, LUA_REGISTRYINDEX, box->anchor);
    if (lua_getiuservalue(L, 3, 1) == LUA_TTABLE &&
        lua_getfield(L, 4, "reason") == LUA_TSTRING) {
      lua_replace(L, 2);
      status = box->status;
    }
    lua_settop(L, 4); /* relay, why, client, own */
    if (status == 0) lua_pushnil(L);
    else rover__lua_push_error_of(L, status, 2);
    rover__lua_emit(o->lua, L, 4, CLOSE, 1, &failed);
  }
  if (lua_isnil(L, 2)) return 0;
  rover__lua_push_error_of(L, status, 2);
  rover__lua_object_error(L, o);
  return 0;
}

void rover__lua_client_closed(rover_relay_t *relay,
                              rover_relay_client_t *client, int status) {
  struct rover__lua_object *o = rover_relay_data(relay);
  struct rover__lua_client *box = rover_relay_client_data(client);
  struct closed closed = {client, status};
  struct rover__lua_occasion occasion = {
      .event = "close", .noun = o->kind->noun, .name = o->name};

  if (o->lua) forget(o->lua, client);
  o->refs++; /* handlers may run the loop, and the relay be closed in it */
  if (o->lua && (!box || box->lua == o->lua))
    rover__lua_tell(o->lua, &occasion, closed_event, o, &closed);
  rover__lua_object_unref(o);
  /* The handlers may have had the box collected. */
  box = rover_relay_client_data(client);
  if (!box) return;
  if (box->lua->dead) box->client = NULL;
  else part(box);
}

/* -- Methods -------------------------------------------------------------- */

static int l_change(lua_State *L) {
  struct rover__lua_client *box = check_box(L);
  struct rover__lua_change change =
      rover__lua_check_change(L, 2, event_names, rover__lua_method(L));
  if (!rover__lua_is_waiting(box)) return rover__lua_return_self(L);
  push_own(L, 1);
  rover__lua_change_handlers(L, -1, 3, &change);
  return rover__lua_return_self(L);
}

static int l_join(lua_State *L) {
  struct rover__lua_client *box = check_box(L);
  rover_socket_t *socket = rover__lua_check_socket(L, 2);

  if (!rover__lua_is_waiting(box)) return fail_gone(L);
  if (!socket) return rover__lua_fail(L, UV_ENOTCONN, "the socket is closed");
  int err = rover__lua_join(box, socket);
  if (err == 0) return rover__lua_return_self(L);
  return rover__lua_fail(L, err,
                         err == UV_ENOTCONN ? "the server has ended the socket"
                                            : NULL);
}

static int l_refuse(lua_State *L) {
  struct rover__lua_client *box = check_box(L);
  if (!lua_isnoneornil(L, 2)) luaL_checktype(L, 2, LUA_TSTRING);
  if (!rover__lua_is_waiting(box)) return rover__lua_return_self(L);
  if (lua_isnoneornil(L, 2)) rover_relay_client_refuse(box->client);
  else rover__lua_refuse(L, 1, UV_ECANCELED, 2);
  return rover__lua_return_self(L);
}

static int l_peername(lua_State *L) {
  struct rover__lua_client *box = check_box(L);
  struct sockaddr_storage name;
  int size = sizeof name;

  if (!rover__lua_is_waiting(box)) return fail_gone(L);
  int err =
      rover_relay_client_peername(box->client, (struct sockaddr *)&name, &size);
  return rover__lua_push_name(L, err, &name);
}

/* Sets a field of the table on top, if there is a text, and still the client
 * that has it: a finalizer may run in this and join it. */
static void set_text(lua_State *L, const struct rover__lua_client *box,
                     const char *field, const char *text, size_t length) {
  if (!text || !box->client) return;
  lua_pushlstring(L, text, length); /* copies, and collects garbage then */
  lua_setfield(L, -2, field);
}

/* The address that the client connected to, in the table on top. */
static void set_address(lua_State *L, const struct sockaddr *to) {
  struct sockaddr_storage name = {0};

  if (!to || to->sa_family == AF_UNIX) return;
  memcpy(&name, to, to->sa_family == AF_INET ? sizeof(struct sockaddr_in)
                                             : sizeof(struct sockaddr_in6));
  rover__lua_push_name(L, 0, &name); /* table, host, port */
  lua_setfield(L, -3, "port");
  lua_setfield(L, -2, "host");
}

/* Pushes what the PROXY header of a waiting client tells; without one, nil. */
static void push_proxy(lua_State *L, const struct rover__lua_client *box) {
  rover_proxy_t p;

  lua_createtable(L, 0, 6);
  if (!rover__lua_is_waiting(box) ||
      rover_relay_client_proxy(box->client, &p) < 0) {
    lua_pushnil(L);
    return;
  }
  set_address(L, p.to);
  lua_pushinteger(L, p.version);
  lua_setfield(L, -2, "version");
  set_text(L, box, "uniqueId", p.unique_id, p.unique_id_length);
  set_text(L, box, "authority", p.authority, p.authority_length);
  if (!p.has_tls) return;
  lua_createtable(L, 0, 3);
  set_text(L, box, "version", p.tls_version, p.tls_version_length);
  lua_pushboolean(L, p.is_verified);
  lua_setfield(L, -2, "verified");
  set_text(L, box, "commonName", p.common_name, p.common_name_length);
  lua_setfield(L, -2, "tls");
}

static int l_index(lua_State *L) {
  struct rover__lua_client *box = check_box(L);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
  const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
  if (!strcmp(name, "waiting")) lua_pushboolean(L, rover__lua_is_waiting(box));
  if (!strcmp(name, "proxy")) push_proxy(L, box);
  return 1;
}

static int l_tostring(lua_State *L) {
  bool is_waiting = rover__lua_is_waiting(check_box(L));
  lua_pushstring(L, is_waiting ? "client (waiting)" : "client");
  return 1;
}

static const luaL_Reg methods[] = {
    {"join", l_join},
    {"refuse", l_refuse},
    {"peername", l_peername},
    {NULL, NULL},
};

static const luaL_Reg metamethods[] = {
    {"__gc", l_gc},
    {"__tostring", l_tostring},
    {NULL, NULL},
};

void rover__lua_open_client(lua_State *L) {
  luaL_newmetatable(L, CLIENT_TYPE);
  luaL_setfuncs(L, metamethods, 0);
  luaL_newlib(L, methods);
  rover__lua_set_changers(L, l_change);
  lua_pushcclosure(L, l_index, 1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}
