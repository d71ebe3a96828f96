#include "server.h"

#include "../rover/hold.h"
#include "../rover/reload.h"
#include "check.h"
#include "error.h"
#include "tls_client.h"

#include <stdlib.h>
#include <string.h>

#define SERVER_TYPE "callosum.server"

/* Makes a {host=, port=} of the host on top. */
static void push_address(lua_State *L, int port, unsigned weight) {
  lua_createtable(L, 0, weight > 0 ? 3 : 2);
  lua_insert(L, -2);
  lua_setfield(L, -2, "host");
  lua_pushinteger(L, port);
  lua_setfield(L, -2, "port");
  if (weight == 0) return;
  lua_pushinteger(L, weight);
  lua_setfield(L, -2, "weight");
}

/* Adds what is its own to the table on top. `tls` is kept by the state. */
static void set_tls(lua_State *L, const rover_tls_t *tls, bool plain) {
  if (!tls && !plain) return;
  if (tls) rover__lua_push_tls_client(L, tls);
  else lua_pushboolean(L, false);
  lua_setfield(L, -2, "tls");
}

void rover__lua_push_server(lua_State *L, const rover_server_t *server) {
  int port = rover_server_port(server); /* a finalizer may drop it */
  unsigned weight = rover_server_weight(server);
  const rover_tls_t *tls = rover_server_tls(server);
  bool plain = rover_server_is_plain(server);
  lua_pushstring(L, rover_server_host(server));
  push_address(L, port, weight);
  set_tls(L, tls, plain);
}

/* -- References ----------------------------------------------------------- */

/* A script's finalizers may use this after our own has run, so id and host are
 * not read from the server: they are the uservalues. */
struct held {
  rover_server_t *server; /* NULL once finalized */
  int port;
  unsigned weight; /* until then it is the server's */
};

enum { ID = 1, HOST };

static int held_gc(lua_State *L) {
  struct held *held = luaL_checkudata(L, 1, SERVER_TYPE);
  if (held->server) {
    held->weight = rover_server_weight(held->server);
    rover_server_unref(held->server);
  }
  held->server = NULL;
  return 0;
}

void rover__lua_hold_server(lua_State *L, rover__lua_t *lua,
                            rover_server_t *server) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, lua->servers);
  if (lua_rawgetp(L, -1, server) == LUA_TNIL) {
    lua_pop(L, 1);
    struct held *held = lua_newuserdatauv(L, sizeof *held, HOST);
    *held = (struct held){.port = rover_server_port(server)};
    luaL_setmetatable(L, SERVER_TYPE);
    lua_pushstring(L, rover_server_id(server));
    lua_setiuservalue(L, -2, ID);
    lua_pushstring(L, rover_server_host(server));
    lua_setiuservalue(L, -2, HOST);
    held->server = rover_server_ref(server);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, -3, server);
  }
  lua_replace(L, -2);
}

void rover__lua_push_held(lua_State *L, int index) {
  const struct held *held = lua_touserdata(L, index);
  unsigned weight =
      held->server ? rover_server_weight(held->server) : held->weight;
  lua_getiuservalue(L, index, HOST);
  push_address(L, held->port, weight);
  if (held->server)
    set_tls(L, rover_server_tls(held->server),
            rover_server_is_plain(held->server));
}

/* -- Of a rover ----------------------------------------------------------- */

/* The own TLS of server `id`, whose table is at `index`; NULL if it has none, or
 * fails: *status then is not 0, and the message is pushed. */
static rover_tls_t *own_tls(lua_State *L, rover__lua_t *lua, int index, int arg,
                            const char *id, int *status) {
  int top = lua_gettop(L);

  *status = 0;
  luaL_checkstack(L, 10, "servers");
  lua_pushliteral(L, "tls");
  lua_rawget(L, index);
  if (!lua_istable(L, top + 1) && !lua_toboolean(L, top + 1)) {
    lua_settop(L, top);
    return NULL;
  }
  const char *what = lua_pushfstring(L, "server '%s': tls", id);
  rover__lua_check_tls_client(L, top + 1, arg, what);
  rover_tls_t *tls = rover__lua_tls_client(L, lua, top + 1, arg, what, status);
  if (*status < 0) lua_replace(L, top + 1);
  lua_settop(L, *status < 0 ? top + 1 : top);
  return tls;
}

