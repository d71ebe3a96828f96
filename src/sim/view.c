#include "view.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <stdio.h>

#include "fleet.h"
#include "load.h"

/* What there is to see of a run: figures and what hosts have said, as the Lua
 * modules read them between two moments. Nothing here changes the run. */

static const struct sim__view *view(lua_State *L) {
  const struct sim__view *own = lua_touserdata(L, lua_upvalueindex(1));
  if (!own->fleet) luaL_error(L, "the run has not started");
  return own;
}

/* -- Connections ----------------------------------------------------------- */

static int connections(lua_State *L) {
  const struct sim__fleet *own = view(L)->fleet;

  lua_createtable(L, (int)own->server_count, 0);
  for (uint32_t i = 0; i < own->server_count; i++) {
    lua_pushinteger(L, sim__server_connections(own->server[i]));
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

static int up(lua_State *L) {
  const struct sim__fleet *own = view(L)->fleet;

  lua_createtable(L, (int)own->server_count, 0);
  for (uint32_t i = 0; i < own->server_count; i++) {
    lua_pushboolean(L, sim__server_is_up(own->server[i]));
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

static int fill(lua_State *L) {
  uint32_t least, most;
  sim__fleet_fill(view(L)->fleet, &least, &most);
  lua_pushinteger(L, least);
  lua_pushinteger(L, most);
  return 2;
}

static int distinct(lua_State *L) {
  lua_pushnumber(L, sim__fleet_distinct(view(L)->fleet));
  return 1;
}

static void count_slot(void *arg, uint32_t slot) {
  lua_State *L = arg;
  lua_rawgeti(L, -1, slot);
  lua_Integer n = lua_tointeger(L, -1);
  lua_pop(L, 1);
  lua_pushinteger(L, n + 1);
  lua_rawseti(L, -2, slot);
}

/* How many connections have each slot, from slot to number. */
static int slots(lua_State *L) {
  lua_newtable(L);
  sim__fleet_slots(view(L)->fleet, count_slot, L);
  return 1;
}

static uint64_t accepted(const struct sim__fleet *own) {
  uint64_t sum = 0;

  for (uint32_t i = 0; i < own->server_count; i++)
    sum += sim__server_stats(own->server[i]).accepted;
  return sum;
}

/* Sums over all servers, and hosts. */
static int counters(lua_State *L) {
  const struct sim__fleet *own = view(L)->fleet;

  lua_createtable(L, 0, 4);
  lua_pushinteger(L, (lua_Integer)accepted(own));
  lua_setfield(L, -2, "opens");
  lua_pushinteger(L, (lua_Integer)own->hosts.reloads);
  lua_setfield(L, -2, "reloads");
  lua_pushinteger(L, (lua_Integer)own->hosts.failed_reloads);
  lua_setfield(L, -2, "failedReloads");
  lua_pushinteger(L, own->hosts.running);
  lua_setfield(L, -2, "running");
  return 1;
}

/* -- What hosts have said ------------------------------------------------- */

/* An array of what hosts have said, in the order of the first time. */
static void push_tellings(lua_State *L, const struct sim__tellings *tellings) {
  lua_Integer i = 0;

  lua_newtable(L);
  for (const struct sim__told *t = tellings->first; t; t = t->hh.next) {
    lua_createtable(L, 0, 6);
    lua_pushstring(L, t->message);
    lua_setfield(L, -2, "message");
    lua_pushstring(L, t->traceback);
    lua_setfield(L, -2, "traceback");
    lua_pushinteger(L, (lua_Integer)t->count);
    lua_setfield(L, -2, "count");
    lua_pushinteger(L, t->hosts);
    lua_setfield(L, -2, "hosts");
    lua_pushinteger(L, t->host + 1);
    lua_setfield(L, -2, "host");
    lua_pushnumber(L, (double)t->at / SIM__S);
    lua_setfield(L, -2, "at");
    lua_rawseti(L, -2, ++i);
  }
}

/* And how many errors had further messages. */
static int errors(lua_State *L) {
  const struct sim__tellings *tellings = &view(L)->fleet->hosts.errors;
  push_tellings(L, tellings);
  lua_pushinteger(L, (lua_Integer)tellings->others);
  return 2;
}

/* Servers that the policy does not seem to know. One that it knows would be
 * missed by chance in so many connections to each server once in 500 million
 * times. */
enum { ENOUGH = 20 };
static bool push_unknown(lua_State *L) {
  const struct sim__fleet *own = view(L)->fleet;
  uint32_t first = 0, count = 0;
  uint64_t all = accepted(own);

  if (all < (uint64_t)ENOUGH * own->server_count) return false;
  for (uint32_t i = 0; i < view(L)->named; i++) {
    if (sim__server_stats(own->server[i]).accepted > 0) continue;
    if (!sim__server_is_up(own->server[i])) continue;
    if (count++ == 0) first = i;
  }
  if (count == 0) return false;
  lua_pushfstring(L, "no host has connected to %s at %s:%d",
                  own->names[first].name, own->names[first].host,
                  own->names[first].port);
  if (count > 1) lua_pushfstring(L, ", nor to %d others", (int)count - 1);
  else lua_pushliteral(L, "");
  lua_pushliteral(L, ": does the policy know it? See --servers, and ARGS");
  lua_concat(L, 3);
  return true;
}

/* An array of texts. */
static int warnings(lua_State *L) {
  const struct sim__fleet *own = view(L)->fleet;
  const struct sim__tellings *tellings = &own->hosts.warnings;
  lua_Integer i = 0;

  lua_newtable(L);
  for (const struct sim__told *t = tellings->first; t; t = t->hh.next) {
    lua_pushfstring(L, "%s (%s, %s)", t->message,
                    t->hosts == 1 ? lua_pushfstring(L, "host %d", t->host + 1)
                                  : lua_pushfstring(L, "%d hosts", t->hosts),
                    t->count == 1 ? "once"
                                  : lua_pushfstring(L, "%d times", t->count));
    lua_rawseti(L, 1, ++i);
    lua_settop(L, 1);
  }
  if (tellings->others > 0) {
    lua_pushfstring(L, "%I more warnings differ from these, and are not shown",
                    (LUAI_UACINT)tellings->others);
    lua_rawseti(L, 1, ++i);
  }
  const char *complaint =
      view(L)->load ? sim__load_complaint(view(L)->load) : NULL;
  if (complaint) {
    lua_pushstring(L, complaint);
    lua_rawseti(L, 1, ++i);
  }
  if (push_unknown(L)) lua_rawseti(L, 1, ++i);
  return 1;
}

/* -- Requests, and the trace ----------------------------------------------- */

/* What came of the requests, see load.h, and the share of each server in the
 * answers; or nil if there are none. */
static int requests(lua_State *L) {
  const struct sim__fleet *own = view(L)->fleet;
  double all = 0;

  if (!view(L)->load) return 0;
  sim__load_push(view(L)->load, L);
  lua_createtable(L, (int)own->server_count, 0);
  for (uint32_t i = 0; i < own->server_count; i++)
    all += (double)sim__server_stats(own->server[i]).requests;
  for (uint32_t i = 0; i < own->server_count && all > 0; i++) {
    lua_pushnumber(L, (double)sim__server_stats(own->server[i]).requests / all);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, -2, "share");
  return 1;
}

static int hash(lua_State *L) {
  char text[20];
  view(L);
  snprintf(text, sizeof text, "%016" PRIx64, sim__trace_hash());
  lua_pushstring(L, text);
  return 1;
}

void sim__view_add(lua_State *L, struct sim__view *view) {
  static const luaL_Reg functions[] = {{"connections", connections},
                                       {"up", up},
                                       {"fill", fill},
                                       {"distinct", distinct},
                                       {"slots", slots},
                                       {"counters", counters},
                                       {"errors", errors},
                                       {"warnings", warnings},
                                       {"hash", hash},
                                       {"requests", requests},
                                       {NULL, NULL}};

  lua_pushlightuserdata(L, view);
  luaL_setfuncs(L, functions, 1);
}
