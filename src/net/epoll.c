#include "epoll.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "tls.h"

enum { FIRST_PLACES = 16 };
#define NOWHERE UINT32_MAX

/* The kernel reports a descriptor by its place here and the number of holders
 * that the place had before: a closed descriptor may still be reported, when it
 * is in the same batch or a child process has inherited it. */
struct net__epoll_place {
  struct net__poll *poll; /* NULL: free */
  uint32_t holder;        /* how many had the place before */
  uint32_t next;          /* free one */
};

static int grow(struct net__epoll *epoll) {
  uint32_t count = epoll->count ? epoll->count * 2 : FIRST_PLACES;
  struct net__epoll_place *places =
      realloc(epoll->places, count * sizeof *epoll->places);
  if (!places) return -ENOMEM;
  for (uint32_t i = epoll->count; i < count; i++)
    places[i] =
        (struct net__epoll_place){.next = i + 1 < count ? i + 1 : NOWHERE};
  epoll->free = epoll->count;
  epoll->places = places;
  epoll->count = count;
  return 0;
}

static int ask(struct net__epoll *epoll, int op, struct net__poll *poll) {
  uint64_t holder = epoll->places[poll->place].holder;
  struct epoll_event event = {.data.u64 = holder << 32 | poll->place};
  if (poll->events & NET_READABLE) event.events |= EPOLLIN;
  if (poll->events & NET_WRITABLE) event.events |= EPOLLOUT;
  if (poll->events & NET_DISCONNECT) event.events |= EPOLLRDHUP;
  /* Without these, an end and bytes behind urgent data cause no edge. */
  if (poll->changes) event.events |= EPOLLRDHUP | EPOLLPRI;
  /* EPOLLHUP is always reported; where nothing acts on it, once is enough. */
  if (poll->changes || poll->events == 0) event.events |= EPOLLET;
  return epoll_ctl(epoll->fd, op, poll->fd, &event) < 0 ? -errno : 0;
}

static void leave_place(struct net__epoll *epoll, struct net__poll *poll) {
  struct net__epoll_place *place = &epoll->places[poll->place];
  place->poll = NULL;
  place->holder++;
  place->next = epoll->free;
  epoll->free = poll->place;
  poll->is_set = false;
}

static int add(struct net__epoll *epoll, struct net__poll *poll) {
  if (epoll->free == NOWHERE && grow(epoll) < 0) return -ENOMEM;
  poll->place = epoll->free;
  epoll->free = epoll->places[poll->place].next;
  epoll->places[poll->place].poll = poll;
  poll->is_set = true;
  int err = ask(epoll, EPOLL_CTL_ADD, poll);
  if (err < 0) leave_place(epoll, poll);
  return err;
}

static void report(struct net__poll *poll, uint32_t reported) {
  int events = 0;
  if (reported & EPOLLIN) events |= NET_READABLE;
  if (reported & EPOLLPRI) events |= NET_PRIORITIZED;
  if (reported & EPOLLOUT) events |= NET_WRITABLE;
  if (reported & EPOLLRDHUP) events |= NET_DISCONNECT;
  if (poll->changes && reported & EPOLLRDHUP)
    poll->events = (short)(poll->events & ~NET_DISCONNECT);
  if (reported & EPOLLERR) events = -ECONNRESET;
  poll->ready(poll, events);
}

void net__epoll_deliver(const struct net__epoll *epoll,
                        const struct epoll_event *event) {
  const struct net__epoll_place *place =
      &epoll->places[(uint32_t)event->data.u64];
  if (place->poll && place->holder == event->data.u64 >> 32)
    report(place->poll, event->events);
}

int net__poll_set(struct net__epoll *epoll, struct net__poll *poll,
                  int events) {
  if (poll->is_set && poll->changes) events |= poll->events;
  if (poll->is_set && poll->events == events) return 0;
  poll->events = (short)events;
  return poll->is_set ? ask(epoll, EPOLL_CTL_MOD, poll) : add(epoll, poll);
}

void net__poll_again(struct net__epoll *epoll, struct net__poll *poll) {
  ask(epoll, EPOLL_CTL_MOD, poll);
}

void net__poll_move(struct net__epoll *epoll, struct net__poll *poll,
                    struct net__poll *to,
                    void (*ready)(struct net__poll *poll, int events)) {
  *to = *poll;
  to->ready = ready;
  poll->is_set = false;
  poll->tls = NULL;
  if (to->is_set) epoll->places[to->place].poll = to;
}

void net__poll_leave(struct net__epoll *epoll, struct net__poll *poll) {
  struct epoll_event unused = {0};
  epoll_ctl(epoll->fd, EPOLL_CTL_DEL, poll->fd, &unused);
  leave_place(epoll, poll);
}

void net__poll_close(struct net__epoll *epoll, struct net__poll *poll) {
  /* The kernel forgets a closed descriptor unless a child process has inherited
   * it; then a level-triggered one would be reported forever. */
  if (poll->is_set && !poll->changes && poll->events)
    net__poll_leave(epoll, poll);
  else if (poll->is_set) leave_place(epoll, poll);
  if (poll->tls) poll->tls->type->close(poll->tls);
  poll->tls = NULL;
  close(poll->fd);
}

/* -- Life ----------------------------------------------------------------- */

int net__epoll_open(struct net__epoll *epoll) {
  *epoll = (struct net__epoll){.free = NOWHERE};
  epoll->fd = epoll_create1(EPOLL_CLOEXEC);
  return epoll->fd < 0 ? -errno : 0;
}

void net__epoll_close(struct net__epoll *epoll) {
  if (epoll->fd >= 0) close(epoll->fd);
  epoll->fd = -1;
}

void net__epoll_clear(struct net__epoll *epoll) { free(epoll->places); }
