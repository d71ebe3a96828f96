#define _GNU_SOURCE /* fopencookie() */
#include "host.h"

#include "kernel.h"

#include <errno.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A virtual host: the host of src/host on a machine of its own, with the user's
 * script. What it logs and prints is shown, for one of them, or discarded;
 * errors are collected. */

static struct sim__host *current(void) {
  return sim__current ? sim__current->data : NULL;
}

static double seconds(void) { return (double)sim__machine_now() / SIM__S; }

/* -- What it says ---------------------------------------------------------- */

static bool is_shown(const struct sim__host *host) {
  return host && host->hosts->shown == host->index + 1;
}

/* The stream below stderr, and whether it is at the beginning of a line. */
static FILE *shown;
static bool begins = true;

/* What it says is part of the trace. */
static void trace(const struct sim__host *host, const char *text,
                  size_t length) {
  uint64_t hash = UINT64_C(14695981039346656037);

  for (size_t i = 0; i < length; i++)
    hash = (hash ^ (unsigned char)text[i]) * UINT64_C(1099511628211);
  sim__trace('h', host->index, hash);
}

static void put_text(const struct sim__host *host, const char *text,
                     size_t length) {
  for (size_t i = 0; i < length; i++) {
    if (begins) fprintf(shown, "%11.6f host %u: ", seconds(), host->index + 1);
    begins = text[i] == '\n';
    putc(text[i], shown);
  }
}

/* Whatever the C library's streams are given, as by print(). */
static ssize_t on_write(void *cookie, const char *text, size_t length) {
  const struct sim__host *host = current();

  if (host) trace(host, text, length);
  if (is_shown(host)) put_text(host, text, length);
  else if (!host) fwrite(text, 1, length, cookie);
  return (ssize_t)length;
}

static FILE *capture(FILE *own) {
  static const cookie_io_functions_t functions = {.write = on_write};
  FILE *stream = fopencookie(own, "w", functions);

  if (stream) setvbuf(stream, NULL, _IONBF, 0);
  return stream;
}

int sim__host_capture(void) {
  FILE *out = capture(stdout), *err = capture(stderr);

  if (!out || !err) return UV_ENOMEM;
  shown = stderr;
  stdout = out;
  stderr = err;
  return 0;
}

static void on_log(rover_host_t *self, const rover_host_log_t *log) {
  static const char *const levels[] = {"debug", "info", "warn", "error"};
  const struct sim__host *host = rover_host_data(self);

  trace(host, log->message.bytes, log->message.length);
  if (!is_shown(host) || log->level == ROVER_HOST_DEBUG) return;
  fprintf(stderr, "%s %s", levels[log->level], log->message.bytes);
  for (size_t i = 0; i < log->field_count; i++)
    fprintf(stderr, " %s=%s", log->fields[i].key.bytes,
            log->fields[i].value.bytes);
  fputc('\n', stderr);
}

static void on_error(rover_host_t *self, const char *error,
                     const char *traceback) {
  struct sim__host *host = rover_host_data(self);
  trace(host, error, strlen(error));
  sim__tell(&host->hosts->errors, host->index, error, traceback);
}

/* -- What its policy asks for ---------------------------------------------- */

/* math.random() is to give the same numbers in each run. */
static void seed_random(struct sim__host *host, lua_State *L) {
  lua_getglobal(L, "math");
  lua_getfield(L, -1, "randomseed");
  lua_pushinteger(L, (lua_Integer)host->hosts->seed);
  lua_pushinteger(L, (lua_Integer)(host->states << 32 | host->index));
  lua_call(L, 2, 0);
}

/* How far a state grows, in percent of what it used, before it is collected: by
 * Lua's default it would double, and so would the memory of thousands. */
enum { PAUSE = 110 };

static void on_open(rover_host_t *self, lua_State *L) {
  struct sim__host *host = rover_host_data(self);

  host->states++;
  lua_gc(L, LUA_GCINC, PAUSE, 0, 0);
  seed_random(host, L);
  if (host->hosts->open) host->hosts->open(host->hosts->data, host, L);
}

static void on_stop(rover_host_t *self, int status) {
  struct sim__host *host = rover_host_data(self);
  char text[64];

  if (host->state != SIM__HOST_RUNNING) return;
  snprintf(text, sizeof text, "the policy has called host.stop(%d)", status);
  sim__tell(&host->hosts->warnings, host->index, text, NULL);
  host->state = SIM__HOST_STOPPED;
  host->hosts->running--;
  rover_host_close(self, NULL);
}

