#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct host__policy *host__policy_of(lua_State *L) {
  /* A coroutine's extra space is made a copy of the main thread's. */
  return *(struct host__policy **)lua_getextraspace(L);
}

/* -- Calls ---------------------------------------------------------------- */

/* The message handler runs with hooks off when it was the budget that ended the
 * call, so it runs nothing of the policy's and searches nothing that is as large
 * as the policy likes: it only notes where that was. The error object stays what
 * it is. */
static int note_traceback(lua_State *L) {
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

/* Replaces the error object on top by its text, if it has one, while the budget
 * of the call still holds; else leaves it, and says why. */
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

/* Of an error, in what is given to C. A line of the log has no more either. */
enum { ERROR_MAX = 64 * 1024 };

/* A copy that ends with a NUL, and shows those in it as \0; NULL if there is no
 * memory. */
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

void host__policy_report(lua_State *L, int status, const char *traceback,
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
    /* Without memory for a copy, what is there says the most. */
    if (inner || error.length > ERROR_MAX || strlen(bytes) < error.length)
      copy = copy_shown(bytes, error.length);
    if (copy) error.shown = copy;
    if (copy && inner) { /* no NUL is behind it */
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

/* As lua_pcall(), and reports an error. Returns its status, and leaves nothing
 * where that is one. */
static int call(lua_State *L, int nargs, int nresults,
                enum host__budget_kind kind, const char *path) {
  struct host__policy *policy = host__policy_of(L);
  int base = lua_gettop(L) - nargs;
  char *outer_traceback = policy->traceback; /* of one that is closing variables */
  const void *spared = policy->spared;
  char why[256] = "";

  policy->traceback = NULL;
  host__luv_enter(policy->luv);
  lua_pushcfunction(L, note_traceback);
  lua_insert(L, base);
  lua_State *outer = host__enter(L, kind);
  if (kind == HOST__CALL && !policy->ended && host__is_beyond_cap(L)) {
    lua_pushcfunction(L, host__call_within_cap);
    lua_insert(L, base + 1);
    nargs++;
  }
  int status = lua_pcall(L, nargs, nresults, base);
  host__spare_no_more(L, spared);
  if (status != LUA_OK && status != LUA_ERRMEM) show(L, why, sizeof why);
  host__leave(L, outer);
  if (status == LUA_OK) {
    lua_remove(L, base);
  } else {
    if (status == LUA_ERRMEM) host__state_out_of_memory(L);
    host__policy_report(L, status,
                        status == LUA_ERRMEM ? NULL : policy->traceback, path,
                        why);
    lua_settop(L, base - 1);
  }
  free(policy->traceback);
  policy->traceback = outer_traceback;
  return status;
}

int host__policy_call(lua_State *L, int nargs, int nresults, int flags) {
  int base = lua_gettop(L) - nargs;

  (void)flags;
  int status = call(L, nargs, nresults, HOST__CALL, NULL);
  return status == LUA_OK ? lua_gettop(L) - base + 1 : -status;
}

static int code_of(int status) {
  return status == LUA_ERRMEM ? UV_ENOMEM : UV_EINVAL;
}

lua_State *rover_host_state(const rover_host_t *host) {
  return host->policy ? host->policy->L : NULL;
}

int rover_host_call(rover_host_t *host, lua_State *L, int nargs, int nresults) {
  if (!host || !L || nargs < 0 || nresults < LUA_MULTRET) return UV_EINVAL;
  struct host__policy *policy = host__policy_of(L);
  if (policy->host != host || lua_gettop(L) <= nargs || lua_status(L) != LUA_OK)
    return UV_EINVAL;
  /* Lua takes it on trust that there is room for the results. */
  bool fits = lua_checkstack(L, nresults > 0 ? nresults : 1);
  bool over = policy->lua->retired && !policy->ended;
  if (policy->lua->dead || over || !fits) {
    lua_pop(L, nargs + 1);
    return fits ? UV_ECANCELED : UV_ENOMEM;
  }
  int status = host__policy_call(L, nargs, nresults, 0);
  return status < 0 ? code_of(-status) : 0;
}

/* -- Opening -------------------------------------------------------------- */

static int return_upvalue(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(1));
  return 1;
}

/* Makes the table on top what require returns for `name`; pops it. */
static void preload(lua_State *L, const char *name) {
  host__name_functions(L, name);
  lua_pushcclosure(L, return_upvalue, 1);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_insert(L, -2);
  lua_setfield(L, -2, name);
  lua_pop(L, 1);
}

struct load {
  const char *path;
  int argc;
  char *const *argv;
  const struct rover__plain *carry;
};

static int prepare(lua_State *L) {
  struct host__policy *policy = host__policy_of(L);
  const struct load *load = lua_touserdata(L, 1);

  host__open_libraries(L, load->path);
  host__sources_record(L, load->path);
  policy->lua = rover__lua_open(L, policy->host->loop, host__policy_call);
  policy->lua->staged = true;
  policy->lua->unique_names = true;
  policy->lua->owner = &policy->host->rovers;
  policy->lua->others = policy->host->rovers.memory;
  preload(L, "callosum.relay");
  preload(L, "callosum.rover");
  host__lock_metatables(L);
  if (policy->host->options.sandbox) host__open_weak(L);
  lua_newtable(L);
  policy->unload = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_newtable(L);
  rover__plain_open(L);
  rover__plain_read(L, load->carry);
  rover__plain_guard(L, -1, ROVER__PLAIN_CARRY);
  lua_setfield(L, -2, "carry");
  policy->carry = luaL_ref(L, LUA_REGISTRYINDEX);
  host__open_module(L, load->argc, load->argv);
  preload(L, "callosum.host");
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushcfunction(L, host__luv_open);
  lua_setfield(L, -2, "luv");
  lua_settop(L, 0);
  if (policy->host->options.open) policy->host->options.open(policy->host, L);
  return 0;
}

/* Text only: bytecode can crash the interpreter. */
static int run(lua_State *L) {
  struct host__policy *policy = host__policy_of(L);
  const struct load *load = lua_touserdata(L, 1);

  host__trust(policy->host, load->path);
  int status = host__script_load(L, load->path);
  if (status != LUA_OK) {
    const char *message = lua_tostring(L, -1);
    if (status != LUA_ERRMEM && !strstr(message, load->path)) /* bytecode */
      lua_pushfstring(L, "%s: %s", load->path, message);
    return lua_error(L);
  }
  luaL_checkstack(L, load->argc, "too many arguments");
  for (int i = 0; i < load->argc; i++) lua_pushstring(L, load->argv[i]);
  lua_call(L, load->argc, 0);

  if (policy->host->options.rover_optional) return 0;
  for (struct rover__lua_rover *r = policy->lua->rovers; r; r = r->next)
    if (!r->closing) return 0;
  return luaL_error(L, "%s declares no rover: call rover.new { ... } and keep "
                       "what it returns, or start it", load->path);
}

/* Calls `function` with `argument` as light userdata. What it raises is why the
 * policy cannot be loaded. */
static int load_step(struct host__policy *policy, const char *path,
                     lua_CFunction function, void *argument) {
  lua_pushcfunction(policy->L, function);
  lua_pushlightuserdata(policy->L, argument);
  int status = call(policy->L, 1, 0, HOST__LOAD, path);
  if (status == LUA_OK) return 0;
  lua_settop(policy->L, 0);
  return code_of(status);
}

static int write_carry(lua_State *L) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, host__policy_of(L)->carry);
  lua_getfield(L, -1, "carry");
  rover__plain_write(L, -1, "host.carry", lua_touserdata(L, 1));
  return 0;
}

