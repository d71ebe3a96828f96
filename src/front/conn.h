/* Private to src/front: a connection that was accepted. Owner: front.c. */
#ifndef FRONT_CONN_H
#define FRONT_CONN_H

#include "../net/header.h"
#include "front.h"

struct front__conn {
  union {
    struct net__pair pair; /* once it is joined */
    /* While it is read, and until it is joined, or NULL. */
    struct net__header *header;
  };
  struct net__poll near; /* until then, and when it is ended */
  struct net__poll far;  /* while it connects; its fd is -1 without one */
  rover_front_t *front;
  struct front__conn *prev, *next;
  struct front__conn **list;      /* of its state; NULL: it is joined */
  struct front__address *address; /* or NULL: those from it are not counted */
  uint64_t since;                 /* when it came into its state: net__now() */
  uint32_t index;
  uint32_t drain; /* the serial of the last one that began before it came */
  unsigned char state;
  bool is_unix;
  bool has_line;
  bool near_again, far_again; /* something was reported that a pair is to see */
};

/* Whether it was there when the last drain began. */
static inline bool front__conn_is_drained(const struct front__conn *conn) {
  return conn->drain != conn->front->drain.serial;
}

/* Takes on an accepted connection, or closes it. Errors: UV_ENOMEM. */
int front__conn_new(rover_front_t *front, int fd, bool is_unix);

/* Closes an accepted connection. */
void front__conn_refuse(rover_front_t *front, int fd);

/* Ends an unused one, unless it has something to say after all: then it is
 * joined. It is unused no more. */
void front__conn_end(struct front__conn *conn);

/* Ends a joined one, if nothing is under way. Returns whether it did. */
bool front__conn_end_pair(struct net__pair *pair);

/* Resets one that is not joined. */
void front__conn_cut(struct front__conn *conn);

/* Resets all there are. */
void front__conns_cut(rover_front_t *front);

/* Frees those that are over; not from within a call of theirs. */
void front__conns_bury(rover_front_t *front);

/* A joined one is over. */
void front__conn_ended(struct net__pair *pair, enum net__outcome outcome);

uint64_t front__conns_due(const rover_front_t *front);
void front__conns_expire(rover_front_t *front, uint64_t polled, uint64_t now);

#endif
