/* Private to src/lua: lists of ranges of addresses that are options. */
#ifndef LUA_CIDRS_H
#define LUA_CIDRS_H

#include <lua.h>

/* The array at `index`, which has to keep its texts, as one that NULL ends, in
 * memory that it pushes. Raises an error about argument 1, of which it is the
 * field `what`, if it is wrong. */
const char *const *rover__lua_check_cidrs(lua_State *L, int index,
                                          const char *what);

#endif
