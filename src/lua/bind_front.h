/* Private to src/lua and src/host: fronts. */
#ifndef LUA_BIND_FRONT_H
#define LUA_BIND_FRONT_H

#include "object.h"

/* Upvalue on top; pushes the module. */
void rover__lua_open_front(lua_State *L);

/* In a reload: takes over what is under way at the fronts of the same name.
 * Cannot fail. */
void rover__lua_take_fronts(rover__lua_t *lua);

/* Whether the script drains it. */
bool rover__lua_front_drains(const struct rover__lua_object *o);

void rover__lua_front_abandon(struct rover__lua_object *o);

#endif
