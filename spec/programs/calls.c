/* What Linux's system calls do, as far as our code relies on it: for Linux, and
 * for the virtual kernel of src/sim, on which the same file runs. */
#include "check.h"

#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/un.h>

/* -- Connections ---------------------------------------------------------- */

enum { CLIENT, SERVER };

static int tcp(void) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  CHECK(fd >= 0);
  return fd;
}

static int call(int fd, int port) {
  struct sockaddr_in name = loopback(port);
  return connect(fd, (struct sockaddr *)&name, sizeof name) < 0 ? errno : 0;
}

static void join(int ends[2]) {
  int listener = listening();
  ends[CLIENT] = tcp();
  EQUAL(EINPROGRESS, call(ends[CLIENT], port_of(listener)));
  ends[SERVER] = accepted(listener);
  close(listener);
}

static void join_unix(int ends[2]) {
  EQUAL(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
                      ends));
}

static void close_both(int ends[2]) {
  close(ends[0]);
  close(ends[1]);
}

static int option(int fd, int level, int name) {
  int value = 0;
  socklen_t size = sizeof value;
  CHECK(getsockopt(fd, level, name, &value, &size) == 0);
  return value;
}

static int error_of(int fd) { return option(fd, SOL_SOCKET, SO_ERROR); }

/* The result of recv() with a little room, or a negative errno. */
static int got(int fd, int flags) {
  char bytes[8];
  ssize_t n = recv(fd, bytes, sizeof bytes, flags);
  return n < 0 ? -errno : (int)n;
}

static int gave(int fd) {
  ssize_t n = send(fd, "x", 1, MSG_NOSIGNAL);
  return n < 0 ? -errno : (int)n;
}

static int unsent(int fd) {
  int count = -1;
  CHECK(ioctl(fd, SIOCOUTQ, &count) == 0);
  return count;
}

/* -- What poll() says ----------------------------------------------------- */

enum {
  IN = POLLIN | POLLRDNORM,
  OUT = POLLOUT | POLLWRNORM,
  ENDED = IN | POLLRDHUP
};

static int polled(int fd) {
  struct pollfd poll_fd = {.fd = fd, .events = ENDED | OUT | POLLPRI};
  poll(&poll_fd, 1, 0);
  return poll_fd.revents;
}

static void poll_new(void) {
  int fd = tcp(), own = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EQUAL(OUT | POLLHUP, polled(fd));
  EQUAL(OUT | POLLHUP, polled(own));
  EQUAL(-ENOTCONN, got(fd, MSG_DONTWAIT));
  EQUAL(-EPIPE, gave(fd));
  EQUAL(-ENOTCONN, gave(own));
  close(fd);
  close(own);
}

static void poll_listener(void) {
  int listener = listening(), fd = tcp();
  EQUAL(0, polled(listener));
  EQUAL(EINPROGRESS, call(fd, port_of(listener)));
  settle();
  EQUAL(IN, polled(listener));
  close(accepted(listener));
  EQUAL(0, polled(listener));
  close(fd);
  close(listener);
}

static void poll_open(void) {
  int ends[2];
  join(ends);
  EQUAL(OUT, polled(ends[CLIENT]));
  EQUAL(OUT, polled(ends[SERVER]));
  say(ends[CLIENT], "hello");
  settle();
  EQUAL(IN | OUT, polled(ends[SERVER]));
  hear(ends[SERVER], "hello");
  EQUAL(OUT, polled(ends[SERVER]));
  close_both(ends);
}

static void poll_half_closed(void) {
  int ends[2];
  join(ends);
  say(ends[CLIENT], "hello");
  EQUAL(0, shutdown(ends[CLIENT], SHUT_WR));
  settle();
  EQUAL(OUT, polled(ends[CLIENT]));
  EQUAL(ENDED | OUT, polled(ends[SERVER]));
  EQUAL(-EPIPE, gave(ends[CLIENT]));
  hear(ends[SERVER], "hello");
  EQUAL(0, got(ends[SERVER], 0));
  EQUAL(0, got(ends[SERVER], 0));
  EQUAL(ENDED | OUT, polled(ends[SERVER]));
  say(ends[SERVER], "yes");
  hear(ends[CLIENT], "yes");
  EQUAL(0, shutdown(ends[SERVER], SHUT_WR));
  settle();
  EQUAL(ENDED | OUT | POLLHUP, polled(ends[CLIENT]));
  EQUAL(ENDED | OUT | POLLHUP, polled(ends[SERVER]));
  EQUAL(0, got(ends[CLIENT], 0));
  EQUAL(-EPIPE, gave(ends[SERVER]));
  close_both(ends);
}

