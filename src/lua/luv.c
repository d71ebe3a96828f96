#include "luv.h"

#include <callosum/rover.h>

#include <lauxlib.h>

#include <stdlib.h>

#define LIBRARY_TYPE "callosum.library"

/* luv is neither linked nor loaded by name, but found where require finds it,
 * so that there is one luv in the process, whichever the user has. It stays
 * open for good: each time it is loaded, it takes one of the process's few
 * thread-specific keys, and it aborts when there are none left. */

static int l_gc(lua_State *L) {
  uv_lib_t *library = luaL_checkudata(L, 1, LIBRARY_TYPE);
  library->handle = NULL;
  uv_dlclose(library); /* without a handle, it only frees the message */
  return 0;
}

static void push_path(lua_State *L) {
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "searchpath");
  lua_pushliteral(L, "luv");
  lua_getfield(L, -3, "cpath");
  lua_call(L, 2, 2);
  if (lua_isnil(L, -2))
    luaL_error(L, "luv is not installed (Debian: lua-luv):%s",
               lua_tostring(L, -1));
  lua_pop(L, 1);
  lua_remove(L, -2);
}

void rover__lua_open_luv(lua_State *L) {
  push_path(L);
  uv_lib_t *library = lua_newuserdatauv(L, sizeof *library, 0);
  *library = (uv_lib_t){0};
  if (luaL_newmetatable(L, LIBRARY_TYPE)) {
    lua_pushcfunction(L, l_gc);
    lua_setfield(L, -2, "__gc");
  }
  lua_setmetatable(L, -2);
  if (uv_dlopen(lua_tostring(L, -2), library) < 0)
    luaL_error(L, "cannot open luv: %s", uv_dlerror(library));
  lua_remove(L, -2);
}

void *rover__lua_luv_symbol(lua_State *L, const char *name) {
  uv_lib_t *library = luaL_checkudata(L, -1, LIBRARY_TYPE);
  void *symbol;
  if (uv_dlsym(library, name, &symbol) < 0)
    luaL_error(L, "this luv is not usable: %s", uv_dlerror(library));
  return symbol;
}
