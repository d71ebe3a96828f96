#include "backend.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../net/clock.h"
#include "../net/descriptor.h"
#include "../net/proxy.h"
#include "front.h"

/* While the backend is up, only clients' connections show whether it still is.
 * Once it is down, it is checked at intervals, until a check, or a connection
 * that was in progress, succeeds. A shortage of this machine's resources does
 * not count against it. It may also be set down by hand, whatever connecting
 * shows. The program is notified of changes at the end of a batch of events. */

enum { FAILURES_MAX = 3 /* in a row */ };

/* -- Connecting ----------------------------------------------------------- */

static int new_socket(rover_front_t *front) {
  int family = front->backend.name.any.sa_family;
  int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
  int fd = socket(family, type, 0);

  if (fd < 0 && errno == EMFILE && front->reserve.count == FRONT_RESERVED &&
      net__reserve_spend(&front->reserve))
    fd = socket(family, type, 0);
  return fd < 0 ? -errno : fd;
}

/* A local peer needs no keepalive: it cannot vanish unnoticed. */
static void set_options(const rover_front_t *front, int fd) {
  if (front->backend.name.any.sa_family == AF_UNIX) return;
  net__fd_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  if (!net__endpoint_is_local(&front->backend.name))
    net__fd_set_keepalive(fd, front->options.keepalive);
}

/* If nothing listens on the port, and it is one that the kernel chooses for
 * outgoing connections, a socket may connect to itself. */
static bool is_own(const rover_front_t *front, int fd) {
  union net__endpoint own = {0};
  socklen_t size = sizeof own;

  return front->backend.name.any.sa_family != AF_UNIX &&
         getsockname(fd, &own.any, &size) == 0 &&
         net__endpoint_is_same(&own, &front->backend.name);
}

static int refuse_own(const rover_front_t *front, int fd) {
  if (!is_own(front, fd)) return 0;
  net__fd_reset_on_close(fd);
  return -ECONNREFUSED;
}

static int begin_connecting(const rover_front_t *front, int fd) {
  const union net__endpoint *name = &front->backend.name;
  socklen_t size = net__endpoint_size(name);

  if (connect(fd, &name->any, size) == 0) return 0;
  if (errno != EINPROGRESS) return -errno;
  /* Within this machine, the handshake is over by now. */
  if (connect(fd, &name->any, size) == 0) return 0;
  return errno == EALREADY ? -EINPROGRESS : -errno;
}

int front__backend_connect(rover_front_t *front, bool *pending) {
  int fd = new_socket(front);

  if (fd < 0) return fd;
  set_options(front, fd);
  int err = begin_connecting(front, fd);
  *pending = err == -EINPROGRESS;
  if (err == 0) err = refuse_own(front, fd);
  if (err == 0 || *pending) return fd;
  close(fd);
  return err;
}

int front__backend_connected(const rover_front_t *front, int fd) {
  int err = net__fd_error(fd);
  return err < 0 ? err : refuse_own(front, fd);
}

/* -- Up and down ---------------------------------------------------------- */

bool front__backend_is_up(const struct front__backend *backend) {
  return backend->status == 0 && !backend->reason;
}

static void close_check(rover_front_t *front) {
  struct net__poll *check = &front->backend.check;
  if (check->fd >= 0) net__poll_close(&front->poller->epoll, check);
  check->fd = -1;
}

static void come_up(rover_front_t *front) {
  struct front__backend *backend = &front->backend;

  close_check(front);
  backend->status = backend->shortage = 0;
  backend->failures = 0;
  backend->due = NET_NEVER;
}

static void schedule(rover_front_t *front, uint64_t ms) {
  front->backend.due = net__after(net__now(), ms);
  net__alarm_set(&front->alarm, front->backend.due);
}

void front__backend_report(rover_front_t *front, int status) {
  struct front__backend *backend = &front->backend;

  if (status == 0) come_up(front);
  else if (status != UV_EAGAIN && net__is_exhaustion(status))
    backend->shortage = status;
  else if (backend->status == 0 && front->options.health_interval < NET_NEVER &&
           (status == UV_ECONNREFUSED || status == UV_ENOENT ||
            ++backend->failures == FAILURES_MAX)) {
    backend->failures = 0;
    backend->status = status;
    schedule(front, front->options.health_interval);
  }
}

static void own_reason(rover_front_t *front, char *reason) {
  free(front->backend.reason);
  front->backend.reason = reason;
  net__alarm_soon(&front->alarm);
}

int front__backend_set_down(rover_front_t *front, const char *reason) {
  char *own = reason ? strdup(reason) : NULL;

  if (reason && !own) return UV_ENOMEM;
  own_reason(front, own);
  return 0;
}

