/* Private to src/host: the text of scripts and modules. */
#ifndef HOST_SCRIPT_H
#define HOST_SCRIPT_H

#include <lua.h>

/* As luaL_loadfilex(L, path, "t"), but only of a regular file: it never
 * waits. */
int host__script_load(lua_State *L, const char *path);

/* As Lua's package.searchpath(), but it finds regular files only, and calls
 * `tried` (or NULL) before it looks for each. Arguments: name, path, separator
 * and its replacement, the last two optional. */
int host__script_search(lua_State *L,
                        void (*tried)(lua_State *L, const char *file));

#endif
