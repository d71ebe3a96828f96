/* Private to src/discover: when a source asks next. Owner: source.c.
 *
 * A fleet that was started together, or whose list fails, is late or shrinks for
 * all at the same moment, must not go on asking together: so the first time from
 * an answer to the next look-up is anything within the interval, and all others
 * are random, too. */
#ifndef DISCOVER_PACE_H
#define DISCOVER_PACE_H

#include <stdbool.h>
#include <stdint.h>

struct discover__pace {
  uint64_t random;
  bool is_spread;    /* it no longer asks in step with others */
  unsigned failures; /* in succession; the owner's */
};

void discover__pace_init(struct discover__pace *pace);

/* At random, in [0, 1). */
double discover__pace_draw(struct discover__pace *pace);

/* In ms: after an answer, whose `ttl`, or 0, is within bounds what is followed; */
uint64_t discover__pace_next(struct discover__pace *pace, uint64_t interval,
                             uint64_t ttl);
/* after a failure; */
uint64_t discover__pace_retry(struct discover__pace *pace);
/* after a list that was in the cache; */
uint64_t discover__pace_cached(struct discover__pace *pace, uint64_t interval);
/* if a watch is to list again. */
uint64_t discover__pace_soon(struct discover__pace *pace);

#endif
