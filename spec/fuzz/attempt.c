/* The whole attempt, against a server that follows a script.
 *
 * Input: a letter for the address, one for what the connection handler does,
 * and then what the server sends, in pieces cut by commands:
 *
 *   address  l: localhost, whose first address refuses; 6: ::1, which refuses;
 *            else 127.0.0.1
 *   handler  c: closes the socket; r: reads it; e: reads it when it ends; d:
 *            detaches it; x: closes the rover; s: stops it; else the socket is
 *            kept, and nobody reads it
 *   command  ~. the loop runs; ~t a second passes; ~f the server ends its side;
 *            ~r it resets; ~d the rover drops the server; ~s stops; ~x closes
 */
#include "fuzz.h"

#include <arpa/inet.h>
#include <callosum/rover.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* A handshake takes three segments. TCP's first window lets 10 out before it
 * waits for an answer. Of a server that is silent, the rover learns only when it
 * looks, after LOOK ms, that it is connected. */
enum {
  TIMEOUT = 3000,
  LOOK = 100,
  TURNS = 8,
  HANDSHAKE = 3,
  SIZE = 4096,
  PIECES = 8
};

struct run {
  uv_loop_t loop;
  rover_t *rover; /* NULL once closed */
  char address, handler;
  int peer;                  /* the server's end, or -1 */
  bool ended, reset;         /* by the server */
  bool cancelled;            /* before there was an outcome */
  uint64_t tried;            /* the server, at the latest then */
  uint64_t earliest, latest; /* when the slot line's deadline began */
  uint8_t sent[SIZE];
  size_t sent_length, pieces;

  unsigned outcomes;
  enum { CONNECTION = 1, UNREACHABLE, ERROR } outcome;
  int status, slot;
  rover_socket_t *socket; /* NULL once closed */
  unsigned sockets_closed, ends;
  int detached;
  uint8_t got[SIZE];
  size_t got_length;
};

/* -- The clock ------------------------------------------------------------ */

static uint64_t now; /* ms */

/* Stands in for the system's in the whole process: time is the script's, so
 * that an input does the same whenever it is run. */
int clock_gettime(clockid_t id, struct timespec *time) {
  if (id != CLOCK_MONOTONIC && id != CLOCK_MONOTONIC_COARSE)
    return (int)syscall(SYS_clock_gettime, id, time);
  time->tv_sec = (time_t)(now / 1000);
  time->tv_nsec = (long)(now % 1000) * 1000000;
  return 0;
}

/* -- The server ----------------------------------------------------------- */

static int listener, port;
static int mirror; /* sends to itself */

/* Returns a socket that has the address, whose port, if 0, becomes its own. */
static int bound(int type, void *name, socklen_t size) {
  int fd = socket(((struct sockaddr *)name)->sa_family, type, 0);
  if (bind(fd, name, size) < 0 || getsockname(fd, name, &size) < 0) return -1;
  return fd;
}

/* The server listens on 127.0.0.1. Its port on ::1 is taken too, so that nobody
 * answers there. */
