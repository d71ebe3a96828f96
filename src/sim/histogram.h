/* Private to src/sim: a histogram of times, from which percentiles are read. */
#ifndef SIM_HISTOGRAM_H
#define SIM_HISTOGRAM_H

#include <stdint.h>

/* Buckets are as wide as the times in them are long: a percentile is right
 * within 1 / 2^bits of itself, and mostly much closer, since times within a
 * bucket are taken to be spread evenly. The size is the same for ten times and
 * for ten million. Times are in ns; what is below 1 µs or above 18 minutes
 * counts as that. */
struct sim__histogram {
  unsigned bits;
  uint32_t size; /* of buckets */
  uint64_t count;
  uint32_t buckets[];
};

struct sim__histogram *sim__histogram_new(unsigned bits);

void sim__histogram_record(struct sim__histogram *histogram, uint64_t ns);

/* Adds what is in `other`, which has as many bits. */
void sim__histogram_add(struct sim__histogram *histogram,
                        const struct sim__histogram *other);

/* The time in ns that a share of all times, such as 0.99, do not exceed; 0 if
 * there are none. */
double sim__histogram_at(const struct sim__histogram *histogram, double share);

#endif
