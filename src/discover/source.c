#include "source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache.h"
#include "doubt.h"
#include "maker.h"
#include "pace.h"
#include "reconcile.h"

/* The clock is what a source waits for: the next poll, the deadline of the one
 * under way, or nothing while an answer is dealt with. A source that knows no
 * servers asks at once, one with a cache within 5 s, and then at random within its
 * interval, so that a fleet that was started together does not ask together for
 * ever. What a watch brings does not put off the next poll. Of failures, the list
 * knows nothing: they only make the source ask again, after 1 s, then twice as
 * long each time. */

enum { MESSAGE_SIZE = 512 };

struct rover_source_s {
  struct discover__table table; /* first */
  uv_loop_t *loop;
  struct discover__config *config;
  struct discover__config *opened; /* the provider's, while it is open */
  void *provider;
  discover__source_events_t events;
  void *data;
  discover__source_close_cb close_cb;
  uv_timer_t clock;
  unsigned refs; /* table, clock, tasks, cache, and providers until they are
                    closed */
  bool started, closing;
  bool asking;  /* the provider */
  bool again;   /* it is to be asked once more */
  bool loading; /* what is dealt with comes from the cache */
  bool fresh;   /* the last answer was believed */
  struct discover__doubt doubt;
  uint64_t ttl;
  struct discover__maker maker;
  struct discover__cache cache;
  uint64_t due;     /* the next poll, in the loop's time; 0: none was set */
  uint64_t learned; /* when, in the loop's time; 0: never */
  struct discover__pace pace;
  rover_source_stats_t stats;
};

static rover_source_t *source_of(struct discover__table *table) {
  return (rover_source_t *)table;
}

static const rover_source_options_t *options_of(const rover_source_t *source) {
  return &source->config->options;
}

static void unref(rover_source_t *source) {
  if (--source->refs > 0) return;
  if (source->close_cb) source->close_cb(source);
  discover__config_unref(source->config);
  discover__config_unref(source->opened);
  free(source);
}

/* Whether it waits for something else than for its next poll. */
static bool is_waiting(const rover_source_t *source) {
  return source->asking || source->maker.awaited || source->cache.loading;
}

/* -- Reporting ------------------------------------------------------------ */

/* The source may be closed in it, so it comes last. */
static void report(rover_source_t *source, int status, const char *what,
                   const char *why) {
  char message[MESSAGE_SIZE];

  if (!source->events.error || source->closing) return;
  snprintf(message, sizeof message, "%s %s: %s%s%s",
           source->config->kind->name, rover_source_place(source), what,
           *what && why ? ": " : "", why ? why : "");
  source->events.error(source, status, message);
}

/* -- Time ----------------------------------------------------------------- */

static void on_clock(uv_timer_t *clock);

static void poll_in(rover_source_t *source, uint64_t ms) {
  if (source->closing) return;
  if (source->again) ms = 0;
  source->again = false;
  source->due = uv_now(source->loop) + ms;
  uv_timer_start(&source->clock, on_clock, ms, 0);
}

/* After an answer. One that was not asked for may only bring the poll forward. */
static void poll_after(rover_source_t *source, bool is_unasked, uint64_t ms) {
  uint64_t now = uv_now(source->loop);
  uint64_t left = source->due > now ? source->due - now : 0;

  poll_in(source, is_unasked && source->due > 0 && left < ms ? left : ms);
}

static uint64_t interval(rover_source_t *source) {
  return discover__pace_next(&source->pace, options_of(source)->interval,
                             source->ttl);
}

double discover__source_draw(rover_source_t *source) {
  return discover__pace_draw(&source->pace);
}

/* -- What becomes of a poll ----------------------------------------------- */

static void end_poll(rover_source_t *source) {
  source->asking = false;
  discover__maker_cancel(&source->maker); /* who comes late is not heard */
  discover__cache_cancel(&source->cache);
  uv_timer_stop(&source->clock);
}

static void fail(rover_source_t *source, int status, const char *why) {
  char what[64];

  discover__table_know(&source->table);
  source->stats.failures++;
  source->stats.stale = 1;
  source->fresh = false;
  discover__doubt_settle(&source->doubt);
  source->pace.failures++;
  poll_in(source, discover__pace_retry(&source->pace));
  snprintf(what, sizeof what, "no list, so its %zu servers stay",
           source->table.listed);
  report(source, status, source->table.listed > 0 ? what : "no list", why);
}

void discover__source_failed(rover_source_t *source, int status,
                             const char *message) {
  if (source->closing) return;
  end_poll(source);
  fail(source, status, message);
}

