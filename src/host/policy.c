#include "policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lua/listen.h"
#include "../lua/bind_books.h"
#include "../lua/bind_metrics.h"
#include "../lua/bindings.h"
#include "../lua/check.h"
#include "../lua/error.h"
#include "../lua/handover.h"
#include "../lua/keeper.h"
#include "../lua/metrics.h"
#include "../lua/plain.h"
#include "arena.h"
#include "bind_host.h"
#include "call.h"
#include "certificates.h"
#include "later.h"
#include "libraries.h"
#include "limits.h"
#include "luv.h"
#include "paths.h"
#include "record.h"
#include "say.h"
#include "script.h"
#include "sources.h"
#include "spare.h"
#include "steer.h"
#include "trust.h"
#include "weak.h"

/* A policy is a script in its own Lua state. host__policy_open() loads it,
 * staged: what it declares takes effect only once it is committed, either as
 * the first one, after host__policy_listen(), or in
 * host__policy_take_over(), in place of the one before. Then its unload
 * handlers run, once, and it is closed: its rovers, relays and fronts, the
 * requests of luv, the state, in this order. */

/* -- Opening -------------------------------------------------------------- */

static int return_upvalue(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(1));
  return 1;
}

/* Makes require return the table on top for `name`; pops it. */
static void preload(lua_State *L, const char *name) {
  host__name_functions(L, name);
  lua_pushcclosure(L, return_upvalue, 1);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_insert(L, -2);
  lua_setfield(L, -2, name);
  lua_pop(L, 1);
}

/* The same for the functions that open modules, in the table on top. */
static void preload_all(lua_State *L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  for (lua_pushnil(L); lua_next(L, -3);) {
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_settable(L, -4);
  }
  lua_pop(L, 2);
}

/* A module of ours, on top, was opened. */
static void on_opened(lua_State *L, const char *name) {
  host__name_functions(L, name);
  host__lock_types(L);
}

/* Most policies need none of these, so they are opened when one is required. */
static const struct module {
  const char *name;
  void (*open)(lua_State *L); /* pushes the module */
} modules[] = {
    {"callosum.books", rover__lua_open_books},
    {"callosum.keeper", rover__lua_open_keeper},
    {"callosum.metrics", rover__lua_open_metrics},
    {"callosum.options", rover__lua_open_options},
};

/* Upvalue 2 is the module, once it is open. */
static int l_module(lua_State *L) {
  const struct module *module = lua_touserdata(L, lua_upvalueindex(1));

  if (lua_isnil(L, lua_upvalueindex(2))) {
    module->open(L);
    on_opened(L, module->name);
    lua_replace(L, lua_upvalueindex(2));
  }
  lua_pushvalue(L, lua_upvalueindex(2));
  return 1;
}

/* Adds them to the table on top. */
static void set_openers(lua_State *L) {
  for (size_t i = 0; i < sizeof modules / sizeof *modules; i++) {
    lua_pushlightuserdata(L, (void *)&modules[i]);
    lua_pushnil(L);
    lua_pushcclosure(L, l_module, 2);
    lua_setfield(L, -2, modules[i].name);
  }
}

struct load {
  const struct host__script *script;
  const struct rover__plain *carry;
};

static int prepare(lua_State *L) {
  struct host__policy *policy = host__policy_of(L);
  const struct load *load = lua_touserdata(L, 1);

  host__open_libraries(L, load->script->path);
  policy->lua = rover__lua_open(L, policy->host->loop, host__call);
  policy->lua->handler = host__note_traceback;
  policy->lua->staged = true;
  policy->lua->unique_names = true;
  policy->lua->owner = &policy->host->rovers;
  policy->lua->others = policy->host->rovers.memory;
  policy->lua->no_http =
      policy->host->options.sandbox && !policy->host->options.allow_http;
  policy->lua->reads = host__sources_read;
  if (policy->host->options.sandbox &&
      host__paths_confine(policy, load->script->path) < 0)
    rover__lua_no_memory(L);
  preload_all(L);
  preload(L, "callosum.rover");
  policy->lua->opened = on_opened;
  policy->lua->metrics = rover__metrics_of(L);
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
  host__open_module(L, load->script->argc, load->script->argv);
  preload(L, "callosum.host");
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushcfunction(L, host__luv_open);
  lua_setfield(L, -2, "luv");
  set_openers(L);
  lua_settop(L, 0);
  if (policy->host->options.open) policy->host->options.open(policy->host, L);
  return 0;
}

static bool declares(const struct host__policy *policy, int list) {
  const struct rover__lua_object *o = policy->lua->objects[list];
  while (o && o->closing) o = o->next;
  return o != NULL;
}

