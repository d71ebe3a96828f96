/* Private to src/net, src/rover, src/relay and src/front: descriptors that are
 * polled.
 *
 * libuv's own poll handles cost seven system calls a descriptor, three of them
 * to set one up, and two for each change of what is waited for; and more memory
 * than the rest of an attempt or a pair. So code with many descriptors polls
 * them with an epoll instance. This is that instance, without libuv: the caller
 * waits on it (in a loop, see poller.h; or in a thread) and passes in what
 * epoll_wait(2) returned. */
#ifndef NET_EPOLL_H
#define NET_EPOLL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

enum {
  NET_READABLE = 1,
  NET_WRITABLE = 2,
  NET_DISCONNECT = 4, /* the peer has ended its side */
  NET_PRIORITIZED = 8 /* urgent data */
};

struct net__tls; /* see tls.h */

struct net__poll {
  int fd;
  uint32_t place; /* among those of the epoll */
  short events;   /* asked for: NET_READABLE, NET_WRITABLE, NET_DISCONNECT */
  bool is_set;
  bool is_new; /* unknown to the kernel: see net__poll_begin() */
  unsigned char peer; /* an enum net__peer: what was last seen of it */
  /* Edge-triggered: read until nothing is left, or call net__poll_again().
   * Events no longer asked for may still be reported. An end is reported again
   * when it is asked for again. */
  bool changes;
  /* Called with the events that occurred, with 0 on hang-up, or with a negative
   * errno if the connection broke, whatever was asked for. SO_ERROR has the
   * reason; if it has none, the errno is the reason. */
  void (*ready)(struct net__poll *poll, int events);
  struct net__tls *tls; /* what secures it, or NULL */
};

enum { NET_NEW_MAX = 64 };

struct net__epoll {
  int fd;
  struct net__epoll_place *places;
  uint32_t count, free;
  bool in_batch;      /* net__epoll_look() will be called */
  short new_count;    /* those that are new, ... */
  short skip, skips;  /* how many are not to be, and were when last set */
  uint64_t new[NET_NEW_MAX]; /* ... as the kernel reports them */
};

/* Errors: those of epoll_create1(2). */
int net__epoll_open(struct net__epoll *epoll);
/* Closing releases the descriptor; clearing, once no more events are delivered,
 * the memory. */
void net__epoll_close(struct net__epoll *epoll);
void net__epoll_clear(struct net__epoll *epoll);

/* Calls ready() for an event that epoll_wait(2) returned, unless its descriptor
 * is no longer polled. */
void net__epoll_deliver(struct net__epoll *epoll,
                        const struct epoll_event *event);

/* Has what an event is delivered to, and what follows it in memory, brought into
 * the cache meanwhile. */
void net__epoll_prefetch(const struct net__epoll *epoll,
                         const struct epoll_event *event);

/* Looks at those that are new, once. Returns how many have events, and these,
 * to be delivered; the kernel is told of the others. net__epoll_add_new() tells
 * it of all. */
int net__epoll_look(struct net__epoll *epoll,
                    struct epoll_event events[NET_NEW_MAX]);
void net__epoll_add_new(struct net__epoll *epoll);

/* Asks for events from now on. Can fail only the first time. */
int net__poll_set(struct net__epoll *epoll, struct net__poll *poll, int events);

/* The same, the first time, for events that probably come soon. In a batch of
 * events, the kernel is told of it only if the event is not there by the end of
 * the batch: most of those that end by then need neither epoll_ctl(2) nor an
 * event of the epoll, which is a twentieth of what a connection costs. If that
 * fails, ready() gets the error, and is_set is false. */
int net__poll_begin(struct net__epoll *epoll, struct net__poll *poll,
                    int events);

/* Reports what is already there as if it had just arrived. */
void net__poll_again(struct net__epoll *epoll, struct net__poll *poll);

/* `to` replaces `poll`. */
void net__poll_move(struct net__epoll *epoll, struct net__poll *poll,
                    struct net__poll *to,
                    void (*ready)(struct net__poll *poll, int events));

/* Stops reporting. The second one also closes the connection's TLS and the
 * descriptor. */
void net__poll_leave(struct net__epoll *epoll, struct net__poll *poll);
void net__poll_close(struct net__epoll *epoll, struct net__poll *poll);

#endif