static struct host__policy *policy_new(rover_host_t *host) {
  struct host__policy *policy = malloc(sizeof *policy);
  if (!policy) return NULL;
  *policy = (struct host__policy){.host = host, .stop_wanted = -1};
  policy->L = host__state_new(policy);
  if (policy->L) return policy;
  free(policy);
  return NULL;
}

int host__policy_open(struct host__policy **out, rover_host_t *host,
                      const char *path, int argc, char *const argv[],
                      struct host__policy *old) {
  struct rover__plain carry = {0};
  struct load load = {path, argc, argv, &carry};
  struct host__policy *policy = NULL;

  host->loading = true;
  int err = old ? load_step(old, path, write_carry, &carry) : 0;
  if (err == 0) {
    policy = policy_new(host);
    if (!policy) {
      err = UV_ENOMEM;
      host__load_failed(host, path, err, NULL);
    }
  }
  if (err == 0) err = load_step(policy, path, prepare, &load);
  if (err == 0) err = load_step(policy, path, run, &load);
  free(carry.bytes);
  host->loading = false;
  if (err < 0 && policy) host__policy_close(policy);
  if (err == 0) *out = policy;
  return err;
}

static int listen_all(lua_State *L) {
  rover__lua_listen(host__policy_of(L)->lua, NULL);
  return 0;
}

