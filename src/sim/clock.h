/* Private to src/sim: virtual time, the queue of what happens in it, random
 * numbers, and the hash of a run.
 *
 * This program takes libc's place for libuv and Lua, which know of one clock
 * and one kernel. So it has variables, unlike our libraries: there is one run
 * in a process. */
#ifndef SIM_CLOCK_H
#define SIM_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#define SIM__NEVER UINT64_MAX

/* What CLOCK_MONOTONIC says when a run begins, in ns: some programs take 0 for
 * "never". */
#define SIM__EPOCH UINT64_C(1000000000000)

enum { SIM__US = 1000, SIM__MS = 1000 * 1000, SIM__S = 1000 * 1000 * 1000 };

/* Virtual time since the run began, in ns. Within a machine's code its clock
 * may be ahead: see sim__machine_busy() in machine.h. */
uint64_t sim__now(void);

/* -- Events --------------------------------------------------------------- */

/* Something that is to happen. Part of a struct of the caller's, zeroed at
 * first; no memory is allocated for it. Events of the same time happen in the
 * order in which they were set. */
struct sim__event {
  void (*happen)(struct sim__event *event);
  uint32_t place; /* in the queue; 0: not in it */
};

/* Sets the time of an event, in ns since the run began, also if it had another.
 * A time that is past means now. It leaves the queue before it happens. */
void sim__event_set(struct sim__event *event, uint64_t at);

void sim__event_cancel(struct sim__event *event);

/* Sets the time of an event for good: it can neither be set again nor cancelled,
 * and costs less. */
void sim__event_post(struct sim__event *event, uint64_t at);

static inline bool sim__event_waits(const struct sim__event *event) {
  return event->place > 0;
}

/* Calls `fn` at a time; for what happens seldom, as it allocates memory, and
 * cannot be cancelled. */
void sim__at(uint64_t at, void (*fn)(void *arg), void *arg);

/* The time of the next event, or SIM__NEVER. */
uint64_t sim__event_next(void);

/* Goes on to a time that is not past, and lets everything happen that is due at
 * it. Used by kernel.c alone, as is the next one. */
void sim__clock_go(uint64_t to);

void sim__clock_start(uint64_t seed);

/* Whether a run has begun, so that time is virtual. */
extern bool sim__is_virtual;

/* Time is real again. Of what waits in the queue, only events with that
 * `happen` still do; memory of sim__at() is freed. */
void sim__clock_end(void (*happen)(struct sim__event *event));

/* How many events have happened. */
uint64_t sim__events(void);

/* -- Random numbers ------------------------------------------------------- */

/* A stream of its own for everything that draws numbers (splitmix64), so that
 * what one draws does not depend on how often another did. */
struct sim__random {
  uint64_t state;
};

/* The stream of a name and a number, under the run's seed: ("load", 7). */
struct sim__random sim__random_stream(const char *name, uint64_t number);

uint64_t sim__random_next(struct sim__random *random);

/* From 0 to below 1. */
double sim__random_unit(struct sim__random *random);

/* From 0 to below `bound`, which is not 0. */
uint64_t sim__random_below(struct sim__random *random, uint64_t bound);

/* Exponentially distributed. */
double sim__random_exponential(struct sim__random *random, double mean);

/* A number that depends on all of these and on the run's seed, and on nothing
 * that has happened. */
uint64_t sim__random_hash(uint64_t one, uint64_t two, uint64_t three);

/* -- The trace ------------------------------------------------------------ */

/* Counts something into the hash of the run, together with the time. The hash
 * is a sum: it does not depend on the order in which things of the same time
 * happened. */
void sim__trace(uint64_t what, uint64_t which, uint64_t how);

/* Two runs in which the same happened at the same times have the same hash. */
uint64_t sim__trace_hash(void);

#endif
