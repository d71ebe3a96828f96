#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lua/listen.h"
#include "../lua/rover_object.h"
#include "../net/options.h"
#include "base.h"
#include "certificates.h"
#include "history.h"
#include "later.h"
#include "limits.h"
#include "luv.h"
#include "passed.h"
#include "paths.h"
#include "policy.h"
#include "record.h"
#include "reload.h"
#include "say.h"
#include "sources.h"
#include "spare.h"

/* A new host has no policy until rover_host_load() has succeeded; from then on
 * reloads replace it. rover_host_close() unloads and closes the policy in the
 * next turn of the loop. The host is freed once its handles and all its
 * policies are closed: see later.c. */

/* -- The script ----------------------------------------------------------- */

/* A copy, for reloads; NULL if there is no memory. */
static struct host__script *script_new(const char *path, int argc,
                                       char *const argv[]) {
  size_t size = sizeof(struct host__script) + strlen(path) + 1 +
                (size_t)argc * sizeof *argv;
  for (int i = 0; i < argc; i++) size += strlen(argv[i]) + 1;
  struct host__script *script = malloc(size);
  if (!script) return NULL;

  char *text = (char *)&script->argv[argc];
  script->path = strcpy(text, path);
  script->argc = argc;
  for (int i = 0; i < argc; i++) {
    text += strlen(text) + 1;
    script->argv[i] = strcpy(text, argv[i]);
  }
  return script;
}

static void forget_script(rover_host_t *host) {
  free(host->script);
  host->script = NULL;
}

/* -- Life ----------------------------------------------------------------- */

static void free_host(rover_host_t *host) {
  rover_workers_free(host->rovers.workers);
  free((char *)host->options.lua_path);
  free((void *)host->options.allow_paths);
  free(host->script);
  host__record_free(&host->record);
  host__history_free(host);
  free(host);
}

static void on_closed(rover_host_t *host) {
  if (host->close_cb) host->close_cb(host);
  host__passed_close(host);
  free_host(host);
}

/* Copies their text; what it has not is NULL. */
static int keep_options(rover_host_t *host, const rover_host_options_t *from) {
  rover_host_options_t *o = &host->options;

  if (from) *o = *from;
  o->lua_path = NULL;
  if (!host__paths_keep(&o->allow_paths)) return UV_ENOMEM;
  if (from && from->lua_path && !(o->lua_path = strdup(from->lua_path)))
    return UV_ENOMEM;
  if (!o->memory) o->memory = (size_t)256 << 20;
  if (!o->budget) o->budget = 1000;
  if (!o->load_budget) o->load_budget = 5000;
  return 0;
}

/* They outlive policies, so that a reload stops none. */
static int make_workers(rover_host_t *host) {
  rover_workers_options_t options = {.threads = host->options.threads};
  return options.threads == 0
             ? 0
             : rover_workers_new(&host->rovers.workers, &options);
}

int rover_host_new(rover_host_t **out, uv_loop_t *loop,
                   const rover_host_options_t *options) {
  if (!out || !loop) return UV_EINVAL;
  if (options && !NET__IS_UNUSED(options->reserved)) return UV_EINVAL;
  rover_host_t *host = calloc(1, sizeof *host);
  if (!host) return UV_ENOMEM;
  int err = keep_options(host, options);
  host->loop = loop;
  host__record_open(&host->record);
  host->rovers.memory_max = host->options.memory;
  if (err == 0) err = make_workers(host);
  if (err == 0 && !host__history_new(host)) err = UV_ENOMEM;
  if (err == 0) err = rover_turn_new(&host->rovers.turn, loop);
  if (err == 0) err = host__sources_open(host);
  if (err < 0) {
    if (host->rovers.turn) rover_turn_close(host->rovers.turn, NULL, NULL);
    free_host(host);
    return err;
  }
  host__later_open(host, host__reload_turn, on_closed);
  host__history_open(host);
  host__certificates_open(host);
  *out = host;
  return 0;
}

static void begin_closing(uv_timer_t *stopper) {
  rover_host_t *host = stopper->data;

  host__reload_cancel(host);
  if (host->policy) {
    host__policy_unload(host->policy);
    host__policy_close(host->policy);
    host->policy = NULL;
  }
  host__luv_hurry(host);
  host__sources_close(host);
  host__history_close(host);
  host__certificates_close(host);
  host__spares_drop(host);
  host__later_close(host);
}

int rover_host_close(rover_host_t *host, rover_host_close_cb cb) {
  if (host->closing) return UV_EALREADY;
  host->closing = true;
  host->close_cb = cb;
  host__close_soon(host, begin_closing);
  return 0;
}

void *rover_host_data(const rover_host_t *host) { return host->options.data; }

uv_loop_t *rover_host_loop(const rover_host_t *host) { return host->loop; }

const rover_workers_t *rover_host_workers(const rover_host_t *host) {
  return host->rovers.workers;
}

/* -- Policies ------------------------------------------------------------- */

/* Checks the arguments of load and check. */
static int check_script(const rover_host_t *host, const char *path, int argc,
                        char *const argv[]) {
  if (host->closing || !path || argc < 0 || (argc > 0 && !argv))
    return UV_EINVAL;
  for (int i = 0; i < argc; i++)
    if (!argv[i]) return UV_EINVAL;
  return 0;
}

