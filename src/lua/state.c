#include "state.h"

#include "check.h"

#include <stdint.h>

rover__lua_t *rover__lua_of(lua_State *L) {
  return lua_touserdata(L, lua_upvalueindex(1));
}

void rover__lua_check_path(lua_State *L, rover__lua_t *lua, int arg,
                           const char *what, const char *path) {
  if (lua->may_name && !lua->may_name(lua, path))
    rover__lua_misuse(L, arg,
                      "%s: in the sandbox, a path in the script's folder or in "
                      "one that is allowed expected, got '%s'",
                      what, path);
}

rover_workers_t *rover__lua_workers(const rover__lua_t *lua) {
  return lua->owner ? lua->owner->workers : NULL;
}

/* While a policy is staged, the one that it replaces still has its memory. */
bool rover__lua_may_have(const rover__lua_t *lua, size_t bytes) {
  const struct rover__lua_owner *owner = lua->owner;
  if (!owner) return true;
  size_t max = owner->memory_max, others = lua->staged ? lua->others : 0;
  max = max < SIZE_MAX - others ? max + others : SIZE_MAX;
  return owner->memory <= max && bytes <= max - owner->memory;
}

int rover__lua_anchor(rover__lua_t *lua, lua_State *L) {
  if (lua->spare_count == 0) return luaL_ref(L, LUA_REGISTRYINDEX);
  int anchor = lua->spares[--lua->spare_count];
  lua_rawseti(L, LUA_REGISTRYINDEX, anchor);
  return anchor;
}

/* What is nil may be given to somebody else. */
void rover__lua_free_anchor(rover__lua_t *lua, lua_State *L, int anchor) {
  if (anchor < 0 || lua->spare_count == ROVER__LUA_SPARES) {
    luaL_unref(L, LUA_REGISTRYINDEX, anchor);
    return;
  }
  lua_pushboolean(L, false);
  lua_rawseti(L, LUA_REGISTRYINDEX, anchor);
  lua->spares[lua->spare_count++] = anchor;
}

int rover__lua_tell(rover__lua_t *lua,
                    const struct rover__lua_occasion *occasion,
                    lua_CFunction function, void *first, void *second) {
  lua_State *L = lua->L;
  int results = lua->retired ? UV_ECANCELED : UV_ENOMEM;
  const struct rover__lua_occasion *outer = lua->occasion;

  lua->occasion = occasion;
  /* Nothing here allocates, so nothing can raise outside protected mode. */
  if (!lua->retired && lua_checkstack(L, 8)) {
    int flags = ROVER__LUA_NOEXIT | (lua->handler ? ROVER__LUA_HANDLED : 0);
    if (lua->handler) lua_pushcfunction(L, lua->handler);
    lua_pushcfunction(L, function);
    lua_pushlightuserdata(L, first);
    lua_pushlightuserdata(L, second);
    results = lua->call(L, 2, 0, flags);
  }
  lua->occasion = outer;
  return results;
}
