/* Private to src/host: the text of scripts and modules. */
#ifndef HOST_SCRIPT_H
#define HOST_SCRIPT_H

#include <lua.h>

/* Like luaL_loadfilex(L, path, "t"), but only for a regular file, so it never
 * blocks. */
int host__script_load(lua_State *L, const char *path);

/* Like Lua's package.searchpath(), but finds regular files only, and calls
 * `tried` (or NULL) before each attempt. Arguments: name, path, separator and
 * its replacement, the last two optional. */
int host__script_search(lua_State *L,
                        void (*tried)(lua_State *L, const char *file));

#endif