static void learn(rover_source_t *source) {
  source->fresh = true;
  source->pace.failures = 0;
  discover__doubt_settle(&source->doubt);
  source->stats.stale = 0;
  source->learned = uv_now(source->loop);
  if (source->learned == 0) source->learned = 1;
}

void discover__source_same(rover_source_t *source) {
  if (source->closing) return;
  end_poll(source);
  learn(source);
  source->stats.unchanged++;
  poll_in(source, interval(source));
}

static void be_empty(rover_source_t *source, bool is_unasked,
                     const char *note) {
  discover__table_know(&source->table);
  source->stats.empty++;
  source->stats.stale = 1;
  source->fresh = false;
  discover__doubt_settle(&source->doubt);
  poll_after(source, is_unasked, interval(source));
  report(source, UV_ENOENT,
         source->table.listed > 0 ? "an empty list, so its servers stay"
                                  : "an empty list",
         note);
}

/* Ownership: the list is given away. */
static void take(rover_source_t *source, struct discover__list *list,
                 uint64_t ttl, const char *note) {
  source->ttl = ttl;
  source->stats.invalid += list->invalid;
  if (list->count == 0 && list->invalid > 0) {
    free(list);
    fail(source, UV_EPROTO, "none of what it lists is a server");
  } else if (list->count == 0 && !options_of(source)->allow_empty) {
    bool is_unasked = list->is_unasked;
    free(list);
    be_empty(source, is_unasked, note);
  } else {
    bool is_partial = note && list->count > 0;
    list->is_partial = is_partial;
    discover__table_take(&source->table, list);
    if (is_partial)
      report(source, UV_EAGAIN, "only a part of the list, so no server goes",
             note);
  }
}

void discover__source_list(rover_source_t *source, struct discover__list *list,
                           const char *note) {
  if (source->closing) {
    free(list);
    return;
  }
  list->is_unasked = !source->asking;
  end_poll(source);
  take(source, list, 0, note);
}

void discover__source_warn(rover_source_t *source, int status, bool is_stale,
                           const char *message) {
  if (is_stale) source->stats.stale = 1;
  report(source, status, message, NULL);
}

/* Whether an answer that is the same as the last need not be a list. */
static bool wants_same(const rover_source_t *source) {
  return source->fresh && !discover__cache_lacks(&source->cache);
}

/* -- What is made a list in a thread -------------------------------------- */

static void on_made(void *owner, struct discover__list *list, int status,
                    const char *why, const char *note) {
  rover_source_t *source = owner;

  end_poll(source);
  if (status < 0) fail(source, status, why);
  else if (list) take(source, list, source->ttl, note);
  else discover__source_same(source);
}

static void on_hold(void *owner) { ((rover_source_t *)owner)->refs++; }
static void on_release(void *owner) { unref(owner); }

static const struct discover__maker_events maker_events = {
    on_made, on_hold, on_release};

void discover__source_answer(rover_source_t *source,
                             const struct discover__answer *answer) {
  if (source->closing) {
    answer->drop(answer->from);
    return;
  }
  source->asking = false;
  source->ttl = answer->ttl;
  discover__maker_make(&source->maker, answer);
}

void discover__source_text(rover_source_t *source, char *bytes, size_t length,
                           uint64_t ttl) {
  if (source->closing) {
    free(bytes);
    return;
  }
  source->asking = false;
  source->ttl = ttl;
  if (!wants_same(source)) discover__maker_forget(&source->maker);
  discover__maker_read(&source->maker, bytes, length, options_of(source)->port);
}

/* -- Polling -------------------------------------------------------------- */

static int open_provider(rover_source_t *source) {
  if (source->provider) return 0;
  source->opened = discover__config_ref(source->config);
  int err = source->opened->kind->open(&source->provider, source);
  if (err == 0) {
    source->refs++;
  } else {
    source->provider = NULL;
    discover__config_unref(source->opened);
    source->opened = NULL;
  }
  return err;
}

static void close_provider(rover_source_t *source) {
  void *provider = source->provider;
  struct discover__config *opened = source->opened;

  if (!provider || !opened) return;
  source->provider = NULL;
  source->opened = NULL;
  opened->kind->close(provider);
  discover__config_unref(opened);
}

void discover__source_provider_closed(rover_source_t *source) { unref(source); }

static void poll(rover_source_t *source) {
  int err = open_provider(source);

  source->stats.lookups++;
  if (err < 0) {
    fail(source, err, uv_strerror(err));
    return;
  }
  source->asking = true;
  source->due = 0;
  uv_timer_start(&source->clock, on_clock, options_of(source)->timeout, 0);
  source->refs++; /* what it answers may close the source */
  source->config->kind->poll(source->provider, wants_same(source));
  unref(source);
}

