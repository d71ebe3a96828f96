#include "pace.h"

#include <uv.h>

enum {
  RETRY_MS = 1000,
  RETRY_MAX_MS = 60000,
  TTL_LEAST_MS = 5000,
  TTL_MOST_MS = 300000,
  CACHED_MS = 5000, /* at most, from the cache to the first look-up */
  SOON_MS = 1000
};

void discover__pace_init(struct discover__pace *pace) {
  *pace = (struct discover__pace){0};
  if (uv_random(NULL, NULL, &pace->random, sizeof pace->random, 0, NULL) < 0)
    pace->random = uv_hrtime();
  pace->random |= 1;
}

/* xorshift64*. */
double discover__pace_draw(struct discover__pace *pace) {
  uint64_t x = pace->random;
  x ^= x >> 12;
  x ^= x << 25;
  x ^= x >> 27;
  pace->random = x;
  return (double)(x * UINT64_C(2685821657736338717) >> 11) / 9007199254740992.0;
}

/* A random time from `least` to `most` times as long. */
static uint64_t stretch(struct discover__pace *pace, uint64_t ms, double least,
                        double most) {
  double factor = least + (most - least) * discover__pace_draw(pace);
  return (uint64_t)((double)ms * factor);
}

uint64_t discover__pace_next(struct discover__pace *pace, uint64_t interval,
                             uint64_t ttl) {
  bool was_spread = pace->is_spread;
  uint64_t ms = interval;

  if (ttl > 0)
    ms = ttl < TTL_LEAST_MS  ? TTL_LEAST_MS
         : ttl > TTL_MOST_MS ? TTL_MOST_MS
                             : ttl;
  pace->is_spread = true;
  return was_spread ? stretch(pace, ms, 0.9, 1.1) : stretch(pace, ms, 0, 1);
}

uint64_t discover__pace_retry(struct discover__pace *pace) {
  unsigned doublings = pace->failures > 0 ? pace->failures - 1 : 0;
  uint64_t ms = doublings < 6 ? (uint64_t)RETRY_MS << doublings : RETRY_MAX_MS;

  return stretch(pace, ms, 0.9, 1.1);
}

uint64_t discover__pace_cached(struct discover__pace *pace, uint64_t interval) {
  uint64_t ms = interval < CACHED_MS ? interval : CACHED_MS;

  return stretch(pace, ms, 0.2, 1);
}

uint64_t discover__pace_soon(struct discover__pace *pace) {
  return stretch(pace, SOON_MS, 0.5, 1.5);
}
