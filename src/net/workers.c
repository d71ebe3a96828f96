#include "workers.h"

#include <errno.h>
#include <stdlib.h>

#include "clock.h"
#include "options.h"

/* The life of workers: each is started when it is picked for the first time, and
 * all end with the struct. One that cannot be started is left out until it is
 * tried again. */

enum { RETRY_MS = 1000 };

static bool may_start(const rover_workers_t *workers) {
  return workers->retry <= net__now();
}

/* The one with the fewest pairs, among those that have started or among all; or
 * NULL. */
static struct net__workers_slot *least(rover_workers_t *workers,
                                       bool may_be_new) {
  struct net__workers_slot *best = may_be_new ? &workers->slots[0] : NULL;

  for (unsigned i = 0; i < workers->count; i++) {
    struct net__workers_slot *slot = &workers->slots[i];
    if ((slot->is_started || may_be_new) &&
        (!best || slot->pairs < best->pairs))
      best = slot;
  }
  return best;
}

static int start(rover_workers_t *workers, struct net__workers_slot *slot) {
  int err = workers->is_stepped ? 0 : net__worker_start(&slot->worker);
  slot->is_started = err == 0;
  if (err == 0) return 0;
  slot->failed++;
  workers->retry = net__now() + RETRY_MS;
  return err;
}

struct net__workers_slot *net__workers_pick(rover_workers_t *workers,
                                            int *status) {
  struct net__workers_slot *slot = least(workers, true);

  *status = 0;
  if (!slot->is_started && may_start(workers)) *status = start(workers, slot);
  return slot->is_started ? slot : least(workers, false);
}

int rover_workers_new(rover_workers_t **out,
                      const rover_workers_options_t *options) {
  static const rover_workers_options_t defaults;
  if (!options) options = &defaults;
  unsigned count = options->threads > 0 ? options->threads : 1;
  if (!out || count > ROVER_WORKERS_MAX || !NET__IS_UNUSED(options->reserved))
    return -EINVAL;
  rover_workers_t *workers =
      calloc(1, sizeof *workers + count * sizeof *workers->slots);
  if (!workers) return -ENOMEM;
  workers->is_stepped = options->is_stepped;
  for (; workers->count < count; workers->count++) {
    int err = net__worker_open(&workers->slots[workers->count].worker);
    if (err == 0) continue;
    rover_workers_free(workers);
    return err;
  }
  *out = workers;
  return 0;
}

void rover_workers_free(rover_workers_t *workers) {
  if (!workers) return;
  for (unsigned i = 0; i < workers->count; i++)
    net__worker_close(&workers->slots[i].worker);
  free(workers);
}

uint64_t rover_workers_step(rover_workers_t *workers) {
  uint64_t due = NET_NEVER, now = net__now();

  for (unsigned i = 0; workers->is_stepped && i < workers->count; i++) {
    struct net__worker *worker = &workers->slots[i].worker;
    net__worker_turn(worker);
    due = net__sooner(due, worker->due);
  }
  if (due == NET_NEVER) return ROVER_NEVER;
  return due > now ? due - now : 0;
}

unsigned rover_workers_count(const rover_workers_t *workers) {
  return workers->count;
}

int rover_worker_stats_get(const rover_workers_t *workers, unsigned index,
                           rover_worker_stats_t *stats) {
  if (index >= workers->count) return -EINVAL;
  const struct net__workers_slot *slot = &workers->slots[index];
  *stats = (rover_worker_stats_t){
      .started = slot->is_started,
      .pairs = slot->pairs,
      .joined = slot->joined,
      .turns = atomic_load_explicit(&slot->worker.turns, memory_order_relaxed),
      .cpu = net__worker_cpu(&slot->worker),
      .failed = slot->failed,
  };
  return 0;
}
