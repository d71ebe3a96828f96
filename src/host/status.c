#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../lua/bind_books.h"
#include "../lua/metrics.h"
#include "../net/options.h"
#include "base.h"
#include "json.h"
#include "record.h"
#include "report.h"
#include "rows.h"

/* The status of a host. What it says is copied when the report is made: as
 * JSON, but for servers, of which there may be thousands: they are written one
 * by one while the report is read. */

enum { LIMIT = 100, LIMIT_MAX = 1000 };

/* A rover. */
struct part {
  json_t *head; /* what precedes its servers */
  struct host__rows rows;
  struct part *next;
};

struct status {
  rover_host_report_t report;
  rover_host_status_options_t options;
  json_t *head, *tail; /* what precedes and follows the rovers */
  json_t *relays, *fronts, *sources, *certificates;
  struct part *parts, *last;
  /* What is written next. */
  enum { HEAD, ROVER, SERVERS, TAIL } state;
  struct part *part;
  size_t row;
};

/* -- The policy, and what has happened to it ------------------------------ */

static const char *state_of(const rover_host_t *host) {
  if (host->closing) return "stopping";
  if (host->reloading) return "reloading";
  return host->drained ? "draining" : "running";
}

static json_t *policy_of(const rover_host_t *host) {
  const struct host__script *script = host->script;
  struct host__json o = host__json_object();
  json_t *args = json_array();

  if (!host->policy || !script) {
    json_decref(o.object);
    json_decref(args);
    return json_null();
  }
  for (int i = 0; i < script->argc; i++)
    host__json_append(&args, host__json_string(script->argv[i]));
  host__json_set(&o, "path", host__json_string(script->path));
  host__json_set(&o, "args", args);
  host__json_set(&o, "loadedAt", host__json_number(host->record.loaded));
  host__json_set(&o, "memory", host__json_count(host->policy->memory));
  host__json_set(&o, "memoryLimit", host__json_count(host->options.memory));
  host__json_set(&o, "errors", host__json_count(host->stats.script_errors));
  return o.object;
}

static json_t *reloads_of(const rover_host_t *host) {
  const struct host__record *record = &host->record;
  struct host__json o = host__json_object();
  uint64_t loaded = host->stats.generation;
  json_t *failure = json_null();

  if (record->failed > 0) {
    struct host__json f = host__json_object();
    host__json_set(&f, "at", host__json_number(record->failed));
    host__json_set(&f, "error", host__json_string(record->error));
    host__json_set(&f, "traceback", host__json_string(record->traceback));
    failure = f.object;
  }
  host__json_set(&o, "succeeded", host__json_count(loaded > 0 ? loaded - 1 : 0));
  host__json_set(&o, "failed", host__json_count(host->stats.failed_reloads));
  host__json_set(&o, "lastFailure", failure);
  return o.object;
}

static json_t *errors_of(const rover_host_t *host) {
  const struct host__trouble *t = host->record.newest;
  json_t *list = json_array();

  for (; t; t = t->next) {
    struct host__json o = host__json_object();
    host__json_set(&o, "at", host__json_number(t->at));
    host__json_set(&o, "level", host__json_string(
                                    t->level == ROVER_HOST_WARN ? "warn"
                                                                : "error"));
    host__json_set(&o, "message", host__json_string(t->message));
    host__json_set(&o, "detail", host__json_string(t->detail));
    host__json_set(&o, "count", host__json_count(t->count));
    host__json_append(&list, o.object);
  }
  return list;
}

/* In seconds, to the millisecond. */
static double since(double then, double now) {
  return fmax(0, round((now - then) * 1000) / 1000);
}

static json_t *head_of(const rover_host_t *host) {
  struct host__json o = host__json_object();
  double now = host__wall_time();

  host__json_set(&o, "version", host__json_string(rover_version_string()));
  host__json_set(&o, "pid", host__json_count((uint64_t)getpid()));
  host__json_set(&o, "startedAt", host__json_number(host->record.started));
  host__json_set(&o, "now", host__json_number(now));
  host__json_set(&o, "uptime",
                 host__json_number(since(host->record.started, now)));
  host__json_set(&o, "state", host__json_string(state_of(host)));
  host__json_set(&o, "generation", host__json_count(host->stats.generation));
  host__json_set(&o, "policy", policy_of(host));
  host__json_set(&o, "reloads", reloads_of(host));
  return o.object;
}

