/* The promises of <callosum/rover.h> about attempts and how they end. */
#include "rovers.h"

#include "rover/reload.h"

#include <sys/resource.h>

static struct told told;

/* -- Outcomes ------------------------------------------------------------- */

static void connection(void) {
  rover_t *rover = roving(&told, server_port, NULL);
  EQUAL(0, rover_connect(rover));
  EQUAL(0, told.connections); /* never from within a call */
  UNTIL(told.connections == 1);
  EQUAL(0, told.slot);
  SAME("s", rover_server_id(rover_socket_server(told.socket)));
  CHECK(rover_socket_first(rover) == told.socket);
  EQUAL(0, rover_connect(rover));
  UNTIL(told.connections == 2);
  EQUAL(1, told.slot);
  EQUAL(2, sound(rover).kept);
  finish(rover, &told);
}

static void unreachable(void) {
  const rover_options_t options = {.slot_timeout = 30};
  int listener = listening(), nobody = bound();
  rover_t *rover = roving(&told, port_of(listener), &options);
  EQUAL(0, rover_connect(rover));
  close(accepted(listener));
  UNTIL(told.unreachable == 1);
  EQUAL(UV_EOF, told.status);
  SAME("connected, but closed before a slot line", told.message);
  CHECK(rover_unreachable_message(rover) == NULL);
  EQUAL(0, rover_connect(rover));
  int fd = accepted(listener);
  say(fd, "12"); /* and no more */
  UNTIL(told.unreachable == 2);
  EQUAL(UV_ETIMEDOUT, told.status);
  SAME("connected, but sent no whole slot line in 30 ms; is it a Callosum "
       "server?", told.message);
  close(fd);
  EQUAL(0, rover_connect(rover));
  reset(accepted(listener));
  UNTIL(told.unreachable == 3);
  EQUAL(UV_ECONNRESET, told.status);
  SAME("connected, but sent no slot line: connection reset by peer",
       told.message);
  EQUAL(0, rover_connect(rover));
  fd = accepted(listener);
  shutdown(fd, SHUT_WR);
  reset(fd);
  UNTIL(told.unreachable == 4);
  EQUAL(UV_EPIPE, told.status);
  SAME("connected, but sent no slot line: broken pipe", told.message);
  EQUAL(0, rover_server_add(rover, "s", "127.0.0.1", port_of(nobody)));
  for (int i = 5; i <= 6; i++) {
    EQUAL(0, rover_connect(rover));
    UNTIL(told.unreachable == i);
    EQUAL(UV_ECONNREFUSED, told.status);
  }
  SAME("s", told.id);
  EQUAL(0, told.errors + told.connections);
  EQUAL(6, sound(rover).unreachable);
  EQUAL(1, rover_unreachable_count(rover, UV_EOF));
  EQUAL(1, rover_unreachable_count(rover, UV_ETIMEDOUT));
  EQUAL(1, rover_unreachable_count(rover, UV_ECONNRESET));
  EQUAL(1, rover_unreachable_count(rover, UV_EPIPE));
  EQUAL(2, rover_unreachable_count(rover, UV_ECONNREFUSED));
  EQUAL(0, rover_unreachable_count(rover, UV_EHOSTUNREACH));
  EQUAL(0, rover_unreachable_count(rover, 0));
  EQUAL(0, rover_unreachable_count(rover, -123456));
  EQUAL(0, rover_unreachable_count(rover, 123456));
  finish(rover, &told);
  close(listener);
  close(nobody);
}

static void errors(void) {
  int listener = listening();
  rover_t *rover = roving(&told, 0, NULL);
  EQUAL(0, rover_connect(rover));
  EQUAL(0, told.errors);
  UNTIL(told.errors == 1);
  EQUAL(UV_EDESTADDRREQ, told.status);
  SAME("(NULL)", told.id);
  SAME("No servers to contact", told.message);
  EQUAL(0, rover_server_add(rover, "s", "127.0.0.1", port_of(listener)));
  int fd = greeted(rover, listener, "HTTP/1.1 400\r\n");
  UNTIL(told.errors == 2);
  EQUAL(UV_EPROTO, told.status);
  SAME("s", told.id);
  CHECK(strstr(told.message, "\"HTTP/1.1 400\\r\\n\""));
  EQUAL(2, sound(rover).errors);
  finish(rover, &told);
  close(fd);
  close(listener);
}

