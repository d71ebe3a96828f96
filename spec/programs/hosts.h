/* Hosts for the programs of this folder, and what their callbacks have told. */
#ifndef HOSTS_H
#define HOSTS_H

#include "check.h"

#include <callosum/host.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

/* Whatever a host's callbacks were told, as lines in order:
 *   open | error TEXT | log LEVEL MESSAGE KEY=VALUE... | stop STATUS |
 *   reload STATUS TRIGGER | closed */
struct told {
  char lines[1 << 18];
  int opens, errors, reloads, stops, closes;
  char error[1024], traceback[4096]; /* of the last error; empty if NULL */
  rover_host_reload_t reload;        /* the last */
  char reload_error[1024], trigger[64];
};

__attribute__((format(printf, 2, 3)))
static void note(struct told *told, const char *format, ...) {
  size_t length = strlen(told->lines);
  va_list args;
  va_start(args, format);
  int n = vsnprintf(told->lines + length, sizeof told->lines - length - 1,
                    format, args);
  va_end(args);
  CHECK(n >= 0 && (size_t)n < sizeof told->lines - length - 2);
  strcat(told->lines, "\n");
}

/* How many of its lines begin so. */
static inline int count(const struct told *told, const char *beginning) {
  int n = 0;
  for (const char *line = told->lines; *line; line = strchr(line, '\n') + 1)
    n += strncmp(line, beginning, strlen(beginning)) == 0;
  return n;
}

static inline void copy(char *to, size_t size, const char *text) {
  snprintf(to, size, "%s", text ? text : "");
}
#define COPY(to, text) copy(to, sizeof(to), text)

/* -- Callbacks ------------------------------------------------------------ */

/* What the function `call` of policies does, in the case that runs. */
static lua_CFunction called;

static int l_call(lua_State *L) { return called ? called(L) : 0; }

static void on_open(rover_host_t *host, lua_State *L) {
  struct told *told = rover_host_data(host);
  told->opens++;
  note(told, "open");
  lua_register(L, "call", l_call);
}

static void on_log(rover_host_t *host, const rover_host_log_t *log) {
  static const char *const levels[] = {"debug", "info", "warn", "error"};
  struct told *told = rover_host_data(host);
  char line[4096];
  int n = snprintf(line, sizeof line, "log %s %s", levels[log->level],
                   log->message.bytes);
  EQUAL('\0', log->message.bytes[log->message.length]);
  for (size_t i = 0; i < log->field_count; i++) {
    const rover_host_field_t *field = &log->fields[i];
    EQUAL('\0', field->key.bytes[field->key.length]);
    EQUAL('\0', field->value.bytes[field->value.length]);
    if (strcmp(field->key.bytes, "traceback"))
      n += snprintf(line + n, sizeof line - (size_t)n, " %s=%s",
                    field->key.bytes, field->value.bytes);
    CHECK((size_t)n < sizeof line);
  }
  note(told, "%s", line);
}

static void on_error(rover_host_t *host, const char *error,
                     const char *traceback) {
  struct told *told = rover_host_data(host);
  told->errors++;
  COPY(told->error, error);
  COPY(told->traceback, traceback);
  note(told, "error %s", error);
}

static void on_reload(rover_host_t *host, const rover_host_reload_t *reload) {
  struct told *told = rover_host_data(host);
  told->reloads++;
  told->reload = *reload;
  CHECK((reload->status == 0) == (reload->error == NULL));
  COPY(told->reload_error, reload->error);
  COPY(told->trigger, reload->trigger);
  note(told, "reload %d %s", reload->status, reload->trigger);
}

static void on_stop(rover_host_t *host, int status) {
  struct told *told = rover_host_data(host);
  told->stops++;
  note(told, "stop %d", status);
}

static void on_host_closed(rover_host_t *host) {
  struct told *told = rover_host_data(host);
  told->closes++;
  note(told, "closed");
}

/* -- Hosts ---------------------------------------------------------------- */

static inline rover_host_options_t telling(struct told *told) {
  return (rover_host_options_t){.open = on_open,
                                .log = on_log,
                                .error = on_error,
                                .reload = on_reload,
                                .stop = on_stop,
                                .data = told};
}

static inline rover_host_t *hosting(struct told *told,
                                    const rover_host_options_t *options) {
  rover_host_options_t own = options ? *options : telling(told);
  rover_host_t *host;
  EQUAL(0, rover_host_new(&host, loop, &own));
  return host;
}

/* Writes a file into the case's folder; returns its path, for a while. */
static inline const char *file(const char *name, const char *text) {
  static _Thread_local char paths[4][4096];
  static _Thread_local int next;
  char *path = paths[next++ % 4];
  snprintf(path, sizeof paths[0], "%s/%s", folder, name);
  unlink(path); /* file systems take their time for one that is truncated */
  FILE *to = fopen(path, "w");
  CHECK(to && fputs(text, to) >= 0 && fclose(to) == 0);
  return path;
}

/* Writes the policy; in its first line, `host`, `rover` and `port` come
 * first. */
static inline const char *policy(const char *script) {
  static _Thread_local char text[1 << 14];
  CHECK((size_t)snprintf(text, sizeof text,
                         "host, rover = require 'callosum.host', require "
                         "'callosum.rover' port = tonumber(host.args[1]) %s",
                         script) < sizeof text);
  return file("policy.lua", text);
}

/* A rover of that server, for scripts. */
#define ROVER                                                                  \
  "r = rover.new { servers = { s = { host = '127.0.0.1', port = port } } } "

/* Loads it, with the port of the Callosum server as its argument. */
static inline int load(rover_host_t *host, const char *script) {
  static _Thread_local char port[16];
  char *argv[] = {port};
  snprintf(port, sizeof port, "%d", server_port);
  return rover_host_load(host, policy(script), 1, argv);
}

/* Has it reload this, if it is not NULL; returns the status. */
static inline int reload(rover_host_t *host, const char *script) {
  struct told *told = rover_host_data(host);
  int before = told->reloads;
  if (script) policy(script);
  EQUAL(0, rover_host_reload(host, "test"));
  EQUAL(before, told->reloads);
  UNTIL(told->reloads > before);
  EQUAL(before + 1, told->reloads);
  return told->reload.status;
}

static inline rover_host_stats_t stats_of(const rover_host_t *host) {
  rover_host_stats_t stats;
  rover_host_stats_get(host, &stats);
  return stats;
}

/* Closes it, and runs the loop until it is closed. */
static inline void finish(rover_host_t *host) {
  struct told *told = rover_host_data(host);
  EQUAL(0, rover_host_close(host, on_host_closed));
  EQUAL(0, told->closes);
  UNTIL(told->closes);
}

#endif