int rover__lua_add_server(lua_State *L, rover__lua_t *lua, rover_t *rover,
                         const char *id, int index, int arg) {
  int status;
  rover__lua_check_server(L, index, arg, id);
  rover_tls_t *tls = own_tls(L, lua, index, arg, id, &status);
  if (status < 0) return status;
  /* Only now, since a finalizer may have changed it. */
  struct rover__lua_address address =
      rover__lua_check_server(L, index, arg, id);
  const rover_server_entry_t entry = {.id = id,
                                      .host = address.host,
                                      .port = address.port,
                                      .weight = address.weight,
                                      .tls = tls,
                                      .plain = address.plain && !tls};
  bool may = rover__lua_may_have(lua, 0);
  int err = may ? rover_server_add_entry(rover, &entry) : UV_ENOMEM;
  if (may && err == UV_ENOMEM) rover__lua_no_memory(L);
  if (err < 0) luaL_error(L, "server '%s': %s", id, uv_strerror(err));
  /* In a reload, those that the script declares go, and others stay. */
  if (lua->staged) rover_server_set_mark(rover_server_get(rover, id), true);
  return 0;
}

static void check_table(lua_State *L, int index, int arg) {
  if (!lua_istable(L, index))
    rover__lua_misuse(L, arg, "servers: table by id expected, got %s",
                      luaL_typename(L, index));
}

/* Makes what secures the servers in the table at `index`: pushes a table of it by
 * what they have as `tls`, and then that word; or the message of a failure, whose
 * status it returns. Counts the servers. */
static int push_contexts(lua_State *L, rover__lua_t *lua, int index, int arg,
                         size_t *count) {
  int top = lua_gettop(L), contexts = top + 1, status;

  luaL_checkstack(L, 20, "servers");
  lua_newtable(L);
  lua_pushliteral(L, "tls");
  for (lua_pushnil(L); lua_next(L, index); lua_settop(L, top + 3)) {
    ++*count;
    if (!lua_istable(L, top + 4)) continue;
    lua_pushvalue(L, top + 2);
    if (lua_rawget(L, top + 4) == LUA_TNIL) continue;
    const char *id =
        rover__lua_check_text(L, top + 3, arg, ROVER_ID_MAX, "server id");
    rover__lua_check_server(L, top + 4, arg, id);
    rover_tls_t *tls = own_tls(L, lua, top + 4, arg, id, &status);
    if (status < 0) {
      lua_replace(L, top + 1);
      lua_settop(L, top + 1);
      return status;
    }
    if (!tls) continue;
    lua_pushlightuserdata(L, tls);
    lua_rawset(L, contexts); /* by the tls below it */
  }
  return 0;
}

/* Takes it for the server at `index`, where the table of them is. */
static rover_tls_t *find_context(lua_State *L, int index, int arg,
                                 int contexts) {
  lua_pushvalue(L, contexts + 1);
  lua_rawget(L, index);
  lua_rawget(L, contexts);
  rover_tls_t *tls = lua_touserdata(L, -1);
  if (!tls) luaL_argerror(L, arg, "servers: changed while they were read");
  return tls;
}

/* Checks the servers by id in the table at `index`, and copies up to `max` of
 * them, with their contexts. Returns how many there are. Unless one is wrong
 * nothing is allocated, so no finalizer changes the table or collects the
 * strings. */
static size_t read_servers(lua_State *L, int index, int arg, int contexts,
                           rover_server_entry_t *entries, size_t max) {
  int top = lua_gettop(L);
  size_t count = 0;

  for (lua_pushnil(L); lua_next(L, index); lua_settop(L, top + 1)) {
    const char *id =
        rover__lua_check_text(L, top + 1, arg, ROVER_ID_MAX, "server id");
    struct rover__lua_address address =
        rover__lua_check_server(L, top + 2, arg, id);
    if (entries && count < max)
      entries[count] = (rover_server_entry_t){
          .id = id,
          .host = address.host,
          .port = address.port,
          .weight = address.weight,
          .tls = address.secured ? find_context(L, top + 2, arg, contexts)
                                 : NULL,
          .plain = address.plain};
    count++;
  }
  return count;
}

