#include "service.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "notify.h"
#include "text.h"

/* READY once the policy is loaded and all listens, RELOADING and READY around a
 * reload, STOPPING at the end: at once. STATUS, a sentence on what the host does,
 * at most once a second, and only when it has changed. WATCHDOG twice in the time
 * that the manager allows, from a timer of the loop: when the loop is blocked for
 * longer, which only a single long C function that a policy calls can do, the
 * manager ends the process. An old process whose place another has taken says
 * nothing any more, since the other is the service. */

enum { STATUS_MS = 1000 };

/* The variables are the process's, as is the one host. */
static uint64_t watchdog_us;
static char watchdog_line[40];

static uint64_t number_of(const char *name) {
  const char *text = getenv(name);
  char *end;

  if (!text || !isdigit((unsigned char)*text)) return 0;
  unsigned long long value = strtoull(text, &end, 10);
  return *end ? 0 : value;
}

void cli_service_open(void) {
  uint64_t us = number_of("WATCHDOG_USEC");

  if (!getenv("WATCHDOG_PID") ||
      number_of("WATCHDOG_PID") == (uint64_t)getpid())
    watchdog_us = us;
  unsetenv("WATCHDOG_USEC");
  unsetenv("WATCHDOG_PID");
}

const char *cli_service_watchdog(void) {
  if (watchdog_us == 0) return NULL;
  snprintf(watchdog_line, sizeof watchdog_line, "WATCHDOG_USEC=%" PRIu64,
           watchdog_us);
  return watchdog_line;
}

/* -- The sentence ---------------------------------------------------------- */

struct totals {
  rover_balance_t balance; /* of the last rover; sums of all */
  uint64_t joined, waiting, connections;
  size_t rovers, relays, fronts;
};

static void add_rover(rover_host_t *host, const rover_host_rover_t *r,
                      void *arg) {
  struct totals *totals = arg;
  rover_balance_t before = totals->balance;
  (void)host;
  rover_balance_get(r->rover, &totals->balance);
  totals->balance.servers += before.servers;
  totals->balance.connections += before.connections;
  totals->rovers++;
}

static void add_relay(rover_host_t *host, const rover_host_relay_t *r,
                      void *arg) {
  struct totals *totals = arg;
  rover_relay_stats_t stats;
  (void)host;
  rover_relay_stats_get(r->relay, &stats);
  totals->relays++;
  totals->joined += stats.running;
  totals->waiting += stats.waiting;
}

static void add_front(rover_host_t *host, const rover_host_front_t *f,
                      void *arg) {
  struct totals *totals = arg;
  rover_front_stats_t stats;
  (void)host;
  rover_front_stats_get(f->front, &stats);
  totals->fronts++;
  totals->connections += stats.open;
}

static void put_loading(FILE *out, const struct cli_service *s) {
  char script[100];

  cli_text_clean(script, sizeof script, s->script, strlen(s->script),
                 sizeof script);
  fprintf(out, "Loading %s", script);
}

static const char *plural(uint64_t count) { return count == 1 ? "" : "s"; }

static void put_running(FILE *out, const struct cli_service *s) {
  static const rover_host_visitor_t add = {
      .rover = add_rover, .relay = add_relay, .front = add_front};
  struct totals t = {0};
  rover_host_stats_t stats;

  rover_host_stats_get(s->host, &stats);
  rover_host_each(s->host, &add, &t);
  fprintf(out, "Generation %" PRIu64, stats.generation);
  const char *joint = ": ";
  if (t.rovers > 0) {
    fprintf(out, "%s%" PRIu64 " connection%s to %" PRIu64 " server%s", joint,
            t.balance.connections, plural(t.balance.connections),
            t.balance.servers, plural(t.balance.servers));
    if (t.rovers == 1 && t.balance.connections > 0)
      fprintf(out, ", %" PRIu64 " to %" PRIu64 " each", t.balance.least,
              t.balance.peak);
    joint = "; ";
  }
  if (t.relays > 0) {
    fprintf(out, "%s%" PRIu64 " relay client%s joined, %" PRIu64 " waiting",
            joint, t.joined, plural(t.joined), t.waiting);
    joint = "; ";
  }
  if (t.fronts > 0)
    fprintf(out, "%s%" PRIu64 " connection%s to fronts", joint, t.connections,
            plural(t.connections));
  if (s->failure[0]) fprintf(out, "; %s", s->failure);
}

static void put_stopping(FILE *out, const struct cli_service *s) {
  rover_host_stats_t stats = {0};

  if (s->host) rover_host_stats_get(s->host, &stats);
  fputs("Stopping", out);
  if (stats.draining > 0)
    fprintf(out, ": %" PRIu64 " connection%s may finish", stats.draining,
            plural(stats.draining));
}

