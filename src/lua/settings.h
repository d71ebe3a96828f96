/* Private to src/lua: what a script says of a source, as the provider gets
 * it. */
#ifndef LUA_SETTINGS_H
#define LUA_SETTINGS_H

#include "../discover/config.h"
#include "object.h"

/* The strings in it are on the stack, or in the table. */
struct rover__lua_settings {
  rover_source_options_t options;
  size_t count;
  struct discover__setting all[128];
};

/* Checks the options of the table at index 1, the provider's own and those of
 * all sources, and leaves the name at index 2. */
void rover__lua_check_settings(lua_State *L, const struct discover__kind *kind,
                               const struct rover__lua_kind *object,
                               struct rover__lua_settings *out);

#endif