struct rover__lua_servers
rover__lua_push_servers(lua_State *L, rover__lua_t *lua, int index, int arg) {
  struct rover__lua_servers servers = {NULL, 0, 0};
  int contexts = lua_gettop(L) + 1;

  check_table(L, index, arg);
  servers.status = push_contexts(L, lua, index, arg, &servers.count);
  if (servers.status < 0) return servers;
  servers.entries =
      lua_newuserdatauv(L, servers.count * sizeof *servers.entries + 1, 0);
  if (read_servers(L, index, arg, contexts, servers.entries, servers.count) !=
      servers.count)
    luaL_argerror(L, arg, "servers: changed while they were read");
  return servers;
}

static bool is_there(const rover_t *rover, const rover_server_entry_t *entry) {
  rover_server_t *server = rover_server_get(rover, entry->id);
  return server && rover_server_port(server) == entry->port &&
         !strcmp(rover_server_host(server), entry->host);
}

/* Whether there is memory for those that the rover does not have yet. */
static bool may_have(const rover__lua_t *lua, const rover_t *rover,
                     struct rover__lua_servers servers) {
  enum { SIZE = 256 }; /* about what one takes, without its strings */
  size_t most = SIZE + ROVER_ID_MAX + ROVER_HOST_MAX, bytes = 0;

  if (rover__lua_may_have(lua, servers.count * most)) return true;
  for (size_t i = 0; i < servers.count; i++) {
    const rover_server_entry_t *entry = &servers.entries[i];
    if (!is_there(rover, entry))
      bytes += SIZE + strlen(entry->id) + strlen(entry->host);
  }
  return bytes == 0 || rover__lua_may_have(lua, bytes);
}

rover_server_changes_t
rover__lua_set_servers(lua_State *L, const rover__lua_t *lua, rover_t *rover,
                       struct rover__lua_servers servers) {
  rover_server_changes_t changes = {0};
  int err = UV_ENOMEM;

  if (may_have(lua, rover, servers))
    err = rover_server_set(rover, servers.entries, servers.count, &changes);
  if (err == UV_ENOMEM) rover__lua_no_memory(L);
  if (err < 0) luaL_error(L, "servers: %s", uv_strerror(err));
  rover_server_t *server;
  for (size_t i = 0; (server = rover_server_any_at(rover, i)); i++)
    rover_server_set_mark(server, lua->staged);
  return changes;
}

int rover__lua_check_servers(lua_State *L, rover__lua_t *lua) {
  int index = lua_gettop(L) + 1, status = 0;
  size_t count = 0;

  if (lua_getfield(L, 1, "servers") != LUA_TNIL) {
    check_table(L, index, 1);
    read_servers(L, index, 1, 0, NULL, 0);
    status = push_contexts(L, lua, index, 1, &count);
  }
  if (status < 0) lua_replace(L, index);
  lua_settop(L, status < 0 ? index : index - 1);
  return status;
}

void rover__lua_add_servers(lua_State *L, rover__lua_t *lua,
                            rover_t *rover) {
  if (lua_getfield(L, 1, "servers") != LUA_TTABLE) return;
  struct rover__lua_servers servers =
      rover__lua_push_servers(L, lua, lua_gettop(L), 1);
  if (servers.status == 0) rover__lua_set_servers(L, lua, rover, servers);
  else lua_error(L); /* though they have been made before */
}

void rover__lua_open_server(lua_State *L, rover__lua_t *lua) {
  luaL_newmetatable(L, SERVER_TYPE);
  lua_pushcfunction(L, held_gc);
  lua_setfield(L, -2, "__gc");
  lua_newtable(L); /* the objects by server, weakly */
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "v");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  lua->servers = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_pop(L, 1);
}
