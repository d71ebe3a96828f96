#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../net/options.h"
#include "base.h"
#include "families.h"
#include "report.h"

/* The metrics of a host. What they are made of is copied when the report is
 * made: `items`, each with the values of one rover, say. While it is read, each
 * family is written with the samples of all its items. Those that a policy
 * declares are families of their own. */

struct section {
  struct host__families families;
  struct host__item *items;
  size_t count, capacity;
};

struct metrics {
  rover_host_report_t report;
  struct rover__exposition out;
  size_t server_limit; /* of a rover whose servers have metrics */
  struct host__server_values *servers;
  size_t server_capacity;
  struct rover__text ids, prefix; /* of their samples */
  struct section *sections; /* of the nouns, and of each metric of a policy's */
  size_t count;
  size_t section, family, item; /* what is written next */
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
    struct host__item *items =
        realloc(section->items, capacity * sizeof *items);
    if (!items) return fail(m);
    section->items = items;
    section->capacity = capacity;
  }
  void *values = calloc(1, size);
  if (!values) return fail(m);
  section->items[section->count++] = (struct host__item){.values = values};
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

/* Of one rover, whose servers are gone through. */
struct taking {
  struct metrics *metrics;
  struct host__rover_values *values;
  size_t count, most;
};

/* Has room for so many; returns whether there is memory. */
static bool grow_servers(struct metrics *m, size_t capacity) {
  struct host__server_values *servers;

  if (capacity <= m->server_capacity) return true;
  servers = realloc(m->servers, capacity * sizeof *servers);
  if (!servers) return false;
  m->servers = servers;
  m->server_capacity = capacity;
  return true;
}

/* As rover_balance_get(), which would go through all servers once more. */
static void count_balance(rover_balance_t *balance, uint64_t connections) {
  bool is_first = balance->servers++ == 0;
  balance->connections += connections;
  if (connections > balance->peak) balance->peak = connections;
  if (is_first || connections < balance->least) balance->least = connections;
  balance->mean = (double)balance->connections / (double)balance->servers;
}

static void take_server(const struct rover_known *known, void *arg) {
  struct taking *taking = arg;
  struct metrics *m = taking->metrics;
  size_t *count = &m->sections[HOST__SERVER].count;

  taking->values->servers[known->state]++;
  if (!known->by_hand && known->state != ROVER_DROPPED)
    count_balance(&taking->values->balance,
                  known->stats.kept + known->stats.joined);
  if (++taking->count > taking->most) return;
  if (*count == m->server_capacity && !grow_servers(m, *count * 2 + 64)) {
    fail(m);
    return;
  }
  const char *id = rover_server_id(known->server);
  size_t from = m->ids.length;
  rover__expose_value(&m->ids, id, strlen(id));
  m->servers[(*count)++] = (struct host__server_values){
      .rover = m->sections[HOST__ROVER].count - 1,
      .id = from,
      .id_length = m->ids.length - from,
      .up = known->state == ROVER_UP,
#define XX(name, kind, lua, text) .name = known->stats.name,
      ROVER_SERVER_STATS_MAP(XX)
#undef XX
  };
}

/* If there are too many, none has metrics of its own. */
static void take_servers(struct metrics *m, struct host__rover_values *values,
                         rover_t *rover) {
  size_t before = m->sections[HOST__SERVER].count;
  struct taking taking = {m, values, 0, m->server_limit};

  size_t count = rover_server_count(rover);
  if (count <= taking.most && !grow_servers(m, before + count)) fail(m);
  rover_known_each(rover, take_server, &taking);
  if (taking.count > taking.most) m->sections[HOST__SERVER].count = before;
}

static void on_rover(rover_host_t *host, const rover_host_rover_t *rover,
                     void *arg) {
  struct host__rover_values *values =
      add_named(arg, HOST__ROVER, "rover", rover->name, sizeof *values);
  (void)host;
  if (!values) return;
  take_servers(arg, values, (rover_t *)rover->rover);
  rover_stats_get(rover->rover, &values->stats);
  host__unreachable_get(rover->rover, values->unreachable);
  rover_slots_get(rover->rover, &values->slots);
  rover_connect_seconds_get(rover->rover, &values->connect_seconds);
}

static void on_relay(rover_host_t *host, const rover_host_relay_t *relay,
                     void *arg) {
  struct host__relay_values *values =
      add_named(arg, HOST__RELAY, "relay", relay->name, sizeof *values);
  (void)host;
  if (values) rover_relay_stats_get(relay->relay, &values->stats);
}

static void on_front(rover_host_t *host, const rover_host_front_t *front,
                     void *arg) {
  struct host__front_values *values =
      add_named(arg, HOST__FRONT, "front", front->name, sizeof *values);
  (void)host;
  if (values) rover_front_stats_get(front->front, &values->stats);
}

static void on_source(rover_host_t *host, const rover_host_source_t *source,
                      void *arg) {
  struct host__discovery_values *values =
      add_named(arg, HOST__DISCOVERY, "source", source->name, sizeof *values);
  (void)host;
  if (values) rover_source_stats_get(source->source, &values->stats);
}

static void on_certificate(rover_host_t *host,
                           const rover_host_certificate_t *certificate,
                           void *arg) {
  struct host__certificate_values *values = add_named(
      arg, HOST__CERTIFICATE, "file", certificate->file, sizeof *values);
  (void)host;
  if (values) values->expires = (double)certificate->expires;
}