/* -- Rovers --------------------------------------------------------------- */

static json_t *stats_of(const rover_t *rover) {
  struct host__json o = host__json_object();
  rover_stats_t s;

  rover_stats_get(rover, &s);
#define XX(name, kind, lua, text)                                              \
  host__json_set(&o, lua, host__json_count(s.name));
  ROVER_STATS_MAP(XX)
#undef XX
  return o.object;
}

/* Whether no server has more than so many, and none has fewer. */
static bool is_within(const rover_balance_t *b, double spare, double part) {
  double most = fmax(ceil(b->mean) + spare, b->mean * (1 + part));
  double least = fmin(floor(b->mean) - spare, b->mean * (1 - part));
  return (double)b->peak <= most && (double)b->least >= least;
}

static const char *judge(const rover_balance_t *b) {
  if (b->connections == 0) return "idle";
  if (is_within(b, 0, .1)) return "balanced";
  return is_within(b, 1, .25) ? "nearly" : "uneven";
}

static json_t *balance_of(const rover_t *rover) {
  struct host__json o = host__json_object();
  rover_balance_t b;

  rover_balance_get(rover, &b);
  double mean = b.mean > 0 ? b.mean : 1; /* ratios are 0 without connections */
  host__json_set(&o, "servers", host__json_count(b.servers));
  host__json_set(&o, "connections", host__json_count(b.connections));
  host__json_set(&o, "mean", host__json_number(b.mean));
  host__json_set(&o, "peak", host__json_count(b.peak));
  host__json_set(&o, "least", host__json_count(b.least));
  host__json_set(&o, "peakToMean", host__json_number((double)b.peak / mean));
  host__json_set(&o, "minToMean", host__json_number((double)b.least / mean));
  host__json_set(&o, "cv", host__json_number(sqrt(b.variance) / mean));
  host__json_set(&o, "verdict", host__json_string(judge(&b)));
  return o.object;
}

static json_t *rover_of(const rover_host_rover_t *r,
                        const rover_host_status_options_t *options,
                        size_t servers) {
  struct host__json o = host__json_object();

  host__json_set(&o, "name", host__json_string(r->name));
  host__json_set(&o, "started", json_boolean(rover_is_started(r->rover)));
  host__json_set(&o, "rovingInterval",
                 host__json_count(rover_roving_interval(r->rover)));
  host__json_set(&o, "stats", stats_of(r->rover));
  host__json_set(&o, "balance", balance_of(r->rover));
  host__json_set(&o, "serverCount", host__json_count(servers));
  host__json_set(&o, "offset", host__json_count(options->offset));
  host__json_set(&o, "limit", host__json_count(options->limit));
  return o.object;
}

static void on_rover(rover_host_t *host, const rover_host_rover_t *r,
                     void *arg) {
  struct status *s = arg;
  const rover_host_status_options_t *options = &s->options;

  (void)host;
  if (options->rover && strcmp(options->rover, r->name) != 0) return;
  struct part *part = calloc(1, sizeof *part);
  /* Sockets are sorted for it, which nobody notices. */
  if (!part || !host__rows_take(&part->rows, (rover_t *)r->rover, options))
    s->report.text.failed = true;
  if (!part) return;
  part->head = rover_of(r, options, part->rows.found);
  if (s->last) s->last->next = part;
  else s->parts = part;
  s->last = part;
}

/* -- Pools, relays, fronts, sources, certificates and workers ------------- */

static json_t *pools_of(const struct rover__metrics *metrics) {
  const struct rover__books *books = metrics ? metrics->books : NULL;
  json_t *list = json_array();

  for (; books; books = books->next) {
    struct host__json o = host__json_object();
    host__json_set(&o, "name", host__json_string(books->name));
#define XX(name, kind, lua, text)                                              \
  host__json_set(&o, lua, host__json_count(books->stats.name));
    ROVER__POOL_STATS_MAP(XX)
#undef XX
    host__json_append(&list, o.object);
  }
  return list;
}

static json_t *address_of(const rover_address_t *a) {
  char text[300];

  if (a->path) return host__json_string(a->path);
  if (!a->host) return host__json_string(a->fd_name);
  snprintf(text, sizeof text, strchr(a->host, ':') ? "[%s]:%d" : "%s:%d",
           a->host, a->port);
  return host__json_string(text);
}

