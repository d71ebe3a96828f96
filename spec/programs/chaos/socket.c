#include "client.h"

#include <stdlib.h>
#include <unistd.h>

/* A socket that a rover keeps: what is said and heard there, and what its
 * callbacks may tell, and when. */

enum { SENT_MAX = 1 << 18 };

static void on_done(rover_socket_t *socket, int status, void *arg) {
  struct request *request = arg, **at = &request->held->requests;

  CHECK(!request->dropped && request->held->socket == socket);
  while (*at && *at != request) at = &(*at)->next;
  CHECK(*at == request); /* else it has come before */
  *at = request->next;
  if (request->is_shutdown && status == 0)
    request->held->talker->finished = true;
  if (status < 0) talker_break(request->held->talker);
  free(request);
}

static struct request *request_new(struct held *held, bool is_shutdown) {
  struct request *request = calloc(1, sizeof *request);
  CHECK(request);
  request->held = held;
  request->is_shutdown = is_shutdown;
  request->next = held->requests;
  held->requests = request;
  return request;
}

static void request_failed(struct held *held, struct request *request) {
  CHECK(held->requests == request);
  held->requests = request->next;
  free(request);
}

static void write_some(struct held *held) {
  static char bytes[SENT_MAX];
  size_t size = draw_log(1, SENT_MAX), cut = draw(size + 1);
  uv_buf_t buffers[2] = {{.base = bytes, .len = cut},
                         {.base = bytes + cut, .len = size - cut}};
  bool asks = one_in(2);
  struct request *request = asks ? request_new(held, false) : NULL;

  held->touched = true;
  talker_next(held->talker, bytes, size);
  if (!held->shut) talker_said(held->talker, size); /* may be heard at once */
  int err = rover_socket_write(held->socket, buffers, 2, asks ? on_done : NULL,
                               request);
  if (held->shut) CHECK(err < 0);
  if (rover_socket_write_queue_size(held->socket) > 0) held->queues = true;
  if (err == 0) return;
  CHECK(held->shut || held->closes || held->ends || err == UV_ECONNRESET ||
        err == UV_EPIPE || err == UV_ETIMEDOUT || err == UV_EHOSTUNREACH);
  if (asks) request_failed(held, request);
  talker_break(held->talker);
}

static void shut(struct held *held) {
  struct request *request = request_new(held, true);

  held->touched = true;
  int err = rover_socket_shutdown(held->socket, on_done, request);
  if (held->shut) CHECK(err < 0);
  if (err < 0) request_failed(held, request);
  else held->shut = true, held->talker->finished = true;
}

void held_read(struct held *held) {
  int err = rover_socket_read_start(held->socket);
  held->touched = true;
  if (err < 0) return;
  held->reads = held->talker->listens = true;
}

void held_close(struct held *held) {
  if (!held->closes && !rover_socket_is_closing(held->socket)) {
    if (rover_socket_write_queue_size(held->socket) > 0)
      talker_break(held->talker);
    held->talker->finished = true;
  }
  held->closes = true;
  rover_socket_close(held->socket);
  CHECK(rover_socket_is_closing(held->socket));
}

/* What is there is heard, and the connection ends as the kernel ends it. */
static void detach(struct held *held) {
  static char bytes[1 << 16];
  ssize_t n;

  held->touched = true;
  int fd = rover_socket_detach(held->socket);
  if (fd < 0) {
    CHECK(fd == UV_EBUSY || fd == UV_EMFILE || fd == UV_EINVAL);
    return;
  }
  held->closes = true;
  while ((n = read(fd, bytes, draw_in(1, sizeof bytes))) > 0)
    talker_hears(held->talker, bytes, (size_t)n);
  if (n == 0) talker_ends(held->talker);
  held->talker->finished = true;
  close(fd);
}

static void on_data(rover_socket_t *socket, const char *bytes, size_t length) {
  struct held *held = rover_socket_data(socket);

  CHECK(held->socket == socket && held->reads && !held->closes);
  talker_hears(held->talker, bytes, length);
  if (rovers_are_calm) return;
  if (!held->client->has_relay && one_in(16)) write_some(held);
  else if (one_in(64)) held_close(held);
  else if (one_in(32)) {
    rover_socket_read_stop(socket);
    held->reads = held->talker->listens = false;
  }
}

static void on_end(rover_socket_t *socket) {
  struct held *held = rover_socket_data(socket);

  CHECK(held->socket == socket && !held->closes && !held->ends);
  held->ends = true;
  note("rover %u: %llu ends", held->client->index,
       (unsigned long long)held->talker->id);
  if (held->reads) talker_ends(held->talker);
  else if (one_in(2)) held_read(held);
  if (!rovers_are_calm && !held->client->has_relay && one_in(4))
    write_some(held);
  if (rovers_are_calm || one_in(8)) held_close(held);
}

static void on_drain(rover_socket_t *socket) {
  struct held *held = rover_socket_data(socket);
  CHECK(held->socket == socket && !held->closes);
  EQUAL(0, rover_socket_write_queue_size(socket));
  held->queues = false;
}

static void on_socket_closed(rover_socket_t *socket, int status) {
  struct held *held = rover_socket_data(socket);
  struct request *next;

  CHECK(held->socket == socket && status <= 0);
  note("rover %u: %llu closes: %s", held->client->index,
       (unsigned long long)held->talker->id,
       status ? uv_strerror(status) : "in order");
  /* One too many to be kept is closed whatever waits to be sent. */
  if (status < 0 || held->queues) talker_break(held->talker);
  else held->talker->finished = true;
  talker_close(held->talker);
  for (struct request *request = held->requests; request; request = next) {
    next = request->next;
    CHECK(request->dropped); /* what was accepted has called back */
    free(request);
  }
  if (held->prev) held->prev->next = held->next;
  else held->client->held = held->next;
  if (held->next) held->next->prev = held->prev;
  free(held);
}

static const rover_socket_events_t socket_events = {.data = on_data,
                                                    .end = on_end,
                                                    .drain = on_drain,
                                                    .close = on_socket_closed};

/* The callbacks of earlier requests do not come any more. */
static void set_events_again(struct held *held) {
  if (held->ends) return; /* it would come again */
  for (struct request *each = held->requests; each; each = each->next)
    each->dropped = true;
  EQUAL(0, rover_socket_set_events(held->socket, &socket_events, held));
}

struct held *held_new(struct client *client, rover_socket_t *socket) {
  struct held *held = calloc(1, sizeof *held);

  CHECK(held);
  held->client = client;
  held->socket = socket;
  held->talker = talker_new("rover");
  held->next = client->held;
  if (client->held) client->held->prev = held;
  client->held = held;
  EQUAL(0, rover_socket_set_events(socket, &socket_events, held));
  return held;
}

struct held *held_any(struct client *client) {
  struct held *held = client->held;
  size_t count = 0;

  for (; held; held = held->next) count++;
  if (count == 0) return NULL;
  held = client->held;
  for (size_t i = draw(count); i > 0; i--) held = held->next;
  return held;
}

void held_use(struct held *held) {
  if (held->closes) return;
  switch (draw(12)) {
    case 0:
    case 1:
    case 2:
    case 3: write_some(held); break;
    case 4:
    case 5:
    case 6:
      if (!held->ends) held_read(held);
      break;
    case 7:
      if (held->ends) break;
      rover_socket_read_stop(held->socket);
      held->reads = held->talker->listens = false;
      break;
    case 8: shut(held); break;
    case 9: held_close(held); break;
    case 10: set_events_again(held); break;
    case 11:
      if (!held->ends) detach(held);
      break;
  }
}
