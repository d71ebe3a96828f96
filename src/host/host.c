#include "internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIELDS_MAX = 8 };

static rover_host_text_t text(const char *string) {
  return (rover_host_text_t){string, strlen(string)};
}

void host__log(rover_host_t *host, rover_host_level_t level,
               const char *message, ...) {
  rover_host_field_t fields[FIELDS_MAX];
  size_t count = 0;
  const char *key;
  va_list args;

  if (!host->options.log) return;
  va_start(args, message);
  while (count < FIELDS_MAX && (key = va_arg(args, const char *))) {
    const char *value = va_arg(args, const char *);
    if (!value) continue;
    fields[count].key = text(key);
    fields[count].value = text(value);
    fields[count++].type = ROVER_HOST_STRING;
  }
  va_end(args);
  host->options.log(host, &(rover_host_log_t){level, text(message), fields,
                                              count});
}

/* -- The script ----------------------------------------------------------- */

static void forget_script(rover_host_t *host) {
  for (int i = 0; i < host->argc; i++) free(host->argv[i]);
  free(host->argv);
  free(host->path);
  host->path = NULL;
  host->argv = NULL;
  host->argc = 0;
}

/* Keeps the script's name and arguments, for reloads. */
static int remember_script(rover_host_t *host, const char *path, int argc,
                           char *const argv[]) {
  host->path = strdup(path);
  host->argv = calloc((size_t)argc + 1, sizeof *host->argv);
  bool failed = !host->path || !host->argv;
  for (; !failed && host->argc < argc; host->argc++) {
    host->argv[host->argc] = strdup(argv[host->argc]);
    failed = !host->argv[host->argc];
  }
  if (!failed) return 0;
  forget_script(host);
  return UV_ENOMEM;
}

/* -- Life ----------------------------------------------------------------- */

static void close_if_done(rover_host_t *host) {
  if (!host->closing || host->handles > 0 || host->rovers.rovers > 0) return;
  if (host->close_cb) host->close_cb(host);
  free((char *)host->options.lua_path);
  forget_script(host);
  free(host);
}

void host__unref(rover_host_t *host) {
  host->handles--;
  close_if_done(host);
}

static void on_rover_closed(struct rover__lua_owner *owner) {
  char *host = (char *)owner - offsetof(rover_host_t, rovers);
  close_if_done((rover_host_t *)host);
}

int rover_host_new(rover_host_t **out, uv_loop_t *loop,
                   const rover_host_options_t *options) {
  rover_host_t *host = calloc(1, sizeof *host);
  if (!host) return UV_ENOMEM;
  host->options = *options;
  if (!host->options.memory) host->options.memory = (size_t)256 << 20;
  if (!host->options.budget) host->options.budget = 1000;
  if (!host->options.load_budget) host->options.load_budget = 5000;
  if (options->lua_path) {
    host->options.lua_path = strdup(options->lua_path);
    if (!host->options.lua_path) {
      free(host);
      return UV_ENOMEM;
    }
  }
  host->loop = loop;
  host->rovers.closed = on_rover_closed;
  int err = host__sources_open(host);
  if (err < 0) {
    free((char *)host->options.lua_path);
    free(host);
    return err;
  }
  uv_timer_init(loop, &host->stopper);
  uv_idle_init(loop, &host->reloader);
  host->stopper.data = host->reloader.data = host;
  host->handles += 2;
  *out = host;
  return 0;
}

static void on_handle_closed(uv_handle_t *handle) {
  host__unref(handle->data);
}

int rover_host_close(rover_host_t *host, rover_host_close_cb cb) {
  if (host->closing) return UV_EALREADY;
  host->closing = true;
  host->close_cb = cb;
  if (host->policy) {
    host__policy_unload(host->policy);
    host__policy_close(host->policy);
    host->policy = NULL;
  }
  host__luv_hurry(host);
  host__sources_close(host);
  uv_close((uv_handle_t *)&host->stopper, on_handle_closed);
  uv_close((uv_handle_t *)&host->reloader, on_handle_closed);
  return 0;
}

void *rover_host_data(const rover_host_t *host) { return host->options.data; }

/* -- Policies ------------------------------------------------------------- */