static void poll_unix(void) {
  int ends[2];
  join_unix(ends);
  EQUAL(OUT, polled(ends[0]));
  EQUAL(0, shutdown(ends[0], SHUT_WR));
  EQUAL(OUT, polled(ends[0]));
  EQUAL(ENDED | OUT, polled(ends[1]));
  close(ends[0]);
  EQUAL(ENDED | OUT | POLLHUP, polled(ends[1]));
  EQUAL(0, got(ends[1], 0));
  EQUAL(-EPIPE, gave(ends[1]));
  close(ends[1]);
}

static void unix_unread(void) {
  int ends[2];
  join_unix(ends);
  say(ends[1], "unread");
  close(ends[0]);
  EQUAL(ENDED | OUT | POLLHUP | POLLERR, polled(ends[1]));
  EQUAL(-ECONNRESET, got(ends[1], 0));
  EQUAL(0, got(ends[1], 0));
  close(ends[1]);
}

static void poll_pipe(void) {
  int ends[2];
  EQUAL(0, pipe2(ends, O_NONBLOCK | O_CLOEXEC));
  EQUAL(0, polled(ends[0]));
  EQUAL(OUT, polled(ends[1]));
  EQUAL(3, write(ends[1], "abc", 3));
  EQUAL(IN, polled(ends[0]));
  close(ends[1]);
  EQUAL(IN | POLLHUP, polled(ends[0]));
  char bytes[8];
  EQUAL(3, read(ends[0], bytes, sizeof bytes));
  EQUAL(POLLHUP, polled(ends[0]));
  EQUAL(0, read(ends[0], bytes, sizeof bytes));
  close(ends[0]);
}

/* -- Resets and refusals -------------------------------------------------- */

static void refused(void) {
  int unused = bound(), fd = tcp();
  EQUAL(EINPROGRESS, call(fd, port_of(unused)));
  settle();
  EQUAL(ENDED | OUT | POLLERR | POLLHUP, polled(fd));
  EQUAL(ECONNREFUSED, error_of(fd));
  EQUAL(0, error_of(fd));
  EQUAL(ENDED | OUT | POLLHUP, polled(fd));
  close(fd);
  fd = tcp();
  EQUAL(EINPROGRESS, call(fd, port_of(unused)));
  settle();
  EQUAL(ECONNREFUSED, call(fd, port_of(unused)));
  close(fd);
  close(unused);
}

static void connects(void) {
  int listener = listening(), fd = tcp(), port = port_of(listener);
  EQUAL(EINPROGRESS, call(fd, port));
  settle();
  EQUAL(0, call(fd, port));
  EQUAL(EISCONN, call(fd, port));
  EQUAL(0, error_of(fd));
  struct sockaddr_in name;
  socklen_t size = sizeof name;
  EQUAL(0, getpeername(fd, (struct sockaddr *)&name, &size));
  EQUAL(port, ntohs(name.sin_port));
  EQUAL(0, getsockname(fd, (struct sockaddr *)&name, &size));
  int own = ntohs(name.sin_port), peer = accepted(listener);
  EQUAL(0, getpeername(peer, (struct sockaddr *)&name, &size));
  EQUAL(own, ntohs(name.sin_port));
  close(peer);
  close(fd);
  close(listener);
}

