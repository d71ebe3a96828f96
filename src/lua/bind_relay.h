/* Private to src/lua and src/host: relays. In a reload, one takes over the
 * clients of the old relay of its name. */
#ifndef LUA_BIND_RELAY_H
#define LUA_BIND_RELAY_H

#include "object.h"

/* Its table of handlers also has the options `pick` and `returnSocket`, and in
 * `why` the message that pick last returned instead of a socket. */
struct rover__lua_relay {
  struct rover__lua_object object;
  rover_relay_stats_t last; /* if `replaced`: of when it was */
  bool replaced; /* by a relay of a new state */
  bool offering, asking, making; /* see pick.c, ... */
  uint64_t round;                /* ... as is this */
};

static inline struct rover__lua_relay *
rover__lua_relay_of(struct rover__lua_object *o) {
  return (struct rover__lua_relay *)o;
}

/* Upvalue on top; pushes the module. */
void rover__lua_open_relay(lua_State *L);

/* In a reload: takes over what is under way at the relays of the same name.
 * Cannot fail. */
void rover__lua_take_relays(rover__lua_t *lua);

void rover__lua_relay_abandon(struct rover__lua_object *o);

#endif
