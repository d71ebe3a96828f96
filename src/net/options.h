/* Private to src/net, src/rover, src/relay, src/front and src/host: whether
 * options are in their ranges, by the KINDs of the maps in the public headers
 * (see ROVER_OPTIONS_MAP). Zero, the default, always is. */
#ifndef NET_OPTIONS_H
#define NET_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool net__is_MS(uint64_t value, uint64_t least, uint64_t most) {
  return value == 0 || (value >= least && value <= most);
}

static inline bool net__is_TIMEOUT(uint64_t value, uint64_t least,
                                   uint64_t most) {
  return value == UINT64_MAX || net__is_MS(value, least, most);
}

static inline bool net__is_SECONDS(int value, int least, int most) {
  return value <= 0 || (value >= least && value <= most);
}

static inline bool net__is_FRACTION(double value, double least, double most) {
  return value >= least && value <= most;
}

static inline bool net__is_FACTOR(double value, double least, double most) {
  return value == 0 || (value >= least && value <= most);
}

static inline bool net__is_PROXY(int value, int least, int most) {
  return value >= least && value <= most;
}

#define net__is_COUNT net__is_MS
#define net__is_SEED net__is_MS
#define net__is_FLAG(value, least, most) true

/* Whether the reserved bytes of a public struct are all zero. */
static inline bool net__is_unused(const void *room, size_t size) {
  const unsigned char *bytes = room;
  while (size > 0 && bytes[size - 1] == 0) size--;
  return size == 0;
}
#define NET__IS_UNUSED(room) net__is_unused(room, sizeof(room))

#endif
