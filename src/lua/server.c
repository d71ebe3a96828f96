#include "server.h"

#include "../rover/reload.h"
#include "check.h"
#include "error.h"

#include <stdlib.h>
#include <string.h>

#define SERVER_TYPE "callosum.server"

/* Makes a {host=, port=} of the host on top. */
static void push_address(lua_State *L, int port) {
  lua_createtable(L, 0, 2);
  lua_insert(L, -2);
  lua_setfield(L, -2, "host");
  lua_pushinteger(L, port);
  lua_setfield(L, -2, "port");
}

void rover__lua_push_server(lua_State *L, const rover_server_t *server) {
  int port = rover_server_port(server); /* the next may free it */
  lua_pushstring(L, rover_server_host(server));
  push_address(L, port);
}

/* -- What holds one ------------------------------------------------------- */

/* Finalizers of a script may ask for what is here after our own has run, so it
 * does not come from the server. The uservalues are its id and host. */
struct held {
  const rover_server_t *server; /* NULL once finalized */
  int port;
};

enum { ID = 1, HOST };

static int held_gc(lua_State *L) {
  struct held *held = luaL_checkudata(L, 1, SERVER_TYPE);
  if (held->server) rover_server_unref(held->server);
  held->server = NULL;
  return 0;
}

void rover__lua_hold_server(lua_State *L, rover__lua_t *lua,
                            const rover_server_t *server) {
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
  lua_getiuservalue(L, index, HOST);
  push_address(L, held->port);
}

/* -- Those of a rover ----------------------------------------------------- */

void rover__lua_add_server(lua_State *L, const rover__lua_t *lua,
                           rover_t *rover, const char *id,
                           struct rover__lua_address address) {
  bool may = rover__lua_may_have(lua, 0);
  int err = may ? rover_server_add(rover, id, address.host, address.port)
                : UV_ENOMEM;
  if (may && err == UV_ENOMEM) rover__lua_no_memory(L);
  if (err < 0) luaL_error(L, "server '%s': %s", id, uv_strerror(err));
  /* Those that a script declares go with it, others stay. */
  if (lua->staged) rover_server_set_mark(rover_server_get(rover, id), true);
}

void rover__lua_check_servers(lua_State *L) {
  int type = lua_getfield(L, 1, "servers");
  int top = lua_gettop(L);
  if (type != LUA_TNIL && type != LUA_TTABLE)
    luaL_argerror(L, 1, lua_pushfstring(L, "servers: table by id expected, got "
                                           "%s", lua_typename(L, type)));
  if (type == LUA_TTABLE) lua_pushnil(L);
  while (type == LUA_TTABLE && lua_next(L, top)) {
    const char *id =
        rover__lua_check_text(L, top + 1, 1, ROVER_ID_MAX, "server id");
    rover__lua_check_server(L, top + 2, 1, id);
    lua_settop(L, top + 1);
  }
  lua_settop(L, top - 1);
}

static int by_text(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* In the order of their ids: that of lua_next() differs from process to
 * process, and with it would the picks of a seeded rover. */
void rover__lua_add_servers(lua_State *L, const rover__lua_t *lua,
                            rover_t *rover) {
  size_t count = 0, i = 0;
  if (lua_getfield(L, 1, "servers") != LUA_TTABLE) return;
  int servers = lua_gettop(L);

  for (lua_pushnil(L); lua_next(L, servers); lua_pop(L, 1)) count++;
  const char **ids = lua_newuserdatauv(L, count * sizeof *ids + 1, 0);
  lua_createtable(L, (int)count, 0); /* keeps the ids */
  int keep = lua_gettop(L);
  lua_pushnil(L);
  while (i < count && lua_next(L, servers)) {
    lua_pop(L, 1);
    ids[i++] = rover__lua_check_text(L, keep + 1, 1, ROVER_ID_MAX, "server id");
    lua_pushvalue(L, -1);
    lua_rawseti(L, keep, (lua_Integer)i);
  }
  count = i;
  lua_settop(L, keep);
  qsort(ids, count, sizeof *ids, by_text);
  int top = lua_gettop(L);
  for (i = 0; i < count; i++) {
    lua_getfield(L, servers, ids[i]);
    rover__lua_add_server(L, lua, rover, ids[i],
                          rover__lua_check_server(L, top + 1, 1, ids[i]));
    lua_settop(L, top);
  }
}

void rover__lua_open_server(lua_State *L, rover__lua_t *lua) {
  luaL_newmetatable(L, SERVER_TYPE);
  lua_pushcfunction(L, held_gc);
  lua_setfield(L, -2, "__gc");
  lua_newtable(L); /* by their addresses, while somebody has them */
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "v");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  lua->servers = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_pop(L, 1);
}
