#include "rover_object.h"

#include <string.h>

static const char *const event_names[] = {"connection", "unreachable", "error",
                                          "added", NULL};

static bool is_busy(const struct rover__lua_object *o) {
  rover_stats_t stats;
  if (rover_is_started(o->rover)) return true;
  rover_stats_get(o->rover, &stats);
  return stats.in_flight > 0;
}

const struct rover__lua_kind rover__lua_rover_kind = {
    .list = ROVER__LUA_ROVERS,
    .type = "callosum.rover",
    .noun = "rover",
    .size = sizeof(struct rover__lua_rover),
    .events = event_names,
    .error = ROVER__LUA_ERROR,
    .is_busy = is_busy};

size_t rover__lua_count_listeners(lua_State *L) {
  lua_getiuservalue(L, 1, 1);
  size_t count = rover__lua_count_handlers(L, -1, ROVER__LUA_CONNECTION);
  lua_pop(L, 1);
  return count;
}

const char *rover__lua_check_id(lua_State *L) {
  luaL_checktype(L, 2, LUA_TSTRING);
  const char *id = lua_tostring(L, 2);
  return strlen(id) == lua_rawlen(L, 2) ? id : "";
}

/* While the rover is staged, the ids of the servers to be attempted are in an
 * array in the table of handlers, of which the first `ids_wanted` count. */
enum { WANTED_IDS = 16 }; /* a key that no event has */

void rover__lua_stage_id(lua_State *L, struct rover__lua_rover *r) {
  lua_getiuservalue(L, 1, 1);
  if (lua_rawgeti(L, -1, WANTED_IDS) == LUA_TNIL) {
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_rawseti(L, -4, WANTED_IDS);
  }
  lua_pushvalue(L, 2);
  lua_rawseti(L, -2, r->ids_wanted + 1);
  r->ids_wanted++;
}

/* What cannot be had is left in connects_wanted, to be reported. */
static void begin_attempt(struct rover__lua_rover *r, const char *id) {
  struct rover__lua_object *o = &r->object;
  int err = UV_ENOMEM;
  if (rover__lua_may_have(o->lua, 0))
    err = id ? rover_connect_to(o->rover, id) : rover_connect(o->rover);
  if (err == UV_ENOMEM) r->connects_wanted++;
}

static void begin_attempts_by_id(struct rover__lua_rover *r) {
  lua_State *L = r->object.lua->L;
  lua_Integer count = r->ids_wanted;

  r->ids_wanted = 0;
  if (count == 0) return;
  rover__lua_object_push_handlers(L, &r->object);
  lua_rawgeti(L, -1, WANTED_IDS); /* handlers, ids */
  for (lua_Integer i = 1; i <= count; i++) {
    lua_rawgeti(L, -1, i);
    begin_attempt(r, lua_tostring(L, -1));
    lua_pop(L, 1);
  }
  lua_pushnil(L);
  lua_rawseti(L, -3, WANTED_IDS);
  lua_pop(L, 2);
}

void rover__lua_rover_begin(struct rover__lua_object *o) {
  struct rover__lua_rover *r = rover__lua_rover_of(o);
  unsigned wanted = r->connects_wanted;

  if (r->start_wanted) rover_start(o->rover);
  r->start_wanted = false;
  for (r->connects_wanted = 0; wanted > 0; wanted--) begin_attempt(r, NULL);
  begin_attempts_by_id(r);
}

void rover__lua_rover_begun(struct rover__lua_object *o) {
  struct rover__lua_rover *r = rover__lua_rover_of(o);
  while (r->connects_wanted > 0) {
    r->connects_wanted--;
    rover__lua_object_report(o, NULL, UV_ENOMEM, "out of memory");
  }
  rover__lua_object_settle(o);
}
