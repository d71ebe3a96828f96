/* The promises of <callosum/rover.h> about kept sockets, but for writing. */
#include "sockets.h"

#include <fcntl.h>
#include <sys/resource.h>

/* -- What it tells -------------------------------------------------------- */

static void accessors(void) {
  struct sockaddr_in name;
  int size = sizeof name;
  keep();
  EQUAL(7, rover_socket_slot(kept_socket));
  CHECK(rover_socket_rover(kept_socket) == rover);
  CHECK(rover_socket_server(kept_socket) == rover_server_get(rover, "s"));
  CHECK(rover_socket_data(kept_socket) == notes);
  EQUAL(0, rover_socket_is_closing(kept_socket));
  EQUAL(0, rover_socket_write_queue_size(kept_socket));
  uv_stream_t *stream = rover_socket_stream(kept_socket);
  CHECK(stream->loop == loop);
  EQUAL(UV_TCP, uv_handle_get_type((uv_handle_t *)stream));
  EQUAL(0, uv_tcp_getpeername((uv_tcp_t *)stream, (struct sockaddr *)&name,
                              &size));
  EQUAL(port_of(listener), ntohs(name.sin_port));
  size = sizeof name;
  EQUAL(0, uv_tcp_getsockname((uv_tcp_t *)stream, (struct sockaddr *)&name,
                              &size));
  EQUAL(port_of(descriptor()), ntohs(name.sin_port));
  EQUAL(0, uv_tcp_nodelay((uv_tcp_t *)stream, 0));
  EQUAL(0, option(descriptor(), IPPROTO_TCP, TCP_NODELAY));
  done();
}

static void keepalive(void) {
  const struct {
    int given, seconds;
  } options[] = {{0, 15}, {40, 40}, {-1, 0}};
  for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
    const rover_options_t own = {.keepalive = options[i].given};
    int seconds = options[i].seconds;
    snprintf(doing, sizeof doing, "keepalive %d", options[i].given);
    keep_with(&own, "7\r\n");
    int fd = descriptor();
    EQUAL(1, option(fd, IPPROTO_TCP, TCP_NODELAY));
    EQUAL(seconds > 0, option(fd, SOL_SOCKET, SO_KEEPALIVE));
    if (seconds > 0) {
      EQUAL(seconds, option(fd, IPPROTO_TCP, TCP_KEEPIDLE));
    }
    EQUAL(0, option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT));
    done();
  }
}

/* Whoever has it then may know nothing of us. */
static void detached(void) {
  static const struct {
    int level, name;
  } options[] = {{IPPROTO_TCP, TCP_NODELAY},    {SOL_SOCKET, SO_KEEPALIVE},
                 {IPPROTO_TCP, TCP_KEEPIDLE},   {IPPROTO_TCP, TCP_KEEPINTVL},
                 {IPPROTO_TCP, TCP_KEEPCNT},    {IPPROTO_TCP, TCP_USER_TIMEOUT},
                 {SOL_SOCKET, SO_LINGER}};
  int fresh = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  for (int used = 0; used < 2; used++) {
    keep();
    if (used) EQUAL(0, wrote("x", NULL));
    settle();
    int fd = rover_socket_detach(kept_socket);
    CHECK(fd >= 0);
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
      snprintf(doing, sizeof doing, "option %zu", i);
      EQUAL(option(fresh, options[i].level, options[i].name),
            option(fd, options[i].level, options[i].name));
    }
    close(fd);
    done();
  }
  close(fresh);
}

