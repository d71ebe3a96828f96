#include "require.h"

#include <ctype.h>
#include <string.h>

#include "../lua/error.h"
#include "base.h"
#include "script.h"
#include "sources.h"
#include "trust.h"

/* A policy's modules are text: bytecode can crash the interpreter. In the
 * sandbox they come from the script's own folder, and callosum.* also from the
 * folder of ours, whatever the script does to package.path. Each file that is
 * tried is watched: a missing one would take precedence if it were created. */

/* The upvalues of search(). */
enum { PACKAGE = 1, OWN_PATH, FULL_PATH };

/* A name with a semicolon would add another path, as package.searchpath()
 * replaces the mark before it splits the path. */
static void check_name(lua_State *L, const char *name) {
  for (const char *c = name; *c; c++)
    if (!isalnum((unsigned char)*c) && !strchr("._-", *c))
      luaL_error(L, "the sandbox has no module '%s': its name may have "
                    "letters, digits, '_', '-' and '.'", name);
}

static void push_path(lua_State *L, const char *name) {
  if (host__policy_of(L)->host->options.sandbox) {
    check_name(L, name);
    int path = strncmp(name, "callosum.", 9) ? OWN_PATH : FULL_PATH;
    lua_pushvalue(L, lua_upvalueindex(path));
  } else if (lua_getfield(L, lua_upvalueindex(PACKAGE), "path") !=
             LUA_TSTRING) {
    luaL_error(L, "'package.path' must be a string");
  }
}

static void on_tried(lua_State *L, const char *file) {
  if (host__sources_add(host__policy_of(L)->host, file) == UV_ENOMEM)
    rover__lua_no_memory(L);
}

/* In place of Lua's searcher of Lua files. */
static int search(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);

  lua_settop(L, 1);
  push_path(L, name);
  bool found = host__script_search(L, on_tried) == 1;
  if (!found) return 1; /* the reason is on top */
  lua_replace(L, 2);
  lua_settop(L, 2);
  const char *file = lua_tostring(L, 2);
  host__trust(host__policy_of(L)->host, file);
  int status = host__script_load(L, file);
  if (status == LUA_ERRMEM) return lua_error(L);
  if (status != LUA_OK)
    return luaL_error(L, "error loading module '%s' from file '%s':\n\t%s",
                      name, file, lua_tostring(L, -1));
  lua_pushvalue(L, 2);
  return 2;
}

/* Pushes the templates of the script's own folder. */
static void push_own_path(lua_State *L, const char *script) {
  const char *slash = strrchr(script, '/');
  if (slash) lua_pushlstring(L, script, (size_t)(slash - script));
  else lua_pushliteral(L, ".");
  const char *folder = lua_tostring(L, -1);
  lua_pushfstring(L, "%s/?.lua;%s/?/init.lua", folder, folder);
  lua_remove(L, -2);
}

/* The script's own folder comes first, then our modules, then Lua's path. */
static void push_full_path(lua_State *L, int package, const char *script) {
  const char *ours = host__policy_of(L)->host->options.lua_path;
  push_own_path(L, script);
  if (ours) lua_pushfstring(L, ";%s/?.lua;", ours);
  else lua_pushliteral(L, ";");
  lua_getfield(L, package, "path");
  lua_concat(L, 3);
}

static int l_searchpath(lua_State *L) { return host__script_search(L, NULL); }

void host__open_require(lua_State *L, const char *script) {
  lua_getglobal(L, "package");
  int package = lua_gettop(L);

  lua_pushcfunction(L, l_searchpath);
  lua_setfield(L, package, "searchpath");
  push_full_path(L, package, script);
  lua_setfield(L, package, "path");
  lua_getfield(L, package, "searchers");
  lua_pushvalue(L, package);
  push_own_path(L, script);
  lua_getfield(L, package, "path");
  lua_pushcclosure(L, search, FULL_PATH); /* package searchers search */
  lua_rawseti(L, -2, 2);
  if (host__policy_of(L)->host->options.sandbox) {
    /* The remaining searchers load C modules. */
    for (lua_Integer i = (lua_Integer)lua_rawlen(L, -1); i > 2; i--) {
      lua_pushnil(L);
      lua_rawseti(L, -2, i);
    }
    static const char *const gone[] = {"cpath", "loadlib", "searchpath"};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++) {
      lua_pushnil(L);
      lua_setfield(L, package, gone[i]);
    }
  }
  lua_settop(L, package - 1);
}