static void exhausted(void) {
  struct rlimit limit, none;
  rover_t *rover = roving(&told, server_port, NULL);
  CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  none = limit;
  none.rlim_cur = 1; /* which standard input has */
  CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
  EQUAL(0, rover_connect(rover));
  UNTIL(told.errors == 1);
  EQUAL(UV_EMFILE, told.status);
  SAME("s", told.id);
  EQUAL(0, told.unreachable);
  CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  EQUAL(0, rover_connect(rover));
  UNTIL(told.connections == 1);
  finish(rover, &told);
}

/* Each outcome once, with nobody listening. */
static void silence(void) {
  int listener = listening(), nobody = bound();
  rover_t *rover = roving(&told, 0, NULL);
  rover_set_events(rover, NULL, NULL);
  CHECK(rover_data(rover) == NULL);
  EQUAL(0, rover_connect(rover));
  UNTIL(sound(rover).errors == 1);
  EQUAL(0, rover_server_add(rover, "s", "127.0.0.1", port_of(nobody)));
  EQUAL(0, rover_connect(rover));
  UNTIL(sound(rover).unreachable == 1);
  EQUAL(0, rover_server_add(rover, "s", "127.0.0.1", port_of(listener)));
  int one = greeted(rover, listener, "x\r\n");
  UNTIL(sound(rover).errors == 2);
  int two = greeted(rover, listener, "1\r\n");
  UNTIL(sound(rover).connections == 1);
  EQUAL(1, sound(rover).closed);
  EQUAL(0, drained(two));
  EQUAL(0, told.connections + told.unreachable + told.errors);
  EQUAL(0, rover_close(rover, NULL));
  close(one);
  close(two);
  close(listener);
  close(nobody);
}

/* -- From the connection callback ----------------------------------------- */

static int socket_closed; /* how often */

static void on_socket_close(rover_socket_t *socket, int status) {
  EQUAL(0, status);
  CHECK(rover_socket_is_closing(socket));
  socket_closed++;
}

static const rover_socket_events_t noting_close = {.close = on_socket_close};

static int server_end; /* of the connection that is being refused */

static void refuse(rover_t *rover, int slot, rover_socket_t *socket) {
  on_connection(rover, slot, socket);
  rover_socket_set_events(socket, &noting_close, NULL);
  rover_socket_close(socket);
  rover_socket_close(socket);
  EQUAL(0, socket_closed); /* never from within a call */
  EQUAL(0, drained(server_end));
  EQUAL(UV_EINVAL, rover_socket_read_start(socket));
  EQUAL(0, rover_socket_write_queue_size(socket));
  CHECK(rover_socket_stream(socket) == NULL);
}

static void refused(void) {
  const rover_events_t events = {.connection = refuse};
  int listener = listening();
  rover_t *rover = roving(&told, port_of(listener), NULL);
  rover_set_events(rover, &events, &told);
  EQUAL(0, rover_connect(rover));
  server_end = accepted(listener);
  say(server_end, "3\r\n");
  UNTIL(socket_closed == 1);
  EQUAL(1, told.connections);
  EQUAL(1, sound(rover).closed);
  EQUAL(0, sound(rover).kept);
  finish(rover, &told);
  EQUAL(1, socket_closed);
  close(server_end);
  close(listener);
}

static rover_t *spare; /* to exchange with */

static void swap(rover_t *rover, int slot, rover_socket_t *socket) {
  (void)slot;
  rover_exchange(rover, spare);
  on_connection(rover, rover_socket_slot(socket), socket);
}

