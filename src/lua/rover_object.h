/* Private to src/lua and src/host: what a rover holds in Lua. One that is
 * staged only records what start() and connect() ask for; it begins when its
 * state is committed. */
#ifndef LUA_ROVER_OBJECT_H
#define LUA_ROVER_OBJECT_H

#include "object.h"

struct rover__lua_rover {
  struct rover__lua_object object;
  struct rover__lua_keeper *keeper; /* or NULL */
  rover_socket_t *cursor; /* while sockets are adopted: see handover.c */
  unsigned connects_wanted;
  unsigned ids_wanted; /* attempts at servers that are named */
  bool start_wanted;
  bool heard; /* something listens to `connection`, or did */
  bool wants_server; /* and that has a parameter for it */
};

static inline struct rover__lua_rover *
rover__lua_rover_of(struct rover__lua_object *o) {
  return (struct rover__lua_rover *)o;
}

enum {
  ROVER__LUA_CONNECTION,
  ROVER__LUA_UNREACHABLE,
  ROVER__LUA_ERROR,
  ROVER__LUA_ADDED
};
extern const struct rover__lua_kind rover__lua_rover_kind;

/* How many handlers and observers of `connection` the rover at index 1 has. */
size_t rover__lua_count_listeners(lua_State *L);

/* Argument 2 as an id that a server may have: without a NUL, or empty. */
const char *rover__lua_check_id(lua_State *L);

/* Whether sockets are kept without a handler. */
static inline bool rover__lua_keeps_all(const struct rover__lua_object *o) {
  return rover_options(o->rover)->max_kept < UINT32_MAX;
}

/* Records an attempt at the server whose id is argument 2. */
void rover__lua_stage_id(lua_State *L, struct rover__lua_rover *r);

/* Carries out what was recorded while the state was staged. The second, when it
 * no longer is, reports the attempts for which there was no memory. */
void rover__lua_rover_begin(struct rover__lua_object *o);
void rover__lua_rover_begun(struct rover__lua_object *o);

#endif
