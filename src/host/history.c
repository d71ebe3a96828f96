#include "history.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../lua/object.h"
#include "json.h"
#include "later.h"
#include "record.h"
#include "report.h"

/* Every 2 s a point is noted of each rover. The memory is what 300 points of 16
 * rovers take, 120 KB at most; a rover that comes when there are as many takes
 * the place of one that is gone, or has none. Rovers are known by name, so a
 * reload changes nothing. */

enum { INTERVAL = 2, POINTS = 300, ROVERS = 16 };

/* What there is of a rover at a time; NAN where it was not there. */
#define POINT_MAP(XX)                                                          \
  XX(connections, "connections")                                               \
  XX(peak_to_mean, "peakToMean")                                               \
  XX(min_to_mean, "minToMean")                                                 \
  XX(attempts, "attemptsPerSecond")                                            \
  XX(unreachable, "unreachablePerSecond")                                      \
  XX(errors, "errorsPerSecond")

struct point {
#define XX(name, json) float name;
  POINT_MAP(XX)
#undef XX
};

struct series {
  char name[ROVER_ID_MAX + 1];
  rover_stats_t last; /* at the last point */
  bool is_there;      /* at the last point */
  struct point points[POINTS];
};

struct host__history {
  uv_timer_t timer; /* its data is the host */
  uint64_t ticked;  /* in uv_hrtime()'s time */
  unsigned ticks;   /* the next point is that modulo POINTS */
  double at[POINTS];
  struct series *series[ROVERS];
};

/* -- Noting --------------------------------------------------------------- */

static struct series *find(const struct host__history *history,
                           const char *name) {
  for (int i = 0; i < ROVERS; i++) {
    struct series *series = history->series[i];
    if (series && !strcmp(series->name, name)) return series;
  }
  return NULL;
}

static void clear(struct series *series, const char *name) {
  *series = (struct series){0};
  strcpy(series->name, name);
  for (int i = 0; i < POINTS; i++)
    series->points[i] = (struct point){NAN, NAN, NAN, NAN, NAN, NAN};
}

/* Returns NULL if there is no place. */
static struct series *make(struct host__history *history, const char *name) {
  struct series **place = NULL;

  for (int i = ROVERS - 1; i >= 0; i--)
    if (!history->series[i] || !history->series[i]->is_there)
      place = &history->series[i];
  if (!place) return NULL;
  if (!*place) *place = malloc(sizeof **place);
  if (*place) clear(*place, name);
  return *place;
}

/* Of a counter that may have begun anew. */
static float rate(uint64_t now, uint64_t before, double seconds) {
  uint64_t count = now >= before ? now - before : now;
  return seconds > 0 ? (float)((double)count / seconds) : NAN;
}

static void note(struct host__history *history, const char *name,
                 const rover_t *rover, double seconds) {
  struct series *series = find(history, name);
  rover_balance_t b;
  rover_stats_t s;

  if (!series) series = make(history, name);
  if (!series) return;
  if (!series->is_there) seconds = 0; /* nothing to compare it with */
  rover_balance_get(rover, &b);
  rover_stats_get(rover, &s);
  double mean = b.mean > 0 ? b.mean : 1;
  series->points[history->ticks % POINTS] = (struct point){
      .connections = (float)b.connections,
      .peak_to_mean = (float)((double)b.peak / mean),
      .min_to_mean = (float)((double)b.least / mean),
      .attempts = rate(s.attempts, series->last.attempts, seconds),
      .unreachable = rate(s.unreachable, series->last.unreachable, seconds),
      .errors = rate(s.errors, series->last.errors, seconds)};
  series->last = s;
}

static void tick(uv_timer_t *timer) {
  rover_host_t *host = timer->data;
  struct host__history *history = host->history;
  struct rover__lua_object *rovers =
      host->policy ? host->policy->lua->objects[ROVER__LUA_ROVERS] : NULL;
  uint64_t now = uv_hrtime();
  double seconds = (double)(now - history->ticked) / 1e9;
  unsigned place = history->ticks % POINTS;

  history->at[place] = host__wall_time();
  for (int i = 0; i < ROVERS; i++)
    if (history->series[i])
      history->series[i]->points[place] =
          (struct point){NAN, NAN, NAN, NAN, NAN, NAN};
  for (const struct rover__lua_object *o = rovers; o; o = o->next)
    if (!o->closing) note(history, o->name, o->rover, seconds);
  for (int i = 0; i < ROVERS; i++)
    if (history->series[i])
      history->series[i]->is_there =
          !isnan(history->series[i]->points[place].connections);
  history->ticked = now;
  history->ticks++;
}

