/* Private to src/host: weak tables in the sandbox. */
#ifndef HOST_WEAK_H
#define HOST_WEAK_H

#include <lua.h>
#include <stdbool.h>

/* From here on, tables are weak by host__weak_check() alone. May raise. */
void host__open_weak(lua_State *L);

/* In setmetatable(): raises if the metatable at index 2 is refused, or replaces
 * it by the one for Lua. */
void host__weak_check(lua_State *L);

/* Whether the table at index 1 has a metatable from there, which setmetatable()
 * may change though it looks protected. */
bool host__weak_may_change(lua_State *L);

#endif
