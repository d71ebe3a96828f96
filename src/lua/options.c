#include "options.h"

#include <callosum/rover.h>

#include "check.h"

/* Stores the value at index 3 in `field`. */
static void set_option(lua_State *L, const struct rover__lua_option *o,
                       void *field) {
  lua_Integer most = o->most < ROVER__LUA_COUNT_MAX ? (lua_Integer)o->most
                                                    : ROVER__LUA_COUNT_MAX;
  lua_Integer value;

  switch (o->kind) {
    case ROVER__LUA_MS:
      *(uint64_t *)field = (uint64_t)rover__lua_check_integer(
          L, 3, 1, o->name, (lua_Integer)o->least, most);
      break;
    case ROVER__LUA_TIMEOUT:
      value = rover__lua_check_integer(L, 3, 1, o->name, 0, most);
      *(uint64_t *)field = value > 0 ? (uint64_t)value : ROVER_NEVER;
      break;
    case ROVER__LUA_SECONDS:
      value = rover__lua_check_integer(L, 3, 1, o->name, 0, most);
      *(int *)field = value > 0 ? (int)value : -1;
      break;
    case ROVER__LUA_COUNT:
      *(unsigned *)field = (unsigned)rover__lua_check_integer(
          L, 3, 1, o->name, (lua_Integer)o->least, most);
      break;
    case ROVER__LUA_FRACTION:
      if (lua_type(L, 3) == LUA_TNUMBER) *(double *)field = lua_tonumber(L, 3);
      if (lua_type(L, 3) != LUA_TNUMBER ||
          !(*(double *)field >= 0 && *(double *)field <= 1))
        rover__lua_expected(L, 3, 1, o->name, "number from 0 to 1");
      break;
    case ROVER__LUA_SEED:
      value = rover__lua_check_integer(L, 3, 1, o->name, LUA_MININTEGER,
                                       LUA_MAXINTEGER);
      /* To the engine, 0 means none given. */
      *(uint64_t *)field = value ? (uint64_t)value : UINT64_C(1) << 63 | 1;
      break;
    case ROVER__LUA_FLAG:
      if (!lua_isboolean(L, 3))
        luaL_argerror(L, 1, lua_pushfstring(L, "%s: boolean expected, got %s",
                                            o->name, luaL_typename(L, 3)));
      *(int *)field = lua_toboolean(L, 3);
      break;
    case ROVER__LUA_FUNCTION:
      if (!lua_isfunction(L, 3))
        luaL_argerror(L, 1, lua_pushfstring(L, "%s: function expected, got %s",
                                            o->name, luaL_typename(L, 3)));
      break;
    case ROVER__LUA_OTHER: break;
  }
}

void rover__lua_check_options(lua_State *L,
                              const struct rover__lua_option options[],
                              void *out) {
  const char *names[ROVER__LUA_OPTIONS_MAX + 1];
  size_t count = 0;

  do names[count] = options[count].name;
  while (names[count++]);
  for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
    int i = rover__lua_check_key(L, 2, 1, "unknown option", names);
    set_option(L, &options[i], (char *)out + options[i].offset);
  }
}
