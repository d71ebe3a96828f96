#include "server.h"

#include "../rover/hold.h"
#include "../rover/reload.h"
#include "check.h"
#include "error.h"

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

void rover__lua_push_server(lua_State *L, const rover_server_t *server) {
  int port = rover_server_port(server); /* a finalizer may drop it */
  unsigned weight = rover_server_weight(server);
  lua_pushstring(L, rover_server_host(server));
  push_address(L, port, weight);
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
  lua_remove(L, -2);
}

void rover__lua_push_held(lua_State *L, int index) {
  const struct held *held = lua_touserdata(L, index);
  unsigned weight =
      held->server ? rover_server_weight(held->server) : held->weight;
  lua_getiuservalue(L, index, HOST);
  push_address(L, held->port, weight);
}

/* -- Of a rover ----------------------------------------------------------- */

void rover__lua_add_server(lua_State *L, const rover__lua_t *lua,
                           rover_t *rover, const char *id,
                           struct rover__lua_address address) {
  bool may = rover__lua_may_have(lua, 0);
  int err =
      may ? rover_server_add(rover, id, address.host, address.port) : UV_ENOMEM;
  if (may && err == UV_ENOMEM) rover__lua_no_memory(L);
  if (err < 0) luaL_error(L, "server '%s': %s", id, uv_strerror(err));
  if (address.weight > 0) rover_server_set_weight(rover, id, address.weight);
  /* In a reload, those that the script declares go, and others stay. */
  if (lua->staged) rover_server_set_mark(rover_server_get(rover, id), true);
}

static void check_table(lua_State *L, int index, int arg) {
  if (!lua_istable(L, index))
    rover__lua_misuse(L, arg, "servers: table by id expected, got %s",
                      luaL_typename(L, index));
}

/* Checks the servers by id in the table at `index`, and copies up to `max` of
 * them. Returns how many there are. Unless one is wrong nothing is allocated,
 * so no finalizer changes the table or collects the strings. */
static size_t read_servers(lua_State *L, int index, int arg,
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
          .weight = address.weight};
    count++;
  }
  return count;
}

struct rover__lua_servers rover__lua_push_servers(lua_State *L, int index,
                                                  int arg) {
  struct rover__lua_servers servers = {NULL, 0};

  check_table(L, index, arg);
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) servers.count++;
  servers.entries =
      lua_newuserdatauv(L, servers.count * sizeof *servers.entries + 1, 0);
  if (read_servers(L, index, arg, servers.entries, servers.count) !=
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

void rover__lua_check_servers(lua_State *L) {
  int index = lua_gettop(L) + 1;
  if (lua_getfield(L, 1, "servers") != LUA_TNIL) {
    check_table(L, index, 1);
    read_servers(L, index, 1, NULL, 0);
  }
  lua_settop(L, index - 1);
}

void rover__lua_add_servers(lua_State *L, const rover__lua_t *lua,
                            rover_t *rover) {
  if (lua_getfield(L, 1, "servers") == LUA_TTABLE)
    rover__lua_set_servers(L, lua, rover,
                           rover__lua_push_servers(L, lua_gettop(L), 1));
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