static void add_workers(struct metrics *m, const rover_workers_t *workers) {
  unsigned count = workers ? rover_workers_count(workers) : 0;
  char name[16];

  for (unsigned i = 0; i < count; i++) {
    snprintf(name, sizeof name, "%u", i);
    struct host__worker_values *values =
        add_named(m, HOST__WORKER, "worker", name, sizeof *values);
    if (values) rover_worker_stats_get(workers, i, &values->stats);
  }
}

static void add_pools(struct metrics *m, const struct rover__books *books) {
  for (; books; books = books->next) {
    struct host__pool_values *values =
        add_named(m, HOST__POOL, "pool", books->name, sizeof *values);
    if (!values) return;
    values->stats = books->stats;
    values->wait = books->wait;
    values->lease = books->lease;
  }
}

static void add_policy(struct metrics *m, const rover_host_t *host) {
  struct host__policy_values *values =
      add_item(m, &m->sections[HOST__POLICY], sizeof *values);
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

static void add_metric(struct metrics *m, const struct rover__metric *metric) {
  struct section *section = &m->sections[m->count];
  struct host__own_family *own = host__own_family(metric);

  if (!own) {
    fail(m);
    return;
  }
  *section = (struct section){.families = {&own->family, 1}};
  m->count++;
  for (const struct rover__series *s = metric->series; s; s = s->next) {
    size_t counts = metric->bucket_count * sizeof *s->counts;
    struct host__own_values *values =
        add_item(m, section, sizeof *values + counts);
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
      .rover = on_rover,
      .relay = on_relay,
      .front = on_front,
      .source = on_source,
      .certificate = on_certificate};

  add_policy(m, host);
  add_workers(m, host->rovers.workers);
  if (rover_host_each(host, &visitor, m) < 0) fail(m);
  if (!own) return;
  add_pools(m, own->books);
  for (const struct rover__metric *metric = own->list; metric;
       metric = metric->next)
    add_metric(m, metric);
}

/* -- The report ----------------------------------------------------------- */

static void write_server(struct metrics *m, const struct host__family *family,
                         size_t index) {
  const struct host__server_values *server = &m->servers[index];
  const struct host__item *rover = &m->sections[HOST__ROVER].items[server->rover];
  uint64_t value;

  if (index == 0 || server->rover != server[-1].rover) {
    m->prefix.length = 0;
    rover__expose_prefix(&m->prefix, &family->base, &rover->labels, "server");
  }
  memcpy(&value, (const char *)server + family->offset, sizeof value);
  rover__expose_after(&m->out, &m->prefix, m->ids.bytes + server->id,
                      server->id_length, value);
}

/* Writes the samples of one item. */
static bool write_next(rover_host_report_t *report, struct rover__text *text) {
  struct metrics *m = (struct metrics *)report;
  const struct section *section = &m->sections[m->section];

  m->out.text = text;
  while (m->section < m->count &&
         (m->family == section->families.count || section->count == 0)) {
    m->section++;
    section++;
    m->family = 0;
  }
  if (m->section == m->count) {
    rover__expose_end(&m->out);
    return false;
  }
  const struct host__family *family = &section->families.list[m->family];
  if (m->item == 0) rover__expose_family(&m->out, &family->base);
  if (m->section == HOST__SERVER) write_server(m, family, m->item);
  else family->expose(&m->out, family, &section->items[m->item]);
  if (++m->item == section->count) {
    m->item = 0;
    m->family++;
  }
  return true;
}

static void free_metrics(rover_host_report_t *report) {
  struct metrics *m = (struct metrics *)report;

  free(m->servers);
  free(m->ids.bytes);
  free(m->prefix.bytes);
  for (size_t at = 0; at < m->count; at++) {
    struct section *section = &m->sections[at];
    for (size_t i = 0; section->items && i < section->count; i++) {
      free(section->items[i].labels.bytes);
      free(section->items[i].values);
    }
    free(section->items);
    if (at >= HOST__NOUNS) free((void *)section->families.list);
  }
  free(m->sections);
  free(m);
}

static bool are_valid(const rover_host_metrics_options_t *o) {
  return NET__IS_UNUSED(o->reserved) &&
         (unsigned)o->servers <= ROVER_HOST_SERVERS_NONE;
}

static size_t limit_of(const rover_host_metrics_options_t *o) {
  switch (o->servers) {
    case ROVER_HOST_SERVERS_NONE: return 0;
    case ROVER_HOST_SERVERS_ALL: return SIZE_MAX;
    default: return o->server_limit > 0 ? o->server_limit : 200;
  }
}

/* With room for so many metrics of the policy's. */
static struct metrics *metrics_new(size_t own) {
  struct metrics *m = calloc(1, sizeof *m);
  if (!m) return NULL;
  m->report.write = write_next;
  m->report.free = free_metrics;
  m->sections = malloc((HOST__NOUNS + own) * sizeof *m->sections);
  if (!m->sections) {
    free(m);
    return NULL;
  }
  for (; m->count < HOST__NOUNS; m->count++)
    m->sections[m->count] =
        (struct section){.families = host__families[m->count]};
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
  m->server_limit = limit_of(options);
  take_snapshot(m, host, own);
  if (m->report.text.failed || m->ids.failed) {
    rover_host_report_free(&m->report);
    return UV_ENOMEM;
  }
  *report = &m->report;
  return 0;
}
