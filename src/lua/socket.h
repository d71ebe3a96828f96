/* Private to src/lua: the userdata of a kept socket, and its events. It is
 * created when it is first pushed, and anchored until the socket is closed,
 * passed on, or taken over by another state. In a reload the new state prepares
 * it beside the old one, attaches it, which makes the socket awaited, and lets
 * it catch up after its `connection`. The methods are in bind_socket.c. */
#ifndef LUA_SOCKET_H
#define LUA_SOCKET_H

#include "object.h"

extern const char rover__lua_socket_type[];

enum { ROVER__LUA_DATA, ROVER__LUA_END, ROVER__LUA_CLOSE, ROVER__LUA_DRAIN };
extern const char *const rover__lua_socket_events[];

/* What can still be read when the socket is gone. It has no finalizer: most
 * sockets are closed at once, and a finalizer for each would cost more than all
 * the rest. So the reference to its server, which may be needed for longer, is
 * held by an object that all sockets of the server share. The uservalue is
 * that, or a table of handlers, with that at SERVER and socket.state in
 * `state`. */
struct rover__lua_socket {
  rover_socket_t *socket; /* NULL once closed, or taken by another state */
  rover__lua_t *lua;
  unsigned slot : 31;
  unsigned adopted : 1; /* from the state before this one */
  int anchor : 27; /* reference in the registry until closed */
  unsigned has_own : 1; /* a table of its own */
  unsigned lost : 1; /* bytes were lost, for want of memory */
  unsigned awaited : 1; /* its `connection` is yet to come */
  unsigned ended : 1; /* by the peer, perhaps while it was awaited */
  unsigned paused : 1;
};

/* One that was closed in any other way keeps the number of its anchor. */
static inline bool
rover__lua_socket_is_passed_on(const struct rover__lua_socket *box) {
  return !box->socket && box->anchor == LUA_NOREF;
}

/* Creates its metatable, with the methods of bind_socket.c. */
void rover__lua_open_socket(lua_State *L, rover__lua_t *lua);

/* The userdata at index 1, and whether its socket is closed. */
struct rover__lua_socket *rover__lua_socket_box(lua_State *L);
bool rover__lua_socket_is_closed(const struct rover__lua_socket *box);

/* Pushes the object that holds the server of the socket at `index`. */
void rover__lua_push_holder(lua_State *L, int index);

/* Pushes the table of the socket at `index`, which is created if there is
 * none. */
void rover__lua_push_own(lua_State *L, int index);

/* Starts or stops reading, as the handlers of the socket at `index` require. */
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

/* Makes the userdata of a socket that still belongs to another state. Pops the
 * value on top of lua->L, which becomes its `state` unless it is nil. May
 * raise. */
struct rover__lua_socket *rover__lua_prepare_socket(rover__lua_t *lua,
                                                    rover_socket_t *socket);

/* Takes the socket from the other state. It is awaited from then on: nothing
 * reads it, and it has no events. */
void rover__lua_attach_socket(struct rover__lua_socket *box,
                              rover_socket_t *socket);

bool rover__lua_is_awaited(const rover_socket_t *socket);

/* To be called before `connection`, and after it: the socket is not awaited any
 * more, and what was held back follows. */
void rover__lua_expect_no_more(rover_socket_t *socket);
void rover__lua_catch_up(rover_socket_t *socket);

bool rover__lua_is_adopted(const rover_socket_t *socket);

/* Detaches all sockets from the state: none calls into it any more. */
void rover__lua_part_sockets(rover__lua_t *lua);

/* Whether the socket may have a `state`; pushes that, or nil if it was never
 * used. */
bool rover__lua_has_state(const rover_socket_t *socket);
void rover__lua_push_state(lua_State *L, rover_socket_t *socket);

#endif
