#include "call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lua/traceback.h"
#include "limits.h"
#include "say.h"

/* All of a policy's code runs in a call from here, which enforces its budget
 * and memory cap, and reports errors: to the log, to the program's error
 * callback, and, while the policy is being loaded, as the reason for the
 * failure. */

/* The message handler. If the budget has ended the call, it runs with hooks
 * off, so it must not run the policy's code or search its tables: it only
 * records the traceback, and leaves the error object as it is. */
int host__note_traceback(lua_State *L) {
  struct host__policy *policy = host__policy_of(L);
  char text[ROVER__LUA_TRACEBACK_MAX];

  rover__lua_traceback(L, 1, text, sizeof text);
  free(policy->traceback);
  policy->traceback = strdup(text);
  return 1;
}

/* The text of an error object, or nil if it has none of its own. */
static int to_string(lua_State *L) {
  if (lua_type(L, 1) != LUA_TNUMBER &&
      luaL_getmetafield(L, 1, "__tostring") == LUA_TNIL)
    return 0;
  luaL_tolstring(L, 1, NULL);
  return 1;
}

/* Replaces the error object on top with its text, if it has one, within the
 * budget of the call. Otherwise leaves it, and writes the reason to `why`. */
static void show(lua_State *L, char *why, size_t size) {
  if (lua_type(L, -1) == LUA_TSTRING || host__is_over(L) ||
      !lua_checkstack(L, 4))
    return;
  lua_pushcfunction(L, to_string);
  lua_pushvalue(L, -2);
  if (lua_pcall(L, 1, 1, 0) != LUA_OK)
    snprintf(why, size, "; its __tostring raised %s",
             lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "another");
  else if (lua_type(L, -1) == LUA_TSTRING) lua_copy(L, -1, -2);
  lua_pop(L, 1);
}

/* The length to which errors passed to C are cut; log lines are no longer. */
enum { ERROR_MAX = 64 * 1024 };

/* Returns a NUL-terminated copy, with embedded NULs shown as \0; NULL if there
 * is no memory. */
static char *copy_shown(const char *bytes, size_t length) {
  static const char mark[] = "... (cut)";
  bool is_cut = length > ERROR_MAX;
  if (is_cut) length = ERROR_MAX;
  size_t at = 0;
  char *text = malloc(2 * length + sizeof mark);
  if (!text) return NULL;
  for (size_t i = 0; i < length; i++) {
    if (bytes[i]) {
      text[at++] = bytes[i];
    } else {
      text[at++] = '\\';
      text[at++] = '0';
    }
  }
  memcpy(text + at, mark, sizeof mark);
  if (!is_cut) text[at] = '\0';
  return text;
}

void host__report(lua_State *L, int status, const char *traceback,
                  const char *path, const char *why) {
  rover_host_t *host = host__policy_of(L)->host;
  const rover__lua_t *lua = host__policy_of(L)->lua;
  char named[512], *copy = NULL;
  struct host__error error = {.text = named, .traceback = traceback};

  if (lua_type(L, -1) == LUA_TSTRING) {
    const char *bytes = lua_tolstring(L, -1, &error.length), *inner;
    inner = rover__lua_own_traceback(bytes, &error.length);
    if (inner) error.traceback = inner;
    error.text = error.shown = bytes;
    /* Without memory for a copy, the original up to its first NUL will do. */
    if (inner || error.length > ERROR_MAX || strlen(bytes) < error.length)
      copy = copy_shown(bytes, error.length);
    if (copy) error.shown = copy;
    if (copy && inner) { /* the text is not NUL-terminated */
      error.text = copy;
      error.length = strlen(copy);
    }
  } else {
    snprintf(named, sizeof named, "(error object is a %s value%s)",
             luaL_typename(L, -1), why ? why : "");
    error.shown = named;
    error.length = strlen(named);
  }
  host->stats.script_errors++;
  if (path) host__load_failed(host, path, status, &error);
  else host__log_error(host, lua ? lua->occasion : NULL, &error);
  if (host->options.error)
    host->options.error(host, error.shown, error.traceback);
  free(copy);
}

static void push_handler(lua_State *L, int nargs) {
  lua_pushcfunction(L, host__note_traceback);
  lua_insert(L, -2 - nargs);
}

/* Like lua_pcall() with the message handler below the function, which it
 * removes, but reports an error, and then leaves no value. */
static int call(lua_State *L, int nargs, int nresults,
                enum host__budget_kind kind, const char *path) {
  struct host__policy *policy = host__policy_of(L);
  int base = lua_gettop(L) - nargs - 1;
  char *outer_traceback = policy->traceback; /* __close runs in a failed call */
  const void *exempted = policy->exempted;
  char why[256];

  why[0] = '\0'; /* the rest is not, in every call */
  policy->traceback = NULL;
  if (policy->enter_luv) policy->enter_luv(policy->luv);
  lua_State *outer = host__enter(L, kind);
  if (kind == HOST__CALL && !policy->ended && host__is_beyond_cap(L)) {
    lua_pushcfunction(L, host__call_within_cap);
    lua_insert(L, base + 1);
    nargs++;
  }
  int status = lua_pcall(L, nargs, nresults, base);
  host__exempt_end(L, exempted);
  if (status != LUA_OK && status != LUA_ERRMEM) show(L, why, sizeof why);
  host__leave(L, outer);
  if (status == LUA_OK && nresults == 0) {
    lua_settop(L, base - 1);
  } else if (status == LUA_OK) {
    lua_remove(L, base);
  } else {
    if (status == LUA_ERRMEM) host__state_out_of_memory(L);
    host__report(L, status, status == LUA_ERRMEM ? NULL : policy->traceback,
                 path, why);
    lua_settop(L, base - 1);
  }
  free(policy->traceback);
  policy->traceback = outer_traceback;
  return status;
}

int host__call(lua_State *L, int nargs, int nresults, int flags) {
  if (!(flags & ROVER__LUA_HANDLED)) push_handler(L, nargs);
  int base = lua_gettop(L) - nargs - 1;
  int status = call(L, nargs, nresults, HOST__CALL, NULL);
  return status == LUA_OK ? lua_gettop(L) - base + 1 : -status;
}

static int code_of(int status) {
  return status == LUA_ERRMEM ? UV_ENOMEM : UV_EINVAL;
}

int host__call_to_load(struct host__policy *policy, const char *path,
                       lua_CFunction function, void *argument) {
  lua_pushcfunction(policy->L, host__note_traceback);
  lua_pushcfunction(policy->L, function);
  lua_pushlightuserdata(policy->L, argument);
  int status = call(policy->L, 1, 0, HOST__LOAD, path);
  if (status == LUA_OK) return 0;
  lua_settop(policy->L, 0);
  return code_of(status);
}

int rover_host_call(rover_host_t *host, lua_State *L, int nargs, int nresults) {
  if (!host || !L || nargs < 0 || nresults < LUA_MULTRET) return UV_EINVAL;
  struct host__policy *policy = host__policy_of(L);
  if (policy->host != host || lua_gettop(L) <= nargs || lua_status(L) != LUA_OK)
    return UV_EINVAL;
  /* lua_pcall() does not check that there is room for the results. */
  bool fits = lua_checkstack(L, nresults > 0 ? nresults : 1);
  bool over = policy->lua->retired && !policy->ended;
  if (policy->lua->dead || over || !fits) {
    lua_pop(L, nargs + 1);
    return fits ? UV_ECANCELED : UV_ENOMEM;
  }
  int status = host__call(L, nargs, nresults, 0);
  return status < 0 ? code_of(-status) : 0;
}