static void on_relay(rover_host_t *host, const rover_host_relay_t *r,
                     void *arg) {
  struct status *status = arg;
  struct host__json o = host__json_object(), stats = host__json_object();
  rover_relay_stats_t s;

  (void)host;
  rover_relay_stats_get(r->relay, &s);
#define XX(name, kind, lua, text)                                              \
  host__json_set(&stats, lua, host__json_count(s.name));
  ROVER_RELAY_STATS_MAP(XX)
#undef XX
  host__json_set(&o, "name", host__json_string(r->name));
  host__json_set(&o, "address",
                 address_of(&rover_relay_options(r->relay)->address));
  host__json_set(&o, "listening",
                 json_boolean(rover_relay_is_listening(r->relay)));
  host__json_set(&o, "stats", stats.object);
  host__json_append(&status->relays, o.object);
}

static void on_front(rover_host_t *host, const rover_host_front_t *f,
                     void *arg) {
  struct status *status = arg;
  struct host__json o = host__json_object(), stats = host__json_object();
  rover_front_stats_t s;

  (void)host;
  rover_front_stats_get(f->front, &s);
#define XX(name, kind, lua, text)                                              \
  host__json_set(&stats, lua, host__json_count(s.name));
  ROVER_FRONT_STATS_MAP(XX)
#undef XX
  host__json_set(&o, "name", host__json_string(f->name));
  host__json_set(&o, "address",
                 address_of(&rover_front_options(f->front)->address));
  host__json_set(&o, "listening",
                 json_boolean(rover_front_is_listening(f->front)));
  host__json_set(&o, "draining",
                 json_boolean(rover_front_is_draining(f->front)));
  host__json_set(&o, "backendUp", json_boolean(rover_front_is_up(f->front)));
  host__json_set(&o, "stats", stats.object);
  host__json_append(&status->fronts, o.object);
}

static void on_source(rover_host_t *host, const rover_host_source_t *d,
                      void *arg) {
  struct status *status = arg;
  struct host__json o = host__json_object(), stats = host__json_object();
  rover_source_stats_t s;

  (void)host;
  rover_source_stats_get(d->source, &s);
#define COUNTER(value) host__json_count(value)
#define GAUGE COUNTER
#define TIME COUNTER
#define FLAG(value) json_boolean(value)
#define XX(name, kind, lua, text) host__json_set(&stats, lua, kind(s.name));
  ROVER_SOURCE_STATS_MAP(XX)
#undef XX
#undef FLAG
#undef TIME
#undef GAUGE
#undef COUNTER
  host__json_set(&o, "name", host__json_string(d->name));
  host__json_set(&o, "kind", host__json_string(rover_source_kind(d->source)));
  host__json_set(&o, "place", host__json_string(rover_source_place(d->source)));
  host__json_set(&o, "stats", stats.object);
  host__json_append(&status->sources, o.object);
}

static void on_certificate(rover_host_t *host,
                           const rover_host_certificate_t *certificate,
                           void *arg) {
  struct status *status = arg;
  struct host__json o = host__json_object();

  (void)host;
  host__json_set(&o, "file", host__json_string(certificate->file));
  host__json_set(&o, "expiresAt",
                 host__json_number((double)certificate->expires));
  host__json_append(&status->certificates, o.object);
}

static json_t *workers_of(const rover_workers_t *workers) {
  unsigned count = workers ? rover_workers_count(workers) : 0;
  json_t *list = json_array();
  char name[16];

  for (unsigned i = 0; i < count; i++) {
    struct host__json o = host__json_object();
    rover_worker_stats_t s;
    rover_worker_stats_get(workers, i, &s);
    snprintf(name, sizeof name, "%u", i);
    host__json_set(&o, "name", host__json_string(name));
#define COUNTER(value) host__json_count(value)
#define GAUGE COUNTER
#define CPU COUNTER
#define FLAG(value) json_boolean(value)
#define XX(name, kind, lua, text) host__json_set(&o, lua, kind(s.name));
    ROVER_WORKER_STATS_MAP(XX)
#undef XX
#undef FLAG
#undef CPU
#undef GAUGE
#undef COUNTER
    host__json_append(&list, o.object);
  }
  return list;
}

