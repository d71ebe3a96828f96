/* Private to src/host: the libraries that a policy sees. */
#ifndef HOST_LIBRARIES_H
#define HOST_LIBRARIES_H

#include <lua.h>

/* Opens Lua's, all of them or what the sandbox has, and makes them safe, for
 * the script at that path. May raise. */
void host__open_libraries(lua_State *L, const char *script);

/* Makes messages and tracebacks know the functions in the table on top, which
 * stays there, as the module's. May raise. */
void host__name_functions(lua_State *L, const char *module);

/* Locks the metatables of all types with a finalizer, and in the sandbox those
 * of all our objects. May raise. */
void host__lock_metatables(lua_State *L);

/* The same for our types alone, when others of them were opened. May raise. */
void host__lock_types(lua_State *L);

#endif
