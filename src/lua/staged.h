/* Private to src/lua and src/host: what a rover holds in Lua. One that is staged
 * only records what start() and connect() ask for; it begins when its state is
 * committed. */
#ifndef LUA_STAGED_H
#define LUA_STAGED_H

#include "object.h"

struct rover__lua_rover {
  struct rover__lua_object object;
  rover_socket_t *cursor; /* while sockets are adopted: see handover.c */
  unsigned connects_wanted;
  unsigned ids_wanted; /* attempts at servers that are named: see staged.c */
  bool start_wanted;
};

static inline struct rover__lua_rover *
rover__lua_rover_of(struct rover__lua_object *o) {
  return (struct rover__lua_rover *)o;
}

/* Records an attempt at the server whose id is argument 2. */
void rover__lua_stage_id(lua_State *L, struct rover__lua_rover *r);

/* Carries out what was recorded while the state was staged. The second, when it
 * no longer is, reports the attempts for which there was no memory. */
void rover__lua_rover_begin(struct rover__lua_object *o);
void rover__lua_rover_begun(struct rover__lua_object *o);

#endif
