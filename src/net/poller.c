#include "poller.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"

enum { BATCH = 1024 }; /* as many as libuv asks for */

/* Keeps events, perhaps part of `rest`, for a later turn. Returns false if
 * there is no memory. */
static bool defer(struct net__poller *poller, const struct epoll_event events[],
                  int count) {
  size_t size = (size_t)count * sizeof *events;
  if (!poller->rest && !(poller->rest = malloc(size))) return false;
  memmove(poller->rest, events, size);
  poller->rest_count = count;
  net__turn_wait(poller->turn, &poller->source);
  return true;
}

static bool is_closing(const struct net__poller *poller) {
  return uv_is_closing((const uv_handle_t *)&poller->handle);
}

static void end_batch(struct net__poller *poller) {
  poller->more_follow = false;
  if (poller->owner->batch_end) poller->owner->batch_end(poller->data);
}

/* Returns false if some are left for a later turn. */
static bool deliver_all(struct net__poller *poller,
                        const struct epoll_event events[], int count) {
  uint64_t ended = poller->turn ? net__now_coarse() : 0;
  for (int i = 0; i < count && !is_closing(poller); i++) {
    bool more = poller->more_follow = i + 1 < count;
    if (more) net__epoll_prefetch(&poller->epoll, &events[i + 1]);
    net__epoll_deliver(&poller->epoll, &events[i]);
    if (!more || !poller->turn || is_closing(poller)) continue;
    uint64_t now = net__now_coarse();
    if (now == ended) continue;
    end_batch(poller);
    ended = now;
    if (!net__turn_lasts_at(poller->turn, now) &&
        defer(poller, events + i + 1, count - i - 1))
      return false;
  }
  free(poller->rest);
  poller->rest = NULL;
  end_batch(poller);
  return true;
}

static bool may_look(const struct net__poller *poller) {
  return !is_closing(poller) &&
         (!poller->turn || net__turn_lasts(poller->turn));
}

static void deliver(struct net__poller *poller) {
  struct epoll_event batch[BATCH], *events = poller->rest;
  int count = poller->rest_count;

  if (!events) {
    count = epoll_wait(poller->epoll.fd, batch, BATCH, 0);
    events = batch;
  }
  poller->epoll.in_batch = true;
  while (deliver_all(poller, events, count) && may_look(poller) &&
         (count = net__epoll_look(&poller->epoll, batch)) > 0)
    events = batch;
  if (!is_closing(poller)) net__epoll_add_new(&poller->epoll);
}

static void go_on(struct net__source *source) {
  deliver((struct net__poller *)((char *)source -
                                 offsetof(struct net__poller, source)));
}

static void on_batch(uv_poll_t *handle, int status, int events) {
  struct net__poller *poller = handle->data;
  (void)status;
  (void)events;
  if (!poller->turn || net__turn_take(poller->turn, &poller->source))
    deliver(poller);
}

bool net__poller_is_behind(const struct net__poller *poller) {
  return net__source_waits(&poller->source);
}

/* -- Life ----------------------------------------------------------------- */

int net__poller_new(struct net__poller **out, uv_loop_t *loop,
                    struct net__turn *turn,
                    const struct net__poller_owner *owner, void *data) {
  struct net__poller *poller = calloc(1, sizeof *poller);
  if (!poller) return UV_ENOMEM;
  int err = net__epoll_open(&poller->epoll);
  if (err == 0) err = uv_poll_init(loop, &poller->handle, poller->epoll.fd);
  if (err < 0) {
    net__epoll_close(&poller->epoll);
    free(poller);
    return err;
  }
  poller->handle.data = poller;
  poller->turn = turn;
  poller->source.go_on = go_on;
  poller->owner = owner;
  poller->data = data;
  uv_poll_start(&poller->handle, UV_READABLE, on_batch);
  net__poller_keep_alive(poller, owner->keeps_alive);
  *out = poller;
  return 0;
}

void net__poller_keep_alive(struct net__poller *poller, bool does) {
  uv_handle_t *handle = (uv_handle_t *)&poller->handle;
  if (does) uv_ref(handle);
  else uv_unref(handle);
}

static void on_closed(uv_handle_t *handle) {
  struct net__poller *poller = handle->data;
  const struct net__poller_owner *owner = poller->owner;
  void *data = poller->data;
  free(poller->rest);
  net__epoll_clear(&poller->epoll);
  free(poller);
  owner->closed(data);
}

void net__poller_close(struct net__poller *poller) {
  if (poller->turn) net__turn_leave(poller->turn, &poller->source);
  uv_close((uv_handle_t *)&poller->handle, on_closed);
  /* libuv no longer needs the descriptor, and many pollers may be created and
   * closed before the loop runs. */
  net__epoll_close(&poller->epoll);
}
