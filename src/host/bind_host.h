/* Private to src/host: the module callosum.host. */
#ifndef HOST_BIND_HOST_H
#define HOST_BIND_HOST_H

#include <lua.h>

/* Pushes its table. The policy's arguments are `argv`. May raise. */
void host__open_module(lua_State *L, int argc, char *const argv[]);

#endif
