#include "libraries.h"

#include <lualib.h>
#include <stdio.h>
#include <string.h>

#include "base.h"
#include "coroutine.h"
#include "finalizer.h"
#include "limits.h"
#include "require.h"

/* The libraries of Lua that a policy sees: all of them, or in the sandbox those
 * functions that reach neither files nor other code. The functions that could
 * escape the limits are replaced: see coroutine.c, finalizer.c and
 * require.c. */

/* -- In every policy ------------------------------------------------------ */

static int l_exit(lua_State *L) {
  return luaL_error(L, "a policy does not end the process: call host.stop()");
}

static int l_sethook(lua_State *L) {
  return luaL_error(L, "a policy has no hooks: the host's keeps its budget");
}

/* Replaces a field of a library, if that library is open. */
static void replace(lua_State *L, const char *library, const char *name,
                    lua_CFunction function) {
  if (lua_getglobal(L, library) == LUA_TTABLE) {
    lua_pushcfunction(L, function);
    lua_setfield(L, -2, name);
  }
  lua_pop(L, 1);
}

/* -- In the sandbox ------------------------------------------------------- */

/* load(chunk, name, mode, env), of text whatever the mode. Upvalue 1 is
 * Lua's. */
static int l_load(lua_State *L) {
  if (lua_gettop(L) < 3) lua_settop(L, 3);
  lua_pushliteral(L, "t");
  lua_replace(L, 3);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
  return lua_gettop(L);
}

/* The generational mode of Lua 5.4 has had bugs that crash. Upvalue 1 is
 * Lua's. */
static int l_collectgarbage(lua_State *L) {
  static const char *const options[] = {"collect", "count", "step", NULL};
  luaL_checkoption(L, 1, "collect", options);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
  return lua_gettop(L);
}

static void wrap(lua_State *L, const char *name, lua_CFunction function) {
  lua_getglobal(L, name);
  lua_pushcclosure(L, function, 1);
  lua_setglobal(L, name);
}

/* Replaces the library on top by one with only these of its functions, and pops
 * it. */
static void keep(lua_State *L, const char *name,
                 const char *const functions[]) {
  lua_newtable(L);
  for (; *functions; functions++) {
    lua_getfield(L, -2, *functions);
    lua_setfield(L, -2, *functions);
  }
  lua_pushvalue(L, -1);
  lua_setglobal(L, name);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_insert(L, -2);
  lua_setfield(L, -2, name);
  lua_pop(L, 2);
}

static void open_sandbox(lua_State *L) {
  static const luaL_Reg libraries[] = {
      {LUA_GNAME, luaopen_base},          {LUA_LOADLIBNAME, luaopen_package},
      {LUA_COLIBNAME, luaopen_coroutine}, {LUA_TABLIBNAME, luaopen_table},
      {LUA_STRLIBNAME, luaopen_string},   {LUA_MATHLIBNAME, luaopen_math},
      {LUA_UTF8LIBNAME, luaopen_utf8},    {NULL, NULL}};
  static const char *const of_os[] = {"clock", "date", "difftime", "time",
                                      NULL};
  static const char *const of_debug[] = {"traceback", NULL};
  static const char *const of_base[] = {"dofile", "loadfile", NULL};

  for (const luaL_Reg *library = libraries; library->name; library++) {
    luaL_requiref(L, library->name, library->func, true);
    lua_pop(L, 1);
  }
  lua_pushcfunction(L, luaopen_os);
  lua_call(L, 0, 1);
  keep(L, LUA_OSLIBNAME, of_os);
  lua_pushcfunction(L, luaopen_debug);
  lua_call(L, 0, 1);
  keep(L, LUA_DBLIBNAME, of_debug);
  for (const char *const *name = of_base; *name; name++) {
    lua_pushnil(L);
    lua_setglobal(L, *name);
  }
  wrap(L, "load", l_load);
  wrap(L, "collectgarbage", l_collectgarbage);
  lua_getglobal(L, LUA_STRLIBNAME);
  lua_pushnil(L);
  lua_setfield(L, -2, "dump");
  lua_pop(L, 1);
}

/* -- Names of functions --------------------------------------------------- */

/* For a traceback Lua searches package.loaded, in C, for the names of
 * functions, and the script may add any number of entries. So the table that
 * Lua takes for the loaded modules is another one, in front of the script's,
 * with only the functions that the script starts with, by their full names with
 * a prefix that Lua removes. It contains no tables, since require() would
 * return these to a script that knows their names. */
static void name_functions(lua_State *L, const char *module, int names) {
  char name[128]; /* none of Lua's or ours is longer */
  bool is_base = !strcmp(module, LUA_GNAME);
  size_t before = (size_t)snprintf(name, sizeof name, LUA_GNAME ".%s%s",
                                   is_base ? "" : module, is_base ? "" : ".");
  int functions = lua_gettop(L);

  for (lua_pushnil(L); lua_next(L, functions); lua_settop(L, functions + 1)) {
    if (lua_type(L, -2) != LUA_TSTRING || !lua_isfunction(L, -1)) continue;
    size_t length;
    const char *function = lua_tolstring(L, -2, &length);
    if (before + length > sizeof name) continue;
    memcpy(name + before, function, length);
    lua_pushlstring(L, name, before + length);
    lua_insert(L, -2);
    lua_rawset(L, names);
  }
}

/* About as many functions have names, so that the table grows only once. */
enum { NAMES = 200 };

void host__name_functions(lua_State *L, const char *module) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushvalue(L, -2);
  name_functions(L, module, lua_gettop(L) - 1);
  lua_pop(L, 2);
}

static void hide_loaded(lua_State *L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  int loaded = lua_gettop(L), names = loaded + 1;

  lua_createtable(L, 0, NAMES);
  for (lua_pushnil(L); lua_next(L, loaded); lua_pop(L, 1))
    if (lua_istable(L, -1)) name_functions(L, lua_tostring(L, -2), names);
  lua_createtable(L, 0, 2);
  lua_pushvalue(L, loaded);
  lua_setfield(L, -2, "__index");
  lua_pushvalue(L, loaded);
  lua_setfield(L, -2, "__newindex");
  lua_setmetatable(L, names);
  lua_setfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pop(L, 1);
}

/* -- Opening -------------------------------------------------------------- */

void host__open_libraries(lua_State *L, const char *script) {
  if (host__policy_of(L)->host->options.sandbox) {
    open_sandbox(L);
  } else {
    luaL_openlibs(L);
    replace(L, LUA_DBLIBNAME, "sethook", l_sethook);
  }
  replace(L, LUA_OSLIBNAME, "exit", l_exit);
  host__open_limits(L);
  host__open_coroutine(L);
  host__open_finalizer(L);
  host__open_require(L, script);
  hide_loaded(L);
}

void host__lock_types(lua_State *L) {
  static const char *const types[] = {"callosum.rover", "callosum.socket",
                                      "callosum.relay", "callosum.client",
                                      "callosum.front", "callosum.error",
                                      "callosum.source", "callosum.counter",
                                      "callosum.gauge", "callosum.histogram",
                                      "callosum.books",  "callosum.keeper"};
  bool sandbox = host__policy_of(L)->host->options.sandbox;

  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    if (luaL_getmetatable(L, types[i]) == LUA_TTABLE &&
        (sandbox || host__has_finalizer(L)))
      host__lock_metatable(L, types[i]);
    lua_pop(L, 1);
  }
}

void host__lock_metatables(lua_State *L) {
  host__lock_finalizers(L);
  host__lock_types(L);
}
