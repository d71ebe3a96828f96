#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* libuv's own poll handles cost seven system calls a descriptor, three of them
 * to set one up, and two for each change of what is waited for; and more memory
 * than all else there is of an attempt or a joined connection. So where there is
 * epoll, whoever has many descriptors has one of its own, which libuv polls.
 * ROVER_NO_EPOLL does without, for tests; where there is none, libuv may not tell
 * of an end alone, as by kqueue. */

#if defined(__linux__) && !defined(ROVER_NO_EPOLL)

#include <sys/epoll.h>

enum { BATCH = 1024, FIRST_PLACES = 16 }; /* as many as libuv takes */
#define NOWHERE UINT32_MAX

/* The kernel tells of a descriptor by its place here, and by who has had that
 * when it was asked: a descriptor that was closed may still be told of, since it
 * is in the same batch or a child process has it too. */
struct place {
  struct rover__poll *poll; /* NULL: free */
  uint32_t holder;          /* so many have had it before */
  uint32_t next;            /* free one */
};

struct rover__poller {
  uv_poll_t handle; /* handle.data is the poller */
  int fd;
  rover_turn_t *turn; /* or NULL */
  struct rover__source source;
  struct epoll_event *rest; /* of a batch that a turn was too short for */
  int rest_count;
  const struct rover__poller_owner *owner;
  void *data;
  struct place *places;
  uint32_t count, free;
};

static int grow(struct rover__poller *poller) {
  uint32_t count = poller->count ? poller->count * 2 : FIRST_PLACES;
  struct place *places =
      realloc(poller->places, count * sizeof *poller->places);
  if (!places) return UV_ENOMEM;
  for (uint32_t i = poller->count; i < count; i++)
    places[i] = (struct place){.next = i + 1 < count ? i + 1 : NOWHERE};
  poller->free = poller->count;
  poller->places = places;
  poller->count = count;
  return 0;
}

static int ask(struct rover__poller *poller, int op, struct rover__poll *poll) {
  uint64_t holder = poller->places[poll->place].holder;
  struct epoll_event event = {.data.u64 = holder << 32 | poll->place};
  if (poll->events & UV_READABLE) event.events |= EPOLLIN;
  if (poll->events & UV_WRITABLE) event.events |= EPOLLOUT;
  if (poll->events & UV_DISCONNECT) event.events |= EPOLLRDHUP;
  /* An end, or what is behind urgent data, is no change by itself. */
  if (poll->changes) event.events |= EPOLLRDHUP | EPOLLPRI;
  /* Hanging up is always told, and when nobody takes it up, once is enough. */
  if (poll->changes || poll->events == 0) event.events |= EPOLLET;
  return epoll_ctl(poller->fd, op, poll->fd, &event) < 0
             ? uv_translate_sys_error(errno)
             : 0;
}

static void leave_place(struct rover__poller *poller,
                        struct rover__poll *poll) {
  struct place *place = &poller->places[poll->place];
  place->poll = NULL;
  place->holder++;
  place->next = poller->free;
  poller->free = poll->place;
  poll->is_set = false;
}

static int add(struct rover__poller *poller, struct rover__poll *poll) {
  if (poller->free == NOWHERE && grow(poller) < 0) return UV_ENOMEM;
  poll->place = poller->free;
  poller->free = poller->places[poll->place].next;
  poller->places[poll->place].poll = poll;
  poll->is_set = true;
  int err = ask(poller, EPOLL_CTL_ADD, poll);
  if (err < 0) leave_place(poller, poll);
  return err;
}

static void tell(struct rover__poll *poll, uint32_t told) {
  int events = 0;
  if (told & EPOLLIN) events |= UV_READABLE;
  if (told & EPOLLPRI) events |= UV_PRIORITIZED;
  if (told & EPOLLOUT) events |= UV_WRITABLE;
  if (told & EPOLLRDHUP) events |= UV_DISCONNECT;
  if (poll->changes && told & EPOLLRDHUP)
    poll->events = (short)(poll->events & ~UV_DISCONNECT);
  poll->ready(poll, told & EPOLLERR ? UV_ECONNRESET : events);
}

static void tell_of(struct rover__poller *poller,
                    const struct epoll_event *event) {
  const struct place *place = &poller->places[(uint32_t)event->data.u64];
  if (place->poll && place->holder == event->data.u64 >> 32)
    tell(place->poll, event->events);
}

/* Keeps these, which may be a part of what it has, for a later turn. Returns
 * false if there is no memory for that. */
static bool put_off(struct rover__poller *poller,
                    const struct epoll_event events[], int count) {
  size_t size = (size_t)count * sizeof *events;
  if (!poller->rest && !(poller->rest = malloc(size))) return false;
  memmove(poller->rest, events, size);
  poller->rest_count = count;
  rover__turn_wait(poller->turn, &poller->source);
  return true;
}

static bool is_closing(const struct rover__poller *poller) {
  return uv_is_closing((const uv_handle_t *)&poller->handle);
}

