#include <stdlib.h>
#include <string.h>

#include "../lua/bind_books.h"
#include "../lua/metrics.h"
#include "../net/options.h"
#include "base.h"
#include "report.h"

/* The metrics of a host. What they are made of is copied when the report is
 * made: `items`, each with the values of one rover, say. While it is read, each
 * family is written with the samples of all its items. Those that a policy
 * declares are families of their own. */

enum { POLICY, ROVER, POOL, RELAY, FRONT, NOUNS };

static const struct {
  int status;
  const char *name;
} causes[] = {
#define XX(code, message) {UV_##code, #code},
    UV_ERRNO_MAP(XX)
#undef XX
};
enum { CAUSES = sizeof causes / sizeof *causes };

struct policy {
  rover_host_stats_t stats;
  uint64_t memory, memory_limit, rover_memory, lost, successful;
};

struct rover {
  rover_stats_t stats;
  uint64_t unreachable[CAUSES];
  rover_histogram_t slots, connect_seconds;
};

struct pool {
  struct rover__pool_stats stats;
  struct rover__pool_times wait, lease;
};

struct relay {
  rover_relay_stats_t stats;
};

struct front {
  rover_front_stats_t stats;
};

/* A series of a policy's. */
struct own {
  double value;
  uint64_t counts[];
};

struct item {
  struct rover__text labels;
  void *values; /* one of these structs */
};

struct section {
  const struct family *families;
  size_t family_count;
  struct item *items;
  size_t count, capacity;
};

struct metrics {
  rover_host_report_t report;
  struct rover__exposition out;
  struct section *sections; /* of the nouns, and of each metric of a policy's */
  size_t count;
  size_t section, family, item; /* what is written next */
};

/* -- Families ------------------------------------------------------------- */

struct family {
  struct rover__family base;
  void (*expose)(struct rover__exposition *out, const struct family *family,
                 const struct item *item);
  size_t offset; /* of the value among the item's */
};

/* A metric of a policy's: its family, bounds and texts in one block. */
struct own_family {
  struct family family;
  size_t buckets;
  const double *bounds;
};

static const void *value_of(const struct family *family,
                            const struct item *item) {
  return (const char *)item->values + family->offset;
}

static void expose_count(struct rover__exposition *out,
                         const struct family *family, const struct item *item) {
  const uint64_t *value = value_of(family, item);
  rover__expose_count(out, &family->base, &item->labels, *value);
}

static void expose_histogram(struct rover__exposition *out,
                             const struct family *family,
                             const struct item *item) {
  const rover_histogram_t *value = value_of(family, item);
  rover__expose_histogram(
      out, &family->base, &item->labels,
      &(struct rover__distribution){value->bounds, value->counts, value->count,
                                    value->sum});
}

static void expose_times(struct rover__exposition *out,
                         const struct family *family, const struct item *item) {
  const struct rover__pool_times *value = value_of(family, item);
  rover__expose_histogram(
      out, &family->base, &item->labels,
      &(struct rover__distribution){rover__pool_bounds, value->counts,
                                    ROVER__POOL_BUCKETS, value->sum});
}

static void expose_own(struct rover__exposition *out,
                       const struct family *family, const struct item *item) {
  const struct own_family *own = (const struct own_family *)family;
  const struct own *values = item->values;

  if (own->buckets == 0) {
    rover__expose_number(out, &family->base, &item->labels, values->value);
    return;
  }
  rover__expose_histogram(
      out, &family->base, &item->labels,
      &(struct rover__distribution){own->bounds, values->counts, own->buckets,
                                    values->value});
}

/* With the cause as another label. */
static void expose_causes(struct rover__exposition *out,
                          const struct family *family,
                          const struct item *item) {
  const uint64_t *counts = value_of(family, item);

  for (int i = 0; i < CAUSES; i++) {
    if (counts[i] == 0) continue;
    struct rover__text labels = {0};
    rover__text_add(&labels, item->labels.bytes, item->labels.length);
    rover__expose_label(&labels, "cause", causes[i].name,
                        strlen(causes[i].name));
    rover__expose_count(out, &family->base, &labels, counts[i]);
    free(labels.bytes);
  }
}