static void order(void) {
  static const char *const slots[] = {"5\r\n", "1\r\n", "9\r\n", "1\r\n",
                                      "0\r\n"};
  static const int sorted[] = {0, 1, 1, 5, 9};
  enum { COUNT = 5 };
  rover_socket_t *made[COUNT], *socket;
  int peers[COUNT], i = 0;
  listener = listening();
  rover = roving(&told, port_of(listener), NULL);
  CHECK(rover_socket_first(rover) == NULL);
  for (i = 0; i < COUNT; i++) {
    peers[i] = kept(rover, &told, listener, slots[i]);
    made[i] = told.socket;
  }
  i = 0;
  for (socket = rover_socket_first(rover); socket;
       socket = rover_socket_next(socket))
    EQUAL(sorted[i++], rover_socket_slot(socket));
  EQUAL(COUNT, i);
  CHECK(rover_socket_next(rover_socket_first(rover)) == made[1]);
  CHECK(rover_socket_next(made[1]) == made[3]); /* the younger of two */
  rover_socket_close(made[3]);
  CHECK(rover_socket_next(made[1]) == made[0]);
  rover_socket_close(made[4]);
  CHECK(rover_socket_first(rover) == made[1]);
  /* An iteration goes on from one that was closed, and past those. */
  for (socket = rover_socket_first(rover); socket;
       socket = rover_socket_next(socket)) {
    rover_socket_close(socket);
    rover_socket_close(made[0]);
  }
  CHECK(rover_socket_first(rover) == NULL);
  EQUAL(COUNT, sound(rover).closed);
  for (i = 0; i < COUNT; i++) {
    EQUAL(0, drained(peers[i]));
    close(peers[i]);
  }
  finish(rover, &told);
  close(listener);
}

/* -- Reading -------------------------------------------------------------- */

static void unread(void) {
  int waiting = 0;
  keep_with(NULL, "7\r\nbehind the line");
  settle();
  UNTIL(ioctl(descriptor(), FIONREAD, &waiting) == 0 && waiting == 15);
  SAME("", notes);
  EQUAL(0, rover_socket_read_start(kept_socket));
  EQUAL(0, rover_socket_read_start(kept_socket));
  SAME("", notes);
  UNTIL(received == 15);
  SAME("behind the line", data);
  rover_socket_read_stop(kept_socket);
  rover_socket_read_stop(kept_socket);
  say(peer, "more");
  settle();
  EQUAL(15, received);
  EQUAL(0, rover_socket_read_start(kept_socket));
  UNTIL(received == 19);
  SAME("d", notes);
  done();
}

static void stop_reading(rover_socket_t *socket, const char *bytes,
                         size_t length) {
  (void)bytes;
  received += length;
  note('d');
  rover_socket_read_stop(socket);
}

static void stop_inside(void) {
  static const rover_socket_events_t events = {.data = stop_reading};
  static char much[200000];
  keep();
  memset(much, 'x', sizeof much - 1);
  say(peer, much);
  rover_socket_set_events(kept_socket, &events, notes);
  EQUAL(0, rover_socket_read_start(kept_socket));
  UNTIL(received > 0);
  size_t first = received;
  settle();
  EQUAL(first, received);
  CHECK(first < sizeof much - 1);
  rover_socket_set_events(kept_socket, &noting, notes);
  EQUAL(0, rover_socket_read_start(kept_socket));
  UNTIL(received == sizeof much - 1);
  done();
}

static void end_in_order(void) {
  keep();
  shutdown(peer, SHUT_WR);
  UNTIL(!strcmp(notes, "ec"));
  EQUAL(0, last_status);
  EQUAL(0, drained(peer));
  EQUAL(1, sound(rover).closed);
  done();
}

static void end_sends(void) {
  keep();
  flood("w");
  shutdown(peer, SHUT_WR);
  UNTIL(*notes);
  SAME("e", notes);
  EQUAL(UV_EPIPE, wrote("more", NULL));
  EQUAL(PLENTY, drained(peer));
  UNTIL(strchr(notes, 'c'));
  SAME("ewrc", notes);
  EQUAL(0, last_status);
  done();
}

static void read_rest(rover_socket_t *socket) {
  note('e');
  EQUAL(0, rover_socket_read_start(socket));
}

