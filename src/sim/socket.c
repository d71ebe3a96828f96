#include "socket.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "conn.h"
#include "end.h"
#include "listener.h"
#include "memory.h"
#include "path.h"
#include "poll.h"
#include "route.h"
#include "stream.h"

/* The life of a socket is that of Linux: unconnected, it may be bound, listen or
 * connect; a connection that is asked for is reported as writable, or by
 * SO_ERROR. Datagrams can be sent, and get lost. Nothing blocks here, whatever
 * O_NONBLOCK says. */

enum { UNCONNECTED, CONNECTING, CONNECTED, LISTENING };

enum { TYPE = 0xf, MODE = 0777 };

/* -- Polling -------------------------------------------------------------- */

static bool is_dgram(const struct sim__socket *socket) {
  return socket->type == SOCK_DGRAM;
}

static bool is_unix(const struct sim__socket *socket) {
  return socket->domain == AF_UNIX;
}

/* A Unix socket whose peer has closed is so both ways. */
static bool has_left(const struct sim__end *end) {
  return sim__conn_of(end)->is_unix && sim__peer(end)->gone;
}

static uint32_t poll_end(struct sim__end *end) {
  bool dead = end->state == SIM__DEAD;
  bool in_shut = dead || end->in.ended || end->blind;
  bool out_shut = dead || sim__stream_out(end)->ending || has_left(end);
  uint32_t events = 0;

  if (end->err) events |= EPOLLERR;
  if (end->state == SIM__OPENING) return events;
  if (in_shut && out_shut) events |= EPOLLHUP;
  if (in_shut) events |= EPOLLIN | EPOLLRDNORM | EPOLLRDHUP;
  if (sim__end_unread(end) > 0) events |= EPOLLIN | EPOLLRDNORM;
  if ((out_shut && !sim__conn_of(end)->is_unix) || sim__end_is_writable(end))
    events |= EPOLLOUT | EPOLLWRNORM;
  return events;
}

static uint32_t poll_socket(struct sim__file *file) {
  const struct sim__socket *socket = (const struct sim__socket *)file;

  if (socket->listener)
    return socket->listener->waiting > 0 ? EPOLLIN | EPOLLRDNORM : 0;
  if (socket->end) return poll_end(socket->end);
  return EPOLLOUT | EPOLLWRNORM | (is_dgram(socket) ? 0 : EPOLLHUP);
}

static void on_connected(struct sim__end *end) {
  sim__poll_wake(end->data, EPOLLOUT);
}

/* A FIN is a change of state, which everybody is told. */
static void on_readable(struct sim__end *end) {
  sim__poll_wake(end->data, end->in.ended ? 0 : EPOLLIN);
}

static void on_writable(struct sim__end *end) {
  sim__poll_wake(end->data, EPOLLOUT);
}

/* When its machine is stopped, the socket is left without an end. */
static void on_ended(struct sim__end *end, int err) {
  struct sim__socket *socket = end->data;
  if (err == ECANCELED) socket->end = NULL;
  sim__poll_wake(&socket->file, 0);
}

static const struct sim__end_ops ops = {on_connected, on_readable, on_writable,
                                        on_ended};

static void own(struct sim__socket *socket, struct sim__end *end) {
  socket->end = end;
  end->ops = &ops;
  end->data = socket;
}

/* -- Names ---------------------------------------------------------------- */

/* A name in the abstract namespace begins with a NUL; here with an SOH. */
static int read_path(char path[sizeof(struct sockaddr_un)],
                     const struct sockaddr *name, socklen_t size) {
  const struct sockaddr_un *un = (const struct sockaddr_un *)name;
  size_t length = size - offsetof(struct sockaddr_un, sun_path);

  if (name->sa_family != AF_UNIX) return -EINVAL;
  if (size <= offsetof(struct sockaddr_un, sun_path) || size > sizeof *un)
    return -EINVAL;
  memcpy(path, un->sun_path, length);
  path[length] = '\0';
  if (path[0] == '\0') path[0] = 1;
  return 0;
}