static void on_clock(uv_timer_t *clock) {
  rover_source_t *source = clock->data;
  char why[64];

  if (!is_waiting(source)) {
    poll(source);
    return;
  }
  bool is_cache = source->cache.loading;
  if (source->asking) source->config->kind->stop(source->provider);
  end_poll(source);
  snprintf(why, sizeof why, "no answer within %llu ms",
           (unsigned long long)options_of(source)->timeout);
  if (is_cache) {
    poll_in(source, 0);
    report(source, UV_ETIMEDOUT, "cannot read its cache", why);
    return;
  }
  fail(source, UV_ETIMEDOUT, why);
}

void discover__source_wake(rover_source_t *source) {
  if (source->closing || !source->started) return;
  if (is_waiting(source) || discover__table_is_busy(&source->table))
    source->again = true;
  else poll_in(source, 0);
}

/* -- What becomes of an answer -------------------------------------------- */

static void on_changed(struct discover__table *table, const char *const added[],
                       size_t added_count, const char *const dropped[],
                       size_t dropped_count) {
  rover_source_t *source = source_of(table);

  source->stats.added += added_count;
  source->stats.dropped += dropped_count;
  if (source->events.update)
    source->events.update(source, added, added_count, dropped, dropped_count);
}

/* The first answer is believed, whatever was in the cache. */
static bool doubts(struct discover__table *table) {
  rover_source_t *source = source_of(table);
  return discover__doubt_begins(&source->doubt, options_of(source), table->gone,
                                table->before) &&
         source->learned > 0;
}

static bool believes(struct discover__table *table) {
  rover_source_t *source = source_of(table);

  return discover__doubt_ends(&source->doubt, options_of(source), table->gone,
                              table->before, table->alike,
                              !table->list->is_unasked);
}

static void doubt(rover_source_t *source, bool is_unasked) {
  char what[128];
  uint64_t ms = source->config->kind->watches
                    ? discover__pace_soon(&source->pace)
                    : interval(source);

  source->fresh = false;
  source->stats.stale = 1;
  poll_after(source, is_unasked, ms);
  if (!discover__doubt_count(&source->doubt, options_of(source), !is_unasked,
                             what, sizeof what))
    return;
  source->stats.doubted++;
  report(source, UV_EAGAIN, what, NULL);
}

/* A part adds servers, and says nothing about those that it lacks. */
static void be_partial(rover_source_t *source, bool is_unasked) {
  source->fresh = false;
  source->stats.stale = 1;
  discover__doubt_settle(&source->doubt);
  if (!discover__table_is_busy(&source->table))
    poll_after(source, is_unasked, interval(source));
}

static void on_done(struct discover__table *table, struct discover__list *list,
                    bool different) {
  rover_source_t *source = source_of(table);
  bool is_unasked = list->is_unasked, is_partial = list->is_partial;
  bool overflows = list->overflows;

  if (source->loading) {
    source->loading = false;
    free(list);
    poll_in(source, discover__pace_cached(&source->pace,
                                          options_of(source)->interval));
    return;
  }
  if (different) source->stats.changes++;
  else source->stats.unchanged++;
  if (!is_partial && !source->doubt.is_open && !overflows) {
    learn(source);
    discover__maker_believe(&source->maker);
    if (different || discover__cache_lacks(&source->cache))
      discover__cache_store(&source->cache, list);
    else free(list);
    poll_after(source, is_unasked, interval(source));
    return;
  }
  free(list);
  if (is_partial) be_partial(source, is_unasked);
  else if (source->doubt.is_open) doubt(source, is_unasked);
  else fail(source, UV_E2BIG, "too many servers, with those that have to go");
}

static void on_starved(struct discover__table *table) {
  report(source_of(table), UV_ENOMEM, "out of memory for its servers", NULL);
}

static void on_table_closed(struct discover__table *table) {
  unref(source_of(table));
}

static const struct discover__table_events table_events = {
    on_changed, doubts, believes, on_done, on_starved, on_table_closed};

/* -- The cache ------------------------------------------------------------ */

static void on_loaded(void *owner, struct discover__list *list, int status,
                      const char *why) {
  rover_source_t *source = owner;

  end_poll(source);
  if (list && list->count > 0) {
    source->loading = true;
    discover__table_take(&source->table, list);
    return;
  }
  free(list);
  poll_in(source, 0);
  if (status < 0) report(source, status, "cannot read its cache", why);
}

static void on_not_stored(void *owner, int status, const char *why) {
  report(owner, status, "cannot write its cache", why);
}

static const struct discover__cache_events cache_events = {
    on_loaded, on_not_stored, on_hold, on_release};

/* -- Life ----------------------------------------------------------------- */