static void resets(void) {
  int ends[2];
  join(ends);
  say(ends[SERVER], "late");
  settle();
  reset(ends[SERVER]);
  settle();
  EQUAL(ENDED | OUT | POLLERR | POLLHUP, polled(ends[CLIENT]));
  EQUAL(4, got(ends[CLIENT], MSG_PEEK)); /* what came before */
  hear(ends[CLIENT], "late");
  EQUAL(-ECONNRESET, got(ends[CLIENT], 0));
  EQUAL(0, got(ends[CLIENT], 0));
  EQUAL(ENDED | OUT | POLLHUP, polled(ends[CLIENT]));
  EQUAL(-EPIPE, gave(ends[CLIENT]));
  close(ends[CLIENT]);
}

static void reset_error(void) {
  int ends[2];
  join(ends);
  reset(ends[SERVER]);
  settle();
  EQUAL(ECONNRESET, error_of(ends[CLIENT]));
  EQUAL(0, got(ends[CLIENT], 0));
  struct sockaddr_in name;
  socklen_t size = sizeof name;
  EQUAL(-1, getpeername(ends[CLIENT], (struct sockaddr *)&name, &size));
  EQUAL(ENOTCONN, errno);
  EQUAL(-1, shutdown(ends[CLIENT], SHUT_WR));
  EQUAL(ENOTCONN, errno);
  close(ends[CLIENT]);
}

/* Closed with bytes unread, a connection is reset. */
static void unread(void) {
  int ends[2];
  join(ends);
  say(ends[CLIENT], "unread");
  settle();
  close(ends[SERVER]);
  settle();
  EQUAL(-ECONNRESET, got(ends[CLIENT], 0));
  close(ends[CLIENT]);
}

/* What comes after the close is answered by a reset; before that, the end. */
static void after_close(void) {
  int ends[2];
  join(ends);
  close(ends[SERVER]);
  settle();
  EQUAL(ENDED | OUT, polled(ends[CLIENT]));
  EQUAL(0, got(ends[CLIENT], MSG_PEEK));
  EQUAL(1, gave(ends[CLIENT]));
  settle();
  EQUAL(-EPIPE, gave(ends[CLIENT])); /* by the reset, after the end */
  EQUAL(-EPIPE, gave(ends[CLIENT]));
  EQUAL(0, got(ends[CLIENT], 0));
  close(ends[CLIENT]);
}

static void waiting_reset(void) {
  int listener = listening(), fd = tcp();
  EQUAL(EINPROGRESS, call(fd, port_of(listener)));
  settle();
  reset(fd);
  settle();
  EQUAL(IN, polled(listener));
  int peer = accepted(listener);
  EQUAL(-ECONNRESET, got(peer, 0));
  close(peer);
  close(listener);
}

/* Those that nobody has accepted are reset with their listener. */
static void listener_closes(void) {
  int listener = listening(), fd = tcp();
  EQUAL(EINPROGRESS, call(fd, port_of(listener)));
  settle();
  close(listener);
  settle();
  EQUAL(ECONNRESET, error_of(fd));
  close(fd);
}

/* -- Buffers -------------------------------------------------------------- */

static size_t fill(int fd) {
  static const char bytes[1 << 16];
  size_t sum = 0;
  ssize_t n;
  while ((n = send(fd, bytes, sizeof bytes, MSG_NOSIGNAL)) > 0)
    sum += (size_t)n;
  EQUAL(EAGAIN, errno);
  return sum;
}

static void backpressure(int ends[2]) {
  size_t sum = 0, more;
  while ((more = fill(ends[0])) > 0) {
    sum += more;
    settle();
  }
  CHECK(sum > 1 << 16);
  EQUAL(0, polled(ends[0]) & OUT);
  EQUAL(IN, polled(ends[1]) & IN);
  EQUAL(0, shutdown(ends[0], SHUT_WR));
  EQUAL(sum, drained(ends[1]));
  close_both(ends);
}

static void full(void) {
  int ends[2];
  join(ends);
  backpressure(ends);
}

static void full_unix(void) {
  int ends[2];
  join_unix(ends);
  backpressure(ends);
}

/* A sender that has been told of no room is told of it later. */
static void room_again(void) {
  int ends[2], epoll = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLOUT | EPOLLET};
  static char bytes[1 << 20];
  join(ends);
  while (fill(ends[0]) > 0) settle();
  EQUAL(0, epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event));
  EQUAL(0, epoll_wait(epoll, &event, 1, 0));
  for (ssize_t n; (n = recv(ends[1], bytes, sizeof bytes, 0)) != 0;) {
    if (n < 0) settle();
    if (epoll_wait(epoll, &event, 1, 0) == 1) break;
  }
  EQUAL(EPOLLOUT, event.events);
  CHECK(gave(ends[0]) == 1);
  close(epoll);
  close_both(ends);
}

