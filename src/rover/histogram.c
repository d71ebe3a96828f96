#include "histogram.h"

#include <math.h>

/* Slots from 0: the tenth connection has the slot 9. */
const struct rover__buckets rover__slot_buckets = {
    {0, 1, 2, 3, 4, 6, 9, 14, 19, 29, 49, 99, 199, 499, 999, 4999}};

const struct rover__buckets rover__second_buckets = {
    {.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1,
     2.5, 5, 10}};

void rover__histogram_add(struct rover__histogram *histogram,
                          const struct rover__buckets *buckets, double value) {
  int i = 0;
  while (i < ROVER__BUCKETS - 1 && value > buckets->bounds[i]) i++;
  histogram->counts[i]++;
  histogram->sum += value;
}

void rover__histogram_get(const struct rover__histogram *histogram,
                          const struct rover__buckets *buckets,
                          rover_histogram_t *out) {
  *out = (rover_histogram_t){.count = ROVER__BUCKETS, .sum = histogram->sum};
  for (int i = 0; i < ROVER__BUCKETS; i++) {
    out->bounds[i] = i < ROVER__BUCKETS - 1 ? buckets->bounds[i] : HUGE_VAL;
    out->counts[i] = histogram->counts[i];
  }
}
