#include <stdlib.h>
#include <string.h>

#include "../lua/exposition.h"
#include "../net/options.h"
#include "base.h"
#include "report.h"

/* The metrics of a host. What they are made of is copied when the report is
 * made: `items`, which have the same families if they are of one noun. While it
 * is read, each family is written with the sample of each item. */

enum { POLICY, ROVER, RELAY, FRONT, NOUNS };

struct item {
  struct rover__text labels;
  union {
    rover_host_stats_t policy;
    rover_stats_t rover;
    rover_relay_stats_t relay;
    rover_front_stats_t front;
  } stats;
};

struct items {
  size_t count, capacity;
  struct item *list;
};

struct metrics {
  rover_host_report_t report;
  struct rover__exposition out;
  struct items items[NOUNS];
  /* What is written next. */
  size_t noun, family, item;
};

/* -- Families ------------------------------------------------------------- */

struct family {
  struct rover__family base;
  size_t offset; /* of the value in the item */
};

/* The KINDs of the maps. */
#define COUNTER(name) ROVER__COUNTER, name
#define BYTES(name) ROVER__COUNTER, name "_bytes"
#define GAUGE(name) ROVER__GAUGE, name
#define FAMILY(noun, field, kind, text)                                        \
  {{kind("callosum_" #noun "_" #field), text},                                 \
   offsetof(struct item, stats.noun.field)},

static const struct family of_policies[] = {
#define XX(name, kind, lua, text) FAMILY(policy, name, kind, text)
    ROVER_HOST_STATS_MAP(XX)
#undef XX
};

static const struct family of_rovers[] = {
#define XX(name, kind, lua, text) FAMILY(rover, name, kind, text)
    ROVER_STATS_MAP(XX)
#undef XX
};

static const struct family of_relays[] = {
#define XX(name, kind, lua, text) FAMILY(relay, name, kind, text)
    ROVER_RELAY_STATS_MAP(XX)
#undef XX
};

static const struct family of_fronts[] = {
#define XX(name, kind, lua, text) FAMILY(front, name, kind, text)
    ROVER_FRONT_STATS_MAP(XX)
#undef XX
};

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const struct noun {
  const struct family *families;
  size_t count;
} nouns[NOUNS] = {
    {of_policies, COUNT(of_policies)},
    {of_rovers, COUNT(of_rovers)},
    {of_relays, COUNT(of_relays)},
    {of_fronts, COUNT(of_fronts)},
};

/* -- Making --------------------------------------------------------------- */

/* Returns NULL if there is no memory, which is noted. */
static struct item *add_item(struct metrics *m, int noun) {
  struct items *items = &m->items[noun];

  if (items->count == items->capacity) {
    size_t capacity = items->capacity ? items->capacity * 2 : 4;
    struct item *list = realloc(items->list, capacity * sizeof *list);
    if (!list) {
      m->report.text.failed = true;
      return NULL;
    }
    items->list = list;
    items->capacity = capacity;
  }
  struct item *item = &items->list[items->count++];
  *item = (struct item){0};
  return item;
}

static struct item *add_named(struct metrics *m, int noun, const char *label,
                              const char *name) {
  struct item *item = add_item(m, noun);
  if (item) rover__expose_label(&item->labels, label, name, strlen(name));
  return item;
}

static void on_rover(rover_host_t *host, const rover_host_rover_t *rover,
                     void *arg) {
  struct item *item = add_named(arg, ROVER, "rover", rover->name);
  (void)host;
  if (item) rover_stats_get(rover->rover, &item->stats.rover);
}

static void on_relay(rover_host_t *host, const rover_host_relay_t *relay,
                     void *arg) {
  struct item *item = add_named(arg, RELAY, "relay", relay->name);
  (void)host;
  if (item) rover_relay_stats_get(relay->relay, &item->stats.relay);
}

static void on_front(rover_host_t *host, const rover_host_front_t *front,
                     void *arg) {
  struct item *item = add_named(arg, FRONT, "front", front->name);
  (void)host;
  if (item) rover_front_stats_get(front->front, &item->stats.front);
}

static void take_snapshot(struct metrics *m, rover_host_t *host) {
  static const rover_host_visitor_t visitor = {
      .rover = on_rover, .relay = on_relay, .front = on_front};

  struct item *policy = add_item(m, POLICY);
  if (policy) rover_host_stats_get(host, &policy->stats.policy);
  rover_host_each(host, &visitor, m);
}

/* -- The report ----------------------------------------------------------- */

/* Writes one sample. */
static bool write_next(rover_host_report_t *report, struct rover__text *text) {
  struct metrics *m = (struct metrics *)report;

  m->out.text = text;
  while (m->noun < NOUNS && (m->family == nouns[m->noun].count ||
                             m->items[m->noun].count == 0)) {
    m->noun++;
    m->family = 0;
  }
  if (m->noun == NOUNS) {
    rover__expose_end(&m->out);
    return false;
  }
  const struct family *family = &nouns[m->noun].families[m->family];
  const struct items *items = &m->items[m->noun];
  const struct item *item = &items->list[m->item];
  if (m->item == 0) rover__expose_family(&m->out, &family->base);
  uint64_t value;
  memcpy(&value, (const char *)item + family->offset, sizeof value);
  rover__expose_count(&m->out, &family->base, &item->labels, value);
  if (++m->item == items->count) {
    m->item = 0;
    m->family++;
  }
  return true;
}

static void free_metrics(rover_host_report_t *report) {
  struct metrics *m = (struct metrics *)report;

  for (int noun = 0; noun < NOUNS; noun++) {
    struct items *items = &m->items[noun];
    for (size_t i = 0; i < items->count; i++) free(items->list[i].labels.bytes);
    free(items->list);
  }
  free(m);
}

static bool are_valid(const rover_host_metrics_options_t *o) {
  return NET__IS_UNUSED(o->reserved) &&
         (unsigned)o->servers <= ROVER_HOST_SERVERS_NONE;
}

int rover_host_metrics(rover_host_t *host,
                       const rover_host_metrics_options_t *options,
                       rover_host_report_t **report) {
  static const rover_host_metrics_options_t defaults;

  if (!options) options = &defaults;
  if (!host || !report || !are_valid(options)) return UV_EINVAL;
  struct metrics *m = calloc(1, sizeof *m);
  if (!m) return UV_ENOMEM;
  m->report.write = write_next;
  m->report.free = free_metrics;
  m->out.open = options->openmetrics;
  take_snapshot(m, host);
  if (m->report.text.failed) {
    rover_host_report_free(&m->report);
    return UV_ENOMEM;
  }
  *report = &m->report;
  return 0;
}
