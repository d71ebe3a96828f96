/* Private to src/net, src/rover, src/relay and src/front: an epoll instance
 * that a loop waits on.
 *
 * It watches the epoll's descriptor and delivers its events, at a time only as
 * many as the turn allows, if there is one. */
#ifndef NET_POLLER_H
#define NET_POLLER_H

#include "epoll.h"
#include "turn.h"

struct net__poller_owner {
  /* All events of a batch were delivered; with a turn, also in between, every
   * few ms, and when its share of time is used up. Or NULL. */
  void (*batch_end)(void *data);
  void (*closed)(void *data);
  bool keeps_alive; /* keeps the loop alive from the start */
};

struct net__poller {
  struct net__epoll epoll;
  uv_poll_t handle;       /* handle.data is the poller */
  struct net__turn *turn; /* or NULL */
  struct net__source source;
  struct epoll_event *rest; /* of a batch, left for a later turn */
  int rest_count;
  bool more_follow; /* while an event is delivered: others of the batch do */
  const struct net__poller_owner *owner;
  void *data;
};

/* With a turn, events are delivered within its share of time; without one, all
 * at once. Ownership: `owner` must outlive the poller, which ends with
 * closed(). */
int net__poller_new(struct net__poller **poller, uv_loop_t *loop,
                    struct net__turn *turn,
                    const struct net__poller_owner *owner, void *data);
void net__poller_keep_alive(struct net__poller *poller, bool does);
void net__poller_close(struct net__poller *poller);

/* Whether there may be events that are not delivered yet. */
bool net__poller_is_behind(const struct net__poller *poller);

#endif
