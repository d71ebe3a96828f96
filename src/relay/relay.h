/* Private to src/relay: a relay, as its clients see it. */
#ifndef RELAY_RELAY_H
#define RELAY_RELAY_H

#include <callosum/relay.h>

#include "../net/alarm.h"
#include "../net/cidr.h"
#include "../net/place.h"
#include "../net/poller.h"
#include "../net/reserve.h"
#include "../net/shards.h"
#include "../rover/joined.h"

struct rover_relay_s {
  uv_loop_t *loop;
  rover_relay_options_t options; /* defaults filled in, strings copied */
  struct net__place place;
  struct net__alarm alarm;   /* of the earliest deadline */
  uint64_t cut;              /* when closing: the deadline of its pairs */
  struct net__cidr *trusted; /* the option, parsed */
  size_t trusted_count;
  /* Each in the order in which they were added. */
  rover_relay_client_t *handshaking; /* their header is yet to come */
  rover_relay_client_t *doubtful;    /* it has, but they may be checks */
  rover_relay_client_t *ready;       /* it has come; to be offered */
  rover_relay_client_t *waiting;
  rover_relay_client_t *closed; /* not reported yet */
  struct relay__offer *offers; /* client callbacks under way, innermost first */
  struct net__shards pairs;    /* joined clients */
  struct net__poller *poller;
  struct net__reserve reserve; /* one descriptor, for a join */
  unsigned handles;            /* timer, poller, closing listeners */
  unsigned refs; /* the handles, and calls that the loop may be run in */
  bool closing;
  void (*wake)(rover_relay_t *relay); /* due in the next turn, or NULL */
  rover_relay_close_cb close_cb;
  rover_relay_stats_t stats;
};

/* A joined client. */
struct relay__pair {
  struct net__pair pair;
  struct rover__joined joined;
};

/* When the time of the first client in one of these lists is over, which is not
 * `ready`; NET_NEVER if there is none. */
uint64_t relay__due(const rover_relay_t *relay,
                    rover_relay_client_t *const *list);

/* Reserves a descriptor if none is; returns whether one is. */
bool relay__reserve(rover_relay_t *relay);

#endif