int discover__source_new(rover_source_t **out, uv_loop_t *loop,
                         struct discover__config *config,
                         const discover__source_events_t *events, void *data,
                         size_t *memory) {
  rover_source_t *source = calloc(1, sizeof *source);
  if (!source) return UV_ENOMEM;
  discover__pace_init(&source->pace);
  int err = discover__table_init(&source->table, loop, &table_events, memory);
  if (err < 0) {
    free(source);
    return err;
  }
  source->loop = loop;
  source->config = config;
  source->events = *events;
  source->data = data;
  source->stats.stale = 1;
  source->refs = 2;
  source->table.removal_delay = config->options.removal_delay;
  discover__maker_init(&source->maker, loop, source, &maker_events);
  discover__cache_init(&source->cache, loop, source, &cache_events,
                       config->options.cache);
  uv_timer_init(loop, &source->clock);
  source->clock.data = source;
  *out = source;
  return 0;
}

int discover__source_attach(rover_source_t *source, rover_t *rover) {
  return discover__table_attach(&source->table, rover);
}

void discover__source_start(rover_source_t *source) {
  if (source->started) return;
  source->started = true;
  if (discover__cache_load(&source->cache))
    uv_timer_start(&source->clock, on_clock, options_of(source)->timeout, 0);
  else poll_in(source, 0);
}

/* In another manner, as with other headers, or something else: the first answer of
 * that is believed, since what was listed elsewhere is not lost there. */
static void ask_anew(rover_source_t *source, bool is_elsewhere) {
  close_provider(source);
  end_poll(source);
  discover__table_forget(&source->table);
  source->fresh = source->loading = false;
  source->pace.failures = 0;
  source->ttl = 0;
  if (is_elsewhere) {
    source->learned = 0;
    source->stats.stale = 1;
    discover__doubt_settle(&source->doubt);
  }
  poll_in(source, 0);
}

/* Its settings say to ask the same, perhaps at other times. */
static void go_on(rover_source_t *source, const struct discover__config *old) {
  if (source->opened) {
    discover__config_unref(source->opened);
    source->opened = discover__config_ref(source->config);
  }
  if (uv_is_active((uv_handle_t *)&source->clock) && !is_waiting(source) &&
      options_of(source)->interval != old->options.interval)
    poll_in(source, interval(source));
}

void discover__source_exchange(rover_source_t *source, rover_source_t *other) {
  struct discover__config *config = source->config;
  discover__source_events_t events = source->events;
  void *data = source->data;

  source->config = other->config;
  source->events = other->events;
  source->data = other->data;
  other->config = config;
  other->events = events;
  other->data = data;
  source->table.removal_delay = options_of(source)->removal_delay;
  discover__table_follow(&source->table, &other->table);
  if (!source->started) {
    source->cache.path = options_of(source)->cache;
    return;
  }
  if (!discover__config_same(source->config, config))
    ask_anew(source, !discover__config_same_place(source->config, config));
  else go_on(source, config);
  if (discover__cache_move(&source->cache, options_of(source)->cache))
    discover__source_wake(source); /* it is written with the next answer */
}

void discover__source_set_events(rover_source_t *source,
                                 const discover__source_events_t *events,
                                 void *data) {
  source->events = events ? *events : (discover__source_events_t){0};
  source->data = data;
}

void *discover__source_data(const rover_source_t *source) {
  return source->data;
}

static void on_clock_closed(uv_handle_t *clock) { unref(clock->data); }

void discover__source_close(rover_source_t *source,
                            discover__source_close_cb cb) {
  if (source->closing) return;
  source->closing = true;
  source->close_cb = cb;
  discover__maker_cancel(&source->maker);
  discover__cache_cancel(&source->cache);
  close_provider(source);
  uv_close((uv_handle_t *)&source->clock, on_clock_closed);
  discover__table_close(&source->table);
}

/* -- What there is to ask ------------------------------------------------- */

uv_loop_t *discover__source_loop(const rover_source_t *source) {
  return source->loop;
}

struct discover__config *discover__source_config(const rover_source_t *source) {
  return source->opened;
}

const char *rover_source_kind(const rover_source_t *source) {
  return source->config->kind->name;
}

const char *rover_source_place(const rover_source_t *source) {
  return source->config->place;
}

const rover_source_options_t *
rover_source_options(const rover_source_t *source) {
  return options_of(source);
}

void rover_source_stats_get(const rover_source_t *source,
                            rover_source_stats_t *stats) {
  *stats = source->stats;
  stats->servers = source->table.listed;
  stats->leaving = source->table.leaving_count;
  stats->next = 0;
  if (uv_is_active((const uv_handle_t *)&source->clock) && !is_waiting(source))
    stats->next = uv_timer_get_due_in(&source->clock);
  stats->age = source->learned > 0 ? uv_now(source->loop) - source->learned : 0;
}