static void end_unread(void) {
  static const rover_socket_events_t events = {
      .data = on_data,
      .end = read_rest,
      .drain = on_drain,
      .close = on_socket_closed};
  keep_with(NULL, "7\r\nunread");
  rover_socket_set_events(kept_socket, &events, notes);
  shutdown(peer, SHUT_WR);
  UNTIL(strchr(notes, 'c'));
  SAME("edc", notes);
  SAME("unread", data);
  EQUAL(0, last_status);
  done();
}

static void half_open(void) {
  const rover_options_t options = {.allow_half_open = 1};
  keep_with(&options, "7\r\n");
  EQUAL(0, rover_socket_read_start(kept_socket));
  say(peer, "last");
  shutdown(peer, SHUT_WR);
  UNTIL(strchr(notes, 'e'));
  settle();
  SAME("de", notes);
  EQUAL(0, wrote("still", "w"));
  hear(peer, "still");
  UNTIL(strchr(notes, 'w'));
  EQUAL(0, rover_socket_shutdown(kept_socket, on_done, "s"));
  UNTIL(strchr(notes, 'c'));
  SAME("dewsc", notes);
  EQUAL(0, drained(peer));
  done();
}

static void broken(void) {
  for (int reading = 0; reading <= 1; reading++) {
    snprintf(doing, sizeof doing, reading ? "reading" : "not reading");
    *notes = '\0';
    keep();
    if (reading) EQUAL(0, rover_socket_read_start(kept_socket));
    reset(peer);
    UNTIL(strchr(notes, 'c'));
    SAME("c", notes);
    memset(notes, 0, sizeof notes);
    EQUAL(UV_ECONNRESET, last_status);
    finish(rover, &told);
    close(listener);
  }
}

/* -- Closing -------------------------------------------------------------- */

static void cancelled(void) {
  static char second[] = "b";
  keep();
  flood("a");
  EQUAL(0, wrote(second, second));
  EQUAL(0, rover_socket_shutdown(kept_socket, on_done, "s"));
  rover_socket_close(kept_socket);
  rover_socket_close(kept_socket);
  EQUAL(1, rover_socket_is_closing(kept_socket));
  EQUAL(1, sound(rover).closed);
  SAME("", notes);
  UNTIL(strchr(notes, 's'));
  EQUAL(0, last_status); /* of the close, which was last */
  SAME("absc", notes);
  CHECK(drained(peer) < PLENTY);
  done();
}

static void on_cancelled(rover_socket_t *socket, int status, void *arg) {
  EQUAL(UV_ECANCELED, status);
  on_done(socket, status, arg);
}

static void cancelled_status(void) {
  uv_buf_t buffer = uv_buf_init("x", 1);
  keep();
  flood(NULL);
  EQUAL(0, rover_socket_write(kept_socket, &buffer, 1, on_cancelled, "w"));
  EQUAL(0, rover_socket_shutdown(kept_socket, on_cancelled, "s"));
  EQUAL(0, rover_close(rover, on_closed));
  UNTIL(told.closed);
  SAME("wsc", notes);
  close(listener);
  close(peer);
}

/* All that the header forbids of a closing socket, and allows. */
static void closing(rover_socket_t *socket) {
  EQUAL(1, rover_socket_is_closing(socket));
  EQUAL(UV_EINVAL, rover_socket_read_start(socket));
  EQUAL(UV_EINVAL, wrote("x", NULL));
  EQUAL(UV_EINVAL, wrote("x", "w"));
  EQUAL(UV_EINVAL, rover_socket_write(socket, NULL, 0, NULL, NULL));
  EQUAL(UV_EINVAL, rover_socket_shutdown(socket, on_done, "s"));
  EQUAL(UV_EINVAL, rover_socket_detach(socket));
  rover_socket_read_stop(socket);
  rover_socket_close(socket);
  CHECK(rover_socket_first(rover) == NULL);
  CHECK(rover_socket_next(socket) == NULL);
  EQUAL(7, rover_socket_slot(socket));
  SAME("s", rover_server_id(rover_socket_server(socket)));
  CHECK(rover_socket_rover(socket) == rover);
  CHECK(rover_socket_stream(socket) == NULL);
  rover_socket_set_events(socket, &noting, notes);
}