static void expose_version(struct rover__exposition *out,
                           const struct family *family,
                           const struct item *item) {
  struct rover__text labels = {0};
  (void)item;
  rover__expose_label(&labels, "version", ROVER_VERSION_STRING,
                      strlen(ROVER_VERSION_STRING));
  rover__expose_count(out, &family->base, &labels, 1);
  free(labels.bytes);
}

/* The KINDs of the maps. */
#define COUNTER(name) ROVER__COUNTER, name
#define BYTES(name) ROVER__COUNTER, name "_bytes"
#define GAUGE(name) ROVER__GAUGE, name
#define FAMILY(noun, field, kind, text)                                        \
  {{kind("callosum_" #noun "_" #field), text},                                 \
   expose_count,                                                               \
   offsetof(struct noun, stats.field)},

static const struct family of_policies[] = {
#define XX(name, kind, lua, text) FAMILY(policy, name, kind, text)
    ROVER_HOST_STATS_MAP(XX)
#undef XX
    {{ROVER__GAUGE, "callosum_policy_last_reload_successful",
      "Whether the last reload succeeded, or there was none."},
     expose_count,
     offsetof(struct policy, successful)},
    {{ROVER__GAUGE, "callosum_policy_memory_bytes",
      "What the policy's Lua state has allocated."},
     expose_count,
     offsetof(struct policy, memory)},
    {{ROVER__GAUGE, "callosum_policy_rover_memory_bytes",
      "What its rovers have allocated outside of Lua."},
     expose_count,
     offsetof(struct policy, rover_memory)},
    {{ROVER__GAUGE, "callosum_policy_memory_limit_bytes",
      "The limit on each of these two."},
     expose_count,
     offsetof(struct policy, memory_limit)},
    {{ROVER__COUNTER, "callosum_policy_metrics_lost",
      "Observations of its metrics that were lost, as there were too many "
      "series."},
     expose_count,
     offsetof(struct policy, lost)},
    {{ROVER__GAUGE, "callosum_build_info", "The version that is running."},
     expose_version,
     0},
};

static const struct family of_rovers[] = {
#define XX(name, kind, lua, text) FAMILY(rover, name, kind, text)
    ROVER_STATS_MAP(XX)
#undef XX
    {{ROVER__COUNTER, "callosum_rover_unreachable_causes",
      "Attempts that ended without a slot line, by cause."},
     expose_causes,
     offsetof(struct rover, unreachable)},
    {{ROVER__HISTOGRAM, "callosum_rover_slot",
      "Slots that servers gave, whatever became of them."},
     expose_histogram,
     offsetof(struct rover, slots)},
    {{ROVER__HISTOGRAM, "callosum_rover_connect_seconds",
      "How long these attempts took until then, from their start."},
     expose_histogram,
     offsetof(struct rover, connect_seconds)},
};

static const struct family of_pools[] = {
#define XX(name, kind, lua, text) FAMILY(pool, name, kind, text)
    ROVER__POOL_STATS_MAP(XX)
#undef XX
    {{ROVER__HISTOGRAM, "callosum_pool_wait_seconds",
      "How long requests waited for a connection, also those in vain."},
     expose_times,
     offsetof(struct pool, wait)},
    {{ROVER__HISTOGRAM, "callosum_pool_lease_seconds",
      "How long connections were lent out."},
     expose_times,
     offsetof(struct pool, lease)},
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

#define SECTION(array) {array, sizeof(array) / sizeof *(array), NULL, 0, 0}
static const struct section nouns[NOUNS] = {
    [POLICY] = SECTION(of_policies), [ROVER] = SECTION(of_rovers),
    [POOL] = SECTION(of_pools),      [RELAY] = SECTION(of_relays),
    [FRONT] = SECTION(of_fronts),
};

/* -- Making --------------------------------------------------------------- */

static void *fail(struct metrics *m) {
  m->report.text.failed = true;
  return NULL;
}

/* Adds an item, and returns the `size` bytes of its values; or NULL if there is
 * no memory, which is noted. */
static void *add_item(struct metrics *m, struct section *section, size_t size) {
  if (section->count == section->capacity) {
    size_t capacity = section->capacity ? section->capacity * 2 : 4;
    struct item *items = realloc(section->items, capacity * sizeof *items);
    if (!items) return fail(m);
    section->items = items;
    section->capacity = capacity;
  }
  void *values = calloc(1, size);
  if (!values) return fail(m);
  section->items[section->count++] = (struct item){.values = values};
  return values;
}

static void *add_named(struct metrics *m, int noun, const char *label,
                       const char *name, size_t size) {
  struct section *section = &m->sections[noun];
  void *values = add_item(m, section, size);
  if (values)
    rover__expose_label(&section->items[section->count - 1].labels, label, name,
                        strlen(name));
  return values;
}

static void on_rover(rover_host_t *host, const rover_host_rover_t *rover,
                     void *arg) {
  struct rover *values =
      add_named(arg, ROVER, "rover", rover->name, sizeof *values);
  (void)host;
  if (!values) return;
  rover_stats_get(rover->rover, &values->stats);
  for (int i = 0; i < CAUSES; i++)
    values->unreachable[i] =
        rover_unreachable_count(rover->rover, causes[i].status);
  rover_slots_get(rover->rover, &values->slots);
  rover_connect_seconds_get(rover->rover, &values->connect_seconds);
}

static void on_relay(rover_host_t *host, const rover_host_relay_t *relay,
                     void *arg) {
  struct relay *values =
      add_named(arg, RELAY, "relay", relay->name, sizeof *values);
  (void)host;
  if (values) rover_relay_stats_get(relay->relay, &values->stats);
}

static void on_front(rover_host_t *host, const rover_host_front_t *front,
                     void *arg) {
  struct front *values =
      add_named(arg, FRONT, "front", front->name, sizeof *values);
  (void)host;
  if (values) rover_front_stats_get(front->front, &values->stats);
}

static void add_pools(struct metrics *m, const struct rover__books *books) {
  for (; books; books = books->next) {
    struct pool *values =
        add_named(m, POOL, "pool", books->name, sizeof *values);
    if (!values) return;
    values->stats = books->stats;
    values->wait = books->wait;
    values->lease = books->lease;
  }
}

static void add_policy(struct metrics *m, const rover_host_t *host) {
  struct policy *values = add_item(m, &m->sections[POLICY], sizeof *values);
  if (!values) return;
  rover_host_stats_get(host, &values->stats);
  values->successful = !host->reload_failed;
  values->rover_memory = host->rovers.memory;
  values->memory_limit = host->options.memory;
  if (!host->policy) return;
  values->memory = host->policy->memory;
  values->lost = host->policy->lua->metrics->lost;
}

/* -- Metrics of the policy's ---------------------------------------------- */

static struct own_family *copy_family(const struct rover__metric *metric) {
  size_t bounds = metric->bucket_count > 0 ? metric->bucket_count - 1 : 0;
  size_t name = strlen(metric->base.name) + 1;
  size_t help = strlen(metric->base.help) + 1;
  struct own_family *own =
      malloc(sizeof *own + bounds * sizeof *own->bounds + name + help);
  if (!own) return NULL;

  double *to = (double *)(own + 1);
  char *text = (char *)(to + bounds);
  if (bounds > 0) memcpy(to, metric->bounds, bounds * sizeof *to);
  memcpy(text, metric->base.name, name);
  memcpy(text + name, metric->base.help, help);
  *own = (struct own_family){
      {{metric->base.type, text, text + name}, expose_own, 0},
      metric->bucket_count,
      to};
  return own;
}

static void add_metric(struct metrics *m, const struct rover__metric *metric) {
  struct section *section = &m->sections[m->count];
  struct own_family *own = copy_family(metric);

  if (!own) {
    fail(m);
    return;
  }
  *section = (struct section){&own->family, 1, NULL, 0, 0};
  m->count++;
  for (const struct rover__series *s = metric->series; s; s = s->next) {
    size_t counts = metric->bucket_count * sizeof *s->counts;
    struct own *values = add_item(m, section, sizeof *values + counts);
    if (!values) return;
    values->value = s->value;
    if (counts > 0) memcpy(values->counts, s->counts, counts);
    rover__text_add(&section->items[section->count - 1].labels, s->labels.bytes,
                    s->labels.length);
  }
}

static void take_snapshot(struct metrics *m, rover_host_t *host,
                          const struct rover__metrics *own) {
  static const rover_host_visitor_t visitor = {
      .rover = on_rover, .relay = on_relay, .front = on_front};

  add_policy(m, host);
  rover_host_each(host, &visitor, m);
  if (!own) return;
  add_pools(m, own->books);
  for (const struct rover__metric *metric = own->list; metric;
       metric = metric->next)
    add_metric(m, metric);
}

/* -- The report ----------------------------------------------------------- */

/* Writes the samples of one item. */
static bool write_next(rover_host_report_t *report, struct rover__text *text) {
  struct metrics *m = (struct metrics *)report;
  const struct section *section = &m->sections[m->section];

  m->out.text = text;
  while (m->section < m->count &&
         (m->family == section->family_count || section->count == 0)) {
    m->section++;
    section++;
    m->family = 0;
  }
  if (m->section == m->count) {
    rover__expose_end(&m->out);
    return false;
  }
  const struct family *family = &section->families[m->family];
  if (m->item == 0) rover__expose_family(&m->out, &family->base);
  family->expose(&m->out, family, &section->items[m->item]);
  if (++m->item == section->count) {
    m->item = 0;
    m->family++;
  }
  return true;
}

static void free_metrics(rover_host_report_t *report) {
  struct metrics *m = (struct metrics *)report;

  for (size_t at = 0; at < m->count; at++) {
    struct section *section = &m->sections[at];
    for (size_t i = 0; i < section->count; i++) {
      free(section->items[i].labels.bytes);
      free(section->items[i].values);
    }
    free(section->items);
    if (at >= NOUNS) free((void *)section->families);
  }
  free(m->sections);
  free(m);
}

static bool are_valid(const rover_host_metrics_options_t *o) {
  return NET__IS_UNUSED(o->reserved) &&
         (unsigned)o->servers <= ROVER_HOST_SERVERS_NONE;
}

/* With room for so many metrics of the policy's. */
static struct metrics *metrics_new(size_t own) {
  struct metrics *m = calloc(1, sizeof *m);
  if (!m) return NULL;
  m->report.write = write_next;
  m->report.free = free_metrics;
  m->sections = malloc((NOUNS + own) * sizeof *m->sections);
  if (!m->sections) {
    free(m);
    return NULL;
  }
  memcpy(m->sections, nouns, sizeof nouns);
  m->count = NOUNS;
  return m;
}

int rover_host_metrics(rover_host_t *host,
                       const rover_host_metrics_options_t *options,
                       rover_host_report_t **report) {
  static const rover_host_metrics_options_t defaults;

  if (!options) options = &defaults;
  if (!host || !report || !are_valid(options)) return UV_EINVAL;
  const struct rover__metrics *own =
      host->policy ? host->policy->lua->metrics : NULL;
  struct metrics *m = metrics_new(own ? own->count : 0);
  if (!m) return UV_ENOMEM;
  m->out.open = options->openmetrics;
  take_snapshot(m, host, own);
  if (m->report.text.failed) {
    rover_host_report_free(&m->report);
    return UV_ENOMEM;
  }
  *report = &m->report;
  return 0;
}
