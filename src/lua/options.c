#include "internal.h"

#include <stddef.h>

static const struct option {
  const char *name;
  enum { COUNT, SECONDS, FRACTION, SEED, FLAG, OTHER } kind;
  size_t offset;
} options[] = {
    {"name", OTHER, 0},
    {"servers", OTHER, 0},
    {"rovingInterval", COUNT, offsetof(rover_options_t, roving_interval)},
    {"connectTimeout", COUNT, offsetof(rover_options_t, connect_timeout)},
    {"slotTimeout", COUNT, offsetof(rover_options_t, slot_timeout)},
    {"maxAttempts", COUNT, offsetof(rover_options_t, max_attempts)},
    {"jitter", FRACTION, offsetof(rover_options_t, jitter)},
    {"seed", SEED, offsetof(rover_options_t, seed)},
    {"keepalive", SECONDS, offsetof(rover_options_t, keepalive)},
    {"allowHalfOpen", FLAG, offsetof(rover_options_t, allow_half_open)},
};
static const char *const option_names[] = {
    "name",        "servers", "rovingInterval", "connectTimeout",
    "slotTimeout", "maxAttempts", "jitter",     "seed",
    "keepalive",   "allowHalfOpen", NULL};

enum { KEEPALIVE_MAX = 32767 };

/* Stores the value at index 3. */
static void set_option(lua_State *L, const struct option *o,
                       rover_options_t *out) {
  void *field = (char *)out + o->offset;
  lua_Integer value;

  switch (o->kind) {
    case COUNT:
      value = rover__lua_check_integer(L, 3, 1, o->name, 1,
                                       ROVER__LUA_COUNT_MAX);
      if (field == &out->max_attempts) out->max_attempts = (unsigned)value;
      else *(uint64_t *)field = (uint64_t)value;
      break;
    case SECONDS:
      value = rover__lua_check_integer(L, 3, 1, o->name, 0, KEEPALIVE_MAX);
      *(int *)field = value > 0 ? (int)value : -1;
      break;
    case FRACTION:
      if (lua_type(L, 3) == LUA_TNUMBER) out->jitter = lua_tonumber(L, 3);
      if (lua_type(L, 3) != LUA_TNUMBER ||
          !(out->jitter >= 0 && out->jitter <= 1))
        rover__lua_expected(L, 3, 1, o->name, "number from 0 to 1");
      break;
    case SEED:
      value = rover__lua_check_integer(L, 3, 1, o->name, LUA_MININTEGER,
                                       LUA_MAXINTEGER);
      /* To the engine, 0 means none given. */
      out->seed = value ? (uint64_t)value : UINT64_C(1) << 63 | 1;
      break;
    case FLAG:
      if (!lua_isboolean(L, 3))
        luaL_argerror(L, 1, lua_pushfstring(L, "%s: boolean expected, got %s",
                                            o->name, luaL_typename(L, 3)));
      *(int *)field = lua_toboolean(L, 3);
      break;
    case OTHER: break;
  }
}

void rover__lua_check_options(lua_State *L, rover_options_t *out) {
  for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
    int i = rover__lua_check_key(L, 2, 1, "unknown option", option_names);
    set_option(L, &options[i], out);
  }
}
