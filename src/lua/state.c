#include "internal.h"

#include <stdint.h>

rover__lua_t *rover__lua_of(lua_State *L) {
  return lua_touserdata(L, lua_upvalueindex(1));
}

int rover__lua_protect(rover__lua_t *lua, lua_CFunction function, void *first,
                       void *second) {
  lua_State *L = lua->L;
  int top = lua_gettop(L);
  int results = lua->retired ? UV_ECANCELED : UV_ENOMEM;

  /* Nothing here allocates, so nothing can raise outside protected mode. */
  if (!lua->retired && lua_checkstack(L, 8)) {
    lua_pushcfunction(L, function);
    lua_pushlightuserdata(L, first);
    lua_pushlightuserdata(L, second);
    results = lua->call(L, 2, 0, ROVER__LUA_NOEXIT);
  }
  lua_settop(L, top);
  return results;
}

int rover__lua_tell(rover__lua_t *lua,
                    const struct rover__lua_occasion *occasion,
                    lua_CFunction function, void *first, void *second) {
  const struct rover__lua_occasion *outer = lua->occasion;

  lua->occasion = occasion;
  int results = rover__lua_protect(lua, function, first, second);
  lua->occasion = outer;
  return results;
}

/* While a policy is staged, that before it has its own beside it. */
bool rover__lua_may_have(const rover__lua_t *lua, size_t bytes) {
  const struct rover__lua_owner *owner = lua->owner;
  if (!owner) return true;
  size_t max = owner->memory_max, others = lua->staged ? lua->others : 0;
  max = max < SIZE_MAX - others ? max + others : SIZE_MAX;
  return owner->memory <= max && bytes <= max - owner->memory;
}

void rover__lua_die(rover__lua_t *lua) {
  if (!lua->dead) rover__lua_part_sockets(lua);
  lua->dead = true;
  while (lua->rovers) rover__lua_rover_abandon(lua->rovers);
  while (lua->relays) rover__lua_relay_abandon(lua->relays);
}

/* The state is closing: this userdata was made first, so it goes last. */
static int l_gc(lua_State *L) {
  rover__lua_die(lua_touserdata(L, 1));
  return 0;
}

rover__lua_t *rover__lua_open(lua_State *L, uv_loop_t *loop,
                              rover__lua_call call) {
  rover__lua_t *lua = lua_newuserdatauv(L, sizeof *lua, 0);
  *lua = (rover__lua_t){.loop = loop, .call = call};
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, l_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  lua->L = lua_tothread(L, -1);
  lua_pop(L, 1);

  rover__lua_open_error(L);
  rover__lua_open_server(L, lua);
  rover__lua_open_socket(L, lua);
  rover__lua_open_client(L);
  rover__lua_open_pick(L);
  lua_newtable(L); /* shared, module */
  lua_pushvalue(L, -2);
  rover__lua_open_rover(L); /* shared, module, new */
  lua_setfield(L, -2, "new");
  lua_pushstring(L, rover_version_string());
  lua_setfield(L, -2, "_VERSION");
  lua_insert(L, -2); /* module, shared */
  rover__lua_open_relay(L);
  lua_remove(L, -2);
  return lua;
}

void rover__lua_commit(rover__lua_t *lua) {
  struct rover__lua_rover *r;
  for (r = lua->rovers; r; r = r->next) rover__lua_rover_begin(r);
  lua->staged = false; /* what was before it may still have its memory */
  for (r = lua->rovers; r; r = r->next) rover__lua_rover_begun(r);
}
