#include "say.h"

#include <stdio.h>
#include <string.h>

#include "record.h"

/* The host's log lines are passed to the program's log callback, as a message
 * and typed fields, in the order in which to show them. */

enum { FIELDS_MAX = 8, DIGITS_MAX = 24 };

static rover_host_text_t text(const char *string) {
  return (rover_host_text_t){string, string ? strlen(string) : 0};
}

struct host__field host__string(const char *key, const char *string) {
  return (struct host__field){.key = key, .text = text(string)};
}

static struct host__field bytes_field(const char *key, const char *bytes,
                                     size_t length) {
  return (struct host__field){.key = key, .text = {bytes, length}};
}

struct host__field host__count(const char *key, uint64_t count) {
  return (struct host__field){
      .key = key, .type = ROVER_HOST_NUMBER, .number = count};
}

struct host__field host__ms(const char *key, double ms) {
  return (struct host__field){.key = key, .type = ROVER_HOST_NUMBER,
      .number = (uint64_t)(ms * 10 + 0.5), .is_tenths = true};
}

/* Not by %f, which uses the locale's decimal point. */
static rover_host_text_t digits(const struct host__field *field,
                                char out[DIGITS_MAX]) {
  unsigned long long number = field->number;
  if (field->is_tenths)
    snprintf(out, DIGITS_MAX, "%llu.%llu", number / 10, number % 10);
  else snprintf(out, DIGITS_MAX, "%llu", number);
  return text(out);
}

void host__log(rover_host_t *host, rover_host_level_t level,
               const char *message, const struct host__field fields[]) {
  rover_host_field_t out[FIELDS_MAX];
  char numbers[FIELDS_MAX][DIGITS_MAX];
  size_t count = 0;

  if (!host->options.log && level < ROVER_HOST_WARN) return;
  for (; fields && fields->key && count < FIELDS_MAX; fields++) {
    rover_host_text_t value = fields->text;
    if (fields->type == ROVER_HOST_NUMBER)
      value = digits(fields, numbers[count]);
    if (value.bytes)
      out[count++] =
          (rover_host_field_t){text(fields->key), value, fields->type};
  }
  host__log_line(host,
                 &(rover_host_log_t){level, text(message), out, count});
}

void host__log_line(rover_host_t *host, const rover_host_log_t *log) {
  host__record_log(&host->record, log);
  if (host->options.log) host->options.log(host, log);
}

int host__load_failed(rover_host_t *host, const char *path, int status,
                      const struct host__error *error) {
  struct host__reload *reload = host->reloading ? &host->reload : NULL;
  struct host__error plain = {0};

  if (!error) {
    plain.text = plain.shown = uv_strerror(status);
    plain.length = strlen(plain.text);
    error = &plain;
  }
  host__log(host, ROVER_HOST_ERROR,
            reload ? "reload failed, the old policy goes on"
                   : "cannot load policy",
            HOST__FIELDS(host__string("file", path),
                         host__string("trigger",
                                      reload ? reload->trigger : NULL),
                         bytes_field("error", error->text, error->length),
                         host__string("traceback", error->traceback)));
  if (reload && !reload->result.error) {
    reload->result.error = strdup(error->shown);
    host__record_failure(&host->record, error->shown, error->traceback);
  }
  return status;
}

void host__log_error(rover_host_t *host,
                     const struct rover__lua_occasion *occasion,
                     const struct host__error *error) {
  static const struct rover__lua_occasion none;
  if (!occasion) occasion = &none;
  const rover_socket_t *socket = occasion->socket;
  const char *outcome = occasion->outcome;

  if (socket && rover_socket_is_closing(socket))
    outcome = "the socket is closed";
  host__log(
      host, ROVER_HOST_ERROR, "policy error",
      HOST__FIELDS(
          host__string("event", occasion->event),
          host__string(occasion->noun ? occasion->noun : "rover",
                       occasion->name),
          host__string("server", occasion->server),
          socket ? host__count("slot", (uint64_t)rover_socket_slot(socket))
                 : host__string("slot", NULL),
          host__string("outcome", outcome),
          bytes_field("error", error->text, error->length),
          host__string("traceback", error->traceback)));
}
