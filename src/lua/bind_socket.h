/* Private to src/lua: kept sockets. */
#ifndef LUA_BIND_SOCKET_H
#define LUA_BIND_SOCKET_H

#include "object.h"

struct rover__lua_socket; /* the userdata of a socket */

void rover__lua_open_socket(lua_State *L, rover__lua_t *lua);

/* The socket at `index`, NULL if it is closed; raises if there is none. */
rover_socket_t *rover__lua_check_socket(lua_State *L, int index);
bool rover__lua_is_socket(lua_State *L, int index);

/* Pushes the userdata of a socket, making it if there is none. May raise. */
void rover__lua_push_socket(lua_State *L, rover_socket_t *socket);

/* Pushes the id of the server of the socket at `index`. */
void rover__lua_push_id(lua_State *L, int index);

/* Makes the userdata of a socket that another state still has, with the value
 * on top of lua->L, which it pops, as its state unless that is nil. May raise. */
struct rover__lua_socket *rover__lua_prepare_socket(rover__lua_t *lua,
                                                    rover_socket_t *socket);

/* Takes the socket from the other state. Nobody reads it any more, and nothing
 * of it is told until it is awaited no more. */
void rover__lua_attach_socket(struct rover__lua_socket *box,
                              rover_socket_t *socket);

/* Whether it is yet to be adopted. */
bool rover__lua_is_awaited(const rover_socket_t *socket);
/* Before it is; and after that, has what was kept back follow. */
void rover__lua_expect_no_more(rover_socket_t *socket);
void rover__lua_catch_up(rover_socket_t *socket);

/* Whether the state had it from the one before. */
bool rover__lua_is_adopted(const rover_socket_t *socket);

/* No socket calls into the state any more, which has none from here on. */
void rover__lua_part_sockets(rover__lua_t *lua);

/* Pushes the state of a socket, or nil if it was never asked for. */
void rover__lua_push_state(lua_State *L, rover_socket_t *socket);

#endif
