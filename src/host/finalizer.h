/* Private to src/host: finalizers within the budget. */
#ifndef HOST_FINALIZER_H
#define HOST_FINALIZER_H

#include <lua.h>
#include <stdbool.h>

/* Replaces functions of the open libraries. May raise. */
void host__open_finalizer(lua_State *L);

/* Locks the metatables of all types in the registry that have a finalizer: Lua
 * would call a __gc that the script puts there with hooks off. May raise. */
void host__lock_finalizers(lua_State *L);

/* Whether the metatable on top, which stays there, has one. */
bool host__has_finalizer(lua_State *L);

/* Locks the metatable on top, which stays there: for the script it is `name`.
 * May raise. */
void host__lock_metatable(lua_State *L, const char *name);

#endif