static void on_closing_closed(rover_socket_t *socket, int status) {
  closing(socket);
  on_socket_closed(socket, status);
}

static void close_misuse(void) {
  static const rover_socket_events_t events = {.close = on_closing_closed};
  keep();
  rover_socket_close(kept_socket);
  closing(kept_socket);
  rover_socket_set_events(kept_socket, &events, notes);
  UNTIL(*notes);
  SAME("c", notes);
  EQUAL(0, last_status);
  done();
}

/* -- rover_socket_set_events() -------------------------------------------- */

static void new_listener(void) {
  keep();
  flood("a");
  EQUAL(0, wrote("b", "b"));
  EQUAL(0, rover_socket_shutdown(kept_socket, on_done, "s"));
  rover_socket_set_events(kept_socket, &noting, notes);
  EQUAL(PLENTY + 1, drained(peer));
  UNTIL(*notes);
  SAME("r", notes);
  done();
}

static void no_listener(void) {
  keep();
  rover_socket_set_events(kept_socket, NULL, NULL);
  CHECK(rover_socket_data(kept_socket) == NULL);
  flood(NULL);
  EQUAL(0, rover_socket_read_start(kept_socket));
  say(peer, "nobody hears");
  shutdown(peer, SHUT_WR);
  EQUAL(PLENTY, drained(peer));
  UNTIL(sound(rover).closed == 1);
  SAME("", notes);
  done();
}

static void end_again(void) {
  const rover_options_t options = {.allow_half_open = 1};
  keep_with(&options, "7\r\n");
  shutdown(peer, SHUT_WR);
  UNTIL(*notes);
  rover_socket_set_events(kept_socket, &noting, notes);
  SAME("e", notes); /* never from within the call */
  UNTIL(strlen(notes) == 2);
  settle();
  SAME("ee", notes);
  done();
}

/* -- rover_socket_detach() ------------------------------------------------ */

static void detach(void) {
  keep_with(NULL, "7\r\nunread");
  int fd = rover_socket_detach(kept_socket);
  CHECK(fd >= 0);
  CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
  CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
  EQUAL(1, rover_socket_is_closing(kept_socket));
  EQUAL(UV_EINVAL, rover_socket_detach(kept_socket));
  EQUAL(1, sound(rover).closed);
  UNTIL(*notes);
  SAME("c", notes);
  EQUAL(0, last_status);
  finish(rover, &told);
  CHECK(is_open(peer));
  hear(fd, "unread");
  say(fd, "hello");
  hear(peer, "hello");
  close(fd);
  EQUAL(0, drained(peer));
  close(peer);
  close(listener);
}

static void detach_reading(void) {
  keep_with(NULL, "7\r\nread");
  EQUAL(0, rover_socket_read_start(kept_socket));
  UNTIL(received == 4);
  say(peer, "unread");
  int fd = rover_socket_detach(kept_socket);
  CHECK(fd >= 0);
  UNTIL(strchr(notes, 'c'));
  SAME("dc", notes);
  SAME("read", data);
  hear(fd, "unread");
  close(fd);
  done();
}

static void detach_busy(void) {
  keep();
  flood("w");
  EQUAL(UV_EBUSY, rover_socket_detach(kept_socket));
  EQUAL(0, rover_socket_is_closing(kept_socket));
  EQUAL(0, rover_socket_shutdown(kept_socket, on_done, "s"));
  EQUAL(UV_EBUSY, rover_socket_detach(kept_socket));
  EQUAL(PLENTY, drained(peer));
  UNTIL(strchr(notes, 's'));
  SAME("wrs", notes);
  int fd = rover_socket_detach(kept_socket);
  CHECK(fd >= 0);
  UNTIL(strchr(notes, 'c'));
  say(peer, "x"); /* only our side has ended */
  hear(fd, "x");
  close(fd);
  done();
}

