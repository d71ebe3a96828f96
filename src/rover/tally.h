/* Private to src/rover: what is counted by the id of a server. Owner: server.c.
 */
#ifndef ROVER_TALLY_H
#define ROVER_TALLY_H

#include "base.h"
#include "server.h"

/* If there is no memory to hash an id, the call fails instead of aborting the
 * process. */
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(element) ((element)->is_lost = 1)
#include <uthash.h>

/* Why the last attempt that failed did. */
struct rover__failure {
  uint64_t at; /* see net__now() */
  int status;
  char message[256]; /* cut */
};

struct rover__joined; /* see joined.h */

struct rover__tally {
  UT_hash_handle hh;
  rover_t *rover;         /* NULL once that has forgotten it */
  rover_server_t *server; /* the latest of that id; NULL likewise */
  unsigned refs; /* the rover, servers and joined connections */
  uint32_t row;   /* for known.h */
  uint32_t kept, lent, joined;
  uint64_t attempts, connections, rejected, unreachable, errors;
  int last_slot; /* or -1 */
  unsigned is_listed : 1; /* the server is */
  unsigned steer : 2;     /* a rover_steer_t */
  unsigned pinned : 1;    /* added by hand */
  unsigned failing : 1;   /* the last attempt was unreachable */
  unsigned is_lost : 1;   /* uthash had no memory for it */
  struct rover__drain {
    uint64_t from, until; /* see net__now() */
    uint32_t begin;       /* how many there were */
    uint32_t surplus;     /* to be ended now */
  } drain;
  struct rover__failure *failure; /* or NULL */
  struct rover__joined *joins;    /* a list */
};

/* The tally of a server that is listed, made if there is none; or NULL if there
 * is no memory. */
struct rover__tally *rover__tally_get(rover_t *rover, rover_server_t *server);
struct rover__tally *rover__tally_find(const rover_t *rover, const char *id);

/* A server is listed: it has the tally of its id, if there is one. */
void rover__tally_list(rover_t *rover, rover_server_t *server);

/* It is not listed any more. Its tally stays as long as it has connections, or
 * is steered. */
void rover__tally_delist(const rover_server_t *server);

/* To be called when it may have no reason to stay any more. */
void rover__tally_settle(struct rover__tally *tally);

/* One that refers to it is gone. */
void rover__tally_unref(struct rover__tally *tally);

/* An attempt has failed. */
void rover__tally_fail(struct rover__tally *tally, int status,
                       const char *message);

/* An attempt was rejected for its slot. */
void rover__tally_reject(struct rover__tally *tally, int slot);

/* A socket is kept; it has closed. */
void rover__tally_keep(struct rover__tally *tally, int slot);
void rover__tally_lose(struct rover__tally *tally, bool lent);

/* The rover is about to be freed. */
void rover__tallies_clear(rover_t *rover);

#endif
