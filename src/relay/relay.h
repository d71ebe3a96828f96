/* Private to src/relay: a relay, as its clients know it. */
#ifndef RELAY_RELAY_H
#define RELAY_RELAY_H

#include <callosum/relay.h>

#include "../net/endpoint.h"
#include "../net/listener.h"
#include "../net/pair.h"
#include "../net/poller.h"
#include "../net/reserve.h"

struct rover_relay_s {
  uv_loop_t *loop;
  rover_relay_options_t options; /* defaults filled in, strings copied */
  union net__endpoint name;      /* as declared: its port may be 0 */
  struct net__listener *listener;
  uv_timer_t timer; /* of the deadline that comes first; data is the relay */
  uint64_t due;     /* when it fires, in the loop's time; or NET_NEVER */
  uint64_t fired;   /* when it last did */
  uint64_t cut;     /* when it closes: when its pairs are reset */
  rover_relay_client_t *waiting; /* longest first */
  rover_relay_client_t *closed;  /* to be told, and freed */
  struct relay__offer *offers;   /* under way, innermost first */
  struct net__pairs pairs;       /* joined clients */
  struct net__poller *poller;
  struct net__reserve reserve; /* one for a join that finds none */
  unsigned refs;               /* timer, poller, closing listeners */
  bool closing;
  void (*wake)(rover_relay_t *relay); /* due in the next turn, or NULL */
  rover_relay_close_cb close_cb;
  rover_relay_stats_t stats;
};

/* Makes the timer fire by then. */
void relay__arm(rover_relay_t *relay, uint64_t due);

/* The same in the next turn of the loop. */
void relay__arm_soon(rover_relay_t *relay);

/* When a client that came then has waited for too long. */
uint64_t relay__wait_due(const rover_relay_t *relay, uint64_t since);

/* Puts a descriptor in reserve; returns whether there is one. */
bool relay__reserve(rover_relay_t *relay);

#endif
