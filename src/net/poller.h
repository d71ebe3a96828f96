/* Private to src/net, src/rover and src/relay: an epoll that a loop waits for.
 *
 * It watches the epoll's descriptor, and delivers what that reports, with a
 * turn as much at once as that allows. */
#ifndef NET_POLLER_H
#define NET_POLLER_H

#include "epoll.h"
#include "turn.h"

struct net__poller_owner {
  void (*told)(void *data); /* all there was to deliver for now; or NULL */
  void (*closed)(void *data);
  bool keeps_alive; /* the loop, from the beginning */
};

struct net__poller {
  struct net__epoll epoll;
  uv_poll_t handle;       /* handle.data is the poller */
  struct net__turn *turn; /* or NULL */
  struct net__source source;
  struct epoll_event *rest; /* of a batch that a turn was too short for */
  int rest_count;
  const struct net__poller_owner *owner;
  void *data;
};

/* With a turn, it keeps to that; else all is delivered at once. Ownership:
 * `owner` must outlive the poller, which ends in closed(). */
int net__poller_new(struct net__poller **poller, uv_loop_t *loop,
                    struct net__turn *turn,
                    const struct net__poller_owner *owner, void *data);
void net__poller_keep_alive(struct net__poller *poller, bool does);
void net__poller_close(struct net__poller *poller);

/* Whether something may be there that is yet to be delivered. */
bool net__poller_is_behind(const struct net__poller *poller);

#endif
