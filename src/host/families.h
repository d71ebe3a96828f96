/* Private to src/host: the families of a host's metrics. */
#ifndef HOST_FAMILIES_H
#define HOST_FAMILIES_H

#include <callosum/host.h>

#include "../lua/bind_books.h"
#include "../lua/metrics.h"
#include "../rover/known.h"

/* What has the same families. */
enum {
  HOST__POLICY,
  HOST__ROVER,
  HOST__SERVER,
  HOST__POOL,
  HOST__RELAY,
  HOST__FRONT,
  HOST__WORKER,
  HOST__DISCOVERY,
  HOST__CERTIFICATE,
  HOST__NOUNS
};

#define XX(code, message) +1
enum { HOST__CAUSES = 0 UV_ERRNO_MAP(XX), HOST__STATES = ROVER_DROPPED + 1 };
#undef XX

/* -- Values --------------------------------------------------------------- */

struct host__policy_values {
  rover_host_stats_t stats;
  uint64_t memory, memory_limit, rover_memory, lost, successful;
};

struct host__rover_values {
  rover_stats_t stats;
  uint64_t servers[HOST__STATES];
  rover_balance_t balance;
  uint64_t unreachable[HOST__CAUSES];
  rover_histogram_t slots, connect_seconds;
};

struct host__pool_values {
  struct rover__pool_stats stats;
  struct rover__pool_times wait, lease;
};

struct host__relay_values {
  rover_relay_stats_t stats;
};

struct host__front_values {
  rover_front_stats_t stats;
};

struct host__worker_values {
  rover_worker_stats_t stats;
};

struct host__discovery_values {
  rover_source_stats_t stats;
};

struct host__certificate_values {
  double expires;
};

/* One of the servers of a rover, of which there may be thousands. */
struct host__server_values {
  size_t rover;          /* its item */
  size_t id, id_length; /* where its id is */
#define XX(name, kind, lua, text) uint64_t name;
  ROVER_SERVER_STATS_MAP(XX)
#undef XX
  uint64_t up;
};

/* A series of a policy's. */
struct host__own_values {
  double value;
  uint64_t counts[];
};

void host__unreachable_get(const rover_t *rover, uint64_t counts[HOST__CAUSES]);

/* -- Families ------------------------------------------------------------- */

struct host__item {
  struct rover__text labels;
  void *values; /* one of the structs above, but for servers */
};

struct host__family {
  struct rover__family base;
  /* Appends the samples of an item; NULL for servers. */
  void (*expose)(struct rover__exposition *out,
                 const struct host__family *family,
                 const struct host__item *item);
  size_t offset; /* of the value among the item's */
};

struct host__families {
  const struct host__family *list;
  size_t count;
};
extern const struct host__families host__families[HOST__NOUNS];

/* A metric of a policy's: its family, bounds and texts in one block. */
struct host__own_family {
  struct host__family family;
  size_t buckets;
  const double *bounds;
};

/* Returns NULL if there is no memory. Ownership: to be freed. */
struct host__own_family *host__own_family(const struct rover__metric *metric);

#endif
