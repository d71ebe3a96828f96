/* Private to src/net, src/rover and src/relay: descriptors that are polled.
 *
 * libuv's own poll handles cost seven system calls a descriptor, three of
 * them to set one up, and two for each change of what is waited for; and more
 * memory than all else there is of an attempt or a pair. So whoever has many
 * descriptors has an epoll of its own. This is that alone, without libuv: who
 * waits for it (a loop, see poller.h; or a thread) hands over what it
 * reports. */
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

struct net__poll {
  int fd;
  uint32_t place; /* among those of the epoll */
  short events;   /* asked for: NET_READABLE, NET_WRITABLE, NET_DISCONNECT */
  bool is_set;
  unsigned char peer; /* an enum net__peer: what was last seen of it */
  /* Each change is reported once, so read until there is nothing left, or call
   * net__poll_again(); what is not asked for any more may be reported. An end
   * that was reported is reported again if it is asked for again. */
  bool changes;
  /* Called with those that are there, with 0 if it has hung up, or with a
   * negative errno: it broke, which is reported whatever is asked for. SO_ERROR
   * then says why, or if it does not, that code does. */
  void (*ready)(struct net__poll *poll, int events);
};

struct net__epoll {
  int fd;
  struct net__place *places;
  uint32_t count, free;
};

/* Errors: those of epoll_create1(2). */
int net__epoll_open(struct net__epoll *epoll);
/* Closing gives the descriptor back; clearing, once nothing is delivered any
 * more, the memory. */
void net__epoll_close(struct net__epoll *epoll);
void net__epoll_clear(struct net__epoll *epoll);

/* Calls ready() of the descriptor that epoll_wait(2) has returned `event` for,
 * if that is still polled. */
void net__epoll_deliver(const struct net__epoll *epoll,
                        const struct epoll_event *event);

/* Asks for events from now on. Can fail only the first time. */
int net__poll_set(struct net__epoll *epoll, struct net__poll *poll, int events);

/* What is there is reported as if it came now. */
void net__poll_again(struct net__epoll *epoll, struct net__poll *poll);

/* Lets `to` take its place. */
void net__poll_move(struct net__epoll *epoll, struct net__poll *poll,
                    struct net__poll *to,
                    void (*ready)(struct net__poll *poll, int events));

/* Nothing is reported any more. The second closes the descriptor, too. */
void net__poll_leave(struct net__epoll *epoll, struct net__poll *poll);
void net__poll_close(struct net__epoll *epoll, struct net__poll *poll);

#endif
