#include "epoll.h"

#include <errno.h>
#include <poll.h>
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

static uint64_t key_of(const struct net__epoll *epoll,
                       const struct net__poll *poll) {
  return (uint64_t)epoll->places[poll->place].holder << 32 | poll->place;
}

/* NULL if it is no longer polled. */
static struct net__poll *poll_of(const struct net__epoll *epoll, uint64_t key) {
  const struct net__epoll_place *place = &epoll->places[(uint32_t)key];
  return place->holder == key >> 32 ? place->poll : NULL;
}

static uint32_t mask_of(const struct net__poll *poll) {
  uint32_t mask = 0;
  if (poll->events & NET_READABLE) mask |= EPOLLIN;
  if (poll->events & NET_WRITABLE) mask |= EPOLLOUT;
  if (poll->events & NET_DISCONNECT) mask |= EPOLLRDHUP;
  /* Without these, an end and bytes behind urgent data cause no edge. */
  if (poll->changes) mask |= EPOLLRDHUP | EPOLLPRI;
  return mask;
}

static int ask(struct net__epoll *epoll, int op, const struct net__poll *poll) {
  if (poll->is_new) return 0; /* it is asked when it is added */
  struct epoll_event event = {.events = mask_of(poll),
                              .data.u64 = key_of(epoll, poll)};
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
  poll->is_set = poll->is_new = false;
}

/* Of one that has a place. */
static int add(struct net__epoll *epoll, struct net__poll *poll) {
  poll->is_new = false;
  int err = ask(epoll, EPOLL_CTL_ADD, poll);
  if (err < 0) leave_place(epoll, poll);
  return err;
}

static int take_place(struct net__epoll *epoll, struct net__poll *poll) {
  if (epoll->free == NOWHERE && grow(epoll) < 0) return -ENOMEM;
  poll->place = epoll->free;
  epoll->free = epoll->places[poll->place].next;
  epoll->places[poll->place].poll = poll;
  poll->is_set = true;
  return 0;
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

/* Somebody may have added, or left, it meanwhile. */
static void add_if_new(struct net__epoll *epoll, uint64_t key) {
  struct net__poll *poll = poll_of(epoll, key);
  int err = poll && poll->is_new ? add(epoll, poll) : 0;
  if (err < 0) poll->ready(poll, err);
}

void net__epoll_prefetch(const struct net__epoll *epoll,
                         const struct epoll_event *event) {
  enum { LINE = 64, BYTES = 3 * LINE };
  const char *at = (const char *)epoll->places[(uint32_t)event->data.u64].poll;
  for (size_t i = 0; at && i < BYTES; i += LINE) __builtin_prefetch(at + i);
}

void net__epoll_deliver(struct net__epoll *epoll,
                        const struct epoll_event *event) {
  struct net__poll *poll = poll_of(epoll, event->data.u64);
  bool is_new = poll && poll->is_new;
  if (poll) report(poll, event->events);
  if (is_new) add_if_new(epoll, event->data.u64);
}

/* -- New ones ------------------------------------------------------------- */

/* A few that come in vain cost less than the others save. */
static void learn(struct net__epoll *epoll, int count, int ready) {
  enum { FEW = 4, FIRST = 8, MOST = 4096 };
  if (ready * FEW >= count) epoll->skips = 0;
  else if (epoll->skips < MOST)
    epoll->skips = (short)(2 * epoll->skips + FIRST);
  epoll->skip = epoll->skips;
}

int net__epoll_look(struct net__epoll *epoll,
                    struct epoll_event events[NET_NEW_MAX]) {
  struct pollfd fds[NET_NEW_MAX];
  int count = 0, ready = 0;

  for (int i = 0; i < epoll->new_count; i++) {
    const struct net__poll *poll = poll_of(epoll, epoll->new[i]);
    if (!poll || !poll->is_new) continue;
    fds[count] = (struct pollfd){poll->fd, (short)mask_of(poll), 0};
    events[count++].data.u64 = epoll->new[i];
  }
  epoll->new_count = 0;
  if (count == 0) return 0;
  poll(fds, (nfds_t)count, 0); /* its bits are those of epoll */
  for (int i = 0; i < count; i++) {
    uint64_t key = events[i].data.u64;
    if (fds[i].revents)
      events[ready++] = (struct epoll_event){
          .events = (uint32_t)fds[i].revents, .data.u64 = key};
    else add_if_new(epoll, key);
  }
  learn(epoll, count, ready);
  return ready;
}

void net__epoll_add_new(struct net__epoll *epoll) {
  epoll->in_batch = false;
  for (int i = 0; i < epoll->new_count; i++) add_if_new(epoll, epoll->new[i]);
  epoll->new_count = 0;
}

int net__poll_begin(struct net__epoll *epoll, struct net__poll *poll,
                    int events) {
  bool is_new = epoll->in_batch && epoll->new_count < NET_NEW_MAX;
  if (is_new && epoll->skip > 0) {
    epoll->skip--;
    is_new = false;
  }
  if (!is_new) return net__poll_set(epoll, poll, events);
  poll->events = (short)events;
  if (take_place(epoll, poll) < 0) return -ENOMEM;
  poll->is_new = true;
  epoll->new[epoll->new_count++] = key_of(epoll, poll);
  return 0;
}

/* -- Polls ---------------------------------------------------------------- */

int net__poll_set(struct net__epoll *epoll, struct net__poll *poll,
                  int events) {
  if (poll->is_set && poll->changes) events |= poll->events;
  if (poll->is_set && poll->events == events) return 0;
  poll->events = (short)events;
  if (poll->is_set) return ask(epoll, EPOLL_CTL_MOD, poll);
  return take_place(epoll, poll) < 0 ? -ENOMEM : add(epoll, poll);
}

void net__poll_again(struct net__epoll *epoll, struct net__poll *poll) {
  ask(epoll, EPOLL_CTL_MOD, poll);
}

void net__poll_move(struct net__epoll *epoll, struct net__poll *poll,
                    struct net__poll *to,
                    void (*ready)(struct net__poll *poll, int events)) {
  *to = *poll;
  to->ready = ready;
  poll->is_set = poll->is_new = false;
  poll->tls = NULL;
  if (to->is_set) epoll->places[to->place].poll = to;
}

void net__poll_leave(struct net__epoll *epoll, struct net__poll *poll) {
  struct epoll_event unused = {0};
  if (!poll->is_new) epoll_ctl(epoll->fd, EPOLL_CTL_DEL, poll->fd, &unused);
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
