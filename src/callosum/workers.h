/* callosum/workers.h - threads that copy between connections that are joined.
 *
 * A relay or front joins connections, and then copies what each end sends to the
 * other. Without workers it does so on its loop, which waits whenever a callback
 * takes long. With workers, each pair of joined connections belongs to one of
 * these threads: callbacks stay on the loop, and what goes on in them delays no
 * byte. Only what a client has sent before it is joined is passed on by the
 * loop, as it joins it, since the thread may have to wake first.
 *
 *   rover_workers_t *workers;
 *   int err = rover_workers_new(&workers, NULL);
 *   rover_relay_options_t options = {.workers = workers, ...};
 *
 * Any number of relays and fronts of one loop may share them. A thread is
 * started when it gets its first pair; it blocks all signals, calls back
 * nobody, and is named "callosum-worker". Where it cannot be started, the relay
 * or front says so in its error callback (UV_EAGAIN, UV_ENOMEM), and the pair
 * runs in another one, or on the loop; after a second it is tried again. Where
 * one cannot poll a pair (UV_ENOSPC: the limit fs.epoll.max_user_watches;
 * UV_ENOMEM), that is reset, and the callback says so, at most once a second.
 *
 * After a fork() the threads are the parent's, so the child has to replace
 * itself by exec(), or exit.
 *
 * exit() runs what was registered with atexit(), and the destructors of
 * libraries, while threads still copy: OpenSSL, for one, then frees what pairs
 * with TLS use. So close all relays and fronts and free the workers first, or
 * leave by _exit().
 *
 * The words and rules of <callosum/rover.h> hold here, too.
 */
#ifndef CALLOSUM_WORKERS_H
#define CALLOSUM_WORKERS_H

#include <callosum/rover.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ROVER_WORKERS_MAX 64

typedef struct rover_workers_s rover_workers_t;

typedef struct rover_workers_options_s {
  unsigned threads; /* 1 to ROVER_WORKERS_MAX; 0: 1 */
  /* No threads: the pairs run when you call rover_workers_step(). */
  int is_stepped;
  uint64_t reserved[4];
} rover_workers_options_t;

/* Opens two descriptors for each, and starts nothing yet. `options` may be NULL.
 * Ownership: free it with rover_workers_free(). Errors: UV_EINVAL (`workers` is
 * NULL, too many threads, `reserved` is not zero), UV_EMFILE, UV_ENOMEM. */
ROVER_EXTERN int rover_workers_new(rover_workers_t **workers,
                                   const rover_workers_options_t *options);

/* Stops the threads, and waits for that, which is short: they have nothing to
 * do any more. Only after the close callbacks of all that use them. NULL is
 * ignored. */
ROVER_EXTERN void rover_workers_free(rover_workers_t *workers);

/* With is_stepped: copies what there is to copy, and applies deadlines, once and
 * without waiting. What has ended is reported in the loop. Returns in how many
 * ms, unless something happens before, there is more to do; or ROVER_NEVER. */
ROVER_EXTERN uint64_t rover_workers_step(rover_workers_t *workers);

/* How many there are, started or not. */
ROVER_EXTERN unsigned rover_workers_count(const rover_workers_t *workers);

/* As ROVER_STATS_MAP of <callosum/rover.h>; a FLAG is 0 or 1, and a CPU a
 * counter of CPU time in us. */
#define ROVER_WORKER_STATS_MAP(XX)                                             \
  XX(started, FLAG, "started", "Whether its thread runs.")                     \
  XX(pairs, GAUGE, "pairs", "Pairs of joined connections that it has.")        \
  XX(joined, COUNTER, "joined", "Pairs that it has been given.")               \
  XX(turns, COUNTER, "turns", "How often it has waited for something to do.")  \
  XX(cpu, CPU, "cpu", "Its CPU time; 0 with is_stepped.")                      \
  XX(failed, COUNTER, "failed", "How often it could not be started.")

typedef struct rover_worker_stats_s {
#define XX(name, kind, lua, text) uint64_t name;
  ROVER_WORKER_STATS_MAP(XX)
#undef XX
#define XX(name, kind, lua, text) -1
  uint64_t reserved[16 ROVER_WORKER_STATS_MAP(XX)]; /* zero */
#undef XX
} rover_worker_stats_t;

/* Of the worker with that index. Errors: UV_EINVAL (there is none). */
ROVER_EXTERN int rover_worker_stats_get(const rover_workers_t *workers,
                                        unsigned index,
                                        rover_worker_stats_t *stats);

#ifdef __cplusplus
}
#endif

#endif
