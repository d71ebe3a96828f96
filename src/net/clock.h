/* Private to src/net, src/rover, src/relay and src/front: the time. */
#ifndef NET_CLOCK_H
#define NET_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NET_NEVER UINT64_MAX

static inline uint64_t net__read_clock(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* The time, in ms, comparable with uv_now(). The loop's own time is stale after
 * a busy stretch, and updating it would make timers due that libuv is about to
 * leave for the next turn. */
static inline uint64_t net__now(void) {
  return net__read_clock(CLOCK_MONOTONIC);
}

/* The same up to a few ms late, in a fifth of the CPU time. */
static inline uint64_t net__now_coarse(void) {
  return net__read_clock(CLOCK_MONOTONIC_COARSE);
}

/* `time` plus `ms`, where NET_NEVER is infinite. */
static inline uint64_t net__after(uint64_t time, uint64_t ms) {
  return ms < NET_NEVER - time ? time + ms : NET_NEVER;
}

static inline uint64_t net__sooner(uint64_t one, uint64_t other) {
  return one < other ? one : other;
}

#endif
