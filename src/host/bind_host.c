#include "bind_host.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../lua/handlers.h"
#include "../lua/plain.h"
#include "base.h"
#include "inherit.h"
#include "later.h"
#include "say.h"
#include "shown.h"

/* The module callosum.host: log lines, host.carry, and requests to the host. A
 * request that makes no sense at the time, such as a reload by a policy that
 * has ended, is ignored with a warning. */

/* -- log ------------------------------------------------------------------ */

static rover_host_text_t check_text(lua_State *L, int index) {
  rover_host_text_t text;
  text.bytes = lua_tolstring(L, index, &text.length);
  return text;
}

static int by_key(const void *a, const void *b) {
  const rover_host_field_t *one = a, *other = b;
  return strcmp(one->key.bytes, other->key.bytes);
}

/* Pushes a number as in JSON, whose decimal point does not depend on the locale
 * that the policy or the program may have set. */
static void push_number(lua_State *L, int value) {
  lua_pushvalue(L, value);
  const char *text = lua_tostring(L, -1);
  size_t length = strspn(text, "-+0123456789e");
  if (!text[length]) return;
  const char *rest = text + length;
  lua_pushlstring(L, text, length);
  lua_pushliteral(L, ".");
  lua_pushstring(L, rest + strcspn(rest, "0123456789"));
  lua_concat(L, 3);
}

/* Converts a value to text, which it leaves on the stack. */
static void field(lua_State *L, int value, rover_host_field_t *out) {
  out->type = ROVER_HOST_STRING;
  if (lua_isboolean(L, value)) {
    out->type = ROVER_HOST_BOOLEAN;
    lua_pushstring(L, lua_toboolean(L, value) ? "true" : "false");
  } else if (lua_type(L, value) == LUA_TNUMBER &&
             isfinite(lua_tonumber(L, value))) {
    out->type = ROVER_HOST_NUMBER;
    push_number(L, value);
  } else {
    host__push_shown(L, value);
  }
  out->value = check_text(L, -1);
}

/* log.info(message, fields): upvalue 1 is the level. */
static int l_log(lua_State *L) {
  rover_host_t *host = host__policy_of(L)->host;
  rover_host_log_t log = {.level = lua_tointeger(L, lua_upvalueindex(1))};

  luaL_checkstring(L, 1);
  log.message = check_text(L, 1);
  if (!lua_isnoneornil(L, 2)) luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  size_t count = 0;
  if (lua_istable(L, 2))
    for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1)) count++;

  rover_host_field_t *fields =
      lua_newuserdatauv(L, (count + 1) * sizeof *fields, 0);
  lua_newtable(L); /* 4: keeps the texts from being collected */
  if (count > 0) lua_pushnil(L);
  while (log.field_count < count && lua_next(L, 2)) {
    rover_host_field_t *out = &fields[log.field_count++];
    if (lua_type(L, 5) != LUA_TSTRING)
      return luaL_argerror(L, 2, "field names must be strings");
    out->key = check_text(L, 5);
    field(L, 6, out);
    lua_rawseti(L, 4, (lua_Integer)log.field_count);
    lua_pushvalue(L, 5);
    lua_rawseti(L, 4, -(lua_Integer)log.field_count);
    lua_settop(L, 5);
  }
  qsort(fields, log.field_count, sizeof *fields, by_key);
  log.fields = fields;
  host__log_line(host, &log);
  return 0;
}

static void push_log(lua_State *L) {
  static const char *const levels[] = {"debug", "info", "warn", "error"};
  lua_createtable(L, 0, 4);
  for (int level = ROVER_HOST_DEBUG; level <= ROVER_HOST_ERROR; level++) {
    lua_pushinteger(L, level);
    lua_pushcclosure(L, l_log, 1);
    lua_setfield(L, -2, levels[level]);
  }
}

/* -- The rest ------------------------------------------------------------- */

static int l_on(lua_State *L) {
  static const char *const events[] = {"unload", NULL};
  struct host__policy *policy = host__policy_of(L);
  rover__lua_check_change(L, 1, events, ROVER__LUA_ON);
  lua_rawgeti(L, LUA_REGISTRYINDEX, policy->unload);
  lua_pushvalue(L, 2);
  lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
  return 0;
}

static int ignore(struct host__policy *policy, const char *call,
                  const char *reason) {
  host__log(policy->host, ROVER_HOST_WARN, "ignored",
            HOST__FIELDS(host__string("call", call),
                         host__string("reason", reason)));
  return 0;
}

static int l_stop(lua_State *L) {
  struct host__policy *policy = host__policy_of(L);
  lua_Integer status = luaL_optinteger(L, 1, 0);
  luaL_argcheck(L, status >= 0 && status <= 255, 1,
                "status: integer from 0 to 255 expected");
  if (policy->ended) return ignore(policy, "stop()", "the policy has ended");
  if (policy->lua->staged) policy->stop_wanted = (int)status;
  else host__stop_soon(policy->host, (int)status);
  return 0;
}

static int l_reload(lua_State *L) {
  struct host__policy *policy = host__policy_of(L);
  if (policy->ended) return ignore(policy, "reload()", "the policy has ended");
  if (policy->lua->staged)
    return ignore(policy, "reload()", "the policy is being loaded");
  host__reload_soon(policy->host, "host.reload()");
  return 0;
}

/* host.carry is read and set through the metatable, so that what cannot be
 * carried is refused where it is assigned. */
static int l_index(lua_State *L) {
  struct host__policy *policy = host__policy_of(L);
  lua_rawgeti(L, LUA_REGISTRYINDEX, policy->carry);
  lua_pushvalue(L, 2);
  lua_rawget(L, -2);
  return 1;
}

static int l_newindex(lua_State *L) {
  struct host__policy *policy = host__policy_of(L);
  if (lua_type(L, 2) != LUA_TSTRING || strcmp(lua_tostring(L, 2), "carry") != 0)
    return luaL_error(L, "callosum.host has no field '%s' to set; put what is "
                         "to outlive this policy into 'carry'",
                      luaL_tolstring(L, 2, NULL));
  if (policy->ended)
    return luaL_error(L, "host.carry: the policy has ended, and what it "
                         "carries was copied before");
  rover__plain_check(L, 3, "host.carry");
  rover__plain_guard(L, 3, ROVER__PLAIN_CARRY);
  lua_rawgeti(L, LUA_REGISTRYINDEX, policy->carry);
  lua_pushvalue(L, 3);
  lua_setfield(L, -2, "carry");
  return 0;
}

void host__open_module(lua_State *L, int argc, char *const argv[]) {
  static const luaL_Reg functions[] = {
      {"on", l_on},     {"inherit", host__inherit}, {"reload", l_reload},
      {"stop", l_stop}, {NULL, NULL}};
  static const luaL_Reg metamethods[] = {
      {"__index", l_index}, {"__newindex", l_newindex}, {NULL, NULL}};
  rover_host_t *host = host__policy_of(L)->host;

  luaL_newlib(L, functions);
  lua_pushinteger(L, (lua_Integer)host->stats.generation + 1);
  lua_setfield(L, -2, "generation");
  push_log(L);
  lua_setfield(L, -2, "log");
  lua_createtable(L, argc, 0);
  for (int i = 0; i < argc; i++) {
    lua_pushstring(L, argv[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, -2, "args");
  luaL_newlib(L, metamethods);
  lua_setmetatable(L, -2);
}