static void write_path(const char *path, struct sockaddr *name,
                       socklen_t *size) {
  struct sockaddr_un un = {.sun_family = AF_UNIX};
  size_t length = path ? strlen(path) : 0;
  socklen_t needed =
      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);

  if (path) {
    memcpy(un.sun_path, path, length);
    if (path[0] == 1) un.sun_path[0] = '\0';
    else needed++; /* the NUL behind it */
  }
  memcpy(name, &un, *size < needed ? *size : needed);
  *size = needed;
}

static int write_name(const struct sim__socket *socket,
                      const struct sim__address *address, struct sockaddr *name,
                      socklen_t *size) {
  sim__address_write(address, socket->domain, name, size);
  return 0;
}

int sim__getsockname(struct sim__socket *socket, struct sockaddr *name,
                     socklen_t *size) {
  if (is_unix(socket)) {
    write_path(socket->path, name, size);
    return 0;
  }
  return write_name(socket, socket->end ? &socket->end->local : &socket->local,
                    name, size);
}

int sim__getpeername(struct sim__socket *socket, struct sockaddr *name,
                     socklen_t *size) {
  const struct sim__end *end = socket->end;

  if (!end || end->state == SIM__OPENING || end->state == SIM__DEAD)
    return -ENOTCONN;
  if (is_unix(socket)) {
    write_path(end->side == 0 ? socket->path : NULL, name, size);
    return 0;
  }
  return write_name(socket, &end->remote, name, size);
}

static bool is_own_address(const struct sim__address *address) {
  struct sim__address ours = sim__machine_address(sim__current);
  return sim__address_is_any(address) || sim__address_is_loopback(address) ||
         sim__address_is_same_ip(address, &ours);
}

static uint16_t take_port(void) {
  struct sim__machine *machine = sim__current;
  return machine->next_port++;
}

static int bind_path(struct sim__socket *socket, const struct sockaddr *name,
                     socklen_t size) {
  char path[sizeof(struct sockaddr_un)];
  int err = read_path(path, name, size);

  if (err < 0) return err;
  if (sim__path_find(sim__current, path)) return -EADDRINUSE;
  socket->path = strdup(path);
  socket->inode = sim__path_add(sim__current, path, socket->mode);
  socket->bound = true;
  return 0;
}

int sim__bind(struct sim__socket *socket, const struct sockaddr *name,
              socklen_t size) {
  struct sim__address address;

  if (socket->bound || socket->end) return -EINVAL;
  if (is_unix(socket)) return bind_path(socket, name, size);
  int err = sim__address_read(&address, name, size);
  if (err < 0) return err;
  if (!is_own_address(&address)) return -EADDRNOTAVAIL;
  if (address.port > 0 && !is_dgram(socket) &&
      sim__listener_at(sim__current, &address))
    return -EADDRINUSE;
  if (address.port == 0) address.port = take_port();
  socket->local = address;
  socket->bound = true;
  return 0;
}

/* -- Listening ------------------------------------------------------------ */

static void on_waiting(struct sim__listener *listener) {
  sim__poll_wake(listener->data, EPOLLIN);
}

int sim__socket_listen(struct sim__socket *socket, int backlog) {
  enum { MOST = 4096 }; /* net.core.somaxconn */
  unsigned most = backlog < 0 || backlog > MOST ? MOST : (unsigned)backlog;

  if (is_dgram(socket)) return -EOPNOTSUPP;
  if (socket->end || (is_unix(socket) && !socket->bound)) return -EINVAL;
  if (socket->listener) {
    socket->listener->backlog = most;
    return 0;
  }
  if (!socket->bound) socket->local.port = take_port();
  socket->bound = true;
  if (!is_unix(socket) && sim__listener_at(sim__current, &socket->local))
    return -EADDRINUSE;
  socket->listener = sim__new(sizeof *socket->listener);
  *socket->listener = (struct sim__listener){.local = socket->local,
                                             .inode = socket->inode,
                                             .backlog = most,
                                             .options = socket->options,
                                             .ready = on_waiting,
                                             .data = socket};
  sim__listener_add(sim__current, socket->listener);
  socket->state = LISTENING;
  return 0;
}

