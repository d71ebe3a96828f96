/* Private to src/lua and src/host: where a thread is, as text. */
#ifndef LUA_TRACEBACK_H
#define LUA_TRACEBACK_H

#include <lua.h>
#include <stddef.h>

/* Enough for any traceback. */
enum { ROVER__LUA_TRACEBACK_MAX = 8192 };

/* Writes where the thread is, from `level` on, as luaL_traceback() does, but
 * looks for no names in package.loaded, which is as large as a script likes, and
 * runs and allocates nothing: for where no budget holds. */
void rover__lua_traceback(lua_State *L, int level, char *text, size_t size);

/* The message handler of what runs in a coroutine of ours, whose errors pass
 * through others: adds the traceback to a string. */
int rover__lua_add_traceback(lua_State *L);

/* The traceback that was added so to the text, or NULL; and the length of the
 * text before it. */
const char *rover__lua_own_traceback(const char *text, size_t *length);

#endif
