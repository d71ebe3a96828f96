#include "internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <utlist.h>

/* One attempt: resolve, try each address in turn until one connects, read the
 * slot line. It ends in finish() or rover__attempt_cancel(), whichever comes
 * first, and is freed when libuv has given back everything it still holds. */
struct rover__attempt {
  struct rover__attempt *prev, *next;
  rover_t *rover;
  const rover_server_t *server; /* NULL: there was nobody to ask */
  rover_socket_t *socket;       /* of the address being tried */
  uv_timer_t timer;             /* the deadline of the present phase */
  uv_getaddrinfo_t resolve;
  uv_connect_t connect;
  uint64_t deadline; /* of resolving and connecting, in the loop's time */
  struct addrinfo *resolved;
  struct addrinfo *addresses; /* still to be tried */
  struct {
    struct addrinfo info;
    union {
      struct sockaddr any;
      struct sockaddr_in v4;
      struct sockaddr_in6 v6;
    } name;
  } literal[2];
  int status; /* why the addresses tried so far did not connect */
  unsigned held; /* by libuv: timer, lookup, connect */
  bool connecting;
  bool resolving;
  bool graced;
  bool done;
  unsigned char length;
  char line[ROVER__LINE_MAX];
};

static void release(struct rover__attempt *a) {
  if (--a->held > 0) return;
  rover_t *rover = a->rover;
  if (a->resolved) uv_freeaddrinfo(a->resolved);
  if (a->server) rover_server_unref(a->server);
  rover__count_memory(rover, -(ptrdiff_t)sizeof *a);
  free(a);
  rover__unref(rover);
}

static void on_timer_closed(uv_handle_t *timer) { release(timer->data); }

/* Takes the attempt out of the rover. Nothing calls back into it afterwards
 * but libuv, to give back what it holds. */
static void end(struct rover__attempt *a) {
  DL_DELETE(a->rover->attempts, a);
  a->rover->stats.in_flight--;
  a->done = true;
  uv_close((uv_handle_t *)&a->timer, on_timer_closed);
  if (a->resolving) uv_cancel((uv_req_t *)&a->resolve);
}

static void drop_socket(struct rover__attempt *a) {
  if (a->socket) rover_socket_close(a->socket);
  a->socket = NULL;
}

static const char *explain(int status) {
  switch (status) {
    case UV_EDESTADDRREQ: return "No servers to contact";
    case UV_EMFILE:
      return "this process has no descriptors left; raise its limit";
    case UV_ENFILE: return "this system has no descriptors left";
    case UV_ENOMEM: return "out of memory";
    default: return uv_strerror(status);
  }
}

static void tell_error(struct rover__attempt *a, int status,
                       const char *message) {
  rover_t *rover = a->rover;
  rover->stats.errors++;
  if (rover->options.events.error)
    rover->options.events.error(rover, a->server, status, message);
}

/* The attempt failed: its one outcome. */
static void finish(struct rover__attempt *a, int status) {
  rover_t *rover = a->rover;

  end(a);
  drop_socket(a);
  if (!a->server || rover__is_exhaustion(status)) {
    tell_error(a, status, explain(status));
    return;
  }
  rover__count_unreachable(rover, status);
  if (rover->options.events.unreachable)
    rover->options.events.unreachable(rover, a->server, status);
}

/* What came is no slot line. The message shows it, and, without taking it,
 * some of what came behind it: enough to recognise the protocol. */
static void finish_protocol(struct rover__attempt *a) {
  char seen[64], quoted[60], message[128];
  size_t length = a->length;
  uv_os_fd_t fd;

  memcpy(seen, a->line, length);
  if (uv_fileno((uv_handle_t *)&a->socket->tcp, &fd) == 0) {
    ssize_t more = recv(fd, seen + length, sizeof seen - length,
                        MSG_PEEK | MSG_DONTWAIT);
    if (more > 0) length += (size_t)more;
  }
  rover__quote(quoted, sizeof quoted, seen, length);
  snprintf(message, sizeof message, "not a slot line: %s", quoted);
  end(a);
  drop_socket(a);
  tell_error(a, UV_EPROTO, message);
}

static void finish_connection(struct rover__attempt *a, int slot) {
  rover_socket_t *socket = a->socket;
  a->socket = NULL;
  end(a);
  rover__socket_deliver(socket, slot);
}

/* -- The slot line -------------------------------------------------------- */

void rover__attempt_buffer(struct rover__attempt *a, uv_buf_t *buffer) {
  int slot;
  int wanted = rover__line_parse(a->line, a->length, &slot);
  *buffer = uv_buf_init(a->line + a->length, (unsigned)wanted);
}

