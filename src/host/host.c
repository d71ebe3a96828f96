#include "internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIELDS_MAX = 8 };

struct record {
  rover_host_field_t fields[FIELDS_MAX];
  size_t count;
};

static rover_host_text_t text(const char *string) {
  return (rover_host_text_t){string, strlen(string)};
}

static void add(struct record *record, const char *key, rover_host_text_t value,
                rover_host_type_t type) {
  if (!value.bytes) return;
  record->fields[record->count++] =
      (rover_host_field_t){text(key), value, type};
}

static void add_string(struct record *record, const char *key,
                       const char *value) {
  if (value) add(record, key, text(value), ROVER_HOST_STRING);
}

static void add_error(struct record *record, const struct host__error *error) {
  add(record, "error", (rover_host_text_t){error->text, error->length},
      ROVER_HOST_STRING);
  add_string(record, "traceback", error->traceback);
}

static void log_record(rover_host_t *host, rover_host_level_t level,
                       const char *message, const struct record *record) {
  if (!host->options.log) return;
  host->options.log(host, &(rover_host_log_t){level, text(message),
                                              record->fields, record->count});
}

void host__log(rover_host_t *host, rover_host_level_t level,
               const char *message, ...) {
  struct record record = {.count = 0};
  const char *key;
  va_list args;

  va_start(args, message);
  while (record.count < FIELDS_MAX && (key = va_arg(args, const char *)))
    add_string(&record, key, va_arg(args, const char *));
  va_end(args);
  log_record(host, level, message, &record);
}

int host__load_failed(rover_host_t *host, const char *path, int status,
                      const struct host__error *error) {
  struct host__reload *reload = host->reloading ? &host->reload : NULL;
  struct host__error plain = {0};
  struct record record = {.count = 0};

  if (!error) {
    plain.text = plain.shown = uv_strerror(status);
    plain.length = strlen(plain.text);
    error = &plain;
  }
  add_string(&record, "file", path);
  if (reload) add_string(&record, "trigger", reload->trigger);
  add_error(&record, error);
  log_record(host, ROVER_HOST_ERROR,
             reload ? "reload failed, the old policy goes on"
                    : "cannot load policy", &record);
  if (reload && !reload->result.error)
    reload->result.error = strdup(error->shown);
  return status;
}

void host__log_error(rover_host_t *host,
                     const struct rover__lua_occasion *occasion,
                     const struct host__error *error) {
  static const struct rover__lua_occasion none;
  struct record record = {.count = 0};
  char slot[16];

  if (!occasion) occasion = &none;
  add_string(&record, "event", occasion->event);
  add_string(&record, "rover", occasion->rover);
  add_string(&record, "relay", occasion->relay);
  add_string(&record, "server", occasion->server);
  snprintf(slot, sizeof slot, "%d",
           occasion->socket ? rover_socket_slot(occasion->socket) : -1);
  if (occasion->socket) add(&record, "slot", text(slot), ROVER_HOST_NUMBER);
  const char *outcome = occasion->outcome;
  if (occasion->socket && rover_socket_is_closing(occasion->socket))
    outcome = "the socket is closed";
  add_string(&record, "outcome", outcome);
  add_error(&record, error);
  log_record(host, ROVER_HOST_ERROR, "policy error", &record);
}

void host__log_draining(rover_host_t *host, const char *relay,
                        uint64_t clients) {
  struct record record = {.count = 0};
  char count[24];

  snprintf(count, sizeof count, "%llu", (unsigned long long)clients);
  add_string(&record, "relay", relay);
  add(&record, "clients", text(count), ROVER_HOST_NUMBER);
  log_record(host, ROVER_HOST_INFO, "relay lets its clients finish", &record);
}

void host__log_reloaded(rover_host_t *host, const rover_host_reload_t *reload) {
  struct record record = {.count = 0};
  char generation[24], ms[24], adopted[24], closed[24];

  snprintf(generation, sizeof generation, "%llu",
           (unsigned long long)reload->generation);
  /* Not as %f, in which the point is the locale's. */
  unsigned long long tenths = (unsigned long long)(reload->ms * 10 + 0.5);
  snprintf(ms, sizeof ms, "%llu.%llu", tenths / 10, tenths % 10);
  snprintf(adopted, sizeof adopted, "%zu", reload->adopted);
  snprintf(closed, sizeof closed, "%zu", reload->closed);
  add_string(&record, "file", host->path);
  add_string(&record, "trigger", reload->trigger);
  add(&record, "generation", text(generation), ROVER_HOST_NUMBER);
  add(&record, "ms", text(ms), ROVER_HOST_NUMBER);
  add(&record, "adopted", text(adopted), ROVER_HOST_NUMBER);
  add(&record, "closed", text(closed), ROVER_HOST_NUMBER);
  log_record(host, ROVER_HOST_INFO, "policy reloaded", &record);
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
  host->argc = 0;
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

static void on_turn_closed(void *host);

static void close_if_done(rover_host_t *host) {
  if (!host->closing || host->handles > 0 || host->rovers.rovers > 0 ||
      host->rovers.relays)
    return;
  if (host->rovers.turn) { /* nobody is left who shares it */
    rover_turn_close(host->rovers.turn, on_turn_closed, host);
    host->rovers.turn = NULL;
    return;
  }
  if (host->close_cb) host->close_cb(host);
  free((char *)host->options.lua_path);
  forget_script(host);
  free(host);
}

static void on_turn_closed(void *host) { close_if_done(host); }

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
  if (!out || !loop) return UV_EINVAL;
  rover_host_t *host = calloc(1, sizeof *host);
  if (!host) return UV_ENOMEM;
  if (options) host->options = *options;
  if (!host->options.memory) host->options.memory = (size_t)256 << 20;
  if (!host->options.budget) host->options.budget = 1000;
  if (!host->options.load_budget) host->options.load_budget = 5000;
  if (host->options.lua_path) {
    host->options.lua_path = strdup(host->options.lua_path);
    if (!host->options.lua_path) {
      free(host);
      return UV_ENOMEM;
    }
  }
  host->loop = loop;
  host->rovers.closed = on_rover_closed;
  host->rovers.memory_max = host->options.memory;
  int err = rover_turn_new(&host->rovers.turn, loop);
  if (err == 0) err = host__sources_open(host);
  if (err < 0) {
    if (host->rovers.turn) rover_turn_close(host->rovers.turn, NULL, NULL);
    free((char *)host->options.lua_path);
    free(host);
    return err;
  }
  uv_timer_init(loop, &host->stopper);
  host->stopper.data = host;
  host__reload_open(host);
  host->handles += 2;
  *out = host;
  return 0;
}

