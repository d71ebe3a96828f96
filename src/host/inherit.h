/* Private to src/host: listeners of luv's that the next policy takes over. */
#ifndef HOST_INHERIT_H
#define HOST_INHERIT_H

#include <lua.h>

/* inherit(handle, host, port), of callosum.host. */
int host__inherit(lua_State *L);

#endif