static void on_reload(rover_host_t *self, const rover_host_reload_t *result) {
  struct sim__host *host = rover_host_data(self);

  if (result->status == UV_ECANCELED) return;
  host->hosts->reloads++;
  if (result->status < 0) host->hosts->failed_reloads++;
}

/* Budgets are of virtual time, which passes in no call: see watchdog.c. */
static void on_alarm(rover_host_t *self, uint64_t ms) {
  (void)self;
  (void)ms;
}

/* -- Its life -------------------------------------------------------------- */

static int load(struct sim__host *host) {
  const struct sim__hosts *hosts = host->hosts;
  rover_host_options_t options = {.lua_path = hosts->lua_path,
                                  .open = on_open,
                                  .log = on_log,
                                  .error = on_error,
                                  .reload = on_reload,
                                  .stop = on_stop,
                                  .alarm = on_alarm,
                                  .data = host};

  int err =
      rover_host_new(&host->host, sim__machine_loop(host->machine), &options);
  if (err < 0) return err;
  err = rover_host_load(host->host, hosts->policy, hosts->argc, hosts->argv);
  if (err < 0) rover_host_close(host->host, NULL);
  return err;
}

void sim__host_boot(struct sim__host *host, uint32_t machine) {
  host->machine = sim__machine_new(machine);
  host->machine->data = host;
  host->state = SIM__HOST_RUNNING;
  host->hosts->running++;
  sim__enter(host->machine);
  if (load(host) < 0) {
    host->state = SIM__HOST_FAILED;
    host->hosts->running--;
    host->hosts->failed++;
  }
  sim__leave();
}

void sim__host_lose(struct sim__host *host) {
  if (host->state != SIM__HOST_RUNNING) return;
  host->state = SIM__HOST_LOST;
  host->hosts->running--;
  host->machine->data = NULL; /* servers still count its connections */
  host->connections = 0;
  sim__machine_stop(host->machine, SIM__SILENT);
}

/* Calls into a host that is running, from outside of all machines. */
static bool enter(struct sim__host *host) {
  if (host->state != SIM__HOST_RUNNING) return false;
  sim__enter(host->machine);
  return true;
}

void sim__host_reload(struct sim__host *host, const char *script) {
  if (script) host->script = script;
  if (!enter(host)) return;
  rover_host_reload(host->host, "simulate");
  sim__leave();
}

/* -- Its rovers ------------------------------------------------------------ */

struct server {
  const char *id, *host;
  int port;
};

static void add_server(rover_host_t *self, const rover_host_rover_t *rover,
                       void *arg) {
  const struct server *server = arg;
  (void)self;
  /* It is only the visitor that promises not to change it. */
  rover_server_add((rover_t *)rover->rover, server->id, server->host,
                   server->port);
}

void sim__host_add_server(struct sim__host *host, const char *id,
                          const char *name, int port) {
  static const rover_host_visitor_t visitor = {.rover = add_server};
  struct server server = {id, name, port};

  if (!enter(host)) return;
  rover_host_each(host->host, &visitor, &server);
  sim__leave();
}

static void add_counters(rover_host_t *self, const rover_host_rover_t *rover,
                         void *arg) {
  rover_stats_t *sum = arg, stats;
  (void)self;
  rover_stats_get(rover->rover, &stats);
#define XX(name, kind, lua, text) sum->name += stats.name;
  ROVER_STATS_MAP(XX)
#undef XX
}

void sim__host_count(struct sim__host *host, rover_stats_t *sum) {
  static const rover_host_visitor_t visitor = {.rover = add_counters};

  if (host->state == SIM__HOST_RUNNING)
    rover_host_each(host->host, &visitor, sum);
}

struct each {
  void (*fn)(void *arg, const rover_socket_t *socket);
  void *arg;
};

static void visit_sockets(rover_host_t *self, const rover_host_rover_t *rover,
                          void *arg) {
  const struct each *each = arg;
  const rover_socket_t *socket = rover_socket_first((rover_t *)rover->rover);
  (void)self;
  for (; socket; socket = rover_socket_next(socket))
    each->fn(each->arg, socket);
}

void sim__host_each_socket(struct sim__host *host,
                           void (*fn)(void *arg, const rover_socket_t *socket),
                           void *arg) {
  static const rover_host_visitor_t visitor = {.rover = visit_sockets};
  struct each each = {fn, arg};

  if (host->state == SIM__HOST_RUNNING)
    rover_host_each(host->host, &visitor, &each);
}
