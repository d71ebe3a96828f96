#include "internal.h"

#include <lualib.h>
#include <stdlib.h>
#include <string.h>

struct host__policy *host__policy_of(lua_State *L) {
  /* A coroutine's extra space is made a copy of the main thread's. */
  return *(struct host__policy **)lua_getextraspace(L);
}

/* -- Calls ---------------------------------------------------------------- */

/* The message handler: any error object becomes a string with a traceback. */
static int add_traceback(lua_State *L) {
  if (lua_type(L, 1) == LUA_TSTRING || luaL_getmetafield(L, 1, "__tostring"))
    luaL_tolstring(L, 1, NULL);
  else
    lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, 1));
  luaL_traceback(L, L, lua_tostring(L, -1), 1);
  return 1;
}

static const char traceback_title[] = "\nstack traceback:\n";

/* Logs the error on top of the stack. Nothing here may raise: an error that is
 * no string (of a broken __tostring, say) is only named. */
static void report(struct host__policy *policy, const char *what) {
  lua_State *L = policy->L;
  const char *error = lua_type(L, -1) == LUA_TSTRING
                          ? lua_tostring(L, -1)
                          : "an error object that cannot be shown";
  const char *traceback = NULL;

  for (const char *at = error; (at = strstr(at, traceback_title)); at++)
    traceback = at;
  char *message = traceback ? strndup(error, (size_t)(traceback - error)) : NULL;
  policy->host->stats.script_errors++;
  if (message)
    host__log(policy->host, ROVER_HOST_ERROR, what, "error", message,
              "traceback", traceback + 1, NULL);
  else
    host__log(policy->host, ROVER_HOST_ERROR, what, "error", error, NULL);
  free(message);
}

/* As lua_pcall() with a traceback; returns its status. */
static int call(struct host__policy *policy, lua_State *L, int nargs,
                int nresults) {
  int base = lua_gettop(L) - nargs;
  host__luv_enter(policy->luv);
  lua_pushcfunction(L, add_traceback);
  lua_insert(L, base);
  int status = lua_pcall(L, nargs, nresults, base);
  lua_remove(L, base);
  return status;
}

int host__policy_call(lua_State *L, int nargs, int nresults, int flags) {
  struct host__policy *policy = host__policy_of(L);
  int base = lua_gettop(L) - nargs;

  (void)flags;
  int status = call(policy, L, nargs, nresults);
  if (status == LUA_OK) return lua_gettop(L) - base + 1;
  /* L is the main thread: luv calls back there, as the bindings do. */
  report(policy, "policy error");
  lua_settop(L, base - 1);
  return -status;
}

/* -- Opening -------------------------------------------------------------- */

/* The script's own folder comes first, then our modules, then Lua's path. */
static void set_path(lua_State *L, const char *script, const char *lua_path) {
  const char *slash = strrchr(script, '/');
  luaL_Buffer path;

  lua_getglobal(L, "package");
  int package = lua_gettop(L);
  luaL_buffinit(L, &path);
  for (int init = 0; init < 2; init++) {
    if (slash) luaL_addlstring(&path, script, (size_t)(slash - script));
    else luaL_addchar(&path, '.');
    luaL_addstring(&path, init ? "/?/init.lua;" : "/?.lua;");
  }
  if (lua_path) {
    luaL_addstring(&path, lua_path);
    luaL_addstring(&path, "/?.lua;");
  }
  lua_getfield(L, package, "path");
  luaL_addvalue(&path);
  luaL_pushresult(&path);
  lua_setfield(L, package, "path");
  lua_pop(L, 1);
}

static int return_upvalue(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(1));
  return 1;
}

/* Makes the value on top what require returns for `name`; pops it. */
static void preload(lua_State *L, const char *name) {
  lua_pushcclosure(L, return_upvalue, 1);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_insert(L, -2);
  lua_setfield(L, -2, name);
  lua_pop(L, 1);
}

struct load {
  const char *path;
  int argc;
  char *const *argv;
};

static int prepare(lua_State *L) {
  struct host__policy *policy = host__policy_of(L);
  const struct load *load = lua_touserdata(L, 1);

  luaL_openlibs(L);
  set_path(L, load->path, policy->host->options.lua_path);
  policy->lua = rover__lua_open(L, policy->host->loop, host__policy_call);
  policy->lua->staged = true;
  policy->lua->unique_names = true;
  policy->lua->owner = &policy->host->rovers;
  preload(L, "callosum.rover");
  lua_newtable(L);
  policy->unload = luaL_ref(L, LUA_REGISTRYINDEX);
  host__open_module(L, load->argc, load->argv);
  preload(L, "callosum.host");
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushcfunction(L, host__luv_open);
  lua_setfield(L, -2, "luv");
  return 0;
}

/* Text only: bytecode can crash the interpreter. */
static int run(lua_State *L) {
  struct host__policy *policy = host__policy_of(L);
  const struct load *load = lua_touserdata(L, 1);

  if (luaL_loadfilex(L, load->path, "t") != LUA_OK) return lua_error(L);
  luaL_checkstack(L, load->argc, "too many arguments");
  for (int i = 0; i < load->argc; i++) lua_pushstring(L, load->argv[i]);
  lua_call(L, load->argc, 0);

  if (policy->host->options.rover_optional) return 0;
  for (struct rover__lua_rover *r = policy->lua->rovers; r; r = r->next)
    if (!r->closing) return 0;
  return luaL_error(L, "%s declares no rover: call rover.new { ... } and keep "
                       "what it returns, or start it", load->path);
}

struct host__policy *host__policy_open(rover_host_t *host, const char *path,
                                       int argc, char *const argv[]) {
  struct load load = {path, argc, argv};
  struct host__policy *policy = calloc(1, sizeof *policy);
  if (policy) policy->host = host;
  if (policy) policy->L = luaL_newstate();
  if (!policy || !policy->L) {
    free(policy);
    host__log(host, ROVER_HOST_ERROR, "cannot load policy", "file", path,
              "error", "out of memory", NULL);
    return NULL;
  }
  *(struct host__policy **)lua_getextraspace(policy->L) = policy;

  static const lua_CFunction steps[] = {prepare, run};
  for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
    lua_pushcfunction(policy->L, steps[i]);
    lua_pushlightuserdata(policy->L, &load);
    if (call(policy, policy->L, 1, 0) == LUA_OK) continue;
    report(policy, "cannot load policy");
    host__policy_close(policy);
    return NULL;
  }
  return policy;
}

void host__policy_commit(struct host__policy *policy) {
  rover__lua_commit(policy->lua);
  host__luv_start(policy->luv);
}

/* -- Closing -------------------------------------------------------------- */

static int run_unload(lua_State *L) {
  struct host__policy *policy = host__policy_of(L);
  lua_rawgeti(L, LUA_REGISTRYINDEX, policy->unload);
  for (lua_Integer i = 1; lua_rawgeti(L, -1, i) != LUA_TNIL; i++)
    host__policy_call(L, 0, 0, 0);
  return 0;
}

void host__policy_unload(struct host__policy *policy) {
  lua_pushcfunction(policy->L, run_unload);
  host__policy_call(policy->L, 0, 0, 0);
}

void host__policy_close(struct host__policy *policy) {
  host__luv_close(policy->luv);
  lua_close(policy->L);
  free(policy);
}