static void counts(void) {
  int ends[2], count;
  join(ends);
  say(ends[CLIENT], "hello");
  settle();
  EQUAL(0, ioctl(ends[SERVER], FIONREAD, &count));
  EQUAL(5, count);
  UNTIL(unsent(ends[CLIENT]) == 0);
  EQUAL(2, recv(ends[SERVER], NULL, 2, MSG_TRUNC)); /* discards */
  hear(ends[SERVER], "llo");
  EQUAL(-EAGAIN, got(ends[SERVER], 0));
  EQUAL(-EAGAIN, got(ends[SERVER], MSG_PEEK));
  size_t sent;
  while ((sent = fill(ends[CLIENT])) > 0) settle();
  CHECK(unsent(ends[CLIENT]) > 0);
  close_both(ends);
}

static void information(void) {
  int ends[2];
  struct tcp_info info;
  socklen_t size = sizeof info;
  join(ends);
  EQUAL(0, getsockopt(ends[CLIENT], IPPROTO_TCP, TCP_INFO, &info, &size));
  EQUAL(TCP_ESTABLISHED, info.tcpi_state);
  EQUAL(0, info.tcpi_unacked);
  EQUAL(0, info.tcpi_probes);
  EQUAL(0, shutdown(ends[SERVER], SHUT_WR));
  settle();
  EQUAL(0, getsockopt(ends[CLIENT], IPPROTO_TCP, TCP_INFO, &info, &size));
  EQUAL(TCP_CLOSE_WAIT, info.tcpi_state);
  close_both(ends);
}

