#include "internal.h"

#include <string.h>

#define ERROR_TYPE "callosum.error"

/* The code of a status: "ECONNREFUSED". */
static const char *code_of(int status) {
  switch (status) {
#define XX(code, message)                                                      \
  case UV_##code: return #code;
    UV_ERRNO_MAP(XX)
#undef XX
    default: return "UNKNOWN";
  }
}

static const char *message_of(int status) {
  return status == UV_EOF ? "closed before a whole slot line"
                          : uv_strerror(status);
}

struct failure {
  int status;
  const char *message, *id;
};

static int make_error(lua_State *L) {
  const struct failure *failure = lua_touserdata(L, 1);
  const char *message = failure->message;

  lua_createtable(L, 0, 3);
  lua_pushstring(L, code_of(failure->status));
  lua_setfield(L, -2, "code");
  lua_pushstring(L, message ? message : message_of(failure->status));
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

void rover__lua_push_error(lua_State *L, int status, const char *message,
                           const char *id) {
  struct failure failure = {status, message, id};
  lua_pushcfunction(L, make_error);
  lua_pushlightuserdata(L, &failure);
  int err = lua_pcall(L, 1, 1, 0);
  if (err == LUA_OK) return;
  if (err != LUA_ERRMEM) lua_error(L);
  lua_pop(L, 1);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &no_memory);
}

static int error_tostring(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lua_getfield(L, 1, "id");
  lua_getfield(L, 1, "message");
  lua_getfield(L, 1, "code");
  const char *id = lua_tostring(L, 2);
  const char *message = luaL_tolstring(L, 3, NULL);
  const char *code = luaL_tolstring(L, 4, NULL);
  if (id) lua_pushfstring(L, "%s: %s (%s)", id, message, code);
  else lua_pushfstring(L, "%s (%s)", message, code);
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
  lua_pushstring(L, message ? message : uv_strerror(status));
  lua_pushstring(L, code_of(status));
  return 3;
}

int rover__lua_no_memory(lua_State *L) {
  /* By this text, which every state has, lua_error() knows it. */
  lua_pushliteral(L, "not enough memory");
  return lua_error(L);
}

enum { NAME_MAX_COMPARED = 32 };

/* The Levenshtein distance of the names' beginnings. */
static size_t distance(const char *a, const char *b) {
  size_t row[NAME_MAX_COMPARED + 1];
  size_t width = strnlen(b, NAME_MAX_COMPARED);

  for (size_t j = 0; j <= width; j++) row[j] = j;
  for (size_t i = 0; i < NAME_MAX_COMPARED && a[i]; i++) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < width; j++) {
      size_t best = diagonal + (a[i] != b[j]);
      if (row[j] + 1 < best) best = row[j] + 1;
      if (row[j + 1] + 1 < best) best = row[j + 1] + 1;
      diagonal = row[j + 1];
      row[j + 1] = best;
    }
  }
  return row[width];
}

const char *rover__lua_nearest(const char *name, const char *const names[]) {
  const char *nearest = names[0];
  for (; *names; names++)
    if (distance(name, *names) < distance(name, nearest)) nearest = *names;
  return nearest;
}