/* -- Life ----------------------------------------------------------------- */

bool host__history_new(rover_host_t *host) {
  if (!host->options.history) return true;
  host->history = calloc(1, sizeof *host->history);
  return host->history != NULL;
}

void host__history_free(rover_host_t *host) {
  for (int i = 0; host->history && i < ROVERS; i++)
    free(host->history->series[i]);
  free(host->history);
}

void host__history_open(rover_host_t *host) {
  if (!host->history) return;
  uv_timer_init(host->loop, &host->history->timer);
  uv_unref((uv_handle_t *)&host->history->timer);
  host->history->timer.data = host;
  host->handles++;
}

void host__history_begin(rover_host_t *host) {
  if (host->history)
    uv_timer_start(&host->history->timer, tick, 0,
                   INTERVAL * UINT64_C(1000));
}

static void on_closed(uv_handle_t *timer) { host__unref(timer->data); }

void host__history_close(rover_host_t *host) {
  if (host->history) uv_close((uv_handle_t *)&host->history->timer, on_closed);
}

/* -- The report ----------------------------------------------------------- */

struct history_report {
  rover_host_report_t report;
  json_t *json;
};

static bool write_all(rover_host_report_t *report, struct rover__text *text) {
  struct history_report *h = (struct history_report *)report;

  host__json_write(text, h->json, false);
  rover__text_string(text, "\n");
  h->json = NULL;
  return false;
}

static void free_report(rover_host_report_t *report) {
  json_decref(((struct history_report *)report)->json);
  free(report);
}

static json_t *rounded(float number) {
  return host__json_number(round((double)number * 1000) / 1000);
}

static json_t *points_of(const struct host__history *history,
                         const struct series *series) {
  unsigned count = history->ticks < POINTS ? history->ticks : POINTS;
  struct host__json o = host__json_object();
  json_t *at = json_array();
#define XX(name, json) json_t *name = json_array();
  POINT_MAP(XX)
#undef XX

  for (unsigned i = history->ticks - count; i != history->ticks; i++) {
    const struct point *point = series ? &series->points[i % POINTS] : NULL;
    host__json_append(&at, host__json_number(history->at[i % POINTS]));
#define XX(name, json)                                                         \
  host__json_append(&(name), point ? rounded(point->name) : json_null());
    POINT_MAP(XX)
#undef XX
  }
  host__json_set(&o, "at", at);
#define XX(name, json) host__json_set(&o, json, name);
  POINT_MAP(XX)
#undef XX
  return o.object;
}

/* In the order in which they ended. */
static json_t *reloads_of(const struct host__record *record) {
  const unsigned most = sizeof record->marks / sizeof *record->marks;
  json_t *list = json_array();

  for (unsigned i = record->marked < most ? 0 : record->marked - most;
       i != record->marked; i++) {
    const struct host__mark *mark = &record->marks[i % most];
    struct host__json o = host__json_object();
    host__json_set(&o, "at", host__json_number(mark->at));
    host__json_set(&o, "generation", host__json_count(mark->generation));
    host__json_set(&o, "ok", json_boolean(mark->ok));
    host__json_append(&list, o.object);
  }
  return list;
}

/* The name of the policy's first rover, if none is given; NULL if there is no
 * such rover, and was none. */
static const char *name_of(const rover_host_t *host, const char *rover) {
  const struct rover__lua_object *o =
      host->policy ? host->policy->lua->objects[ROVER__LUA_ROVERS] : NULL;

  for (; o; o = o->next)
    if (!o->closing && (!rover || !strcmp(o->name, rover))) return o->name;
  return rover && find(host->history, rover) ? rover : NULL;
}

int rover_host_history(rover_host_t *host, const char *rover,
                       rover_host_report_t **report) {
  if (!host || !report) return UV_EINVAL;
  if (!host->history) return UV_ENOTSUP;
  const char *name = name_of(host, rover);
  if (rover && !name) return UV_ENOENT;
  struct history_report *h = calloc(1, sizeof *h);
  if (!h) return UV_ENOMEM;
  const struct series *series = name ? find(host->history, name) : NULL;
  struct host__json o = host__json_object();
  host__json_set(&o, "interval", host__json_count(INTERVAL));
  host__json_set(&o, "now", host__json_number(host__wall_time()));
  host__json_set(&o, "rover", host__json_string(name));
  host__json_set(&o, "points", points_of(host->history, series));
  host__json_set(&o, "reloads", reloads_of(&host->record));
  h->json = o.object;
  h->report.write = write_all;
  h->report.free = free_report;
  *report = &h->report;
  return 0;
}
