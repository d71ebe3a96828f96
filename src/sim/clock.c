#include "clock.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

/* The queue is a heap with four children to a node, in which an entry holds
 * what it is compared by: of a thousand events each move touches few lines of
 * the cache. An event knows its place, so that it can be set again and
 * cancelled. */

struct entry {
  uint64_t at, order;
  struct sim__event *event;
};

static struct {
  uint64_t now, seed, order, happened, trace;
  struct entry *heap; /* its first entry is at 1 */
  uint32_t count, room;
} timeline;

bool sim__is_virtual;

uint64_t sim__now(void) { return timeline.now; }

uint64_t sim__events(void) { return timeline.happened; }

/* -- The queue ------------------------------------------------------------ */

static bool is_before(const struct entry *one, const struct entry *other) {
  return one->at != other->at ? one->at < other->at : one->order < other->order;
}

static uint32_t parent(uint32_t place) { return (place + 2) / 4; }
static uint32_t first_child(uint32_t place) { return place * 4 - 2; }

/* Whether the event knows its place. To tell one that is not in the cache would
 * be most of what the queue costs. */
enum { KNOWS = 1 };

static void put(uint32_t place, const struct entry *entry) {
  timeline.heap[place] = *entry;
  if (entry->order & KNOWS) entry->event->place = place;
}

static void rise(uint32_t place, struct entry entry) {
  while (place > 1 && is_before(&entry, &timeline.heap[parent(place)])) {
    put(place, &timeline.heap[parent(place)]);
    place = parent(place);
  }
  put(place, &entry);
}

static uint32_t least_child(uint32_t place) {
  uint32_t child = first_child(place), least = child;
  for (uint32_t i = child + 1; i < child + 4 && i <= timeline.count; i++)
    if (is_before(&timeline.heap[i], &timeline.heap[least])) least = i;
  return least;
}

static void sink(uint32_t place, struct entry entry) {
  while (first_child(place) <= timeline.count) {
    uint32_t child = least_child(place);
    if (!is_before(&timeline.heap[child], &entry)) break;
    put(place, &timeline.heap[child]);
    place = child;
  }
  put(place, &entry);
}

static void take_out(uint32_t place) {
  struct entry last = timeline.heap[timeline.count--];
  if (place > timeline.count) return;
  if (place > 1 && is_before(&last, &timeline.heap[parent(place)]))
    rise(place, last);
  else sink(place, last);
}

void sim__event_cancel(struct sim__event *event) {
  uint32_t place = event->place;

  if (place == 0) return;
  event->place = 0;
  take_out(place);
}

static void insert(struct sim__event *event, uint64_t at, uint64_t order) {
  if (at < timeline.now) at = timeline.now;
  if (timeline.count + 1 >= timeline.room) {
    timeline.room = timeline.room ? timeline.room * 2 : 1024;
    timeline.heap =
        sim__grow(timeline.heap, timeline.room * sizeof *timeline.heap);
  }
  rise(++timeline.count, (struct entry){at, order, event});
}

void sim__event_set(struct sim__event *event, uint64_t at) {
  sim__event_cancel(event);
  insert(event, at, (timeline.order += 2) | KNOWS);
}

void sim__event_post(struct sim__event *event, uint64_t at) {
  insert(event, at, timeline.order += 2);
}

uint64_t sim__event_next(void) {
  return timeline.count > 0 ? timeline.heap[1].at : SIM__NEVER;
}

void sim__clock_go(uint64_t to) {
  if (to > timeline.now) timeline.now = to;
  while (timeline.count > 0 && timeline.heap[1].at <= timeline.now) {
    struct sim__event *event = timeline.heap[1].event;
    if (timeline.heap[1].order & KNOWS) event->place = 0;
    take_out(1);
    timeline.happened++;
    event->happen(event);
  }
}

/* -- Calls ---------------------------------------------------------------- */

struct call {
  struct sim__event event;
  void (*fn)(void *arg);
  void *arg;
};

static void on_call(struct sim__event *event) {
  struct call call = *(struct call *)event;
  free(event);
  call.fn(call.arg);
}

void sim__at(uint64_t at, void (*fn)(void *arg), void *arg) {
  struct call *call = sim__new(sizeof *call);
  *call = (struct call){.event.happen = on_call, .fn = fn, .arg = arg};
  sim__event_post(&call->event, at);
}

/* -- Random numbers ------------------------------------------------------- */

/* splitmix64, by Sebastiano Vigna: any two numbers give unrelated streams. */
static uint64_t scramble(uint64_t x) {
  x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
  return x ^ (x >> 31);
}

#define STEP UINT64_C(0x9e3779b97f4a7c15)

uint64_t sim__random_hash(uint64_t one, uint64_t two, uint64_t three) {
  uint64_t x = scramble(timeline.seed + STEP * (one + 1));
  return scramble(scramble(x + STEP * (two + 1)) + STEP * (three + 1));
}

struct sim__random sim__random_stream(const char *name, uint64_t number) {
  uint64_t hash = 0;
  while (*name) hash = scramble(hash + STEP * (unsigned char)*name++);
  return (struct sim__random){sim__random_hash(hash, number, 0)};
}

uint64_t sim__random_next(struct sim__random *random) {
  return scramble(random->state += STEP);
}

double sim__random_unit(struct sim__random *random) {
  return (double)(sim__random_next(random) >> 11) * 0x1.0p-53;
}

uint64_t sim__random_below(struct sim__random *random, uint64_t bound) {
  /* The upper half of a product; the bias is 2^-64 times the bound. */
  uint64_t x = sim__random_next(random);
  uint64_t low = (x & UINT32_MAX) * (bound & UINT32_MAX);
  uint64_t one = (x >> 32) * (bound & UINT32_MAX) + (low >> 32);
  uint64_t other = (x & UINT32_MAX) * (bound >> 32) + (one & UINT32_MAX);
  return (x >> 32) * (bound >> 32) + (one >> 32) + (other >> 32);
}

double sim__random_exponential(struct sim__random *random, double mean) {
  return -log(1 - sim__random_unit(random)) * mean;
}

/* -- The trace ------------------------------------------------------------ */

void sim__trace(uint64_t what, uint64_t which, uint64_t how) {
  uint64_t x = scramble(timeline.now + STEP * (what + 1));
  timeline.trace +=
      scramble(scramble(x + STEP * (which + 1)) + STEP * (how + 1));
}

uint64_t sim__trace_hash(void) { return timeline.trace; }

/* -- Life ----------------------------------------------------------------- */

void sim__clock_start(uint64_t seed) {
  timeline.seed = scramble(seed + STEP);
  sim__is_virtual = true;
}

void sim__clock_end(void (*happen)(struct sim__event *event)) {
  while (timeline.count > 0) {
    struct sim__event *event = timeline.heap[timeline.count--].event;
    event->place = 0;
    if (event->happen == on_call) free(event);
    else if (event->happen == happen) happen(event);
  }
  free(timeline.heap);
  memset(&timeline, 0, sizeof timeline);
  sim__is_virtual = false;
}