static void stop_listening(struct sim__socket *socket) {
  if (socket->listener->machine) sim__listener_remove(socket->listener);
  sim__conn_refuse_all(socket->listener);
  free(socket->listener);
  socket->listener = NULL;
}

/* -- Connecting ----------------------------------------------------------- */

static int connect_path(struct sim__socket *socket, const struct sockaddr *name,
                        socklen_t size) {
  char path[sizeof(struct sockaddr_un)];
  int err = read_path(path, name, size);

  if (err < 0) return err;
  if (socket->end) return -EISCONN;
  if (!sim__path_find(sim__current, path))
    return path[0] == 1 ? -ECONNREFUSED : -ENOENT;
  struct sim__listener *listener = sim__path_listener(sim__current, path);
  if (!listener) return -ECONNREFUSED;
  if (sim__listener_is_full(listener)) return -EAGAIN;
  own(socket, sim__conn_pair(sim__current, listener));
  socket->state = CONNECTED;
  return 0;
}

static int connect_again(struct sim__socket *socket) {
  struct sim__end *end = socket->end;

  if (socket->state == CONNECTED) return -EISCONN;
  if (end->state == SIM__OPENING) return -EALREADY;
  if (end->state == SIM__OPEN) {
    socket->state = CONNECTED;
    return 0;
  }
  int err = end->err ? end->err : ECONNABORTED;
  socket->end = NULL;
  socket->state = UNCONNECTED;
  sim__end_close(end, false);
  return -err;
}

static int connect_dgram(struct sim__socket *socket,
                         const struct sim__address *to) {
  uint16_t port;

  if (!is_own_address(to) && !sim__route_find(sim__current, to, &port))
    return -ENETUNREACH;
  socket->state = CONNECTED;
  return 0;
}

int sim__socket_connect(struct sim__socket *socket, const struct sockaddr *name,
                        socklen_t size) {
  struct sim__address to;

  if (socket->listener) return -EISCONN;
  if (is_unix(socket)) return connect_path(socket, name, size);
  int err = sim__address_read(&to, name, size);
  if (err < 0) return err;
  if (is_dgram(socket)) return connect_dgram(socket, &to);
  if (socket->end) return connect_again(socket);
  struct sim__machine *machine = sim__route_find(sim__current, &to, &to.port);
  if (!machine) return -ENETUNREACH;
  own(socket, sim__conn_open(sim__current, &socket->local, machine, &to,
                             &socket->options));
  socket->state = CONNECTING;
  sim__conn_begin(socket->end);
  return -EINPROGRESS;
}

int sim__shutdown(struct sim__socket *socket, int how) {
  struct sim__end *end = socket->end;

  if (how < SHUT_RD || how > SHUT_RDWR) return -EINVAL;
  if (!end || end->state == SIM__DEAD || end->state == SIM__OPENING)
    return -ENOTCONN;
  if (how != SHUT_WR) end->blind = true;
  if (how != SHUT_RD && !sim__stream_out(end)->ending) sim__end_shut(end);
  sim__poll_wake(&socket->file, 0);
  return 0;
}

/* -- Reading and writing -------------------------------------------------- */

ssize_t sim__recv(struct sim__socket *socket, void *bytes, size_t size,
                  int flags) {
  if (is_dgram(socket)) return -EAGAIN;
  if (!socket->end) return -ENOTCONN;
  if (flags & MSG_TRUNC && !is_unix(socket)) bytes = NULL;
  if (flags & MSG_OOB) return -EINVAL;
  return sim__end_read(socket->end, bytes, size,
                       (flags & MSG_PEEK) != 0 && bytes);
}