/* -- Saying it ------------------------------------------------------------- */

static void tell(struct cli_service *s) {
  char text[sizeof s->told + 8] = "STATUS=", *status = text + 7;
  uint64_t now = uv_now(s->tick.loop);

  if (!uv_is_active((uv_handle_t *)&s->tick)) return;
  if (s->told[0] && now - s->told_at < STATUS_MS) return;
  FILE *out = fmemopen(status, sizeof s->told - 1, "w");
  if (!out) return;
  if (s->stopping) put_stopping(out, s);
  else if (!s->host) put_loading(out, s);
  else if (s->reloading[0]) fprintf(out, "Reloading (%s)", s->reloading);
  else put_running(out, s);
  fclose(out);
  if (!strcmp(status, s->told)) return;
  memcpy(s->told, status, sizeof s->told);
  s->told_at = now;
  cli_notify_again(text);
}

static void on_tick(uv_timer_t *timer) { tell(timer->data); }

static void on_watchdog(uv_timer_t *timer) {
  (void)timer;
  cli_notify_again("WATCHDOG=1");
}

/* -- Life ------------------------------------------------------------------ */

void cli_service_init(struct cli_service *s, uv_loop_t *loop,
                      const char *script, bool takes_over) {
  *s = (struct cli_service){.script = script};
  uv_timer_init(loop, &s->watchdog);
  uv_timer_init(loop, &s->tick);
  s->watchdog.data = s->tick.data = s;
  uv_unref((uv_handle_t *)&s->watchdog);
  uv_unref((uv_handle_t *)&s->tick);
  if (takes_over || !cli_notify_is_wanted()) return;
  uv_timer_start(&s->tick, on_tick, STATUS_MS, STATUS_MS);
  tell(s);
}

/* The watchdog's time begins with READY. */
void cli_service_ready(struct cli_service *s, rover_host_t *host,
                       bool taken_over) {
  uint64_t ms = watchdog_us / 2000;
  char lines[64];

  s->host = host;
  s->is_main = true;
  if (taken_over)
    snprintf(lines, sizeof lines, "READY=1\nMAINPID=%d", (int)getpid());
  cli_notify(taken_over ? lines : "READY=1");
  if (!cli_notify_is_wanted()) return;
  if (watchdog_us > 0) {
    on_watchdog(&s->watchdog);
    uv_timer_start(&s->watchdog, on_watchdog, ms > 0 ? ms : 1, ms > 0 ? ms : 1);
  }
  uv_timer_start(&s->tick, on_tick, STATUS_MS, STATUS_MS);
  tell(s);
}

/* With the time, as services of Type=notify-reload do. */
void cli_service_reloading(struct cli_service *s, const char *trigger) {
  struct timespec now;
  char lines[80];

  if (!s->is_main || s->stopping) return;
  clock_gettime(CLOCK_MONOTONIC, &now);
  snprintf(lines, sizeof lines, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
           (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
  cli_notify(lines);
  cli_text_clean(s->reloading, sizeof s->reloading, trigger, strlen(trigger),
                 sizeof s->reloading);
  tell(s);
}

static void note_failure(struct cli_service *s, const char *error) {
  time_t now = time(NULL);
  struct tm utc;
  char why[100], at[16] = "";

  cli_text_clean(why, sizeof why, error, strcspn(error, "\n"), sizeof why);
  if (gmtime_r(&now, &utc)) strftime(at, sizeof at, "%H:%M:%SZ", &utc);
  snprintf(s->failure, sizeof s->failure, "the reload at %s failed: %s", at,
           why);
}

void cli_service_reloaded(struct cli_service *s,
                          const rover_host_reload_t *result) {
  if (!s->is_main || s->stopping || !s->reloading[0]) return;
  s->reloading[0] = s->failure[0] = '\0';
  if (result->status < 0) note_failure(s, result->error ? result->error : "");
  cli_notify("READY=1");
  tell(s);
}

void cli_service_stopping(struct cli_service *s) {
  if (!s->is_main || s->stopping) return;
  s->stopping = true;
  cli_notify("STOPPING=1");
  tell(s);
}

void cli_service_left(struct cli_service *s) {
  s->is_main = false;
  uv_timer_stop(&s->watchdog);
  uv_timer_stop(&s->tick);
}

void cli_service_close(struct cli_service *s) {
  uv_close((uv_handle_t *)&s->watchdog, NULL);
  uv_close((uv_handle_t *)&s->tick, NULL);
}
