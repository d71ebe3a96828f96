#include "finalizer.h"

#include "../lua/traceback.h"
#include "base.h"
#include "call.h"
#include "limits.h"
#include "weak.h"

/* Lua runs finalizers with hooks off, so a script's finalizer could run
 * forever. So a value does not get the script's finalizer, but a guard: a
 * userdata that refers to it and has a finalizer in C, which calls the __gc
 * that the value's metatable has by then, in a separate thread with hooks on.
 *
 * The guard lives as long as the value does, through a table with weak keys
 * (policy->guards) from value to guard. Both are collected together, and Lua
 * resurrects them for the guard's finalizer, which drops the value. Guards are
 * finalized in the order in which the values would be. */

struct guard {
  bool spent;
};

/* Pushes the guard of the value at index 1, creating it if need be. */
static void push_guard(lua_State *L) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, host__policy_of(L)->guards);
  lua_pushvalue(L, 1);
  lua_rawget(L, -2);
  const struct guard *old = lua_touserdata(L, -1);
  if (old && !old->spent) {
    lua_pop(L, 2);
    return;
  }
  lua_pop(L, 1);
  struct guard *new = lua_newuserdatauv(L, sizeof *new, 1); /* guards guard */
  new->spent = false;
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, host__policy_of(L)->guard_type);
  lua_setmetatable(L, -2);
  lua_pushvalue(L, 1);
  lua_insert(L, -2); /* guards value guard */
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

/* Whether the metatable at index 2 would give the value at index 1 a finalizer;
 * leaves __gc at index 3. A userdata's own finalizer, in C, is left to Lua.
 * Upvalue 1 is "__gc". */
static bool wants_guard(lua_State *L) {
  if (!lua_istable(L, 2)) return false;
  lua_pushvalue(L, lua_upvalueindex(1));
  if (lua_rawget(L, 2) == LUA_TNIL) return false;
  return lua_istable(L, 1) ||
         (lua_type(L, 1) == LUA_TUSERDATA && !lua_iscfunction(L, 3));
}

/* Sets the metatable at index 2, or nil, of the value at index 1. Lua marks a
 * value for finalization if it finds __gc at that moment, so it is hidden. */
static int set_metatable(lua_State *L) {
  lua_settop(L, 2);
  bool guarded = wants_guard(L);
  if (guarded) {
    push_guard(L);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushnil(L);
    lua_rawset(L, 2);
  }
  lua_pushvalue(L, 2);
  lua_setmetatable(L, 1);
  if (guarded) {
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, 3);
    lua_rawset(L, 2); /* allocates nothing: the key exists */
  }
  lua_settop(L, 1);
  return 1;
}

static int l_setmetatable(lua_State *L) {
  int type = lua_type(L, 2);
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_argexpected(L, type == LUA_TNIL || type == LUA_TTABLE, 2,
                   "nil or table");
  if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL &&
      !host__weak_may_change(L))
    return luaL_error(L, "cannot change a protected metatable");
  host__weak_check(L);
  return set_metatable(L);
}

static int l_debug_setmetatable(lua_State *L) {
  int type = lua_type(L, 2);
  luaL_argexpected(L, type == LUA_TNIL || type == LUA_TTABLE, 2,
                   "nil or table");
  return set_metatable(L);
}

/* Runs the function below its argument, on the stack of L, in `co`. */
static void run(lua_State *L, lua_State *co) {
  int count;
  lua_xmove(L, co, 2);
  lua_State *outer = host__enter(co, HOST__CALL);
  int status = lua_resume(co, L, 1, &count);
  host__leave(co, outer);
  if (status == LUA_OK) return;
  if (status == LUA_YIELD) lua_pushliteral(co, "a finalizer cannot yield");
  /* No __tostring is called: hooks are off here. */
  char traceback[ROVER__LUA_TRACEBACK_MAX];
  rover__lua_traceback(co, 0, traceback, sizeof traceback);
  rover__lua_t *lua = host__policy_of(L)->lua;
  const struct rover__lua_occasion *occasion = lua ? lua->occasion : NULL;
  if (lua) lua->occasion = NULL; /* the finalizer is not part of it */
  host__report(co, status, traceback, NULL, NULL);
  if (lua) lua->occasion = occasion;
}

static int l_finalize(lua_State *L) {
  struct guard *guard = lua_touserdata(L, 1);

  /* The call or the turn of luv's loop that this collection belongs to is over
   * its budget, which is not the finalizer's fault: leave the value to the next
   * collection. */
  if (host__is_over(L) || host__is_late(L)) {
    lua_getmetatable(L, 1);
    lua_setmetatable(L, 1);
    return 0;
  }
  guard->spent = true;
  lua_getiuservalue(L, 1, 1); /* 2: the value */
  lua_pushnil(L);
  lua_setiuservalue(L, 1, 1);
  lua_State *co = lua_newthread(L);
  if (luaL_getmetafield(L, 2, "__gc") == LUA_TNIL) return 0;
  lua_pushvalue(L, 2);
  run(L, co);
  return 0;
}

void host__open_finalizer(lua_State *L) {
  struct host__policy *policy = host__policy_of(L);

  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "k");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  policy->guards = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, l_finalize);
  lua_setfield(L, -2, "__gc");
  policy->guard_type = luaL_ref(L, LUA_REGISTRYINDEX);

  lua_pushliteral(L, "__gc");
  lua_pushcclosure(L, l_setmetatable, 1);
  lua_setglobal(L, "setmetatable");
  lua_getglobal(L, "debug");
  if (lua_getfield(L, -1, "setmetatable") != LUA_TNIL) {
    lua_pushliteral(L, "__gc");
    lua_pushcclosure(L, l_debug_setmetatable, 1);
    lua_setfield(L, -3, "setmetatable");
  }
  lua_pop(L, 2);
}

/* -- Locks ---------------------------------------------------------------- */

void host__lock_metatable(lua_State *L, const char *name) {
  lua_pushliteral(L, "__metatable");
  lua_pushstring(L, name);
  lua_rawset(L, -3);
}

bool host__has_finalizer(lua_State *L) {
  lua_pushliteral(L, "__gc");
  bool has = lua_rawget(L, -2) != LUA_TNIL;
  lua_pop(L, 1);
  return has;
}

void host__lock_finalizers(lua_State *L) {
  for (lua_pushnil(L); lua_next(L, LUA_REGISTRYINDEX); lua_pop(L, 1))
    if (lua_type(L, -2) == LUA_TSTRING && lua_istable(L, -1) &&
        host__has_finalizer(L))
      host__lock_metatable(L, lua_tostring(L, -2));
}
