/* Private to src/lua: the userdata of a kept socket, from when it is first
 * pushed until it is closed or another state takes it over, and its events. Its
 * methods are in bind_socket.c. */
#ifndef LUA_SOCKET_H
#define LUA_SOCKET_H

#include "object.h"

#define ROVER__LUA_SOCKET_TYPE "callosum.socket"

enum { ROVER__LUA_DATA, ROVER__LUA_END, ROVER__LUA_CLOSE, ROVER__LUA_DRAIN };
extern const char *const rover__lua_socket_events[];

/* What stays readable when the socket is gone. It has no finalizer: most sockets
 * are refused at once, and one for each would cost more than all else. So its
 * server, which outlives it, is held by an object that the sockets of one server
 * share. The uservalue is that, or a table of the handlers which has it at
 * SERVER, and socket.state in `state`. */
struct rover__lua_socket {
  rover_socket_t *socket; /* NULL once closed, or taken by another state */
  rover__lua_t *lua;
  unsigned slot : 31;
  unsigned adopted : 1; /* by this state, from the one before */
  int anchor : 27; /* reference in the registry until closed */
  unsigned has_own : 1; /* table */
  unsigned lost : 1; /* bytes, for want of memory */
  unsigned awaited : 1; /* its `connection` is yet to come */
  unsigned ended : 1; /* by the peer, maybe while it was awaited */
  unsigned paused : 1;
};

/* One that is closed for any other reason has had its anchor. */
static inline bool
rover__lua_socket_is_passed_on(const struct rover__lua_socket *box) {
  return !box->socket && box->anchor == LUA_NOREF;
}

/* Creates its metatable, with the methods in bind_socket.c. */
void rover__lua_open_socket(lua_State *L, rover__lua_t *lua);

/* The userdata at index 1, and whether its socket is closed. */
struct rover__lua_socket *rover__lua_socket_box(lua_State *L);
bool rover__lua_socket_is_closed(const struct rover__lua_socket *box);

/* Pushes what holds the server of the socket at `index`. */
void rover__lua_push_holder(lua_State *L, int index);

/* Pushes the table of the socket at `index`, which is created if there is
 * none. */
void rover__lua_push_own(lua_State *L, int index);

/* Has the socket read, or not, as its handlers ask for. It is at `index`. */
int rover__lua_follow_listeners(lua_State *L, int index,
                                rover_socket_t *socket);

/* The engine's callback of a request; `arg` is the function's reference in the
 * registry. */
void rover__lua_socket_done(rover_socket_t *socket, int status, void *arg);

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
