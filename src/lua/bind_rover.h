/* Private to src/lua and src/host: rovers. One that is staged only records what
 * start() and connect() ask for; it begins when its state is committed. */
#ifndef LUA_BIND_ROVER_H
#define LUA_BIND_ROVER_H

#include "object.h"

struct rover__lua_rover {
  struct rover__lua_object object;
  rover_socket_t *cursor; /* while sockets are adopted: see handover.c */
  unsigned connects_wanted;
  unsigned ids_wanted; /* attempts at servers that are named: see bind_rover.c */
  bool start_wanted;
};

static inline struct rover__lua_rover *
rover__lua_rover_of(struct rover__lua_object *o) {
  return (struct rover__lua_rover *)o;
}

/* Upvalue on top; pushes the module. */
void rover__lua_open_rover(lua_State *L);

/* Carries out what was recorded while the state was staged. The second, when it
 * no longer is, reports the attempts for which there was no memory. */
void rover__lua_rover_begin(struct rover__lua_object *o);
void rover__lua_rover_begun(struct rover__lua_object *o);

/* Calls the handlers of `connection`; the socket is closed if there are none or
 * one raises an error. */
void rover__lua_deliver(struct rover__lua_object *o, rover_socket_t *socket);

/* Abandons and closes the rover; it does not call into Lua any more. */
void rover__lua_rover_abandon(struct rover__lua_object *o);

#endif
