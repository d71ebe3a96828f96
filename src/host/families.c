#include "families.h"

#include <stdlib.h>
#include <string.h>

/* All families of a host's metrics, from the maps of counters and a few more,
 * and how their samples are written. A policy's own metrics are families that
 * are copied from it. */

static const struct {
  int status;
  const char *name;
} causes[] = {
#define XX(code, message) {UV_##code, #code},
    UV_ERRNO_MAP(XX)
#undef XX
};

void host__unreachable_get(const rover_t *rover,
                           uint64_t counts[HOST__CAUSES]) {
  for (int i = 0; i < HOST__CAUSES; i++)
    counts[i] = rover_unreachable_count(rover, causes[i].status);
}

/* -- Samples -------------------------------------------------------------- */

static const void *value_of(const struct host__family *family,
                            const struct host__item *item) {
  return (const char *)item->values + family->offset;
}

static void expose_count(struct rover__exposition *out,
                         const struct host__family *family,
                         const struct host__item *item) {
  const uint64_t *value = value_of(family, item);
  rover__expose_count(out, &family->base, &item->labels, *value);
}

static void expose_number(struct rover__exposition *out,
                          const struct host__family *family,
                          const struct host__item *item) {
  const double *value = value_of(family, item);
  rover__expose_number(out, &family->base, &item->labels, *value);
}

static void expose_ms(struct rover__exposition *out,
                      const struct host__family *family,
                      const struct host__item *item) {
  const uint64_t *value = value_of(family, item);
  rover__expose_number(out, &family->base, &item->labels,
                       (double)*value / 1000);
}

static void expose_us(struct rover__exposition *out,
                      const struct host__family *family,
                      const struct host__item *item) {
  const uint64_t *value = value_of(family, item);
  rover__expose_number(out, &family->base, &item->labels,
                       (double)*value / 1000000);
}

static void expose_histogram(struct rover__exposition *out,
                             const struct host__family *family,
                             const struct host__item *item) {
  const rover_histogram_t *value = value_of(family, item);
  rover__expose_histogram(
      out, &family->base, &item->labels,
      &(struct rover__distribution){value->bounds, value->counts, value->count,
                                    value->sum});
}

static void expose_times(struct rover__exposition *out,
                         const struct host__family *family,
                         const struct host__item *item) {
  const struct rover__pool_times *value = value_of(family, item);
  rover__expose_histogram(
      out, &family->base, &item->labels,
      &(struct rover__distribution){rover__pool_bounds, value->counts,
                                    ROVER__POOL_BUCKETS, value->sum});
}

static void expose_own(struct rover__exposition *out,
                       const struct host__family *family,
                       const struct host__item *item) {
  const struct host__own_family *own = (const struct host__own_family *)family;
  const struct host__own_values *values = item->values;

  if (own->buckets == 0) {
    rover__expose_number(out, &family->base, &item->labels, values->value);
    return;
  }
  rover__expose_histogram(
      out, &family->base, &item->labels,
      &(struct rover__distribution){own->bounds, values->counts, own->buckets,
                                    values->value});
}

/* With another label. */
static void expose_part(struct rover__exposition *out,
                        const struct host__family *family,
                        const struct host__item *item, const char *label,
                        const char *value, uint64_t count) {
  struct rover__text labels = {0};
  rover__text_add(&labels, item->labels.bytes, item->labels.length);
  rover__expose_label(&labels, label, value, strlen(value));
  rover__expose_count(out, &family->base, &labels, count);
  free(labels.bytes);
}

static void expose_causes(struct rover__exposition *out,
                          const struct host__family *family,
                          const struct host__item *item) {
  const uint64_t *counts = value_of(family, item);
  for (int i = 0; i < HOST__CAUSES; i++)
    if (counts[i] > 0)
      expose_part(out, family, item, "cause", causes[i].name, counts[i]);
}

static void expose_states(struct rover__exposition *out,
                          const struct host__family *family,
                          const struct host__item *item) {
  static const char *const names[HOST__STATES] = {
      [ROVER_UP] = "up",
      [ROVER_UNREACHABLE] = "unreachable",
      [ROVER_PAUSED] = "paused",
      [ROVER_DRAINING] = "draining",
      [ROVER_DROPPED] = "dropped",
  };
  const uint64_t *counts = value_of(family, item);
  for (int i = 0; i < HOST__STATES; i++)
    expose_part(out, family, item, "state", names[i], counts[i]);
}

