/* Private to src/sim: what hosts have to say, once each. */
#ifndef SIM_TOLD_H
#define SIM_TOLD_H

#include <stdint.h>
#include <uthash.h>

struct sim__told {
  char *message, *traceback; /* traceback: of the first; or NULL */
  uint64_t count;            /* how often it was said */
  uint32_t hosts;            /* by how many hosts */
  uint32_t host;             /* by which first, from 0 */
  uint64_t at;               /* and when */
  uint64_t *heard;           /* a bit for each host */
  uint32_t room;             /* of these, in words */
  UT_hash_handle hh;
};

/* Zeroed at first. In a hash table by message, in the order of the first time.
 * There are at most so many messages, since some have a number in them. */
enum { SIM__TOLD_MOST = 100 };

struct sim__tellings {
  struct sim__told *first;
  uint64_t others; /* what was said beyond these */
};

/* `traceback` may be NULL. */
void sim__tell(struct sim__tellings *tellings, uint32_t host,
               const char *message, const char *traceback);

#endif