int LLVMFuzzerInitialize(int *argc, char ***argv) {
  const struct sockaddr_in loopback = {
      .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  struct sockaddr_in four, self = loopback;
  struct sockaddr_in6 six = {.sin6_family = AF_INET6,
                             .sin6_addr = IN6ADDR_LOOPBACK_INIT};
  (void)argc;
  (void)argv;

  do {
    four = loopback;
    listener = bound(SOCK_STREAM | SOCK_NONBLOCK, &four, sizeof four);
    check(listener >= 0 && listen(listener, 16) == 0);
    six.sin6_port = four.sin_port;
  } while (bound(SOCK_STREAM, &six, sizeof six) < 0 && errno == EADDRINUSE);
  port = ntohs(four.sin_port);

  mirror = bound(SOCK_DGRAM, &self, sizeof self);
  check(connect(mirror, (struct sockaddr *)&self, sizeof self) == 0);

  /* libuv keeps a few descriptors from its first loop on. */
  uv_loop_t loop;
  uv_loop_init(&loop);
  return uv_loop_close(&loop);
}

/* What was sent before is there when this returns: the loopback delivers in
 * order. On a busy machine it may take its time. */
static void arrive(void) {
  char byte = 0;
  check(send(mirror, &byte, 1, 0) == 1 && recv(mirror, &byte, 1, 0) == 1);
}

static void hang_up(int fd) {
  struct linger reset = {.l_onoff = 1, .l_linger = 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  close(fd);
}

static void meet(struct run *run) {
  if (run->peer >= 0 || run->reset) return;
  run->peer = accept(listener, NULL, NULL);
  if (run->peer < 0) return;
  /* What is sent is there at once. */
  setsockopt(run->peer, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
  run->earliest = now;
}

static void serve(struct run *run, const uint8_t *bytes, size_t size) {
  meet(run);
  if (size == 0 || run->peer < 0 || run->outcome == UNREACHABLE ||
      run->pieces == PIECES)
    return;
  ssize_t n = send(run->peer, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (n < 0) return;
  memcpy(run->sent + run->sent_length, bytes, (size_t)n);
  run->sent_length += (size_t)n;
  run->pieces++;
}

/* -- The rover ------------------------------------------------------------ */

static void on_data(rover_socket_t *socket, const char *bytes, size_t size) {
  struct run *run = rover_socket_data(socket);
  check(run->got_length + size <= SIZE && run->ends == (run->handler == 'e'));
  memcpy(run->got + run->got_length, bytes, size);
  run->got_length += size;
}

static void on_end(rover_socket_t *socket) {
  struct run *run = rover_socket_data(socket);
  run->ends++;
  if (run->handler == 'e') check(rover_socket_read_start(socket) == 0);
}

static void on_socket_closed(rover_socket_t *socket, int status) {
  struct run *run = rover_socket_data(socket);
  check(status == 0 || run->reset);
  run->socket = NULL;
  run->sockets_closed++;
}

static void on_closed(rover_t *rover) {
  struct run *run = rover_data(rover);
  run->rover = NULL;
}

static void on_connection(rover_t *rover, int slot, rover_socket_t *socket) {
  static const rover_socket_events_t events = {
      .data = on_data, .end = on_end, .close = on_socket_closed};
  struct run *run = rover_data(rover);

  run->outcomes++;
  run->outcome = CONNECTION;
  run->slot = slot;
  run->socket = socket;
  rover_socket_set_events(socket, &events, run);
  switch (run->handler) {
    case 'c':
      rover_socket_close(socket);
      rover_socket_close(socket); /* is harmless */
      break;
    case 'r': check(rover_socket_read_start(socket) == 0); break;
    case 'd': check((run->detached = rover_socket_detach(socket)) > 0); break;
    case 'x': check(rover_close(rover, on_closed) == 0); break;
    case 's': rover_stop(rover); break;
  }
}

static void on_unreachable(rover_t *rover, rover_server_t *server, int status) {
  struct run *run = rover_data(rover);
  check(server);
  run->outcomes++;
  run->outcome = UNREACHABLE;
  run->status = status;
}

static void on_error(rover_t *rover, rover_server_t *server, int status,
                     const char *message) {
  struct run *run = rover_data(rover);
  check(server && message[0]);
  run->outcomes++;
  run->outcome = ERROR;
  run->status = status;
}

/* -- What must hold whenever the loop has nothing more to do --------------- */

static void check_stats(struct run *run) {
  rover_stats_t s;
  rover_stats_get(run->rover, &s);
  check(s.attempts == 1 && s.skipped == 0);
  check(s.connections == (run->outcome == CONNECTION));
  check(s.unreachable == (run->outcome == UNREACHABLE));
  check(s.errors == (run->outcome == ERROR));
  check(s.cancelled == run->cancelled);
  check(s.in_flight == !(run->outcomes || run->cancelled));
  check(s.connections == s.kept + s.closed);
  if (run->outcome == UNREACHABLE)
    check(rover_unreachable_count(run->rover, run->status) == 1);
}

/* Of a socket that was handed over, no byte behind the line is lost, or taken
 * unless it is read. */
static void check_rest(struct run *run, size_t line) {
  const uint8_t *rest = run->sent + line;
  size_t length = run->sent_length - line;
  uint8_t waiting[SIZE];
  ssize_t n;
  uv_os_fd_t fd;

  check(run->got_length <= length && !memcmp(run->got, rest, run->got_length));
  if (run->reset) {
    check(!run->socket);
  } else if (run->detached >= 0) {
    n = recv(run->detached, waiting, SIZE, MSG_PEEK | MSG_DONTWAIT);
    check((n < 0 ? 0 : (size_t)n) == length && !memcmp(waiting, rest, length));
  } else if (run->ended) {
    check(!run->socket);
    if (run->ends && (run->handler == 'r' || run->handler == 'e'))
      check(run->got_length == length);
  } else if (run->socket && run->handler == 'r') {
    check(run->got_length == length);
  } else if (run->socket) {
    uv_fileno((uv_handle_t *)rover_socket_stream(run->socket), &fd);
    n = recv(fd, waiting, SIZE, MSG_PEEK | MSG_DONTWAIT);
    check((n < 0 ? 0 : (size_t)n) == length && !memcmp(waiting, rest, length));
  }
}

/* The one outcome is that which the script so far asks for. `from` is when the
 * loop began to run. */
static void check_outcome(struct run *run, uint64_t from) {
  size_t line = 0;
  int slot = -1;

  check(run->outcomes + run->cancelled <= 1);
  if (run->cancelled) return;
  if (run->address == '6') {
    check(run->outcome == UNREACHABLE);
    return;
  }
  enum verdict verdict = judge(run->sent, run->sent_length, &slot, &line);
  switch (run->outcome) {
    case CONNECTION:
      check(verdict == LINE && run->slot == slot);
      check_rest(run, line);
      return;
    case ERROR: check(verdict == NO_LINE && run->status == UV_EPROTO); return;
    case UNREACHABLE:
      /* A reset behind an end is EPIPE to Linux. */
      if (run->status == UV_ECONNRESET) check(run->reset);
      else if (run->status == UV_EPIPE) check(run->reset && run->ended);
      else if (run->status == UV_EOF) check(verdict == MORE && run->ended);
      else
        check(verdict == MORE && run->status == UV_ETIMEDOUT &&
              now >= run->earliest + TIMEOUT);
      return;
  }
  check(verdict == MORE && !run->ended && !run->reset);
  check(run->latest == 0 || from < run->latest + TIMEOUT);
}

static void settle(struct run *run) {
  uint64_t from = now;

  for (int i = 0; i < TURNS; i++, now++) {
    if (i < HANDSHAKE) arrive();
    meet(run);
    uv_run(&run->loop, UV_RUN_NOWAIT);
  }
  if (run->tried == 0) run->tried = now;
  else if (run->latest == 0 && from >= run->tried + LOOK) run->latest = now;
  check_outcome(run, from);
  if (run->rover) check_stats(run);
}

/* -- The script ----------------------------------------------------------- */

static void cancel(struct run *run) {
  if (run->outcomes == 0) run->cancelled = true;
}

static void obey(struct run *run, uint8_t command) {
  switch (command) {
    case '.': settle(run); break;
    case 't': now += 1000; break;
    case 'f':
      if (run->peer >= 0 && shutdown(run->peer, SHUT_WR) == 0)
        run->ended = true;
      break;
    case 'r':
      if (run->peer < 0) break;
      hang_up(run->peer);
      run->peer = -1;
      run->reset = true;
      break;
    case 'd':
    case 's':
    case 'x':
      if (!run->rover) break;
      cancel(run);
      if (command == 'd') rover_server_drop(run->rover, "id");
      else if (command == 's') rover_stop(run->rover);
      else rover_close(run->rover, on_closed);
      break;
  }
}

static void follow(struct run *run, struct input script) {
  while (script.left > 0) {
    const uint8_t *mark = memchr(script.bytes, '~', script.left);
    size_t size = mark ? (size_t)(mark - script.bytes) : script.left;
    serve(run, script.bytes, size);
    script.bytes += size;
    script.left -= size;
    take_byte(&script);
    obey(run, take_byte(&script));
  }
}

static void begin(struct run *run) {
  rover_options_t options = {
      .connect_timeout = TIMEOUT,
      .slot_timeout = TIMEOUT,
      .seed = 1,
      .events = {
          .connection = on_connection,
          .unreachable = on_unreachable,
          .error = on_error},
      .data = run};
  const char *host = run->address == 'l'   ? "localhost"
                     : run->address == '6' ? "::1"
                                           : "127.0.0.1";
  now = 1000000;
  check(uv_loop_init(&run->loop) == 0);
  check(rover_new(&run->rover, &run->loop, &options) == 0);
  check(rover_server_add(run->rover, "id", host, port) == 0);
  check(rover_connect(run->rover) == 0);
}

/* Whatever the script left open ends now, and nothing is left of it. */
static void finish(struct run *run) {
  settle(run);
  now += LOOK;
  settle(run);
  now += TIMEOUT;
  settle(run);
  check(run->outcomes + run->cancelled == 1);

  if (run->rover) rover_close(run->rover, on_closed);
  for (int i = 0; i < TURNS; i++) uv_run(&run->loop, UV_RUN_NOWAIT);
  check(!run->rover);
  check(run->outcomes + run->cancelled == 1);
  check(run->sockets_closed == (run->outcome == CONNECTION));
  check(run->ends <= (run->ended && run->outcome == CONNECTION));
  check(uv_loop_close(&run->loop) == 0);

  if (run->detached >= 0) close(run->detached);
  if (run->peer < 0) run->peer = accept(listener, NULL, NULL);
  if (run->peer >= 0) hang_up(run->peer);
}

static int count_descriptors(void) {
  int count = 0;
  for (int fd = 0; fd < 64; fd++) count += fcntl(fd, F_GETFD) >= 0;
  return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  struct input in = {bytes, size};
  struct run run = {.peer = -1, .detached = -1};
  int descriptors = count_descriptors();

  if (size > SIZE) return 0;
  run.address = (char)take_byte(&in);
  run.handler = (char)take_byte(&in);
  begin(&run);
  follow(&run, in);
  finish(&run);
  check(count_descriptors() == descriptors);
  return 0;
}
