/* Private to src/lua: the options of rovers and relays. */
#ifndef LUA_OPTIONS_H
#define LUA_OPTIONS_H

#include <lua.h>
#include <stddef.h>
#include <stdint.h>

/* An option in Lua. The kinds are those of ROVER_OPTIONS_MAP, and two that are
 * not the engine's: `pick`, say, and what its owner looks at by itself. */
struct rover__lua_option {
  const char *name;
  enum {
    ROVER__LUA_OTHER,
    ROVER__LUA_FUNCTION,
    ROVER__LUA_MS,
    ROVER__LUA_TIMEOUT,
    ROVER__LUA_SECONDS,
    ROVER__LUA_COUNT,
    ROVER__LUA_FRACTION,
    ROVER__LUA_SEED,
    ROVER__LUA_FLAG
  } kind;
  uint64_t least, most;
  size_t offset; /* of the field in the engine's struct */
};
enum { ROVER__LUA_OPTIONS_MAX = 20 };

/* Checks the table at index 1, and stores in the struct `out` what the engine is
 * to have. The last of `options` has no name. */
void rover__lua_check_options(lua_State *L,
                              const struct rover__lua_option options[],
                              void *out);

#endif
