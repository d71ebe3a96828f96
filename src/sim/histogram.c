#include "histogram.h"

#include <math.h>

#include "memory.h"

enum { UNIT_BITS = 10, TIME_BITS = 40 }; /* of 1,024 ns, up to 2^40 ns */

/* The bucket of a time: exact below 2^(bits + 1) units, and from there on 2^bits
 * buckets for each power of two. */
static uint32_t bucket_of(const struct sim__histogram *histogram, uint64_t ns) {
  unsigned bits = histogram->bits;
  uint64_t units = ns >> UNIT_BITS;

  if (units >> bits == 0) return (uint32_t)units;
  unsigned shift = 63 - (unsigned)__builtin_clzll(units) - bits;
  uint64_t bucket = ((uint64_t)shift << bits) + (units >> shift);
  return bucket < histogram->size ? (uint32_t)bucket : histogram->size - 1;
}

/* The time at a place within a bucket, from 0 at its beginning to 1 at its
 * end, in ns. */
static double time_at(const struct sim__histogram *histogram, uint32_t bucket,
                      double place) {
  unsigned bits = histogram->bits;
  unsigned octave = bucket >> bits, shift = octave > 0 ? octave - 1 : 0;
  double units = bucket - (shift << bits);

  return ldexp(units + place, (int)(shift + UNIT_BITS));
}

struct sim__histogram *sim__histogram_new(unsigned bits) {
  uint32_t size = (TIME_BITS - UNIT_BITS - bits + 1) << bits;
  struct sim__histogram *histogram =
      sim__new(sizeof *histogram + size * sizeof *histogram->buckets);

  histogram->bits = bits;
  histogram->size = size;
  return histogram;
}

void sim__histogram_record(struct sim__histogram *histogram, uint64_t ns) {
  histogram->buckets[bucket_of(histogram, ns)]++;
  histogram->count++;
}

void sim__histogram_add(struct sim__histogram *histogram,
                        const struct sim__histogram *other) {
  for (uint32_t i = 0; i < other->size; i++)
    histogram->buckets[i] += other->buckets[i];
  histogram->count += other->count;
}

double sim__histogram_at(const struct sim__histogram *histogram, double share) {
  uint64_t rank = (uint64_t)ceil(share * (double)histogram->count), seen = 0;

  if (rank == 0) rank = 1;
  for (uint32_t i = 0; i < histogram->size; i++) {
    uint32_t here = histogram->buckets[i];
    if (seen + here >= rank)
      return time_at(histogram, i, ((double)(rank - seen) - 0.5) / here);
    seen += here;
  }
  return 0;
}
