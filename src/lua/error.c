#include "internal.h"

#include <stdio.h>
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

struct failure {
  int status;
  const char *message, *id;
};

/* The message may be at index 2. */
static int make_error(lua_State *L) {
  const struct failure *failure = lua_touserdata(L, 1);
  const char *message = failure->message;

  lua_createtable(L, 0, 3);
  lua_pushstring(L, code_of(failure->status));
  lua_setfield(L, -2, "code");
  if (lua_isstring(L, 2)) lua_pushvalue(L, 2);
  else lua_pushstring(L, message ? message : uv_strerror(failure->status));
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

/* "s: no descriptors left (EMFILE); raise the limit": the code comes before the
 * advice, if the message ends with some. What it quotes is none. */
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
  lua_pushstring(L, message ? message : uv_strerror(status));
  lua_pushstring(L, code_of(status));
  return 3;
}

int rover__lua_no_memory(lua_State *L) {
  /* By this text, which every state has, lua_error() knows it. */
  lua_pushliteral(L, "not enough memory");
  return lua_error(L);
}

/* -- Tracebacks ----------------------------------------------------------- */

/* The levels that are shown of a deep stack, from its top and its bottom. */
enum { TOP_LEVELS = 10, BOTTOM_LEVELS = 11 };

struct lines {
  char *end;
  size_t left;
};

/* Takes in what snprintf() has written, or would have. */
static void advance(struct lines *lines, int length) {
  size_t written = (size_t)length < lines->left ? (size_t)length
                   : lines->left > 0            ? lines->left - 1
                                                : 0;
  lines->end += written;
  lines->left -= written;
}
#define ADD(lines, ...)                                                        \
  advance(lines, snprintf((lines)->end, (lines)->left, __VA_ARGS__))

static void add_level(struct lines *lines, const lua_Debug *ar) {
  ADD(lines, "\n\t%s:", ar->short_src);
  if (ar->currentline > 0) ADD(lines, "%d:", ar->currentline);
  if (!strcmp(ar->namewhat, "global"))
    ADD(lines, " in function '%.60s'", ar->name);
  else if (*ar->namewhat) ADD(lines, " in %s '%.60s'", ar->namewhat, ar->name);
  else if (*ar->what == 'm') ADD(lines, " in main chunk");
  else if (*ar->what == 'C') ADD(lines, " in ?");
  else ADD(lines, " in function <%s:%d>", ar->short_src, ar->linedefined);
  if (ar->istailcall) ADD(lines, "\n\t(...tail calls...)");
}

/* How many levels the stack has. */
static int count_levels(lua_State *L) {
  lua_Debug ar;
  int low = 0, high = 1; /* the first is there, if any, the other is not */

  while (lua_getstack(L, high, &ar)) {
    low = high;
    high *= 2;
  }
  while (low < high) {
    int middle = low + (high - low) / 2;
    if (lua_getstack(L, middle, &ar)) low = middle + 1;
    else high = middle;
  }
  return low;
}

void rover__lua_traceback(lua_State *L, int level, char *text, size_t size) {
  struct lines lines = {text, size};
  lua_Debug ar;
  int count = count_levels(L);
  int skipped = count - level - TOP_LEVELS - BOTTOM_LEVELS;
  int gap = skipped > 0 ? level + TOP_LEVELS : count;

  ADD(&lines, "stack traceback:");
  for (; lua_getstack(L, level, &ar); level++) {
    if (level == gap) {
      ADD(&lines, "\n\t...\t(skipping %d levels)", skipped);
      level += skipped - 1;
      continue;
    }
    lua_getinfo(L, "Slnt", &ar);
    add_level(&lines, &ar);
  }
}

static const char own_title[] = "\npick's ";

int rover__lua_add_traceback(lua_State *L) {
  char text[ROVER__LUA_TRACEBACK_MAX];

  if (lua_type(L, 1) != LUA_TSTRING) return 1;
  rover__lua_traceback(L, 1, text, sizeof text);
  lua_pushstring(L, own_title);
  lua_pushstring(L, text);
  lua_concat(L, 3);
  return 1;
}

const char *rover__lua_own_traceback(const char *text, size_t *length) {
  static const char title[] = "\npick's stack traceback:\n";
  size_t left = *length, size = sizeof title - 1;

  for (const char *at = text; left >= size; at++, left--) {
    if (memcmp(at, title, size) != 0) continue;
    *length = (size_t)(at - text);
    return at + sizeof own_title - 1;
  }
  return NULL;
}