int rover_host_load(rover_host_t *host, const char *path, int argc,
                    char *const argv[]) {
  if (host->closing || host->policy) return UV_EALREADY;
  int err = remember_script(host, path, argc, argv);
  if (err < 0) return err;
  /* Before anything is read, so that no change falls between. */
  err = host__sources_set(host, path);
  if (err < 0) {
    forget_script(host);
    return err;
  }
  struct host__policy *policy =
      host__policy_open(host, path, argc, argv, NULL);
  if (!policy) {
    forget_script(host);
    return UV_EINVAL;
  }
  host->policy = policy;
  host->stats.generation++;
  host__log(host, ROVER_HOST_INFO, "policy loaded", "file", path, NULL);
  host__policy_commit(policy);
  return 0;
}

/* -- Reloading ------------------------------------------------------------ */

static void log_reload(rover_host_t *host, uint64_t from, size_t adopted,
                       size_t closed) {
  char generation[24], ms[24], sockets[24], closings[24];
  rover_host_field_t fields[] = {
      {text("file"), text(host->path), ROVER_HOST_STRING},
      {text("trigger"), text(host->reloading), ROVER_HOST_STRING},
      {text("generation"), {generation, 0}, ROVER_HOST_NUMBER},
      {text("ms"), {ms, 0}, ROVER_HOST_NUMBER},
      {text("adopted"), {sockets, 0}, ROVER_HOST_NUMBER},
      {text("closed"), {closings, 0}, ROVER_HOST_NUMBER}};
  size_t count = sizeof fields / sizeof *fields;

  snprintf(generation, sizeof generation, "%llu",
           (unsigned long long)host->stats.generation);
  snprintf(ms, sizeof ms, "%.1f", (double)(uv_hrtime() - from) / 1e6);
  snprintf(sockets, sizeof sockets, "%zu", adopted);
  snprintf(closings, sizeof closings, "%zu", closed);
  for (size_t i = 2; i < count; i++)
    fields[i].value.length = strlen(fields[i].value.bytes);
  if (host->options.log)
    host->options.log(host, &(rover_host_log_t){ROVER_HOST_INFO,
                                                text("policy reloaded"), fields,
                                                count});
}

/* Returns whether there is a new policy. */
static bool try_reload(rover_host_t *host) {
  uint64_t from = uv_hrtime();
  struct host__policy *old = host->policy, *policy;
  size_t adopted, closed;

  int err = host__sources_set(host, host->path);
  if (err < 0) {
    host__log(host, ROVER_HOST_ERROR, "reload failed, the old policy goes on",
              "trigger", host->reloading, "error", uv_strerror(err), NULL);
    return false;
  }
  policy = host__policy_open(host, host->path, host->argc, host->argv, old);
  if (!policy) return false;
  if (host__policy_take_over(policy, old, &adopted, &closed) < 0) {
    host__policy_close(policy);
    return false;
  }
  host->stats.generation++;
  log_reload(host, from, adopted, closed);
  return true;
}

static void on_reload(uv_idle_t *reloader) {
  rover_host_t *host = reloader->data;
  char trigger[sizeof host->trigger]; /* another may be asked for meanwhile */

  uv_idle_stop(reloader);
  if (!host->policy) return; /* the first load failed, and is not tried again */
  memcpy(trigger, host->trigger, sizeof trigger);
  host->reloading = trigger;
  if (!try_reload(host)) host->stats.failed_reloads++;
  host->reloading = NULL;
}

void host__reload_soon(rover_host_t *host, const char *trigger) {
  if (host->closing || uv_is_active((uv_handle_t *)&host->reloader)) return;
  snprintf(host->trigger, sizeof host->trigger, "%s", trigger);
  uv_idle_start(&host->reloader, on_reload);
}

int rover_host_reload(rover_host_t *host, const char *trigger) {
  if (host->closing || !host->policy) return UV_EINVAL;
  host__reload_soon(host, trigger);
  return 0;
}

int rover_host_check(rover_host_t *host, const char *path, int argc,
                     char *const argv[], rover_host_declaration_cb cb,
                     void *arg) {
  if (host->closing) return UV_EALREADY;
  struct host__watch *watch = host->watch;
  host->watch = NULL; /* this is not the policy to watch */
  struct host__policy *policy = host__policy_open(host, path, argc, argv, NULL);
  host->watch = watch;
  if (!policy) return UV_EINVAL;
  for (struct rover__lua_rover *r = policy->lua->rovers; r; r = r->next) {
    if (r->closing) continue;
    rover_host_declaration_t declaration = {r->name, r->rover,
                                            r->start_wanted};
    cb(host, &declaration, arg);
  }
  host__policy_close(policy);
  return 0;
}

void rover_host_stats_get(const rover_host_t *host, rover_host_stats_t *stats) {
  *stats = host->stats;
}