void rover__attempt_read(struct rover__attempt *a, ssize_t nread) {
  if (nread == 0) return;
  if (nread < 0) {
    finish(a, (int)nread);
    return;
  }
  a->length = (unsigned char)(a->length + nread);
  int slot;
  int wanted = rover__line_parse(a->line, a->length, &slot);
  if (wanted == 0) finish_connection(a, slot);
  else if (wanted < 0) finish_protocol(a);
}

/* -- Connecting ----------------------------------------------------------- */

static int try_next(struct rover__attempt *a);

/* Of several addresses' faults, that of an address this machine has no way to
 * (no IPv6, say) tells the least. */
static void note(struct rover__attempt *a, int status) {
  bool vague = a->status == UV_ENETUNREACH || a->status == UV_EADDRNOTAVAIL ||
               a->status == UV_EAFNOSUPPORT;
  if (a->status == 0 || vague || rover__is_exhaustion(status))
    a->status = status;
}

static void on_timeout(uv_timer_t *timer) {
  struct rover__attempt *a = timer->data;

  /* libuv runs timers before it polls. If the loop was held up, the answer may
   * long be there: let it poll once more before the deadline counts. */
  if (!a->graced) {
    a->graced = true;
    uv_timer_start(timer, on_timeout, 1, 0);
  } else if (a->connecting) {
    note(a, UV_ETIMEDOUT);
    drop_socket(a); /* on_connect() follows, with UV_ECANCELED */
  } else {
    finish(a, UV_ETIMEDOUT);
  }
}

static void set_timeout(struct rover__attempt *a, uint64_t ms) {
  a->graced = false;
  uv_timer_start(&a->timer, on_timeout, ms, 0);
}

/* A server that is near has often sent its line by now. Having it without
 * another turn of the loop saves two system calls where it has, and costs one
 * where it has not. */
static void read_early(struct rover__attempt *a) {
  uv_buf_t buffer;
  uv_os_fd_t fd;
  ssize_t n;

  uv_fileno((uv_handle_t *)&a->socket->tcp, &fd);
  do {
    rover__attempt_buffer(a, &buffer);
    n = recv(fd, buffer.base, buffer.len, MSG_DONTWAIT);
    if (n > 0) rover__attempt_read(a, n);
  } while (n > 0 && !a->done);
}

static void on_connect(uv_connect_t *request, int status) {
  struct rover__attempt *a = request->data;

  a->connecting = false;
  if (!a->done && status == 0) {
    set_timeout(a, a->rover->options.slot_timeout);
    read_early(a);
  } else if (!a->done) {
    if (a->socket) note(a, status);
    drop_socket(a);
    status = try_next(a);
    if (status < 0) finish(a, status);
  }
  release(a);
}

/* An address gets an equal share of the time left, so that one that swallows
 * packets leaves some to those behind it. */
static uint64_t share(const struct rover__attempt *a) {
  uint64_t now = uv_now(a->rover->loop);
  uint64_t left = a->deadline > now ? a->deadline - now : 0;
  uint64_t addresses = 1;
  for (struct addrinfo *i = a->addresses; i; i = i->ai_next) addresses++;
  return left / addresses;
}

static void set_port(struct sockaddr *name, int port) {
  if (name->sa_family == AF_INET6)
    ((struct sockaddr_in6 *)name)->sin6_port = htons((uint16_t)port);
  else
    ((struct sockaddr_in *)name)->sin_port = htons((uint16_t)port);
}

/* Connects to the next address that takes it. Returns 0 when one is on its
 * way, else why none is. */
static int try_next(struct rover__attempt *a) {
  while (a->addresses && !rover__is_exhaustion(a->status)) {
    struct addrinfo *address = a->addresses;
    a->addresses = address->ai_next;
    a->socket = rover__socket_new(a->rover, a->server);
    if (!a->socket) return UV_ENOMEM;
    set_port(address->ai_addr, rover_server_port(a->server));
    int err = uv_tcp_connect(&a->connect, &a->socket->tcp, address->ai_addr,
                             on_connect);
    if (err == 0) {
      a->socket->data = a;
      a->connecting = true;
      a->held++;
      set_timeout(a, share(a));
      /* Nothing is read before it is connected, but asking now saves libuv two
       * of five calls of epoll_ctl(). */
      rover__socket_watch(a->socket);
      return 0;
    }
    note(a, err);
    drop_socket(a);
  }
  return a->status;
}

