/* Private to src/rover: how often values have come, by buckets. */
#ifndef ROVER_HISTOGRAM_H
#define ROVER_HISTOGRAM_H

#include <callosum/rover.h>

enum { ROVER__BUCKETS = 17 };

/* The highest value of each but the last. */
struct rover__buckets {
  double bounds[ROVER__BUCKETS - 1];
};

extern const struct rover__buckets rover__slot_buckets, rover__second_buckets;

/* Of all zeros in the beginning. */
struct rover__histogram {
  uint64_t counts[ROVER__BUCKETS];
  double sum;
};

void rover__histogram_add(struct rover__histogram *histogram,
                          const struct rover__buckets *buckets, double value);

void rover__histogram_get(const struct rover__histogram *histogram,
                          const struct rover__buckets *buckets,
                          rover_histogram_t *out);

#endif
