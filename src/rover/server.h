/* Private to src/rover: one server. */
#ifndef ROVER_SERVER_H
#define ROVER_SERVER_H

#include <callosum/rover.h>

#define ROVER__NO_INDEX UINT32_MAX

/* If there is no memory to hash an id, that call fails, rather than the
 * process. */
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(element) ((element)->index = ROVER__NO_INDEX)
/* The ids of a fleet mostly count up, and Bernstein's hash puts such ids side
 * by side: a million are added in two thirds of the time. It spreads a little
 * worse: to find one takes up to 2.3 comparisons, with Jenkins' 1.5. */
#define HASH_FUNCTION(key, length, hash) HASH_BER(key, length, hash)
#include <uthash.h>

struct rover_server_s {
  UT_hash_handle hh;
  uint64_t paused_until; /* see net__now() */
  uint32_t index;        /* in the table's `all` */
  unsigned refs : 29;
  unsigned mark : 1;
  unsigned fate : 2; /* while rover_server_set() decides, see there */
  unsigned short port;
  unsigned short host; /* where it begins in text */
  char text[];         /* id NUL host NUL */
};

/* Returns NULL if there is no memory. */
rover_server_t *rover__server_new(const char *id, const char *host, int port);

/* What it takes, with its places in the table. */
ptrdiff_t rover__server_memory(const rover_server_t *server);

#endif
