#include "internal.h"

#include <stdarg.h>
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
    fields[count].key = text(key);
    fields[count].value = text(va_arg(args, const char *));
    fields[count++].type = ROVER_HOST_STRING;
  }
  va_end(args);
  host->options.log(host, &(rover_host_log_t){level, text(message), fields,
                                              count});
}

/* -- Life ----------------------------------------------------------------- */

static void close_if_done(rover_host_t *host) {
  if (!host->closing || host->handles > 0 || host->rovers.rovers > 0) return;
  if (host->close_cb) host->close_cb(host);
  free((char *)host->options.lua_path);
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
  if (options->lua_path) {
    host->options.lua_path = strdup(options->lua_path);
    if (!host->options.lua_path) {
      free(host);
      return UV_ENOMEM;
    }
  }
  host->loop = loop;
  host->rovers.closed = on_rover_closed;
  uv_timer_init(loop, &host->stopper);
  host->stopper.data = host;
  host->handles = 1;
  *out = host;
  return 0;
}

static void on_stopper_closed(uv_handle_t *stopper) {
  host__unref(stopper->data);
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
  uv_close((uv_handle_t *)&host->stopper, on_stopper_closed);
  return 0;
}

void *rover_host_data(const rover_host_t *host) { return host->options.data; }

/* -- Policies ------------------------------------------------------------- */

int rover_host_load(rover_host_t *host, const char *path, int argc,
                    char *const argv[]) {
  if (host->closing || host->policy) return UV_EALREADY;
  struct host__policy *policy = host__policy_open(host, path, argc, argv);
  if (!policy) {
    uv_timer_stop(&host->stopper);
    return UV_EINVAL;
  }
  host->policy = policy;
  host->stats.generation++;
  host__log(host, ROVER_HOST_INFO, "policy loaded", "file", path, NULL);
  host__policy_commit(policy);
  return 0;
}

int rover_host_check(rover_host_t *host, const char *path, int argc,
                     char *const argv[], rover_host_declaration_cb cb,
                     void *arg) {
  if (host->closing) return UV_EALREADY;
  struct host__policy *policy = host__policy_open(host, path, argc, argv);
  uv_timer_stop(&host->stopper);
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
