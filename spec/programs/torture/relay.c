#include "torture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { BULK = 1 << 20 };

static struct {
  rover_t *rover;
  rover_relay_t *relay;
  rover_socket_t *socket;
  struct sockaddr_un path;
  char bulk[BULK];
  size_t sent;
  int client; /* a client's descriptor */
  bool answered, ended; /* the client has got its answer, or the end */
  bool told; /* that something failed for want of memory */
  bool headers; /* clients begin with a PROXY header, and servers get one */
  int closed;
} it;

/* An answer: that it is done, or that there is no memory. */
static int tell(int status) {
  CHECK(status == 0 || (status == UV_ENOMEM && memory_has_failed()));
  if (status < 0) it.told = true;
  return status;
}

/* -- The client ----------------------------------------------------------- */

static void begin_client(void) {
  it.client = socket(AF_UNIX, SOCK_STREAM, 0);
  CHECK(connect(it.client, (struct sockaddr *)&it.path, sizeof it.path) == 0);
  CHECK(fcntl(it.client, F_SETFL, O_NONBLOCK) == 0);
  it.sent = 0;
  it.answered = it.ended = false;
}

/* Sends much and then a question, and wants one answer. */
static void move_client(void) {
  char byte;
  if (it.sent < BULK) {
    ssize_t n = send(it.client, it.bulk + it.sent, BULK - it.sent,
                     MSG_NOSIGNAL);
    if (n > 0) it.sent += (size_t)n;
    else if (errno != EAGAIN) it.ended = true;
  }
  ssize_t n = recv(it.client, &byte, 1, 0);
  if (n == 1) it.answered = true;
  else if (n == 0 || errno != EAGAIN) it.ended = true;
}

/* Who gets no answer is told the end. */
static bool is_answered(void) {
  move_client();
  return it.answered || it.ended;
}

/* -- What is told --------------------------------------------------------- */

static void on_connection(rover_t *rover, int slot, rover_socket_t *socket) {
  int size = 16 * 1024;
  (void)slot;
  rover_stop(rover);
  if (it.socket) {
    rover_socket_close(socket);
    return;
  }
  uv_stream_t *stream = rover_socket_stream(socket);
  if (stream) uv_send_buffer_size((uv_handle_t *)stream, &size);
  it.socket = socket;
}

static void on_error(rover_t *rover, rover_server_t *server, int status,
                     const char *message) {
  (void)rover;
  (void)server;
  CHECK(message);
  tell(status);
}

static void on_client(rover_relay_t *relay, rover_relay_client_t *client) {
  (void)relay;
  CHECK(it.socket);
  if (tell(rover_relay_client_join(client, it.socket)) == 0) it.socket = NULL;
  else rover_relay_client_refuse(client);
}

static void on_relay_error(rover_relay_t *relay, int status,
                           const char *message) {
  (void)relay;
  CHECK(message);
  tell(status);
}

static void on_rover_closed(rover_t *rover) {
  (void)rover;
  it.closed++;
}

static void on_relay_closed(rover_relay_t *relay) {
  rover_relay_stats_t s;
  rover_relay_stats_get(relay, &s);
  CHECK(s.accepted == s.joined + s.refused + s.expired + s.gone + s.rejected);
  CHECK(s.joined == s.ended + s.reset + s.cut);
  it.closed++;
}

/* -- A run ---------------------------------------------------------------- */

static bool has_socket(void) { return it.socket || it.told; }
static bool are_closed(void) { return it.closed == 2; }

static void keep_socket(void) {
  if (it.socket) return;
  if (tell(rover_connect(it.rover)) == 0) loop_until(has_socket);
}

static bool begin(void) {
  rover_options_t options = {.roving_interval = 1,
                             .events = {
                                 .connection = on_connection,
                                 .error = on_error}};
  static const char *const trusted[] = {"10.0.0.0/8", "::1", NULL};
  rover_relay_options_t own = {
      .address.path = it.path.sun_path,
      .accept_proxy = it.headers,
      .send_proxy = it.headers,
      .trusted = it.headers ? trusted : NULL,
      .events = {.client = on_client, .error = on_relay_error}};
  return tell(rover_new(&it.rover, &loop, &options)) == 0 &&
         tell(rover_server_add(it.rover, "a", "127.0.0.1", peers.port)) == 0 &&
         tell(rover_relay_new(&it.relay, &loop, &own)) == 0 &&
         tell(rover_relay_listen(it.relay)) == 0;
}

/* Closing needs no memory. */
static void close_all(void) {
  memory_fail(1, SIZE_MAX);
  it.closed = 0;
  if (it.rover) rover_close(it.rover, on_rover_closed);
  else it.closed++;
  if (it.relay) rover_relay_close(it.relay, 0, on_relay_closed);
  else it.closed++;
  loop_until(are_closed);
  CHECK(!memory_has_failed());
  memory_mend();
  it.rover = NULL;
  it.relay = NULL;
  it.socket = NULL;
}

static void talk(void) {
  begin_client();
  loop_until(is_answered);
  close(it.client);
}

static void join(void) {
  it.path.sun_family = AF_UNIX;
  snprintf(it.path.sun_path, sizeof it.path.sun_path, "%s/relay.sock",
           torture_folder);
  memset(it.bulk, 'x', BULK);
  it.bulk[BULK - 1] = 'p';
  if (it.headers) memcpy(it.bulk, "PROXY UNKNOWN\r\n", 15);
  it.told = it.answered = it.ended = false;

  torture_begin();
  if (begin()) keep_socket();
  if (it.socket) talk();
  bool failed = torture_end();
  CHECK(failed || it.answered);
  if (it.rover && it.relay && rover_relay_is_listening(it.relay)) {
    /* It goes on. */
    it.told = false;
    CHECK(rover_server_add(it.rover, "a", "127.0.0.1", peers.port) == 0);
    keep_socket();
    CHECK(it.socket);
    talk();
    CHECK(it.answered);
  }
  close_all();
}

static void join_by_header(void) {
  it.headers = true;
  join();
  it.headers = false;
}

const struct scenario relay_scenarios[] = {
    {"a client is joined and gets its answer, or is closed", join, NULL, NULL,
     0},
    {"so is one that begins with a PROXY header", join_by_header, NULL, NULL,
     0},
    {0}};
