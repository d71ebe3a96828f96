#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "alarm.h"
#include "log.h"
#include "signals.h"
#include "streams.h"

/* check: loads a policy, and prints what it declares, sorted so that two runs
 * can be compared. It needs no network, and since it may block on its reader,
 * the first signal ends it. */

static int by_id(const void *a, const void *b) {
  const rover_server_t *const *one = a, *const *other = b;
  return strcmp(rover_server_id(*one), rover_server_id(*other));
}

static int print_servers(const rover_t *rover) {
  size_t count = rover_server_count(rover);
  rover_server_t **servers = calloc(count + 1, sizeof *servers);

  if (!servers) return UV_ENOMEM;
  for (size_t i = 0; i < count; i++) servers[i] = rover_server_at(rover, i);
  qsort(servers, count, sizeof *servers, by_id);
  for (size_t i = 0; i < count; i++)
    printf("  %s: host %s, port %d%s\n", rover_server_id(servers[i]),
           rover_server_host(servers[i]), rover_server_port(servers[i]),
           rover_server_tls(servers[i])        ? ", TLS of its own"
           : rover_server_is_plain(servers[i]) ? ", without TLS"
                                               : "");
  free(servers);
  return 0;
}

static void print_rover(rover_host_t *host, const rover_host_rover_t *r,
                        void *arg) {
  int *err = arg;
  (void)host;
  printf("rover '%s': every %llu ms, %zu server%s%s, %s\n", r->name,
         (unsigned long long)rover_roving_interval(r->rover),
         rover_server_count(r->rover),
         rover_server_count(r->rover) == 1 ? "" : "s",
         rover_options(r->rover)->tls ? ", TLS" : "",
         r->starts ? "starts" : "does not start");
  if (*err == 0) *err = print_servers(r->rover);
}

static void print_address(const rover_address_t *a) {
  if (a->path) fputs(a->path, stdout);
  else if (!a->host) printf("the socket '%s'", a->fd_name);
  else printf(strchr(a->host, ':') ? "[%s]:%d" : "%s:%d", a->host, a->port);
  if (a->mode > 0) printf(" (mode %04o)", (unsigned)a->mode);
}

static void print_relay(rover_host_t *host, const rover_host_relay_t *r,
                        void *arg) {
  const rover_relay_options_t *o = rover_relay_options(r->relay);

  (void)host;
  (void)arg;
  printf("relay '%s': ", r->name);
  print_address(&o->address);
  printf(", at most %u client%s\n", o->max_clients,
         o->max_clients == 1 ? "" : "s");
}

static void print_front(rover_host_t *host, const rover_host_front_t *f,
                        void *arg) {
  const rover_front_options_t *o = rover_front_options(f->front);

  (void)host;
  (void)arg;
  printf("front '%s': ", f->name);
  print_address(&o->address);
  fputs(" before ", stdout);
  print_address(&o->backend);
  printf(", weight %g, at most %u client%s\n", o->weight, o->max_clients,
         o->max_clients == 1 ? "" : "s");
}

static void print_source(rover_host_t *host, const rover_host_source_t *s,
                         void *arg) {
  const rover_source_options_t *o = rover_source_options(s->source);

  (void)host;
  (void)arg;
  printf("source '%s': %s %s, every %llu ms\n", s->name,
         rover_source_kind(s->source), rover_source_place(s->source),
         (unsigned long long)o->interval);
}

static void print_certificate(rover_host_t *host,
                              const rover_host_certificate_t *certificate,
                              void *arg) {
  time_t at = (time_t)certificate->expires;
  struct tm tm;
  char date[64] = "at an unknown time";

  (void)host;
  (void)arg;
  if (gmtime_r(&at, &tm)) strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &tm);
  printf("certificate %s: expires %s\n", certificate->file, date);
}

static void on_log(rover_host_t *host, const rover_host_log_t *event) {
  cli_log_event(rover_host_data(host), event);
}

static void on_host_closed(rover_host_t *host) {
  cli_alarm_close();
  cli_log_close(rover_host_data(host));
}

int cli_check(const struct cli_options *options) {
  static const rover_host_visitor_t visitor = {
      .rover = print_rover,
      .relay = print_relay,
      .front = print_front,
      .source = print_source,
      .certificate = print_certificate};
  rover_host_options_t o = options->host;
  struct cli_log log;
  uv_loop_t loop;
  rover_host_t *host;
  int printed = 0;

  cli_signals_plain();
  o.log = on_log;
  o.data = &log;
  int err = uv_loop_init(&loop);
  if (err == 0)
    err = cli_log_open(&log, &loop, options->log_level, options->log_json);
  if (err == 0) {
    o.alarm = cli_alarm_open();
    err = rover_host_new(&host, &loop, &o);
  }
  if (err != 0) {
    fprintf(stderr, "callosum-rover: cannot start: %s\n", uv_strerror(err));
    return EXIT_FAILURE;
  }
  err = rover_host_check(host, options->argv[0], options->argc - 1,
                         options->argv + 1, options->quiet ? NULL : &visitor,
                         &printed);
  if (printed < 0) {
    fprintf(stderr, "callosum-rover: cannot print: %s\n", uv_strerror(printed));
    err = printed;
  }
  rover_host_close(host, on_host_closed);
  uv_run(&loop, UV_RUN_DEFAULT);
  uv_loop_close(&loop);
  int status = cli_streams_end();
  return err < 0 ? EXIT_FAILURE : status;
}