void front__backend_take_down(rover_front_t *front, rover_front_t *from) {
  char *reason = from->backend.reason;

  from->backend.reason = NULL;
  own_reason(front, reason);
}

/* -- Checks --------------------------------------------------------------- */

/* Tells the backend that this connection is not a client's. */
static void send_header(const rover_front_t *front, int fd) {
  static const struct net__proxy proxy = {.is_local = true};
  int version = front->options.send_proxy;

  if (version <= 0) return;
  unsigned char bytes[NET_PROXY_WRITE_MAX];
  send(fd, bytes, net__proxy_write(&proxy, version, bytes), MSG_NOSIGNAL);
}

static void end_check(rover_front_t *front, int status) {
  if (status == 0) send_header(front, front->backend.check.fd);
  close_check(front);
  front__backend_report(front, status);
  if (status < 0) schedule(front, front->options.health_interval);
}

static void on_check(struct net__poll *poll, int events) {
  rover_front_t *front =
      (rover_front_t *)((char *)poll - offsetof(rover_front_t, backend.check));

  (void)events;
  end_check(front, front__backend_connected(front, poll->fd));
}

static void begin_check(rover_front_t *front) {
  struct net__poll *check = &front->backend.check;
  bool pending;

  front->stats.checks++;
  int fd = front__backend_connect(front, &pending);
  if (fd < 0) {
    end_check(front, fd);
    return;
  }
  *check = (struct net__poll){.fd = fd, .ready = on_check};
  int err =
      pending ? net__poll_set(&front->poller->epoll, check, NET_WRITABLE) : 0;
  if (err < 0 || !pending) end_check(front, err);
  else schedule(front, front->options.connect_timeout);
}

uint64_t front__backend_due(const rover_front_t *front) {
  return front->closing ? NET_NEVER : front->backend.due;
}

void front__backend_expire(rover_front_t *front, uint64_t polled,
                           uint64_t now) {
  if (front->backend.check.fd >= 0) {
    if (front->backend.due <= polled) end_check(front, UV_ETIMEDOUT);
  } else if (front__backend_due(front) <= now) {
    begin_check(front);
  }
}

/* -- Callbacks ------------------------------------------------------------ */

static const char *explain_shortage(int status) {
  switch (status) {
    case UV_EMFILE:
      return "cannot connect to the backend: this process has no descriptors "
             "left; raise its limit of open files (ulimit -n)";
    case UV_ENFILE:
      return "cannot connect to the backend: this system has no descriptors "
             "left";
    case UV_ENOMEM: return "cannot connect to the backend: out of memory";
    case UV_EADDRNOTAVAIL:
      return "cannot connect to the backend: this machine has no local ports "
             "left";
    default: return "cannot connect to the backend";
  }
}

void front__backend_notify_shortage(rover_front_t *front) {
  struct front__backend *backend = &front->backend;
  int shortage = backend->shortage, told = backend->notified_shortage;

  backend->notified_shortage = shortage;
  if (shortage < 0 && told == 0 && front->options.events.error)
    front->options.events.error(front, shortage, explain_shortage(shortage));
}

void front__backend_notify_state(rover_front_t *front) {
  struct front__backend *backend = &front->backend;
  bool up = front__backend_is_up(backend);
  int status = backend->reason ? UV_ECANCELED : backend->status;
  char text[128], *reason = NULL;

  if (up == backend->notified_up) return;
  backend->notified_up = up;
  if (!front->options.events.backend) return;
  /* The callback may take the reason back, or close the front. */
  if (backend->reason) reason = strdup(backend->reason);
  if (up) snprintf(text, sizeof text, "the backend is up");
  else if (status == UV_EAGAIN)
    snprintf(text, sizeof text,
             "the backend is down: it does not accept connections");
  else
    snprintf(text, sizeof text, "the backend is down: %s", uv_strerror(status));
  front->options.events.backend(front, up, status, reason ? reason : text);
  free(reason);
}

/* -- Life ----------------------------------------------------------------- */

void front__backend_init(struct front__backend *backend) {
  backend->check.fd = -1;
  backend->due = NET_NEVER;
  backend->notified_up = true;
}

void front__backend_clear(rover_front_t *front) {
  close_check(front);
  free(front->backend.reason);
  front->backend.reason = NULL;
}

void front__backend_move(rover_front_t *front,
                         const union net__endpoint *name) {
  bool same = net__endpoint_is_same(&front->backend.name, name);

  front->backend.name = *name;
  if (!same || front->options.health_interval == NET_NEVER) come_up(front);
}