static void options(void) {
  int listener = listening(), fd = tcp(), on = 1, idle = 15;
  EQUAL(0, option(listener, SOL_SOCKET, SO_KEEPALIVE));
  EQUAL(7200, option(listener, IPPROTO_TCP, TCP_KEEPIDLE));
  EQUAL(75, option(listener, IPPROTO_TCP, TCP_KEEPINTVL));
  EQUAL(9, option(listener, IPPROTO_TCP, TCP_KEEPCNT));
  EQUAL(1, option(listener, SOL_SOCKET, SO_ACCEPTCONN));
  EQUAL(SOCK_STREAM, option(listener, SOL_SOCKET, SO_TYPE));
  setsockopt(listener, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  setsockopt(listener, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
  EQUAL(EINPROGRESS, call(fd, port_of(listener)));
  int peer = accepted(listener); /* it inherits these */
  EQUAL(1, option(peer, SOL_SOCKET, SO_KEEPALIVE));
  EQUAL(15, option(peer, IPPROTO_TCP, TCP_KEEPIDLE));
  EQUAL(0, option(peer, SOL_SOCKET, SO_ACCEPTCONN));
  EQUAL(-1, setsockopt(peer, IPPROTO_TCP, TCP_KEEPIDLE, "", 0));
  EQUAL(EINVAL, errno);
  close(peer);
  close(fd);
  close(listener);
}

static void splices(void) {
  int ends[2], pipes[2];
  join(ends);
  EQUAL(0, pipe2(pipes, O_NONBLOCK | O_CLOEXEC));
  EQUAL(-1, splice(ends[SERVER], NULL, pipes[1], NULL, 100, SPLICE_F_NONBLOCK));
  EQUAL(EAGAIN, errno);
  say(ends[CLIENT], "hello");
  settle();
  EQUAL(5, splice(ends[SERVER], NULL, pipes[1], NULL, 100, SPLICE_F_NONBLOCK));
  EQUAL(5, splice(pipes[0], NULL, ends[SERVER], NULL, 100, SPLICE_F_NONBLOCK));
  hear(ends[CLIENT], "hello");
  EQUAL(0, shutdown(ends[CLIENT], SHUT_WR));
  settle();
  EQUAL(0, splice(ends[SERVER], NULL, pipes[1], NULL, 100, SPLICE_F_NONBLOCK));
  close_both(pipes);
  close_both(ends);
}

/* -- epoll ---------------------------------------------------------------- */

static int epoll;

static int watch(int op, int fd, uint32_t events, uint64_t data) {
  struct epoll_event event = {.events = events, .data.u64 = data};
  return epoll_ctl(epoll, op, fd, &event) < 0 ? -errno : 0;
}

/* The events of the one that is ready, or 0. */
static uint32_t waited(void) {
  struct epoll_event events[4];
  int count = epoll_wait(epoll, events, 4, 0);
  CHECK(count <= 1);
  return count == 1 ? events[0].events : 0;
}

static void epoll_level(void) {
  int ends[2];
  epoll = epoll_create1(EPOLL_CLOEXEC);
  join(ends);
  EQUAL(-ENOENT, watch(EPOLL_CTL_MOD, ends[0], EPOLLIN, 0));
  EQUAL(-ENOENT, watch(EPOLL_CTL_DEL, ends[0], 0, 0));
  EQUAL(0, watch(EPOLL_CTL_ADD, ends[0], EPOLLIN, 7));
  EQUAL(-EEXIST, watch(EPOLL_CTL_ADD, ends[0], EPOLLIN, 7));
  EQUAL(-EINVAL, watch(EPOLL_CTL_ADD, epoll, EPOLLIN, 7));
  EQUAL(-EBADF, watch(EPOLL_CTL_ADD, 1000, EPOLLIN, 7));
  EQUAL(0, waited());
  say(ends[1], "ab");
  settle();
  EQUAL(EPOLLIN, waited());
  EQUAL(EPOLLIN, waited());
  hear(ends[0], "ab");
  EQUAL(0, waited());
  EQUAL(0, watch(EPOLL_CTL_MOD, ends[0], EPOLLOUT, 7));
  EQUAL(EPOLLOUT, waited());
  EQUAL(0, watch(EPOLL_CTL_MOD, ends[0], 0, 7));
  EQUAL(0, waited());
  reset(ends[1]);
  settle();
  EQUAL(EPOLLERR | EPOLLHUP, waited());
  EQUAL(0, watch(EPOLL_CTL_DEL, ends[0], 0, 0));
  EQUAL(0, waited());
  close(ends[0]);
  close(epoll);
}

/* What comes anew is an edge, though there were bytes before. */
static void epoll_edge(void) {
  int ends[2];
  epoll = epoll_create1(EPOLL_CLOEXEC);
  join(ends);
  EQUAL(0, watch(EPOLL_CTL_ADD, ends[0], EPOLLIN | EPOLLRDHUP | EPOLLET, 0));
  say(ends[1], "a");
  settle();
  EQUAL(EPOLLIN, waited());
  EQUAL(0, waited());
  say(ends[1], "b");
  settle();
  EQUAL(EPOLLIN, waited());
  EQUAL(0, waited());
  EQUAL(0, watch(EPOLL_CTL_MOD, ends[0], EPOLLIN | EPOLLRDHUP | EPOLLET, 0));
  EQUAL(EPOLLIN, waited());
  shutdown(ends[1], SHUT_WR);
  settle();
  EQUAL(EPOLLIN | EPOLLRDHUP, waited());
  EQUAL(0, waited());
  close_both(ends);
  close(epoll);
}

static void epoll_once(void) {
  int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  uint64_t one = 1, count;
  epoll = epoll_create1(EPOLL_CLOEXEC);
  EQUAL(0, watch(EPOLL_CTL_ADD, event, EPOLLIN | EPOLLONESHOT, 0));
  EQUAL(8, write(event, &one, 8));
  EQUAL(8, write(event, &one, 8));
  EQUAL(EPOLLIN, waited());
  EQUAL(0, waited());
  EQUAL(0, watch(EPOLL_CTL_MOD, event, EPOLLIN | EPOLLONESHOT, 0));
  EQUAL(EPOLLIN, waited());
  EQUAL(8, read(event, &count, 8));
  EQUAL(2, count);
  EQUAL(-1, read(event, &count, 8));
  EQUAL(EAGAIN, errno);
  close(event);
  close(epoll);
}

/* One within another is ready while any of its own is. */
static void epoll_nested(void) {
  int ends[2], inner = epoll_create1(EPOLL_CLOEXEC), outer;
  join(ends);
  epoll = inner;
  EQUAL(0, watch(EPOLL_CTL_ADD, ends[0], EPOLLIN, 0));
  epoll = outer = epoll_create1(EPOLL_CLOEXEC);
  EQUAL(0, watch(EPOLL_CTL_ADD, inner, EPOLLIN, 0));
  EQUAL(0, waited());
  say(ends[1], "a");
  settle();
  EQUAL(EPOLLIN, waited());
  hear(ends[0], "a");
  EQUAL(0, waited());
  say(ends[1], "b");
  settle();
  epoll = inner;
  EQUAL(EPOLLIN, waited());
  epoll = outer;
  EQUAL(EPOLLIN, waited());
  close(ends[0]); /* with it, its watch goes */
  EQUAL(0, waited());
  close(ends[1]);
  close(inner);
  EQUAL(0, waited());
  close(outer);
}

/* A watch is of a file and its number; it stays as long as the file does. */
static void epoll_copies(void) {
  int ends[2];
  epoll = epoll_create1(EPOLL_CLOEXEC);
  join(ends);
  int copy = dup(ends[0]);
  EQUAL(0, watch(EPOLL_CTL_ADD, ends[0], EPOLLIN, 1));
  EQUAL(0, watch(EPOLL_CTL_ADD, copy, EPOLLOUT, 2));
  EQUAL(EPOLLOUT, waited());
  close(copy);
  EQUAL(EPOLLOUT, waited());
  say(ends[1], "a");
  settle();
  struct epoll_event events[4];
  EQUAL(2, epoll_wait(epoll, events, 4, 0));
  EQUAL(1, epoll_wait(epoll, events, 1, 0));
  uint64_t first = events[0].data.u64; /* each gets its turn */
  EQUAL(1, epoll_wait(epoll, events, 1, 0));
  CHECK(events[0].data.u64 != first);
  close(ends[0]);
  EQUAL(0, waited());
  close(ends[1]);
  close(epoll);
}

/* -- Listening ------------------------------------------------------------ */

/* Of those behind a full queue none is answered, until there is room. */
static void queue(void) {
  enum { BACKLOG = 2, CALLERS = 5 };
  int listener = bound(), fds[CALLERS], open = 0;
  EQUAL(0, listen(listener, BACKLOG));
  for (int i = 0; i < CALLERS; i++) {
    fds[i] = tcp();
    EQUAL(EINPROGRESS, call(fds[i], port_of(listener)));
  }
  settle();
  for (int i = 0; i < CALLERS; i++) open += polled(fds[i]) == OUT;
  EQUAL(BACKLOG + 1, open);
  EQUAL(EALREADY, call(fds[CALLERS - 1], port_of(listener)));
  for (int i = 0; i < CALLERS; i++) close(accepted(listener));
  for (int i = 0; i < CALLERS; i++) close(fds[i]);
  close(listener);
}

static void address_in_use(void) {
  int listener = listening(), fd = tcp();
  struct sockaddr_in name = loopback(port_of(listener));
  EQUAL(-1, bind(fd, (struct sockaddr *)&name, sizeof name));
  EQUAL(EADDRINUSE, errno);
  name.sin_addr.s_addr = htonl(0xc0000201); /* of documentation */
  EQUAL(-1, bind(fd, (struct sockaddr *)&name, sizeof name));
  EQUAL(EADDRNOTAVAIL, errno);
  EQUAL(-1, accept(fd, NULL, NULL));
  EQUAL(EINVAL, errno);
  close(fd);
  close(listener);
}

static void unix_names(void) {
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  struct sockaddr *any = (struct sockaddr *)&name;
  struct stat first, second;
  char other[sizeof name.sun_path + 8];
  int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

  snprintf(name.sun_path, sizeof name.sun_path, "%s/socket", folder);
  snprintf(other, sizeof other, "%s.2", name.sun_path);
  EQUAL(-1, connect(fd, any, sizeof name));
  EQUAL(ENOENT, errno);
  EQUAL(0, bind(listener, any, sizeof name));
  EQUAL(-1, connect(fd, any, sizeof name));
  EQUAL(ECONNREFUSED, errno);
  EQUAL(0, listen(listener, 0));
  EQUAL(0, lstat(name.sun_path, &first));
  CHECK(S_ISSOCK(first.st_mode));
  EQUAL(0, link(name.sun_path, other));
  EQUAL(-1, link(name.sun_path, other));
  EQUAL(EEXIST, errno);
  EQUAL(0, unlink(name.sun_path));
  EQUAL(-1, lstat(name.sun_path, &second));
  EQUAL(ENOENT, errno);
  EQUAL(0, lstat(other, &second));
  EQUAL(first.st_ino, second.st_ino);
  EQUAL(0, rename(other, name.sun_path));
  EQUAL(0, connect(fd, any, sizeof name));
  int late = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  EQUAL(-1, connect(late, any, sizeof name)); /* the queue is full */
  EQUAL(EAGAIN, errno);
  close(accepted(listener));
  EQUAL(0, got(fd, 0));
  EQUAL(0, connect(late, any, sizeof name));
  close(listener);
  EQUAL(-ECONNRESET, got(late, 0));
  EQUAL(0, unlink(name.sun_path));
  close(late);
  close(fd);
}

/* -- Descriptors ---------------------------------------------------------- */

static void numbers(void) {
  int one = tcp(), other = tcp();
  CHECK(other > one);
  close(one);
  EQUAL(one, fcntl(other, F_DUPFD_CLOEXEC, 0)); /* the lowest */
  EQUAL(other + 10, fcntl(other, F_DUPFD_CLOEXEC, other + 10));
  EQUAL(0, close(one));
  EQUAL(-1, close(one));
  EQUAL(EBADF, errno);
  CHECK(fcntl(other, F_GETFL) & O_NONBLOCK);
  close(other);
  EQUAL(OUT | POLLHUP, polled(other + 10));
  close(other + 10);
  EQUAL(POLLNVAL, polled(other));
}

const struct check checks[] = {
    {"a new socket", "is polled as hung up and writable", poll_new},
    {"a listener", "is readable while one waits", poll_listener},
    {"a connection", "is readable while there are bytes", poll_open},
    {"a connection", "hangs up when both sides have ended", poll_half_closed},
    {"a Unix socket", "hangs up when its peer closes", poll_unix},
    {"a Unix socket", "is reset when its peer has not read all", unix_unread},
    {"a pipe", "hangs up with its writer", poll_pipe},
    {"connect()", "is refused where nothing listens", refused},
    {"connect()", "says how far it is", connects},
    {"a reset", "comes after the bytes before it", resets},
    {"a reset", "is reported once", reset_error},
    {"close()", "resets if bytes are unread", unread},
    {"close()", "answers what comes later by a reset", after_close},
    {"accept()", "gives one that was reset meanwhile", waiting_reset},
    {"a listener", "resets those that wait when it closes", listener_closes},
    {"a connection", "takes no more than both ends hold", full},
    {"a Unix socket", "takes no more than both ends hold", full_unix},
    {"a sender", "is told when there is room again", room_again},
    {"a connection", "counts what is unread and unsent", counts},
    {"TCP_INFO", "tells the state", information},
    {"options", "are inherited by accepted connections", options},
    {"splice()", "moves bytes between sockets and pipes", splices},
    {"epoll", "reports what is, level-triggered", epoll_level},
    {"epoll", "reports what changes, edge-triggered", epoll_edge},
    {"epoll", "reports once, if asked so", epoll_once},
    {"epoll", "can be watched by another", epoll_nested},
    {"epoll", "watches each copy of a descriptor", epoll_copies},
    {"listen()", "answers no more than the queue holds", queue},
    {"bind()", "takes free addresses of this machine", address_in_use},
    {"Unix sockets", "are found by their names", unix_names},
    {"descriptors", "have the lowest numbers that are free", numbers},
    {NULL, NULL, NULL}};
