/* Private to src/lua: the clients of relays. The userdata of one is created
 * when it is offered to pick or listed, and anchored until the client is joined
 * or closed, or another state takes the relay over. */
#ifndef LUA_BIND_CLIENT_H
#define LUA_BIND_CLIENT_H

#include "object.h"

/* The userdata of a client that waits. Its uservalue is nil or a table of
 * handlers, with the reason for refusing it in `reason`. */
struct rover__lua_client {
  rover_relay_client_t *client; /* NULL once joined, closed or taken over */
  rover__lua_t *lua;
  int anchor; /* reference in the registry while C may call back */
  int status; /* of the reason */
  bool picking; /* pick has not returned yet */
};

/* A call of pick that has neither returned nor yielded. It keeps its client's
 * userdata, even if the client leaves meanwhile. */
struct rover__lua_pick {
  rover_relay_client_t *client; /* NULL once it is joined or closed */
  lua_State *coroutine;
  int anchor;   /* that of the client's userdata */
  bool is_last; /* to use it */
  struct rover__lua_pick *outer; /* in which the loop was run */
};

void rover__lua_open_client(lua_State *L);

/* Pushes the userdata of the client that pick is to be called for, which is
 * created if there is none. Returns NULL, and pushes nothing, if the client no
 * longer waits then. May raise. */
struct rover__lua_client *
rover__lua_push_offered(lua_State *L, const struct rover__lua_pick *pick);

/* Pushes the userdata that a client has. */
void rover__lua_push_client(lua_State *L, const rover_relay_client_t *client);

/* Creates the userdata of one client of a relay that has none, and returns
 * whether there was such a client. `check` returns the relay, or raises. May
 * raise. */
bool rover__lua_make_client(lua_State *L, rover_relay_t *(*check)(lua_State *));

bool rover__lua_is_waiting(const struct rover__lua_client *box);

/* Refuses the client at `index`; the error event has that status, and as its
 * message the reason, a string at the other index. May raise. */
void rover__lua_refuse(lua_State *L, int index, int status, int reason);

/* Joins a client that waits. */
int rover__lua_join(struct rover__lua_client *box, rover_socket_t *socket);

/* Takes the client from this state, for another one. */
void rover__lua_part_client(rover_relay_client_t *client);

/* The engine's callback. */
void rover__lua_client_closed(rover_relay_t *relay,
                              rover_relay_client_t *client, int status);

#endif
