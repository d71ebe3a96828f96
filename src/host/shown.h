/* Private to src/host: the text of a value in the log. */
#ifndef HOST_SHOWN_H
#define HOST_SHOWN_H

#include <lua.h>

/* Pushes it; `value` is an absolute index. May raise, and call __tostring. */
void host__push_shown(lua_State *L, int value);

#endif