static void hand_out(struct rover__poller *poller) {
  struct epoll_event batch[BATCH], *events = poller->rest;
  int count = poller->rest_count;

  if (!events) {
    count = epoll_wait(poller->fd, batch, BATCH, 0);
    events = batch;
  }
  for (int i = 0; i < count && !is_closing(poller); i++) {
    tell_of(poller, &events[i]);
    if (i + 1 < count && poller->turn && !is_closing(poller) &&
        !rover__turn_lasts(poller->turn) &&
        put_off(poller, events + i + 1, count - i - 1))
      return;
  }
  free(poller->rest);
  poller->rest = NULL;
  if (poller->owner->told) poller->owner->told(poller->data);
}

static void go_on(struct rover__source *source) {
  hand_out((struct rover__poller *)((char *)source - offsetof(
      struct rover__poller, source)));
}

static void on_batch(uv_poll_t *handle, int status, int events) {
  struct rover__poller *poller = handle->data;
  (void)status;
  (void)events;
  if (!poller->turn || rover__turn_take(poller->turn, &poller->source))
    hand_out(poller);
}

int rover__poll_set(struct rover__poller *poller, struct rover__poll *poll,
                    int events) {
  if (poll->is_set && poll->changes) events |= poll->events;
  if (poll->is_set && poll->events == events) return 0;
  poll->events = (short)events;
  return poll->is_set ? ask(poller, EPOLL_CTL_MOD, poll) : add(poller, poll);
}

void rover__poll_again(struct rover__poller *poller, struct rover__poll *poll) {
  ask(poller, EPOLL_CTL_MOD, poll);
}

bool rover__poll_is_behind(const struct rover__poller *poller,
                           const struct rover__poll *poll) {
  (void)poll;
  return rover__source_waits(&poller->source);
}

void rover__poll_move(struct rover__poller *poller, struct rover__poll *poll,
                      struct rover__poll *to,
                      void (*ready)(struct rover__poll *poll, int events)) {
  *to = *poll;
  to->ready = ready;
  poll->is_set = false;
  if (to->is_set) poller->places[to->place].poll = to;
}

void rover__poll_share(struct rover__poller *poller, struct rover__poll *poll) {
  (void)poller; /* that is another epoll's */
  (void)poll;
}

void rover__poll_leave(struct rover__poller *poller, struct rover__poll *poll) {
  struct epoll_event unused = {0};
  epoll_ctl(poller->fd, EPOLL_CTL_DEL, poll->fd, &unused);
  leave_place(poller, poll);
}

void rover__poll_close(struct rover__poller *poller, struct rover__poll *poll) {
  /* The kernel forgets what is closed, but not while a child process has it,
   * and would then tell of it for ever; changes come to an end. */
  if (poll->is_set && !poll->changes && poll->events) rover__poll_leave(poller, poll);
  else if (poll->is_set) leave_place(poller, poll);
  close(poll->fd);
}

int rover__poller_new(struct rover__poller **out, uv_loop_t *loop,
                      rover_turn_t *turn,
                      const struct rover__poller_owner *owner, void *data) {
  struct rover__poller *poller = calloc(1, sizeof *poller);
  if (!poller) return UV_ENOMEM;
  poller->fd = epoll_create1(EPOLL_CLOEXEC);
  int err = poller->fd < 0 ? uv_translate_sys_error(errno)
                           : uv_poll_init(loop, &poller->handle, poller->fd);
  if (err < 0) {
    if (poller->fd >= 0) close(poller->fd);
    free(poller);
    return err;
  }
  poller->handle.data = poller;
  poller->turn = turn;
  poller->source.go_on = go_on;
  poller->owner = owner;
  poller->data = data;
  poller->free = NOWHERE;
  uv_poll_start(&poller->handle, UV_READABLE, on_batch);
  rover__poller_keep_alive(poller, owner->keeps_alive);
  *out = poller;
  return 0;
}

void rover__poller_keep_alive(struct rover__poller *poller, bool does) {
  uv_handle_t *handle = (uv_handle_t *)&poller->handle;
  if (does) uv_ref(handle);
  else uv_unref(handle);
}

static void on_closed(uv_handle_t *handle) {
  struct rover__poller *poller = handle->data;
  const struct rover__poller_owner *owner = poller->owner;
  void *data = poller->data;
  free(poller->rest);
  free(poller->places);
  free(poller);
  owner->closed(data);
}

void rover__poller_close(struct rover__poller *poller) {
  if (poller->turn) rover__turn_leave(poller->turn, &poller->source);
  uv_close((uv_handle_t *)&poller->handle, on_closed);
  /* Whoever makes and closes many before the loop runs is not to run out of
   * these; libuv allows it from here on. */
  close(poller->fd);
  poller->fd = -1;
}

#else

struct rover__poller {
  uv_loop_t *loop;
  rover_turn_t *turn; /* or NULL */
  const struct rover__poller_owner *owner;
  void *data;
  size_t handles; /* not yet closed */
  bool closing;
};

