/* Private to src/rover and src/host: all that a rover knows of servers, for who
 * shows it.
 *
 * As in reload.h, this is exported, but not part of the API. */
#ifndef ROVER_KNOWN_H
#define ROVER_KNOWN_H

#include <callosum/rover.h>

enum rover_known_state {
  ROVER_UP, /* or not asked yet */
  ROVER_UNREACHABLE,
  ROVER_PAUSED,
  ROVER_DRAINING,
  ROVER_DROPPED
};

/* One of the rover's servers, or one that it has no longer, while there are
 * connections to it or it is steered. */
struct rover_known {
  rover_server_t *server;
  enum rover_known_state state;
  int by_hand; /* somebody steers it */
  rover_server_stats_t stats;
  int last_slot; /* or -1 */
  const char *message; /* why the last attempt that failed did; or NULL, */
  int status;          /* ... its status, ... */
  uint64_t ago;        /* ... and how many ms that is ago */
  uint32_t *row; /* for rover_known_slots(); NULL if it has no connections */
};

/* Calls `cb` for each. It must not call the rover. */
ROVER_EXTERN void rover_known_each(rover_t *rover,
                                   void (*cb)(const struct rover_known *known,
                                              void *arg),
                                   void *arg);

/* The same of one server that `cb` had, if nothing has happened since. */
ROVER_EXTERN void rover_known_get(rover_server_t *server,
                                  struct rover_known *known);

/* Calls `cb` for each kept and each joined connection, with what is in the row
 * of its server. */
ROVER_EXTERN void rover_known_slots(rover_t *rover,
                                    void (*cb)(uint32_t row, int slot,
                                               void *arg),
                                    void *arg);

/* Adds a server by hand: it stays until it is dropped by its name, whatever
 * list is set, and is not steered any more. Errors: those of
 * rover_server_add(), and UV_EEXIST if there is one of that id at another
 * address, unless that was added and dropped by hand. */
ROVER_EXTERN int rover_server_pin(rover_t *rover,
                                  const rover_server_entry_t *entry);

/* What was decided about a server by hand. */
struct rover_decision {
  const char *id, *host;
  int port;
  int pinned;
  rover_steer_t how;
  uint64_t ms; /* left of a drain */
};

/* Calls `cb` for each server with one. It must not call the rover. */
ROVER_EXTERN void
rover_decisions_each(rover_t *rover,
                     void (*cb)(const struct rover_decision *decision,
                                void *arg),
                     void *arg);

/* Decides that here, too, perhaps before the program has that server. Errors:
 * those of rover_server_pin() and rover_server_steer(). */
ROVER_EXTERN int rover_decide(rover_t *rover,
                              const struct rover_decision *decision);

#endif
