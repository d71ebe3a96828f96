/* Private to src/lua and src/host: tracebacks. */
#ifndef LUA_TRACEBACK_H
#define LUA_TRACEBACK_H

#include <lua.h>
#include <stddef.h>

/* Enough for any traceback. */
enum { ROVER__LUA_TRACEBACK_MAX = 8192 };

/* Writes a traceback of the thread from `level` on, as luaL_traceback() does,
 * but does not search package.loaded for names, which a script can make as
 * large as it likes, and neither runs nor allocates anything: no budget limits
 * it. */
void rover__lua_traceback(lua_State *L, int level, char *text, size_t size);

/* The message handler for pick, which runs in a coroutine of ours: adds that
 * one's traceback to a string, since a later one would not contain it. */
int rover__lua_add_traceback(lua_State *L);

/* The traceback that was added in that way to the text, or NULL; *length
 * becomes that of the text before it. */
const char *rover__lua_own_traceback(const char *text, size_t *length);

#endif
