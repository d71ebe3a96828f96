#include "rejection.h"

#include "check.h"

rover_rejection_t rover__lua_check_rejection(lua_State *L) {
  enum { SLOT_LIMIT, INTERVAL, PATIENCE, GROWTH, MAX_INTERVAL, JITTER };
  static const char *const names[] = {"slotLimit", "interval",    "patience",
                                      "growth",    "maxInterval", "jitter",
                                      NULL};
  rover_rejection_t r = {0};

  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1)) {
    int field = rover__lua_check_key(L, 3, 2, "unknown option", names);
    const char *name = names[field];
    lua_Integer most =
        field == SLOT_LIMIT ? ROVER_SLOT_LIMIT_MAX : ROVER__LUA_COUNT_MAX;
    lua_Integer count = 0;
    if (field < GROWTH || field == MAX_INTERVAL)
      count = rover__lua_check_integer(L, 4, 2, name, field != PATIENCE, most);
    switch (field) {
      case SLOT_LIMIT: r.slot_limit = (unsigned)count; break;
      case INTERVAL: r.interval = (uint64_t)count; break;
      case PATIENCE: r.patience = (unsigned)count; break;
      case MAX_INTERVAL: r.max_interval = (uint64_t)count; break;
      case GROWTH:
        r.growth = rover__lua_check_number(L, 4, 2, name, 1, 256);
        break;
      default: r.jitter = rover__lua_check_number(L, 4, 2, name, 0, 1); break;
    }
  }
  return r;
}