/* Text only: bytecode can crash the interpreter. */
static int run(lua_State *L) {
  struct host__policy *policy = host__policy_of(L);
  const struct host__script *script =
      ((const struct load *)lua_touserdata(L, 1))->script;

  host__trust(policy->host, script->path);
  int status = host__script_load(L, script->path);
  if (status != LUA_OK) {
    const char *message = lua_tostring(L, -1);
    if (status != LUA_ERRMEM && !strstr(message, script->path)) /* bytecode */
      lua_pushfstring(L, "%s: %s", script->path, message);
    return lua_error(L);
  }
  luaL_checkstack(L, script->argc, "too many arguments");
  for (int i = 0; i < script->argc; i++) lua_pushstring(L, script->argv[i]);
  lua_call(L, script->argc, 0);

  if (policy->host->options.rover_optional) return 0;
  if (declares(policy, ROVER__LUA_ROVERS) ||
      declares(policy, ROVER__LUA_FRONTS))
    return 0;
  return luaL_error(L,
                    "%s declares no rover and no front: call rover.new "
                    "{ ... }, and keep what it returns, or start it; or "
                    "call front.new { ... }",
                    script->path);
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
                      const struct host__script *script,
                      struct host__policy *old) {
  const char *path = script->path;
  struct rover__plain carry = {0};
  struct load load = {script, &carry};
  struct host__policy *policy = NULL;

  host->loading = true;
  int err = old ? host__call_to_load(old, path, write_carry, &carry) : 0;
  if (err == 0) {
    policy = policy_new(host);
    if (!policy) {
      err = UV_ENOMEM;
      host__load_failed(host, path, err, NULL);
    }
  }
  if (err == 0) err = host__call_to_load(policy, path, prepare, &load);
  if (err == 0) err = host__call_to_load(policy, path, run, &load);
  if (err == 0) host__arena_trim(policy->arena); /* compiling takes much */
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
  int err = host__call_to_load(policy, path, listen_all, NULL);
  if (err < 0) host__policy_close(policy);
  host->loading = false;
  return err;
}

void host__policy_commit(struct host__policy *policy) {
  rover__lua_commit(policy->lua);
  if (policy->stop_wanted >= 0)
    host__stop_soon(policy->host, policy->stop_wanted);
  host__luv_start(policy->luv);
  host__steer_follow(policy->host);
  host__certificates_follow(policy->host);
}

/* Returns whether the collector was running. */
static bool stop_collector(lua_State *L) {
  bool running = lua_gc(L, LUA_GCISRUNNING);
  lua_gc(L, LUA_GCSTOP);
  return running;
}

int host__policy_take_over(struct host__policy *policy,
                           struct host__policy *old) {
  rover_host_t *host = policy->host;
  const char *path = host->script->path;
  struct rover__handover *handover;
  int err = rover__handover_new(&handover, old->lua, policy->lua);

  if (err < 0) return host__load_failed(host, path, err, NULL);
  bool old_collects = stop_collector(old->L);
  bool new_collects = stop_collector(policy->L);
  err = host__call_to_load(policy, path, rover__handover_prepare, handover);
  if (err == 0) {
    rover__handover_commit(handover);
    host__luv_stop(old->luv);
    host->policy = policy;
    host->stats.generation++;
    host__record_load(&host->record);
    host__policy_commit(policy);
  }
  if (old_collects) lua_gc(old->L, LUA_GCRESTART);
  if (new_collects) lua_gc(policy->L, LUA_GCRESTART);
  free(handover);
  return err;
}

/* -- Closing -------------------------------------------------------------- */

static int run_unload(lua_State *L) {
  struct host__policy *policy = host__policy_of(L);
  lua_rawgeti(L, LUA_REGISTRYINDEX, policy->unload);
  lua_Unsigned count = lua_rawlen(L, -1); /* without those added meanwhile */
  for (lua_Unsigned i = 1; i <= count; i++) {
    lua_rawgeti(L, -1, (lua_Integer)i);
    host__call(L, 0, 0, 0);
  }
  return 0;
}

void host__policy_unload(struct host__policy *policy) {
  policy->ended = true;
  lua_pushcfunction(policy->L, run_unload);
  host__call(policy->L, 0, 0, 0);
}

static void free_policy(struct host__policy *policy) {
  rover_host_t *host = policy->host;
  host__luv_close(policy->luv);
  host__state_close(policy->L);
  free(policy->folder);
  free(policy);
  if (host->policy) host__spares_take(host); /* not after a mere check */
  host__unref(host);
}

static void log_draining(const struct host__policy *policy, int list,
                         const char *message) {
  struct rover__lua_object *o = policy->lua->objects[list];
  for (; o; o = o->next) {
    uint64_t clients = rover__lua_joined(o);
    if (clients == 0) continue;
    host__log(policy->host, ROVER_HOST_INFO, message,
              HOST__FIELDS(host__string(o->kind->noun, o->name),
                           host__count("clients", clients)));
  }
}

void host__policy_close(struct host__policy *policy) {
  policy->host->handles++;
  if (policy->lua) {
    log_draining(policy, ROVER__LUA_RELAYS, "relay lets its clients finish");
    log_draining(policy, ROVER__LUA_FRONTS, "front drains");
    rover__lua_die(policy->lua);
  }
  if (host__luv_end(policy->luv, free_policy)) free_policy(policy);
}
