#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* libuv's own poll handles cost seven system calls a descriptor, three of them
 * to set one up, and two for each change of what is waited for; and more memory
 * than all else there is of a joined connection. So where there is epoll, a
 * relay has one of its own, which libuv polls. ROVER_NO_EPOLL does without, for
 * tests. */

#if defined(__linux__) && !defined(ROVER_NO_EPOLL)

#include <sys/epoll.h>

enum { BATCH = 64 };

struct rover__poller {
  uv_poll_t handle; /* handle.data is the poller */
  int fd;
  rover_relay_t *relay;
  struct epoll_event *end; /* of a batch that is worked through, ... */
  int left;                /* ... with so many events to go */
};

static int ask(struct rover__poller *poller, int op, struct rover__poll *poll) {
  struct epoll_event event = {.data.ptr = poll};
  if (poll->events & UV_READABLE) event.events |= EPOLLIN;
  if (poll->events & UV_WRITABLE) event.events |= EPOLLOUT;
  if (poll->events & UV_DISCONNECT) event.events |= EPOLLRDHUP;
  /* Hanging up is always told, and when nobody takes it up, once is enough. */
  if (poll->events == 0) event.events = EPOLLET;
  return epoll_ctl(poller->fd, op, poll->fd, &event) < 0
             ? uv_translate_sys_error(errno)
             : 0;
}

static void tell(struct rover__poll *poll, uint32_t told) {
  int events = 0;
  if (told & EPOLLIN) events |= UV_READABLE;
  if (told & EPOLLOUT) events |= UV_WRITABLE;
  if (told & EPOLLRDHUP) events |= UV_DISCONNECT;
  poll->ready(poll, told & EPOLLERR ? UV_ECONNRESET : events);
}

static void on_batch(uv_poll_t *handle, int status, int events) {
  struct rover__poller *poller = handle->data;
  struct epoll_event batch[BATCH];

  (void)status;
  (void)events;
  int count = epoll_wait(poller->fd, batch, BATCH, 0);
  poller->end = batch + (count > 0 ? count : 0);
  for (poller->left = count; poller->left > 0;) {
    struct epoll_event *event = poller->end - poller->left--;
    if (event->data.ptr) tell(event->data.ptr, event->events);
  }
  rover__relay_bury(poller->relay);
}

int rover__poll_set(struct rover__poller *poller, struct rover__poll *poll,
                    int events) {
  if (poll->is_set && poll->events == events) return 0;
  int op = poll->is_set ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
  poll->events = (short)events;
  int err = ask(poller, op, poll);
  poll->is_set |= err == 0;
  return err;
}

void rover__poll_close(struct rover__poller *poller, struct rover__poll *poll) {
  struct epoll_event unused = {0};

  for (int i = 1; i <= poller->left; i++)
    if (poller->end[-i].data.ptr == poll) poller->end[-i].data.ptr = NULL;
  /* Closing alone is not enough while a child that is about to exec has it. */
  if (poll->is_set) epoll_ctl(poller->fd, EPOLL_CTL_DEL, poll->fd, &unused);
  close(poll->fd);
}

int rover__poller_new(struct rover__poller **out, rover_relay_t *relay) {
  struct rover__poller *poller = calloc(1, sizeof *poller);
  if (!poller) return UV_ENOMEM;
  poller->fd = epoll_create1(EPOLL_CLOEXEC);
  int err = poller->fd < 0
                ? uv_translate_sys_error(errno)
                : uv_poll_init(relay->loop, &poller->handle, poller->fd);
  if (err < 0) {
    if (poller->fd >= 0) close(poller->fd);
    free(poller);
    return err;
  }
  poller->handle.data = poller;
  poller->relay = relay;
  uv_poll_start(&poller->handle, UV_READABLE, on_batch);
  *out = poller;
  return 0;
}

static void on_closed(uv_handle_t *handle) {
  struct rover__poller *poller = handle->data;
  rover_relay_t *relay = poller->relay;
  close(poller->fd);
  free(poller);
  rover__relay_unref(relay);
}

void rover__poller_close(struct rover__poller *poller) {
  uv_close((uv_handle_t *)&poller->handle, on_closed);
}

#else

struct rover__poller {
  rover_relay_t *relay;
};

static void on_ready(uv_poll_t *handle, int status, int events) {
  struct rover__poll *poll = handle->data;
  rover_relay_t *relay = poll->poller->relay;

  /* Nobody takes it up, and it would be told again and again. */
  if (poll->events == 0) uv_poll_stop(handle);
  poll->ready(poll, status < 0 ? UV_ECONNRESET : events & poll->events);
  rover__relay_bury(relay);
}

static int init(struct rover__poller *poller, struct rover__poll *poll) {
  poll->handle = malloc(sizeof *poll->handle);
  if (!poll->handle) return UV_ENOMEM;
  int err = uv_poll_init(poller->relay->loop, poll->handle, poll->fd);
  if (err < 0) {
    free(poll->handle);
    return err;
  }
  poll->handle->data = poll;
  poll->poller = poller;
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

static void on_closed(uv_handle_t *handle) {
  rover__relay_unref(handle->data);
  free(handle);
}

void rover__poll_close(struct rover__poller *poller, struct rover__poll *poll) {
  if (poll->is_set) {
    poller->relay->refs++;
    poll->handle->data = poller->relay;
    uv_close((uv_handle_t *)poll->handle, on_closed);
  }
  close(poll->fd);
}

int rover__poller_new(struct rover__poller **out, rover_relay_t *relay) {
  struct rover__poller *poller = malloc(sizeof *poller);
  if (!poller) return UV_ENOMEM;
  poller->relay = relay;
  *out = poller;
  return 0;
}

void rover__poller_close(struct rover__poller *poller) {
  rover__relay_unref(poller->relay);
  free(poller);
}

#endif
