/* Private to src/lua: the clients of relays. */
#ifndef LUA_BIND_CLIENT_H
#define LUA_BIND_CLIENT_H

#include "object.h"

/* The userdata of a client that waits. Its uservalue is nil or a table of the
 * handlers, with what was given as a reason to refuse it in `reason`. */
struct rover__lua_client {
  rover_relay_client_t *client; /* NULL once joined, closed, or another state's */
  rover__lua_t *lua;
  int anchor; /* reference in the registry while C may call back */
  int status; /* of the reason */
  bool picking; /* pick has yet to return */
};

void rover__lua_open_client(lua_State *L);

/* Pushes the userdata of a client that waits, making it if there is none. May
 * raise. */
struct rover__lua_client *rover__lua_push_client(lua_State *L,
                                                 rover_relay_client_t *client);

/* Makes that of one client of a relay which has none, if any; returns whether
 * there was one. `check` returns the relay, or raises. May raise. */
bool rover__lua_make_client(lua_State *L, rover_relay_t *(*check)(lua_State *L));

bool rover__lua_is_waiting(const struct rover__lua_client *box);

/* Refuses the client at `index`; the error event has that status, and the
 * reason at the other index as its message. May raise. */
void rover__lua_refuse(lua_State *L, int index, int status, int reason);

/* Joins a client that waits. */
int rover__lua_join(struct rover__lua_client *box, rover_socket_t *socket);

/* Another state has the client from now on. */
void rover__lua_part_client(rover_relay_client_t *client);

/* The engine's callback. */
void rover__lua_client_closed(rover_relay_t *relay, rover_relay_client_t *client,
                              int status);

#endif
