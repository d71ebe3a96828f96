#include <alloca.h>
#include <lauxlib.h>
#include <limits.h>
#include <lualib.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "stage.h"

/* The program behind `callosum-rover simulate`, which it has become (see
 * src/cli/simulate.c): its arguments are those of the command. What it does is
 * in Lua, in lua/callosum/simulate.lua. */

/* Our Lua modules, from where this program is: installed, and in the source
 * tree, of a build folder or one within that. */
static const char *find_lua_path(char *path, size_t size) {
  static const char *const places[] = {"../../share/lua/" LUA_VDIR,
                                       "../../../lua", "../../../../lua"};
  char exe[PATH_MAX], probe[2 * PATH_MAX];

  const char *given = (const char *)getauxval(AT_EXECFN);
  if (!realpath("/proc/self/exe", exe) && !(given && realpath(given, exe)))
    return NULL;
  *strrchr(exe, '/') = '\0';
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    snprintf(path, size, "%s/%s", exe, places[i]);
    snprintf(probe, sizeof probe, "%s/callosum/simulate.lua", path);
    if (access(probe, R_OK) == 0) return path;
  }
  return NULL;
}

static void set_path(lua_State *L, const char *lua_path) {
  lua_getglobal(L, "package");
  lua_pushfstring(L, "%s/?.lua", lua_path);
  lua_setfield(L, -2, "path");
  lua_pop(L, 1);
}

static int traceback(lua_State *L) {
  luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
  return 1;
}

/* Returns the exit status. */
static int run(lua_State *L, const char *lua_path, int argc, char **argv) {
  luaL_openlibs(L);
  set_path(L, lua_path);
  lua_pushcfunction(L, traceback);
  lua_getglobal(L, "require");
  lua_pushstring(L, "callosum.simulate.command");
  int err = lua_pcall(L, 1, 1, 1);
  if (err == LUA_OK) {
    lua_createtable(L, argc, 0);
    for (int i = 1; i < argc; i++) {
      lua_pushstring(L, argv[i]);
      lua_rawseti(L, -2, i);
    }
    sim__stage_push(L, lua_path);
    err = lua_pcall(L, 2, 1, 1);
  }
  if (err == LUA_OK) return (int)lua_tointeger(L, -1);
  fprintf(stderr, "callosum-rover simulate: %s\n", lua_tostring(L, -1));
  return EXIT_FAILURE;
}

/* Lua's hashes, and so the order of pairs(), depend on addresses, also on that
 * of a variable on the stack, which begins behind the environment: what is
 * called from main() begins at a round address. */
enum { ROUND = 1024 * 1024 };
static void *volatile unused;

int main(int argc, char **argv) {
  static char lua_path[PATH_MAX + 32];

  if (!find_lua_path(lua_path, sizeof lua_path)) {
    fputs("callosum-rover simulate: its Lua modules are not in "
          "../../share/lua/" LUA_VDIR " from where it is; install it anew\n",
          stderr);
    return EXIT_FAILURE;
  }
  lua_State *L = luaL_newstate();
  if (!L) {
    fputs("callosum-rover simulate: out of memory\n", stderr);
    return EXIT_FAILURE;
  }
  unused = alloca((uintptr_t)__builtin_frame_address(0) % ROUND);
  int status = run(L, lua_path, argc, argv);
  lua_close(L);
  if (fflush(stdout) == 0 && !ferror(stdout)) return status;
  fputs("callosum-rover simulate: standard output could not be written\n",
        stderr);
  return EXIT_FAILURE;
}
