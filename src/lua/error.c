#include "error.h"

#include <lauxlib.h>
#include <string.h>

#define ERROR_TYPE "callosum.error"

/* The code of a status: "ECONNREFUSED". */
static const char *code_of(int status) {
  switch (status) {
#define XX(code, message)                                                      \
  case UV_##code: return #code;
    UV_ERRNO_MAP(XX)
#undef XX
    case ROVER_ECERT: return "ECERT";
    default: return "UNKNOWN";
  }
}

const char *rover__lua_explain(int status) {
  switch (status) {
    case ROVER_ECERT: return "a certificate was refused";
    case UV_EMFILE:
      return "too many open files; raise this process's limit (ulimit -n)";
    default: return uv_strerror(status);
  }
}

struct failure {
  int status;
  const char *message, *id;
};

/* Index 2 is the message, or nil. */
static int make_error(lua_State *L) {
  const struct failure *failure = lua_touserdata(L, 1);
  const char *message = failure->message;

  lua_createtable(L, 0, 3);
  lua_pushstring(L, code_of(failure->status));
  lua_setfield(L, -2, "code");
  if (lua_isstring(L, 2)) lua_pushvalue(L, 2);
  else if (message) lua_pushstring(L, message);
  else lua_pushstring(L, rover__lua_explain(failure->status));
  lua_setfield(L, -2, "message");
  if (failure->id) {
    lua_pushstring(L, failure->id);
    lua_setfield(L, -2, "id");
  }
  luaL_setmetatable(L, ERROR_TYPE);
  return 1;
}

/* The error that is made beforehand has this address as its key in the
 * registry. */
static const char no_memory;

/* Pops the message, or nil. */
static void push_error(lua_State *L, struct failure failure) {
  lua_pushcfunction(L, make_error);
  lua_pushlightuserdata(L, &failure);
  lua_rotate(L, -3, 2);
  int err = lua_pcall(L, 2, 1, 0);
  if (err == LUA_OK) return;
  if (err != LUA_ERRMEM) lua_error(L);
  lua_pop(L, 1);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &no_memory);
}

void rover__lua_push_error(lua_State *L, int status, const char *message,
                           const char *id) {
  lua_pushnil(L);
  push_error(L, (struct failure){status, message, id});
}

void rover__lua_push_error_of(lua_State *L, int status, int message) {
  lua_pushvalue(L, message);
  push_error(L, (struct failure){.status = status});
}

/* "s: no descriptors left (EMFILE); raise the limit": the code stands before
 * the advice, if there is any. A semicolon within quotes begins none. */
static int error_tostring(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lua_getfield(L, 1, "id");
  lua_getfield(L, 1, "message");
  lua_getfield(L, 1, "code");
  const char *id = lua_tostring(L, 2);
  size_t length;
  const char *message = luaL_tolstring(L, 3, &length);
  const char *code = luaL_tolstring(L, 4, NULL);
  size_t what = strcspn(message, ";\"'");
  if (message[what] != ';') what = length;
  lua_pushfstring(L, "%s%s", id ? id : "", id ? ": " : "");
  lua_pushlstring(L, message, what);
  lua_pushfstring(L, " (%s)", code);
  lua_pushlstring(L, message + what, length - what);
  lua_concat(L, 4);
  return 1;
}

void rover__lua_open_error(lua_State *L) {
  luaL_newmetatable(L, ERROR_TYPE);
  lua_pushcfunction(L, error_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_pop(L, 1);
  rover__lua_push_error(L, UV_ENOMEM, NULL, NULL);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &no_memory);
}

int rover__lua_fail(lua_State *L, int status, const char *message) {
  lua_pushnil(L);
  lua_pushstring(L, message ? message : rover__lua_explain(status));
  lua_pushstring(L, code_of(status));
  return 3;
}

int rover__lua_push_name(lua_State *L, int status,
                         const struct sockaddr_storage *name) {
  char host[INET6_ADDRSTRLEN];
  int port;

  if (status < 0) return rover__lua_fail(L, status, NULL);
  if (name->ss_family == AF_INET6) {
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)name;
    uv_ip6_name(v6, host, sizeof host);
    port = ntohs(v6->sin6_port);
  } else if (name->ss_family == AF_INET) {
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)name;
    uv_ip4_name(v4, host, sizeof host);
    port = ntohs(v4->sin_port);
  } else {
    return rover__lua_fail(L, UV_ENOTSUP, "a Unix socket has no host and port");
  }
  lua_pushstring(L, host);
  lua_pushinteger(L, port);
  return 2;
}

int rover__lua_no_memory(lua_State *L) {
  /* lua_error() knows it by this string, which every state has. */
  lua_pushliteral(L, "not enough memory");
  return lua_error(L);
}