ssize_t sim__send_to(struct sim__socket *socket, const void *bytes, size_t size,
                     int flags) {
  if (is_dgram(socket)) return (ssize_t)size;
  if (!socket->end) return is_unix(socket) ? -ENOTCONN : -EPIPE;
  /* An urgent byte is beside the others, and nobody reads it here. */
  if (flags & MSG_OOB && size > 0) {
    ssize_t n = size > 1 ? sim__end_write(socket->end, bytes, size - 1) : 0;
    return n < 0 ? n : n + 1;
  }
  if (has_left(socket->end) && !socket->end->err) return -EPIPE;
  return sim__end_write(socket->end, bytes, size);
}

static ssize_t read_socket(struct sim__file *file, void *bytes, size_t size) {
  return sim__recv((struct sim__socket *)file, bytes, size, 0);
}

static ssize_t write_socket(struct sim__file *file, const void *bytes,
                            size_t size) {
  return sim__send_to((struct sim__socket *)file, bytes, size, 0);
}

/* -- Life ----------------------------------------------------------------- */

static void close_socket(struct sim__file *file) {
  struct sim__socket *socket = (struct sim__socket *)file;

  sim__poll_forget(file);
  if (socket->listener) stop_listening(socket);
  if (socket->end) sim__end_close(socket->end, false);
  free(socket->path);
  free(socket);
}

static const struct sim__file_type socket_type = {poll_socket, close_socket,
                                                  read_socket, write_socket};

struct sim__socket *sim__socket_of(struct sim__file *file) {
  return file->type == &socket_type ? (struct sim__socket *)file : NULL;
}

static struct sim__socket *socket_new(int domain, int type) {
  struct sim__socket *socket = sim__new(sizeof *socket);

  socket->file.type = &socket_type;
  socket->file.blocks = !(type & SOCK_NONBLOCK);
  socket->domain = (short)domain;
  socket->type = (short)(type & TYPE);
  socket->mode = MODE;
  socket->options.idle = 7200;
  socket->options.interval = 75;
  socket->options.count = 9;
  return socket;
}

int sim__socket(int domain, int type, int protocol) {
  (void)protocol;
  if (domain != AF_INET && domain != AF_INET6 && domain != AF_UNIX)
    return -EAFNOSUPPORT;
  if ((type & TYPE) != SOCK_STREAM && (type & TYPE) != SOCK_DGRAM)
    return -ESOCKTNOSUPPORT;
  return sim__fd_new(&socket_new(domain, type)->file, 0);
}

int sim__socketpair(int domain, int type, int fds[2]) {
  if (domain != AF_UNIX) return -EOPNOTSUPP;
  struct sim__socket *one = socket_new(domain, type);
  int first = sim__fd_new(&one->file, 0);
  if (first < 0) return first;
  struct sim__socket *other = socket_new(domain, type);
  int second = sim__fd_new(&other->file, 0);
  if (second < 0) {
    sim__fd_close(first);
    return second;
  }
  fds[0] = first;
  fds[1] = second;
  own(one, sim__conn_pair(sim__current, NULL));
  own(other, sim__peer(one->end));
  one->state = other->state = CONNECTED;
  return 0;
}

int sim__accept(struct sim__socket *socket, struct sockaddr *name,
                socklen_t *size, int flags) {
  if (!socket->listener) return -EINVAL;
  if (!socket->listener->first) return -EAGAIN;
  struct sim__socket *accepted =
      socket_new(socket->domain, SOCK_STREAM | flags);
  int fd = sim__fd_new(&accepted->file, 0);
  if (fd < 0) return fd;
  own(accepted, sim__conn_accept(socket->listener));
  accepted->options = accepted->end->options;
  accepted->state = CONNECTED;
  accepted->bound = true;
  if (is_unix(socket)) {
    accepted->path = socket->path ? strdup(socket->path) : NULL;
    if (name) write_path(NULL, name, size);
  } else if (name) {
    sim__address_write(&accepted->end->remote, socket->domain, name, size);
  }
  return fd;
}
