/* A luv that reports errors as luv does from 1.46 on: it asks an error object
 * for its text where nothing protects it. All else is the one in LUV. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct lua_State lua_State;
extern int lua_gettop(lua_State *L);
extern void lua_settop(lua_State *L, int index);
extern int lua_pcallk(lua_State *L, int nargs, int nresults, int handler,
                      long context, void *continuation);
extern const char *luaL_tolstring(lua_State *L, int index, size_t *length);

/* What luv has, too. */
int luaopen_luv(lua_State *L);
void *luv_loop(lua_State *L);
int luv_cfpcall(lua_State *L, int nargs, int nresults, int flags);

static void *find(const char *name) {
  void *luv = dlopen(getenv("LUV"), RTLD_NOW);
  return dlsym(luv, name);
}

int luaopen_luv(lua_State *L) {
  return ((int (*)(lua_State *))find("luaopen_luv"))(L);
}

void *luv_loop(lua_State *L) {
  return ((void *(*)(lua_State *))find("luv_loop"))(L);
}

int luv_cfpcall(lua_State *L, int nargs, int nresults, int flags) {
  int base = lua_gettop(L) - nargs;
  int status = lua_pcallk(L, nargs, nresults, 0, 0, NULL);
  (void)flags;
  if (status == 0) return lua_gettop(L) - base + 1;
  fprintf(stderr, "Uncaught Error: %s\n", luaL_tolstring(L, -1, NULL));
  lua_settop(L, base - 1);
  return -status;
}
