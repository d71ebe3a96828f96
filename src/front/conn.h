/* Private to src/front: an accepted connection. Owner: front.c. */
#ifndef FRONT_CONN_H
#define FRONT_CONN_H

#include "../net/header.h"
#include "front.h"

struct front__conn {
  union {
    struct net__pair pair;        /* once joined */
    struct {                      /* until then: */
      struct net__header *header; /* NULL without accept_proxy */
      struct front__conn *queue_prev, *queue_next; /* if it is queued */
    };
  };
  struct net__poll near; /* the client, unless joined */
  struct net__poll far;  /* the backend while connecting; else its fd is -1 */
  rover_front_t *front;
  union net__address peer; /* unless is_unix */
  struct front__conn *prev, *next;
  struct front__conn **list;      /* of its state; NULL once closed */
  struct front__address *address; /* NULL if addresses are not counted */
  uint64_t since;                 /* when it entered its state: net__now() */
  uint32_t index;
  uint32_t drain; /* serial of the last drain begun before it was accepted */
  unsigned char state;
  bool is_unix;
  bool has_index; /* not before its handshake is done, or the front has left */
  bool has_line;
  bool queued;                /* its handshake can go on */
  bool shuts;                 /* its end could not be sent whole so far */
  bool splits;                /* the answer of net__shards_split() is awaited */
  bool cuts;                  /* it is to be cut, then */
  bool leaves;                /* either; see drain.h */
  bool near_again, far_again; /* events to be reported to the pair, too */
};

/* Whether it was accepted before the last drain began. */
static inline bool front__conn_is_drained(const struct front__conn *conn) {
  return conn->drain != conn->front->drain.serial;
}

/* Makes a connection of an accepted descriptor, or closes that. `peer` is NULL
 * for a Unix socket. Errors: UV_ENOMEM. */
int front__conn_new(rover_front_t *front, int fd,
                    const union net__address *peer);

/* Takes the lowest free index for one that has none; returns whether there is
 * memory for that. */
bool front__conn_take_index(struct front__conn *conn);

/* Its handshake is done: sends it its slot line, or closes it if it gets
 * none. */
void front__conn_secured(struct front__conn *conn);

/* Closes one that has no slot line, and counts it as refused. */
void front__conn_turn_away(struct front__conn *conn);

/* The address of the client; NULL for a Unix socket. */
const struct sockaddr *front__conn_peer(const struct front__conn *conn);

/* Ends an unused connection, or joins it if it has sent something by now.
 * Either way it is no longer unused. */
void front__conn_end(struct front__conn *conn);

/* Ends a joined connection if nothing is in flight, and its last byte is the one
 * that was seen: see net__shards_split(). That, as cutting it, may take
 * until later. */
void front__conn_end_joined(struct front__conn *conn, uint64_t since,
                            enum net__side spoke);

/* The answer of net__shards_split(). */
void front__conn_split(struct net__pair *pair, struct net__poll *near);

/* Resets a connection. */
void front__conn_cut(struct front__conn *conn);

/* Resets all connections. */
void front__conns_cut(rover_front_t *front);

/* Frees closed connections. Not to be called from their callbacks. */
void front__conns_bury(rover_front_t *front);

/* The pair of a joined connection has ended. */
void front__conn_ended(struct net__pair *pair, enum net__outcome outcome);

/* When to call front__conns_expire() next. */
uint64_t front__conns_due(const rover_front_t *front);

/* Applies the deadlines of connections that are not joined: those that had
 * passed at `polled`, when the loop last polled. */
void front__conns_expire(rover_front_t *front, uint64_t polled, uint64_t now);

#endif