static void detach_exhausted(void) {
  struct rlimit limit, none;
  keep();
  CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  none = limit;
  none.rlim_cur = 1; /* which standard input has */
  CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
  CHECK(rover_socket_stream(kept_socket) != NULL);
  EQUAL(UV_EMFILE, rover_socket_detach(kept_socket));
  CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  EQUAL(0, rover_socket_is_closing(kept_socket));
  EQUAL(1, sound(rover).kept);
  EQUAL(0, wrote("still here", "w"));
  hear(peer, "still here");
  UNTIL(*notes);
  SAME("w", notes);
  done();
}

static void detach_untouched(void) {
  struct rlimit limit, none;
  keep();
  CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  none = limit;
  none.rlim_cur = 1;
  CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
  int fd = rover_socket_detach(kept_socket);
  CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  CHECK(fd >= 0);
  EQUAL(0, option(fd, IPPROTO_TCP, TCP_NODELAY));
  CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
  CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
  CHECK(rover_socket_is_closing(kept_socket));
  SAME("", notes); /* not from within a call */
  UNTIL(*notes);
  SAME("c", notes);
  EQUAL(0, last_status);
  say(peer, "x");
  hear(fd, "x");
  close(fd);
  done();
}

static void echo(void) {
  rover = roving(&told, server_port, NULL);
  EQUAL(0, rover_connect(rover));
  UNTIL(told.connections == 1);
  kept_socket = told.socket;
  rover_socket_set_events(kept_socket, &noting, notes);
  EQUAL(0, rover_socket_read_start(kept_socket));
  EQUAL(0, wrote("there and back", "w"));
  UNTIL(received == 14);
  SAME("there and back", data);
  EQUAL(0, rover_socket_shutdown(kept_socket, on_done, "s"));
  UNTIL(strchr(notes, 'c'));
  SAME("wdsec", notes);
  finish(rover, &told);
}

const struct check checks[] = {
    {"a kept socket", "tells slot, rover, server and user pointer; libuv's "
                      "stream tells its names", accessors},
    {"a kept socket", "has keepalive as the rover's option says", keepalive},
    {"rover_socket_detach()", "gives the descriptor with the system's own "
                              "options", detached},
    {"a kept socket", "talks to a Callosum server", echo},
    {"rover_socket_first() and _next()", "go from the lowest slot up, of equal "
                                         "ones the older first, past closing "
                                         "ones", order},
    {"rover_socket_read_start() and _stop()", "deliver what waits behind the "
                                              "slot line, not before", unread},
    {"rover_socket_read_stop()", "ends the data callback from within it",
     stop_inside},
    {"the end callback", "comes when the peer ends, and the socket closes",
     end_in_order},
    {"the end callback", "is followed by what was written before the close",
     end_sends},
    {"the end callback", "may start reading what waits before the end",
     end_unread},
    {"the end callback", "leaves the socket open if that is allowed",
     half_open},
    {"the close callback", "tells what broke the connection", broken},
    {"rover_socket_close()", "drops what is queued; callbacks of requests come "
                             "before its own, in order", cancelled},
    {"rover_socket_close()", "cancels requests with UV_ECANCELED",
     cancelled_status},
    {"a closing socket", "refuses what the header forbids, in its close "
                         "callback too", close_misuse},
    {"rover_socket_set_events()", "drops callbacks of requests; their bytes "
                                  "are sent", new_listener},
    {"rover_socket_set_events()", "takes NULL for no callbacks", no_listener},
    {"rover_socket_set_events()", "has the end told again", end_again},
    {"rover_socket_detach()", "gives the descriptor away, open and clean",
     detach},
    {"rover_socket_detach()", "leaves in it what was not delivered",
     detach_reading},
    {"rover_socket_detach()", "returns UV_EBUSY while something is queued or "
                              "a shutdown under way", detach_busy},
    {"rover_socket_detach()", "returns UV_EMFILE, and the socket stays as it "
                              "is", detach_exhausted},
    {"rover_socket_detach()", "needs no descriptor for one that nobody used",
     detach_untouched},
    {NULL, NULL, NULL}};
