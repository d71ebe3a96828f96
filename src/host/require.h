/* Private to src/host: where a policy's modules come from. */
#ifndef HOST_REQUIRE_H
#define HOST_REQUIRE_H

#include <lua.h>

/* Sets up package for the script at that path. May raise. */
void host__open_require(lua_State *L, const char *script);

#endif
