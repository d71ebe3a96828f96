#include "coroutine.h"

#include "limits.h"

/* Replacements for the functions of Lua's library that run a function in
 * another thread, or where hooks are off, or that catch errors. They behave
 * like Lua's, but the host knows which thread is running, the error of a spent
 * budget cannot be caught, and a function of luv that was ended by an error
 * does not count as running. */

static lua_State *check_thread(lua_State *L) {
  lua_State *co = lua_tothread(L, 1);
  luaL_argexpected(L, co, 1, "thread");
  return co;
}

/* Returns how many results it pushed, or -1 and pushed an error. */
static int resume(lua_State *L, lua_State *co, int nargs) {
  int count;

  if (!lua_checkstack(co, nargs)) {
    lua_pushliteral(L, "too many arguments to resume");
    return -1;
  }
  lua_xmove(L, co, nargs);
  const void *exempted = host__policy_of(L)->exempted;
  lua_State *outer = host__enter(co, HOST__CALL);
  int status = lua_resume(co, L, nargs, &count);
  host__leave(co, outer);
  host__exempt_end(L, exempted);
  if (status != LUA_OK && status != LUA_YIELD) {
    lua_xmove(co, L, 1);
    return -1;
  }
  if (!lua_checkstack(L, count + 1)) {
    lua_pop(co, count);
    lua_pushliteral(L, "too many results to resume");
    return -1;
  }
  lua_xmove(co, L, count);
  return count;
}

static int l_resume(lua_State *L) {
  lua_State *co = check_thread(L);
  int count = resume(L, co, lua_gettop(L) - 1);
  lua_pushboolean(L, count >= 0);
  if (count < 0) count = 1;
  lua_insert(L, -(count + 1));
  return count + 1;
}

/* Closes the pending to-be-closed variables of `co`; returns the status. Not
 * for a thread that was stopped: hooks stay off there. */
static int reset(lua_State *co) {
  lua_State *outer = host__enter(co, HOST__CALL);
  int status = lua_resetthread(co);
  host__leave(co, outer);
  return status;
}

static int call_wrapped(lua_State *L) {
  lua_State *co = lua_tothread(L, lua_upvalueindex(1));
  int count = resume(L, co, lua_gettop(L));
  if (count >= 0) return count;

  int status = lua_status(co);
  if (status > LUA_YIELD && !host__was_stopped(co)) {
    status = reset(co);
    lua_xmove(co, L, 1); /* closing may have changed the error */
  }
  if (status != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
    luaL_where(L, 1);
    lua_insert(L, -2);
    lua_concat(L, 2);
  }
  return lua_error(L);
}

static int l_wrap(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_State *co = lua_newthread(L);
  lua_pushvalue(L, 1);
  lua_xmove(L, co, 1);
  lua_pushcclosure(L, call_wrapped, 1);
  return 1;
}

/* Upvalue 1 is Lua's coroutine.status. */
static int l_close(lua_State *L) {
  lua_State *co = check_thread(L);

  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushvalue(L, 1);
  lua_call(L, 1, 1);
  const char *status = lua_tostring(L, -1);
  if (*status != 's' && *status != 'd') /* neither suspended nor dead */
    return luaL_error(L, "cannot close a %s coroutine", status);
  if (host__was_stopped(co)) {
    lua_pushboolean(L, false);
    lua_pushliteral(L, "the coroutine was stopped");
    return 2;
  }
  lua_pushboolean(L, reset(co) == LUA_OK);
  if (lua_toboolean(L, -1)) return 1;
  lua_xmove(co, L, 1);
  return 2;
}

/* Hooks are off while the error of a hook is handled, so the script's handler,
 * upvalue 1, could run forever then. */
static int handle(lua_State *L) {
  if (host__is_over(L)) return 1;
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, 1, 1);
  return 1;
}

static int finish_pcall(lua_State *L, int status, lua_KContext exempted) {
  host__exempt_end(L, (const void *)exempted);
  if (status == LUA_OK || status == LUA_YIELD) return lua_gettop(L);
  lua_pushboolean(L, false);
  lua_insert(L, -2);
  return 2;
}

static int l_pcall(lua_State *L) {
  lua_KContext exempted = (lua_KContext)host__policy_of(L)->exempted;

  luaL_checkany(L, 1);
  lua_pushboolean(L, true);
  lua_insert(L, 1);
  int status = lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, exempted,
                          finish_pcall);
  return finish_pcall(L, status, exempted);
}

static int finish_xpcall(lua_State *L, int status, lua_KContext exempted) {
  (void)status;
  host__exempt_end(L, (const void *)exempted);
  return lua_gettop(L);
}

/* Upvalues: Lua's xpcall, and its debug.traceback, which is safe as a
 * handler. */
static int l_xpcall(lua_State *L) {
  lua_KContext exempted = (lua_KContext)host__policy_of(L)->exempted;

  luaL_checktype(L, 2, LUA_TFUNCTION);
  if (!lua_rawequal(L, 2, lua_upvalueindex(2))) {
    lua_pushvalue(L, 2);
    lua_pushcclosure(L, handle, 1);
    lua_replace(L, 2);
  }
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_callk(L, lua_gettop(L) - 1, LUA_MULTRET, exempted, finish_xpcall);
  return finish_xpcall(L, LUA_OK, exempted);
}

void host__open_coroutine(lua_State *L) {
  lua_getglobal(L, "coroutine");
  lua_pushcfunction(L, l_resume);
  lua_setfield(L, -2, "resume");
  lua_pushcfunction(L, l_wrap);
  lua_setfield(L, -2, "wrap");
  lua_getfield(L, -1, "status");
  lua_pushcclosure(L, l_close, 1);
  lua_setfield(L, -2, "close");
  lua_pop(L, 1);
  lua_pushcfunction(L, l_pcall);
  lua_setglobal(L, "pcall");
  lua_getglobal(L, "xpcall");
  lua_getglobal(L, "debug");
  lua_getfield(L, -1, "traceback");
  lua_remove(L, -2);
  lua_pushcclosure(L, l_xpcall, 2);
  lua_setglobal(L, "xpcall");
}