static void on_handle_closed(uv_handle_t *handle) {
  host__unref(handle->data);
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
  host__spares_drop(host);
  uv_close((uv_handle_t *)&host->stopper, on_handle_closed);
  uv_close((uv_handle_t *)&host->reloader, on_handle_closed);
}

/* Whatever called this may be the policy's code, so that goes on until it has
 * returned to the loop. */
int rover_host_close(rover_host_t *host, rover_host_close_cb cb) {
  if (host->closing) return UV_EALREADY;
  host->closing = true;
  host->close_cb = cb;
  return uv_timer_start(&host->stopper, begin_closing, 0, 0);
}

void *rover_host_data(const rover_host_t *host) { return host->options.data; }

/* -- Policies ------------------------------------------------------------- */

/* What load and check may be asked for. */
static int check_script(const rover_host_t *host, const char *path, int argc,
                        char *const argv[]) {
  if (host->closing || !path || argc < 0 || (argc > 0 && !argv))
    return UV_EINVAL;
  for (int i = 0; i < argc; i++)
    if (!argv[i]) return UV_EINVAL;
  return 0;
}

/* Whether a policy's code runs, or one is being made or unmade: no other can
 * be made meanwhile. */
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
  err = remember_script(host, path, argc, argv);
  /* Before anything is read, so that no change falls between. */
  if (err == 0) err = host__sources_set(host, path);
  if (err < 0) {
    forget_script(host); /* the log callback may load another */
    return host__load_failed(host, path, err, NULL);
  }
  err = host__policy_open(&policy, host, path, argc, argv, NULL);
  if (err == 0) err = host__policy_listen(policy, path);
  if (err < 0) {
    forget_script(host);
    return err;
  }
  host->policy = policy;
  host->stats.generation++;
  host__log(host, ROVER_HOST_INFO, "policy loaded", "file", path, NULL);
  host__policy_commit(host->policy);
  return 0;
}

/* -- Looking at policies -------------------------------------------------- */

/* The callback may call the policy, and that may close any of them, or collect
 * it, and with it its name: what was made of it lives until the loop's next
 * turn. */
static void each_rover(rover_host_t *host, const struct host__policy *policy,
                       rover_host_rover_cb cb, void *arg) {
  for (struct rover__lua_rover *r = policy->lua->rovers; r; r = r->next) {
    char name[ROVER_ID_MAX + 1];
    if (r->closing || !r->lua) continue;
    snprintf(name, sizeof name, "%s", r->name);
    bool starts = r->start_wanted || rover_is_started(r->rover);
    cb(host, &(rover_host_rover_t){name, r->rover, starts}, arg);
  }
}

void rover_host_each_rover(rover_host_t *host, rover_host_rover_cb cb,
                           void *arg) {
  if (host->policy && cb) each_rover(host, host->policy, cb, arg);
}

static void each_relay(rover_host_t *host, const struct host__policy *policy,
                       rover_host_relay_cb cb, void *arg) {
  for (struct rover__lua_relay *r = policy->lua->relays; r; r = r->next)
    if (!r->closing) cb(host, &(rover_host_relay_t){r->name, r->relay}, arg);
}

void rover_host_each_relay(rover_host_t *host, rover_host_relay_cb cb,
                           void *arg) {
  if (host->policy && cb) each_relay(host, host->policy, cb, arg);
}

int rover_host_check(rover_host_t *host, const char *path, int argc,
                     char *const argv[], rover_host_rover_cb cb, void *arg) {
  int err = check_script(host, path, argc, argv);
  if (err < 0) return err;
  if (is_busy(host)) return UV_EBUSY;
  struct host__watch *watch = host->watch;
  struct host__policy *policy;
  host->watch = NULL; /* this is not the policy to watch */
  host->checking = true;
  err = host__policy_open(&policy, host, path, argc, argv, NULL);
  host->checking = false;
  host->watch = watch;
  if (err < 0) return err;
  if (cb) each_rover(host, policy, cb, arg);
  if (host->options.relay) each_relay(host, policy, host->options.relay, arg);
  host__policy_close(policy);
  return 0;
}

void rover_host_stats_get(const rover_host_t *host, rover_host_stats_t *stats) {
  const struct rover__lua_relay *r = host->rovers.relays;

  *stats = host->stats;
  for (; r; r = r->next) {
    rover_relay_stats_t s;
    rover_relay_stats_get(r->relay, &s);
    stats->draining += s.running;
  }
}