/* Whether a policy's code runs, or a policy is being loaded or closed: no other
 * can be loaded meanwhile. */
static bool is_busy(const rover_host_t *host) {
  return host->loading || host->reloading || host->budget.closing ||
         host__is_running(host);
}

int rover_host_load(rover_host_t *host, const char *path, int argc,
                    char *const argv[]) {
  struct host__policy *policy;
  int err = check_script(host, path, argc, argv);
  if (err < 0) return err;
  if (host->policy || host->loading) return UV_EALREADY;
  if (is_busy(host)) return UV_EBUSY;
  host__spares_take(host);
  host->script = script_new(path, argc, argv);
  /* Watches before anything is read, so that no change is missed. */
  err = host->script ? host__sources_set(host) : UV_ENOMEM;
  if (err < 0) {
    forget_script(host); /* the log callback may load another */
    return host__load_failed(host, path, err, NULL);
  }
  err = host__policy_open(&policy, host, host->script, NULL);
  if (err == 0) err = host__policy_listen(policy, path);
  if (err < 0) {
    forget_script(host);
    return err;
  }
  host->policy = policy;
  host->stats.generation++;
  host__record_load(&host->record);
  host__log(host, ROVER_HOST_INFO, "policy loaded",
            HOST__FIELDS(host__string("file", path)));
  host__passed_done(host);
  host__policy_commit(host->policy);
  host__history_begin(host);
  return 0;
}

int rover_host_pass(rover_host_t *host, const rover_host_socket_t *passed) {
  if (!host || !passed || host->closing ||
      !NET__IS_UNUSED(passed->reserved))
    return UV_EINVAL;
  return host->policy ? UV_EALREADY : host__passed_add(host, passed);
}

/* -- Looking at policies -------------------------------------------------- */

static bool is_valid(const rover_host_visitor_t *visitor) {
  return NET__IS_UNUSED(visitor->reserved);
}

/* A callback may call the policy, which may close or collect any of these, and
 * with it its name. The memory of what is closed lives until the loop's next
 * turn. */
static int visit(rover_host_t *host, const struct host__policy *policy,
                 const rover_host_visitor_t *visitor, void *arg) {
  char name[ROVER_ID_MAX + 1];

  struct rover__lua_object *o = policy->lua->objects[ROVER__LUA_ROVERS];
  for (; o; o = o->next) {
    if (!visitor->rover || o->closing || !o->lua) continue;
    snprintf(name, sizeof name, "%s", o->name);
    bool starts =
        rover__lua_rover_of(o)->start_wanted || rover_is_started(o->rover);
    visitor->rover(host, &(rover_host_rover_t){name, o->rover, starts}, arg);
  }
  for (o = policy->lua->objects[ROVER__LUA_RELAYS]; o; o = o->next) {
    if (!visitor->relay || o->closing || !o->lua) continue;
    snprintf(name, sizeof name, "%s", o->name);
    visitor->relay(host, &(rover_host_relay_t){name, o->relay}, arg);
  }
  for (o = policy->lua->objects[ROVER__LUA_FRONTS]; o; o = o->next) {
    if (!visitor->front || o->closing || !o->lua) continue;
    snprintf(name, sizeof name, "%s", o->name);
    visitor->front(host, &(rover_host_front_t){name, o->front}, arg);
  }
  for (o = policy->lua->objects[ROVER__LUA_SOURCES]; o; o = o->next) {
    if (!visitor->source || o->closing || !o->lua) continue;
    snprintf(name, sizeof name, "%s", o->name);
    visitor->source(host, &(rover_host_source_t){name, o->discover}, arg);
  }
  if (!visitor->certificate) return 0;
  return host__certificates_each(host, policy, visitor->certificate, arg);
}

int rover_host_each(rover_host_t *host, const rover_host_visitor_t *visitor,
                    void *arg) {
  if (!host || !visitor || !is_valid(visitor)) return UV_EINVAL;
  return host->policy ? visit(host, host->policy, visitor, arg) : 0;
}

int rover_host_check(rover_host_t *host, const char *path, int argc,
                     char *const argv[], const rover_host_visitor_t *visitor,
                     void *arg) {
  int err = check_script(host, path, argc, argv);
  if (err == 0 && visitor && !is_valid(visitor)) err = UV_EINVAL;
  if (err < 0) return err;
  if (is_busy(host)) return UV_EBUSY;
  struct host__script *script = script_new(path, argc, argv);
  if (!script) return host__load_failed(host, path, UV_ENOMEM, NULL);
  struct discover__watch *watch = host->watch;
  struct host__policy *policy;
  host->watch = NULL; /* the checked policy is not watched */
  host->checking = true;
  err = host__policy_open(&policy, host, script, NULL);
  host->checking = false;
  host->watch = watch;
  free(script);
  if (err < 0) return err;
  if (visitor) err = visit(host, policy, visitor, arg);
  host__policy_close(policy);
  return err;
}

lua_State *rover_host_state(const rover_host_t *host) {
  return host->policy ? host->policy->L : NULL;
}

void rover_host_stats_get(const rover_host_t *host, rover_host_stats_t *stats) {
  const struct rover__lua_object *o;

  *stats = host->stats;
  for (int list = 0; list < ROVER__LUA_KINDS; list++)
    for (o = host->rovers.objects[list]; o; o = o->owner_next)
      stats->draining += rover__lua_joined(o);
}
