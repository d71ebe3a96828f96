#include "rejection.h"

#include "rover_object.h"

/* The methods by which a policy says what its rover rejects. */

static struct rover__lua_object *check_open(lua_State *L) {
  return rover__lua_object_check(L, &rover__lua_rover_kind);
}

static int l_set_slot_limit(lua_State *L) {
  struct rover__lua_object *o = check_open(L);
  lua_Integer limit = 0;
  if (!lua_isnoneornil(L, 2))
    limit =
        rover__lua_check_integer(L, 2, 2, "slotLimit", 1, ROVER_SLOT_LIMIT_MAX);
  rover_set_slot_limit(o->rover, (unsigned)limit);
  return rover__lua_return_self(L);
}

static int l_slot_limit(lua_State *L) {
  struct rover__lua_object *o = check_open(L);
  unsigned limit = rover_options(o->rover)->slot_limit;
  if (limit < ROVER_SLOT_LIMIT_MAX) lua_pushinteger(L, limit);
  else lua_pushnil(L);
  return 1;
}

static int l_set_max_kept(lua_State *L) {
  struct rover__lua_object *o = check_open(L);
  lua_Integer count = 0;
  if (!lua_isnoneornil(L, 2))
    count = rover__lua_check_integer(L, 2, 2, "maxKept", 1, UINT32_MAX);
  rover_set_max_kept(o->rover, (unsigned)count);
  return rover__lua_return_self(L);
}

static int l_max_kept(lua_State *L) {
  struct rover__lua_object *o = check_open(L);
  lua_Integer count = rover_options(o->rover)->max_kept;
  if (rover__lua_keeps_all(o)) lua_pushinteger(L, count);
  else lua_pushnil(L);
  return 1;
}

static rover_rejection_t check_rejection(lua_State *L) {
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

static int l_set_rejection(lua_State *L) {
  struct rover__lua_object *o = check_open(L);
  rover_rejection_t r = {0};
  if (!lua_isnoneornil(L, 2)) r = check_rejection(L);
  if (rover__lua_count_listeners(L) != 1) r.slot_limit = 0;
  rover_set_rejection(o->rover, &r);
  lua_pushboolean(L, r.slot_limit > 0);
  return 1;
}

static int l_rejections(lua_State *L) {
  struct rover__lua_object *o = check_open(L);
  lua_pushinteger(L, (lua_Integer)rover_rejections(o->rover));
  return 1;
}

static int l_exempt_server(lua_State *L) {
  struct rover__lua_object *o = check_open(L);
  const char *id = rover__lua_check_id(L);
  luaL_checktype(L, 3, LUA_TBOOLEAN);
  lua_pushboolean(L, rover_server_exempt(o->rover, id, lua_toboolean(L, 3)));
  return 1;
}

const luaL_Reg rover__lua_rejection_methods[] = {
    {"setSlotLimit", l_set_slot_limit}, {"slotLimit", l_slot_limit},
    {"setMaxKept", l_set_max_kept},     {"maxKept", l_max_kept},
    {"setRejection", l_set_rejection},  {"rejections", l_rejections},
    {"exemptServer", l_exempt_server},  {NULL, NULL},
};
