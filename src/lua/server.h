/* Private to src/lua: the servers of rovers, as tables {host=, port=} by id,
 * and as objects that keep the server of a socket alive. */
#ifndef LUA_SERVER_H
#define LUA_SERVER_H

#include "check.h"
#include "state.h"

void rover__lua_open_server(lua_State *L, rover__lua_t *lua);

/* Pushes {host=, port=, weight=, tls=}. */
void rover__lua_push_server(lua_State *L, const rover_server_t *server);

/* Pushes the object that holds a reference to a server, of which there is at
 * most one; its first uservalue is the server's id. The other pushes
 * {host=, port=} for the one at `index`. */
void rover__lua_hold_server(lua_State *L, rover__lua_t *lua,
                            rover_server_t *server);
void rover__lua_push_held(lua_State *L, int index);

/* Adds the server in the table at `index`. Returns 0; or what its TLS fails with,
 * and pushes the message. */
int rover__lua_add_server(lua_State *L, rover__lua_t *lua, rover_t *rover,
                         const char *id, int index, int arg);

/* Pushes an array of the servers in the table by id at `index`; raises if one
 * is not valid; or the message of what TLS fails with. Its strings are valid until something else allocates in Lua.
 * The other function makes them all the servers of the rover. */
struct rover__lua_servers {
  rover_server_entry_t *entries;
  size_t count;
  int status; /* of their TLS */
};
struct rover__lua_servers
rover__lua_push_servers(lua_State *L, rover__lua_t *lua, int index, int arg);
rover_server_changes_t
rover__lua_set_servers(lua_State *L, const rover__lua_t *lua, rover_t *rover,
                       struct rover__lua_servers servers);

/* The option `servers` of the table at index 1, if there is one: all are
 * checked before a rover is created, so that a wrong one leaves nothing behind,
 * and added once it is. Returns 0; or what the TLS of one fails with, and pushes
 * the message. */
int rover__lua_check_servers(lua_State *L, rover__lua_t *lua);
void rover__lua_add_servers(lua_State *L, rover__lua_t *lua,
                            rover_t *rover);

#endif
