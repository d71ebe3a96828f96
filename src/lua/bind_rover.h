/* Private to src/lua and src/host: rovers. */
#ifndef LUA_BIND_ROVER_H
#define LUA_BIND_ROVER_H

#include "object.h"

struct rover__lua_rover {
  struct rover__lua_object object;
  rover_socket_t *cursor; /* while sockets are adopted: see handover.c */
  unsigned connects_wanted;
  bool start_wanted;
};

static inline struct rover__lua_rover *
rover__lua_rover_of(struct rover__lua_object *o) {
  return (struct rover__lua_rover *)o;
}

void rover__lua_open_rover(lua_State *L); /* upvalue on top; pushes the module */

/* Does what the rover has asked for while its state was staged. The second,
 * when it is not any more, reports the attempts that there was no memory for. */
void rover__lua_rover_begin(struct rover__lua_object *o);
void rover__lua_rover_begun(struct rover__lua_object *o);

/* Calls the handlers of `connection`; the socket is closed if there is none or
 * one raises. */
void rover__lua_deliver(struct rover__lua_object *o, rover_socket_t *socket);

/* Parts from the rover for good: it closes, and calls into Lua no more. */
void rover__lua_rover_abandon(struct rover__lua_object *o);

#endif