/* -- The report ----------------------------------------------------------- */

static void write_part(struct rover__text *text, json_t **json) {
  host__json_write(text, *json, true);
  *json = NULL;
}

static void begin_rover(struct status *s, struct rover__text *text) {
  rover__text_string(text, s->part == s->parts ? "{" : ",{");
  write_part(text, &s->part->head);
  rover__text_string(text, ",\"servers\":[");
  s->row = 0;
}

static bool write_next(rover_host_report_t *report, struct rover__text *text) {
  struct status *s = (struct status *)report;

  switch (s->state) {
    case HEAD:
      rover__text_string(text, "{");
      write_part(text, &s->head);
      rover__text_string(text, ",\"rovers\":[");
      s->part = s->parts;
      s->state = s->part ? ROVER : TAIL;
      return true;
    case ROVER:
      begin_rover(s, text);
      s->state = SERVERS;
      return true;
    case SERVERS:
      if (s->row < s->part->rows.count) {
        if (s->row > 0) rover__text_string(text, ",");
        host__json_write(text, host__rows_json(&s->part->rows, s->row++),
                         false);
        return true;
      }
      rover__text_string(text, "]}");
      s->part = s->part->next;
      s->state = s->part ? ROVER : TAIL;
      return true;
    case TAIL: break;
  }
  rover__text_string(text, "],");
  write_part(text, &s->tail);
  rover__text_string(text, "}\n");
  return false;
}

static void free_status(rover_host_report_t *report) {
  struct status *s = (struct status *)report;
  struct part *part;

  while ((part = s->parts)) {
    s->parts = part->next;
    json_decref(part->head);
    host__rows_free(&part->rows);
    free(part);
  }
  json_decref(s->head);
  json_decref(s->tail);
  json_decref(s->relays);
  json_decref(s->fronts);
  json_decref(s->sources);
  json_decref(s->certificates);
  free(s);
}

static void take_snapshot(struct status *s, rover_host_t *host) {
  static const rover_host_visitor_t visitor = {
      .rover = on_rover,
      .relay = on_relay,
      .front = on_front,
      .source = on_source,
      .certificate = on_certificate};
  struct host__json tail = host__json_object();

  s->head = head_of(host);
  s->relays = json_array();
  s->fronts = json_array();
  s->sources = json_array();
  s->certificates = json_array();
  if (rover_host_each(host, &visitor, s) < 0) s->report.text.failed = true;
  host__json_set(&tail, "pools",
                 pools_of(host->policy ? host->policy->lua->metrics : NULL));
  host__json_set(&tail, "relays", s->relays);
  host__json_set(&tail, "fronts", s->fronts);
  host__json_set(&tail, "workers", workers_of(host->rovers.workers));
  host__json_set(&tail, "sources", s->sources);
  host__json_set(&tail, "certificates", s->certificates);
  host__json_set(&tail, "errors", errors_of(host));
  s->relays = s->fronts = s->sources = s->certificates = NULL;
  s->tail = tail.object;
}

static bool are_valid(const rover_host_status_options_t *o) {
  return NET__IS_UNUSED(o->reserved) && o->limit <= LIMIT_MAX &&
         (unsigned)o->sort <= ROVER_HOST_BY_UNREACHABLE &&
         (unsigned)o->order <= ROVER_HOST_DESCENDING;
}

int rover_host_status(rover_host_t *host,
                      const rover_host_status_options_t *options,
                      rover_host_report_t **report) {
  static const rover_host_status_options_t defaults;

  if (!options) options = &defaults;
  if (!host || !report || !are_valid(options)) return UV_EINVAL;
  struct status *s = calloc(1, sizeof *s);
  if (!s) return UV_ENOMEM;
  s->report.write = write_next;
  s->report.free = free_status;
  s->options = *options;
  if (s->options.limit == 0) s->options.limit = LIMIT;
  take_snapshot(s, host);
  int err = s->report.text.failed ? UV_ENOMEM : 0;
  if (err == 0 && options->rover && !s->parts) err = UV_ENOENT;
  s->options.rover = s->options.search = NULL; /* the caller's */
  if (err < 0) rover_host_report_free(&s->report);
  else *report = &s->report;
  return err;
}