static void exchange_within(void) {
  const rover_events_t events = {.connection = swap};
  const rover_options_t careless = {.keepalive = -1};
  struct told spare_told;
  int on = -1, listener = listening(), ours;
  socklen_t size = sizeof on;
  rover_t *rover = roving(&told, port_of(listener), NULL);
  spare = roving(&spare_told, port_of(listener), &careless);
  rover_set_events(rover, &events, &told);
  int fd = greeted(rover, listener, "3\r\n");
  UNTIL(spare_told.connections == 1);
  ours = rover_socket_detach(spare_told.socket);
  CHECK(ours >= 0);
  EQUAL(0, getsockopt(ours, SOL_SOCKET, SO_KEEPALIVE, &on, &size));
  EQUAL(0, on); /* as it is declared now */
  close(ours);
  finish(rover, &spare_told);
  finish(spare, &told);
  close(fd);
  close(listener);
}

/* -- What is not its own -------------------------------------------------- */

/* A child process has all descriptors, too, and does not let go of them: what
 * is closed here is still open. */
static pid_t holding_child(void) {
  pid_t child = fork();
  CHECK(child >= 0);
  if (child > 0) return child;
  for (;;) pause();
}

static void holders(void) {
  int listener = listening();
  rover_t *rover = roving(&told, port_of(listener), NULL);
  int fds[20];
  for (int i = 0; i < 20; i += 2) {
    EQUAL(0, rover_connect(rover));
    fds[i] = accepted(listener);
    settle();
    pid_t child = holding_child();
    EQUAL(1, rover_server_drop(rover, "s"));
    EQUAL(0, rover_server_add(rover, "s", "127.0.0.1", port_of(listener)));
    EQUAL(0, rover_connect(rover));
    fds[i + 1] = accepted(listener);
    say(fds[i], "7\r\n"); /* to the one that is cancelled */
    settle();
    EQUAL(i / 2, told.connections);
    say(fds[i + 1], "8\r\n");
    UNTIL(told.connections == i / 2 + 1);
    EQUAL(8, told.slot);
    close(fds[i]);
    settle();
    kill(child, SIGKILL);
    CHECK(waitpid(child, NULL, 0) == child);
  }
  EQUAL(0, told.errors + told.unreachable);
  finish(rover, &told);
  for (int i = 1; i < 20; i += 2) close(fds[i]);
  close(listener);
}

/* -- Trying again at once ------------------------------------------------- */

static void again(rover_t *rover, rover_server_t *server, int status,
                  const char *message) {
  on_error(rover, server, status, message);
  if (told.errors < 100000) EQUAL(0, rover_connect(rover));
}

static int fired;

static void on_fired(uv_timer_t *timer) { fired = timer->data == &fired; }

static void retries(void) {
  const rover_events_t events = {.error = again};
  rover_t *rover = roving(&told, 0, NULL);
  uv_timer_t timer;
  rover_set_events(rover, &events, &told);
  uv_timer_init(loop, &timer);
  timer.data = &fired;
  uv_timer_start(&timer, on_fired, 20, 0);
  EQUAL(0, rover_connect(rover));
  UNTIL(fired);
  CHECK(told.errors > 0 && told.errors < 1000);
  uv_close((uv_handle_t *)&timer, NULL);
  finish(rover, &told);
}

const struct check checks[] = {
    {"the connection callback", "gives a socket that is kept already",
     connection},
    {"the unreachable callback", "tells each cause, in words, too, and the "
                                 "counters by cause", unreachable},
    {"the error callback", "tells of no servers, and of what is no slot line",
     errors},
    {"the error callback", "tells when there are no descriptors", exhausted},
    {"a rover without callbacks", "closes what it gets, and counts", silence},
    {"rover_socket_close()", "in the connection callback closes at once, and "
                             "calls back when that has returned", refused},
    {"rover_exchange()", "in the connection callback has the new socket follow "
                         "it", exchange_within},
    {"an attempt", "takes nothing of a cancelled one that a child process still "
                   "holds", holders},
    {"an attempt", "that fails at once and is made again does not hold up the "
                   "loop", retries},
    {NULL, NULL, NULL}};