static void settle(struct rover__poller *poller) {
  if (!poller->closing || poller->handles > 0) return;
  poller->owner->closed(poller->data);
  free(poller);
}

static void hand_out(struct rover__source *source) {
  struct rover__poll *poll = (struct rover__poll *)((char *)source - offsetof(
      struct rover__poll, source));
  struct rover__poller *poller = poll->poller;
  poll->ready(poll, poll->told);
  if (poller->owner->told) poller->owner->told(poller->data);
}

static void on_ready(uv_poll_t *handle, int status, int events) {
  struct rover__poll *poll = handle->data;
  struct rover__poller *poller = poll->poller;

  int err = status < 0 ? UV_ECONNRESET : 0;
  if (poller->turn && rover__source_waits(&poll->source)) return;

  /* Nobody takes it up, and it would be told again and again. */
  if (poll->events == 0) uv_poll_stop(handle);
  if (poll->changes && (events & UV_WRITABLE)) {
    poll->events = UV_READABLE;
    uv_poll_start(handle, UV_READABLE, on_ready);
    err = rover__error_of(poll->fd);
  }
  poll->told = err < 0 ? err : events;
  if (!poller->turn || rover__turn_take(poller->turn, &poll->source))
    hand_out(&poll->source);
}

static int init(struct rover__poller *poller, struct rover__poll *poll) {
  poll->handle = malloc(sizeof *poll->handle);
  if (!poll->handle) return UV_ENOMEM;
  poll->copy = poll->shared ? fcntl(poll->fd, F_DUPFD_CLOEXEC, 0) : -1;
  int fd = poll->shared ? poll->copy : poll->fd;
  int err = fd < 0 ? uv_translate_sys_error(errno)
                   : uv_poll_init(poller->loop, poll->handle, fd);
  if (err < 0) {
    if (poll->copy >= 0) close(poll->copy);
    free(poll->handle);
    return err;
  }
  poller->handles++;
  poll->handle->data = poll;
  poll->poller = poller;
  poll->source = (struct rover__source){.go_on = hand_out};
  poll->is_set = true;
  return 0;
}

int rover__poll_set(struct rover__poller *poller, struct rover__poll *poll,
                    int events) {
  if (poll->is_set && poll->events == events) return 0;
  int err = poll->is_set ? 0 : init(poller, poll);
  if (err < 0) return err;
  poll->events = (short)events;
  /* A reset is told whatever is asked for. */
  return uv_poll_start(poll->handle, events ? events : UV_PRIORITIZED,
                       on_ready);
}

void rover__poll_again(struct rover__poller *poller, struct rover__poll *poll) {
  (void)poller; /* it is told as long as it is there */
  (void)poll;
}

static void on_closed(uv_handle_t *handle) {
  struct rover__poller *poller = handle->data;
  free(handle);
  poller->handles--;
  settle(poller);
}

bool rover__poll_is_behind(const struct rover__poller *poller,
                           const struct rover__poll *poll) {
  (void)poller;
  return poll->is_set && rover__source_waits(&poll->source);
}

void rover__poll_move(struct rover__poller *poller, struct rover__poll *poll,
                      struct rover__poll *to,
                      void (*ready)(struct rover__poll *poll, int events)) {
  bool waits = rover__poll_is_behind(poller, poll);
  if (waits) rover__turn_leave(poller->turn, &poll->source);
  *to = *poll;
  to->ready = ready;
  poll->is_set = false;
  if (to->is_set) to->handle->data = to;
  if (waits) rover__turn_wait(poller->turn, &to->source);
}

void rover__poll_share(struct rover__poller *poller, struct rover__poll *poll) {
  if (poll->is_set) rover__poll_leave(poller, poll);
  poll->shared = true;
}

void rover__poll_leave(struct rover__poller *poller, struct rover__poll *poll) {
  if (poller->turn) rover__turn_leave(poller->turn, &poll->source);
  poll->handle->data = poller;
  poll->is_set = false;
  uv_close((uv_handle_t *)poll->handle, on_closed);
  if (poll->copy >= 0) close(poll->copy);
}

void rover__poll_close(struct rover__poller *poller, struct rover__poll *poll) {
  if (poll->is_set) rover__poll_leave(poller, poll);
  close(poll->fd);
}

int rover__poller_new(struct rover__poller **out, uv_loop_t *loop,
                      rover_turn_t *turn,
                      const struct rover__poller_owner *owner, void *data) {
  struct rover__poller *poller = calloc(1, sizeof *poller);
  if (!poller) return UV_ENOMEM;
  poller->loop = loop;
  poller->turn = turn;
  poller->owner = owner;
  poller->data = data;
  *out = poller;
  return 0;
}

/* What is polled does. */
void rover__poller_keep_alive(struct rover__poller *poller, bool does) {
  (void)poller;
  (void)does;
}

void rover__poller_close(struct rover__poller *poller) {
  poller->closing = true;
  settle(poller);
}

#endif