static void expose_version(struct rover__exposition *out,
                           const struct host__family *family,
                           const struct host__item *item) {
  struct rover__text labels = {0};
  (void)item;
  rover__expose_label(&labels, "version", ROVER_VERSION_STRING,
                      strlen(ROVER_VERSION_STRING));
  rover__expose_count(out, &family->base, &labels, 1);
  free(labels.bytes);
}

/* -- Families of the host ------------------------------------------------- */

/* The KINDs of the maps. */
#define COUNTER(name) ROVER__COUNTER, name
#define BYTES(name) ROVER__COUNTER, name "_bytes"
#define GAUGE(name) ROVER__GAUGE, name
#define FAMILY(noun, field, kind, text)                                        \
  {{kind("callosum_" #noun "_" #field), text},                                 \
   expose_count,                                                               \
   offsetof(struct host__##noun##_values, stats.field)},

static const struct host__family of_policies[] = {
#define XX(name, kind, lua, text) FAMILY(policy, name, kind, text)
    ROVER_HOST_STATS_MAP(XX)
#undef XX
    {{ROVER__GAUGE, "callosum_policy_last_reload_successful",
      "Whether the last reload succeeded, or there was none."},
     expose_count,
     offsetof(struct host__policy_values, successful)},
    {{ROVER__GAUGE, "callosum_policy_memory_bytes",
      "What the policy's Lua state has allocated."},
     expose_count,
     offsetof(struct host__policy_values, memory)},
    {{ROVER__GAUGE, "callosum_policy_rover_memory_bytes",
      "What its rovers have allocated outside of Lua."},
     expose_count,
     offsetof(struct host__policy_values, rover_memory)},
    {{ROVER__GAUGE, "callosum_policy_memory_limit_bytes",
      "The limit on each of these two."},
     expose_count,
     offsetof(struct host__policy_values, memory_limit)},
    {{ROVER__COUNTER, "callosum_policy_metrics_lost",
      "Observations of its metrics that were lost, as there were too many "
      "series."},
     expose_count,
     offsetof(struct host__policy_values, lost)},
    {{ROVER__GAUGE, "callosum_build_info", "The version that is running."},
     expose_version,
     0},
};

static const struct host__family of_rovers[] = {
#define XX(name, kind, lua, text) FAMILY(rover, name, kind, text)
    ROVER_STATS_MAP(XX)
#undef XX
    {{ROVER__COUNTER, "callosum_rover_unreachable_causes",
      "Attempts that ended without a slot line, by cause."},
     expose_causes,
     offsetof(struct host__rover_values, unreachable)},
    {{ROVER__GAUGE, "callosum_rover_servers",
      "Servers by their state; dropped are those with connections left."},
     expose_states,
     offsetof(struct host__rover_values, servers)},
    {{ROVER__GAUGE, "callosum_rover_balance_servers",
      "Servers that are not set aside by hand: the next ones are about these."},
     expose_count,
     offsetof(struct host__rover_values, balance.servers)},
    {{ROVER__GAUGE, "callosum_rover_balance_connections",
      "Connections to them, kept or joined with clients."},
     expose_count,
     offsetof(struct host__rover_values, balance.connections)},
    {{ROVER__GAUGE, "callosum_rover_balance_mean",
      "How many of these a server has on average."},
     expose_number,
     offsetof(struct host__rover_values, balance.mean)},
    {{ROVER__GAUGE, "callosum_rover_balance_peak",
      "How many the server has that has most."},
     expose_count,
     offsetof(struct host__rover_values, balance.peak)},
    {{ROVER__GAUGE, "callosum_rover_balance_least",
      "How many the server has that has fewest."},
     expose_count,
     offsetof(struct host__rover_values, balance.least)},
    {{ROVER__HISTOGRAM, "callosum_rover_slot",
      "Slots that servers gave, whatever became of them."},
     expose_histogram,
     offsetof(struct host__rover_values, slots)},
    {{ROVER__HISTOGRAM, "callosum_rover_connect_seconds",
      "How long these attempts took until then, from their start."},
     expose_histogram,
     offsetof(struct host__rover_values, connect_seconds)},
};

/* Of servers: see write_server(). */
static const struct host__family of_servers[] = {
#define SERVER_FAMILY(field, kind, text)                                       \
  {{kind("callosum_rover_server_" #field), text},                              \
   NULL,                                                                       \
   offsetof(struct host__server_values, field)},
#define XX(name, kind, lua, text) SERVER_FAMILY(name, kind, text)
    ROVER_SERVER_STATS_MAP(XX)
#undef XX
    SERVER_FAMILY(up, GAUGE, "Whether its state is up.")
};

static const struct host__family of_pools[] = {
#define XX(name, kind, lua, text) FAMILY(pool, name, kind, text)
    ROVER__POOL_STATS_MAP(XX)
#undef XX
    {{ROVER__HISTOGRAM, "callosum_pool_wait_seconds",
      "How long requests waited for a connection, also those in vain."},
     expose_times,
     offsetof(struct host__pool_values, wait)},
    {{ROVER__HISTOGRAM, "callosum_pool_lease_seconds",
      "How long connections were lent out."},
     expose_times,
     offsetof(struct host__pool_values, lease)},
};

static const struct host__family of_relays[] = {
#define XX(name, kind, lua, text) FAMILY(relay, name, kind, text)
    ROVER_RELAY_STATS_MAP(XX)
#undef XX
};

static const struct host__family of_fronts[] = {
#define XX(name, kind, lua, text) FAMILY(front, name, kind, text)
    ROVER_FRONT_STATS_MAP(XX)
#undef XX
};

/* Times are in seconds. */
#define FLAG GAUGE
#define TIME(name) ROVER__GAUGE, name "_seconds"
#define CPU(name) ROVER__COUNTER, name "_seconds"
#define BY_COUNTER expose_count
#define BY_GAUGE expose_count
#define BY_FLAG expose_count
#define BY_TIME expose_ms
#define BY_CPU expose_us
static const struct host__family of_workers[] = {
#define XX(name, kind, lua, text)                                              \
  {{kind("callosum_worker_" #name), text},                                     \
   BY_##kind,                                                                  \
   offsetof(struct host__worker_values, stats.name)},
    ROVER_WORKER_STATS_MAP(XX)
#undef XX
};

static const struct host__family of_discoveries[] = {
#define XX(name, kind, lua, text)                                              \
  {{kind("callosum_discovery_" #name), text},                                  \
   BY_##kind,                                                                  \
   offsetof(struct host__discovery_values, stats.name)},
    ROVER_SOURCE_STATS_MAP(XX)
#undef XX
};

static const struct host__family of_certificates[] = {
    {{ROVER__GAUGE, "callosum_tls_certificate_expiry_timestamp_seconds",
      "When the first of the certificates in the file expires."},
     expose_number,
     offsetof(struct host__certificate_values, expires)},
};

#define LIST(array) {array, sizeof(array) / sizeof *(array)}
const struct host__families host__families[HOST__NOUNS] = {
    [HOST__POLICY] = LIST(of_policies), [HOST__ROVER] = LIST(of_rovers),
    [HOST__SERVER] = LIST(of_servers),  [HOST__POOL] = LIST(of_pools),
    [HOST__RELAY] = LIST(of_relays),    [HOST__FRONT] = LIST(of_fronts),
    [HOST__WORKER] = LIST(of_workers),
    [HOST__DISCOVERY] = LIST(of_discoveries),
    [HOST__CERTIFICATE] = LIST(of_certificates),
};

/* -- Families of a policy ------------------------------------------------- */

struct host__own_family *host__own_family(const struct rover__metric *metric) {
  size_t bounds = metric->bucket_count > 0 ? metric->bucket_count - 1 : 0;
  size_t name = strlen(metric->base.name) + 1;
  size_t help = strlen(metric->base.help) + 1;
  struct host__own_family *own =
      malloc(sizeof *own + bounds * sizeof *own->bounds + name + help);
  if (!own) return NULL;

  double *to = (double *)(own + 1);
  char *text = (char *)(to + bounds);
  if (bounds > 0) memcpy(to, metric->bounds, bounds * sizeof *to);
  memcpy(text, metric->base.name, name);
  memcpy(text + name, metric->base.help, help);
  *own = (struct host__own_family){
      {{metric->base.type, text, text + name}, expose_own, 0},
      metric->bucket_count,
      to};
  return own;
}