/* -- Resolving ------------------------------------------------------------ */

/* A resolver that can open no descriptor, neither for its files nor to ask,
 * only says that there is no such name. */
static int blame(int status) {
  if (status == UV_EAI_MEMORY) return UV_ENOMEM;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int err = fd < 0 ? uv_translate_sys_error(errno) : 0;
  if (fd >= 0) close(fd);
  return rover__is_exhaustion(err) ? err : status;
}

static void on_resolved(uv_getaddrinfo_t *request, int status,
                        struct addrinfo *addresses) {
  struct rover__attempt *a = request->data;

  a->resolving = false;
  a->resolved = addresses;
  if (!a->done) {
    if (status < 0) {
      status = blame(status);
    } else {
      a->addresses = addresses;
      a->status = UV_EAI_NODATA; /* should the list be empty */
      if (addresses) a->status = 0;
      status = try_next(a);
    }
    if (status < 0) finish(a, status);
  }
  release(a);
}

static void literal(struct rover__attempt *a, int index) {
  struct addrinfo *info = &a->literal[index].info;
  info->ai_addr = &a->literal[index].name.any;
  info->ai_next = a->addresses;
  a->addresses = info;
}

/* Finds the addresses without the resolver, if that can be. */
static bool is_literal(struct rover__attempt *a, const char *host) {
  if (!strcasecmp(host, "localhost") || !strcasecmp(host, "localhost.")) {
    uv_ip4_addr("127.0.0.1", 0, &a->literal[1].name.v4);
    literal(a, 1);
    uv_ip6_addr("::1", 0, &a->literal[0].name.v6);
    literal(a, 0);
    return true;
  }
  if (uv_ip4_addr(host, 0, &a->literal[0].name.v4) < 0 &&
      uv_ip6_addr(host, 0, &a->literal[0].name.v6) < 0)
    return false;
  literal(a, 0);
  return true;
}

static int begin(struct rover__attempt *a) {
  if (!a->server) return UV_EDESTADDRREQ;

  const char *host = rover_server_host(a->server);
  if (is_literal(a, host)) return try_next(a);

  struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
  int err = uv_getaddrinfo(a->rover->loop, &a->resolve, on_resolved, host, NULL,
                           &hints);
  if (err < 0) return err;
  a->resolving = true;
  a->held++;
  set_timeout(a, a->rover->options.connect_timeout);
  return 0;
}

/* -- Entry points --------------------------------------------------------- */

static void on_deferred(uv_timer_t *timer) {
  struct rover__attempt *a = timer->data;
  finish(a, a->status);
}

int rover__attempt_start(rover_t *rover, rover_server_t *server) {
  struct rover__attempt *a = calloc(1, sizeof *a);
  if (!a) return UV_ENOMEM;

  uv_timer_init(rover->loop, &a->timer);
  a->timer.data = a->resolve.data = a->connect.data = a;
  a->held = 1;
  a->rover = rover;
  a->server = server;
  if (server) rover_server_ref(server);
  DL_APPEND(rover->attempts, a);
  rover__count_memory(rover, sizeof *a);
  rover->refs++;
  rover->stats.attempts++;
  rover->stats.in_flight++;

  /* The loop's idea of the time may be old if the program was busy. */
  uv_update_time(rover->loop);
  a->deadline = uv_now(rover->loop) + rover->options.connect_timeout;
  int err = begin(a);
  if (err < 0) {
    a->status = err;
    uv_timer_start(&a->timer, on_deferred, 0, 0);
  }
  return 0;
}

static void cancel(struct rover__attempt *a) {
  a->rover->stats.cancelled++;
  end(a);
  drop_socket(a);
}

void rover__attempt_cancel(rover_t *rover, const rover_server_t *server) {
  struct rover__attempt *a, *next;
  DL_FOREACH_SAFE(rover->attempts, a, next) {
    if (!server || a->server == server) cancel(a);
  }
}

void rover__attempt_follow_servers(rover_t *rover) {
  struct rover__attempt *a, *next;
  DL_FOREACH_SAFE(rover->attempts, a, next) {
    const rover_server_t *old = a->server;
    if (!old) continue;
    const rover_server_t *new = rover_server_get(rover, rover_server_id(old));
    if (!new || rover_server_port(new) != rover_server_port(old) ||
        strcmp(rover_server_host(new), rover_server_host(old)) != 0) {
      cancel(a);
      continue;
    }
    a->server = rover_server_ref(new);
    rover_server_unref(old);
  }
}
