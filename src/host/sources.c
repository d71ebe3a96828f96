#include "internal.h"

#include <string.h>

/* The files that a policy comes from, for the watch on them: the script, and
 * what it requires from its own folder. They are those of the last attempt to
 * load it, so that mending what made it fail is noticed. */

/* -- The watch ------------------------------------------------------------ */

static void on_changed(void *arg) { host__reload_soon(arg, "watch"); }

static const char *advice(int err) {
  if (err == UV_ENOSPC)
    return "out of inotify watches: raise fs.inotify.max_user_watches";
  if (err == UV_EMFILE)
    return "too many open files, or fs.inotify.max_user_instances is too low";
  return uv_strerror(err);
}

static void on_trouble(void *arg, int err, const char *path) {
  if (err == 0)
    host__log(arg, ROVER_HOST_INFO, "watching for changes again", NULL);
  else if (err == UV_E2BIG)
    host__log(arg, ROVER_HOST_WARN,
              "too many modules: not watching this one and others", "file",
              path, NULL);
  else
    host__log(arg, ROVER_HOST_WARN,
              "cannot watch for changes: looking every second", "file", path,
              "error", advice(err), NULL);
}

int host__sources_open(rover_host_t *host) {
  static const host__watch_callbacks_t callbacks = {on_changed, on_trouble};
  if (!host->options.watch) return 0;
  int err = host__watch_new(&host->watch, host->loop, &callbacks, host);
  if (err == 0) host->handles++;
  return err;
}

int host__sources_set(rover_host_t *host, const char *script) {
  return host->watch ? host__watch_set(host->watch, script) : 0;
}

static void on_closed(void *arg) { host__unref(arg); }

void host__sources_close(rover_host_t *host) {
  if (host->watch) host__watch_close(host->watch, on_closed);
  host->watch = NULL;
}

/* -- What is required ----------------------------------------------------- */

static const char *strip(const char *path) {
  while (path[0] == '.' && path[1] == '/') path += 2;
  return path;
}

static bool in_folder_of(const char *path, const char *script) {
  path = strip(path);
  script = strip(script);
  const char *slash = strrchr(script, '/');
  if (slash) return !strncmp(path, script, (size_t)(slash + 1 - script));
  return *path != '/' && strncmp(path, "../", 3) != 0;
}

/* Adds the files in which the module `name` is about to be looked for by
 * `path` (a package.path), up to the first that is there; those that are not
 * would come before it. Only files in the script's folder count. May raise. */
static void add(lua_State *L, const char *script, const char *path,
                const char *name) {
  rover_host_t *host = host__policy_of(L)->host;
  int top = lua_gettop(L);

  if (!host->watch) return;
  luaL_checkstack(L, 4, NULL);
  name = luaL_gsub(L, name, ".", LUA_DIRSEP);
  for (path = luaL_gsub(L, path, LUA_PATH_MARK, name); *path;) {
    size_t length = strcspn(path, LUA_PATH_SEP);
    const char *file = lua_pushlstring(L, path, length);
    if (in_folder_of(file, script) &&
        host__watch_add(host->watch, file) == UV_ENOMEM)
      rover__lua_no_memory(L);
    if (host__script_is_there(file)) break;
    lua_pop(L, 1);
    path += length + strspn(path + length, LUA_PATH_SEP);
  }
  lua_settop(L, top);
}

/* In the place of the searcher that looks for Lua files, which is upvalue 1;
 * the others are the table `package` and the path of the script. */
static int l_search(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  lua_settop(L, 1);
  if (lua_getfield(L, lua_upvalueindex(2), "path") == LUA_TSTRING)
    add(L, lua_tostring(L, lua_upvalueindex(3)), lua_tostring(L, 2), name);
  lua_settop(L, 1);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, 1, LUA_MULTRET);
  return lua_gettop(L);
}

void host__sources_record(lua_State *L, const char *script) {
  if (!host__policy_of(L)->host->watch) return;
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "searchers"); /* package searchers */
  lua_rawgeti(L, -1, 2);            /* package searchers searcher */
  lua_pushvalue(L, -3);
  lua_pushstring(L, script);
  lua_pushcclosure(L, l_search, 3); /* package searchers l_search */
  lua_rawseti(L, -2, 2);
  lua_pop(L, 2);
}