int host__policy_listen(struct host__policy *policy, const char *path) {
  rover_host_t *host = policy->host;

  host->loading = true;
  int err = load_step(policy, path, listen_all, NULL);
  if (err < 0) host__policy_close(policy);
  host->loading = false;
  return err;
}

void host__policy_commit(struct host__policy *policy) {
  rover__lua_commit(policy->lua);
  if (policy->stop_wanted >= 0)
    host__stop_soon(policy->host, policy->stop_wanted);
  host__luv_start(policy->luv);
}

/* Returns whether it was running. */
static bool stop_collector(lua_State *L) {
  bool running = lua_gc(L, LUA_GCISRUNNING);
  lua_gc(L, LUA_GCSTOP);
  return running;
}

int host__policy_take_over(struct host__policy *policy,
                           struct host__policy *old) {
  struct rover__handover *handover;
  int err = rover__handover_new(&handover, old->lua, policy->lua);

  if (err < 0)
    return host__load_failed(policy->host, policy->host->path, err, NULL);
  bool old_collects = stop_collector(old->L);
  bool new_collects = stop_collector(policy->L);
  err = load_step(policy, policy->host->path, rover__handover_prepare,
                  handover);
  if (err == 0) {
    rover__handover_commit(handover);
    host__luv_stop(old->luv);
    policy->host->policy = policy;
    policy->host->stats.generation++;
    host__policy_commit(policy);
  }
  if (old_collects) lua_gc(old->L, LUA_GCRESTART);
  if (new_collects) lua_gc(policy->L, LUA_GCRESTART);
  rover__handover_free(handover);
  return err;
}

/* -- Closing -------------------------------------------------------------- */

static int run_unload(lua_State *L) {
  struct host__policy *policy = host__policy_of(L);
  lua_rawgeti(L, LUA_REGISTRYINDEX, policy->unload);
  lua_Unsigned count = lua_rawlen(L, -1); /* what they add is not run */
  for (lua_Unsigned i = 1; i <= count; i++) {
    lua_rawgeti(L, -1, (lua_Integer)i);
    host__policy_call(L, 0, 0, 0);
  }
  return 0;
}

void host__policy_unload(struct host__policy *policy) {
  policy->ended = true;
  lua_pushcfunction(policy->L, run_unload);
  host__policy_call(policy->L, 0, 0, 0);
}

static void free_policy(struct host__policy *policy) {
  rover_host_t *host = policy->host;
  host__luv_close(policy->luv);
  host__state_close(policy->L);
  free(policy);
  if (host->policy) host__spares_take(host); /* not if it was only checked */
  host__unref(host);
}

static void tell_of_clients(struct host__policy *policy) {
  for (struct rover__lua_relay *r = policy->lua->relays; r; r = r->next) {
    rover_relay_stats_t stats;
    rover_relay_stats_get(r->relay, &stats);
    if (stats.running > 0)
      host__log_draining(policy->host, r->name, stats.running);
  }
}

void host__policy_close(struct host__policy *policy) {
  policy->host->handles++;
  if (policy->lua) {
    tell_of_clients(policy);
    rover__lua_die(policy->lua);
  }
  if (host__luv_end(policy->luv, free_policy)) free_policy(policy);
}
