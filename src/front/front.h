/* Private to src/front: a front, as its connections and backend see it. */
#ifndef FRONT_FRONT_H
#define FRONT_FRONT_H

#include <callosum/front.h>

#include "../net/alarm.h"
#include "../net/cidr.h"
#include "../net/place.h"
#include "../net/poller.h"
#include "../net/reserve.h"
#include "../net/shards.h"
#include "../net/transport.h"
#include "addresses.h"
#include "backend.h"
#include "drain.h"
#include "rejects.h"
#include "slots.h"

/* The state of a connection. Once joined, it is one of `pairs`. */
enum front__state {
  FRONT_SECURING, /* in its TLS handshake; has no index yet */
  FRONT_UNUSED,
  FRONT_HEADER, /* has sent a part of its PROXY header */
  FRONT_CONNECTING,
  FRONT_ENDING,
  FRONT_JOINED,
  FRONT_STATES
};

struct rover_front_s {
  uv_loop_t *loop;
  rover_front_options_t options;     /* defaults filled in, strings copied */
  struct net__cidr *allow, *trusted; /* the options, parsed */
  size_t allow_count, trusted_count;
  struct net__place place;
  struct net__alarm alarm; /* of the earliest deadline */
  struct net__poller *poller;
  struct net__reserve reserve; /* one descriptor, to connect to the backend */
  struct front__slots slots;
  struct front__slots held;         /* of these, for another process, ... */
  struct front__address **held_for; /* ... by index; NULL: it does not count */
  uint32_t held_for_count;
  rover_front_index_cb index_cb; /* once it has left */
  void *index_arg;
  struct front__addresses addresses;
  struct front__backend backend;
  struct front__drain drain;
  /* By state; the one longest in it first. */
  struct front__conn *conns[FRONT_STATES];
  struct front__conn *closed;    /* to be freed */
  struct front__conn *queue;     /* handshakes that can go on */
  uint64_t second;               /* when it began, ... */
  unsigned reported;             /* ... and how many failed ones it reported */
  struct front__reject *rejects; /* to be reported */
  uint64_t retry; /* when to connect again if the backend's queue was full */
  struct net__shards pairs;
  unsigned refs; /* timer, poller, closing listeners */
  int failing;   /* why it cannot accept, until that is reported; or 0 */
  bool *is_gone; /* of the innermost callback; see settle() */
  bool closing;
  rover_front_close_cb close_cb;
  rover_front_stats_t stats;
};

/* Descriptors held in reserve while clients use up the rest: one to connect a
 * client to the backend with, and one to turn clients away with. Without the
 * second, those in the kernel's queue would wait until somebody leaves. */
enum { FRONT_RESERVED = 2 };

/* Reserves what is missing of these; returns whether all are there. */
bool front__reserve(rover_front_t *front);

static inline struct net__tls_context *front__tls(const rover_front_t *front) {
  return (struct net__tls_context *)front->options.tls;
}

/* How many connections are open and not ending. */
uint64_t front__active(const rover_front_t *front);

#endif
