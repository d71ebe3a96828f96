#include "torture.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* So much that some of it has to be queued, nearly always. */
enum { BULK = 1 << 20, SERVERS = 400 };

/* What one connection is for. */
enum story { TALK, PARTING, UNREAD, NAMES };

static struct {
  enum story story;
  rover_t *rover;
  rover_socket_t *socket;
  char *bulk;
  bool over; /* the story has ended, or somebody has said why not */
  bool told; /* that something failed for want of memory */
  bool drained;
  bool asked;   /* the peer, to end */
  bool refused; /* the resolver has no memory */
  bool going_on;
  bool closed;
} it;

static bool is_over(void) { return it.over; }
static bool is_closed(void) { return it.closed; }

/* An answer: that it is done, or that there is no memory. */
static int tell(int status) {
  CHECK(status == 0 ||
        (status == UV_ENOMEM && (it.refused || memory_has_failed())));
  if (status < 0) it.told = it.over = true;
  return status;
}

/* -- The stories ---------------------------------------------------------- */

static int write_bytes(const char *bytes, size_t length, rover_done_cb cb) {
  uv_buf_t buffer = uv_buf_init((char *)bytes, (unsigned)length);
  return tell(rover_socket_write(it.socket, &buffer, 1, cb, NULL));
}

static void on_shut(rover_socket_t *socket, int status, void *arg) {
  (void)socket;
  (void)arg;
  CHECK(status == 0 || it.told);
}

static void on_last(rover_socket_t *socket, int status, void *arg) {
  (void)arg;
  CHECK(status == 0 || it.told);
  if (status == 0) tell(rover_socket_shutdown(socket, on_shut, NULL));
}

static void on_drain(rover_socket_t *socket) {
  (void)socket;
  if (it.story != TALK || it.over || it.drained) return;
  it.drained = true;
  write_bytes("x", 1, on_last);
}

static void on_data(rover_socket_t *socket, const char *bytes, size_t length) {
  CHECK(length == 1 && *bytes == 'p');
  if (it.over) return;
  write_bytes(it.bulk, BULK, NULL);
  if (!it.over && rover_socket_write_queue_size(socket) == 0) on_drain(socket);
}

/* What was accepted is sent, whatever fails after it. */
static void on_parted(rover_socket_t *socket, int status, void *arg) {
  (void)socket;
  (void)arg;
  CHECK(status == 0);
}

static void on_socket_closed(rover_socket_t *socket, int status) {
  CHECK(socket == it.socket);
  it.socket = NULL;
  if (!it.told) tell(status);
  if (it.story == UNREAD) CHECK(status == 0);
  it.over = true;
}

/* Without memory for other callbacks it has those that it had. */
static const rover_socket_events_t first_events = {
    .data = on_data, .drain = on_drain, .close = on_socket_closed};

static void on_end(rover_socket_t *socket) { CHECK(socket == it.socket); }

static void set_events(rover_socket_t *socket) {
  const rover_socket_events_t events = {.data = on_data,
                                        .end = on_end,
                                        .drain = on_drain,
                                        .close = on_socket_closed};
  CHECK(rover_socket_set_events(socket, &first_events, &it) == 0);
  int err = rover_socket_set_events(socket, &events, NULL);
  CHECK(err == 0 || (err == UV_ENOMEM && memory_has_failed()));
  CHECK(rover_socket_data(socket) == (err == 0 ? NULL : &it));
}

static void on_connection(rover_t *rover, int slot, rover_socket_t *socket) {
  int size = 16 * 1024;
  CHECK(slot == 0);
  it.going_on = true;
  if (it.over) {
    rover_socket_close(socket);
    return;
  }
  rover_stop(rover);
  it.socket = socket;
  uv_stream_t *stream = rover_socket_stream(socket);
  if (stream) uv_send_buffer_size((uv_handle_t *)stream, &size);
  set_events(socket);
  switch (it.story) {
    case TALK:
      if (tell(rover_socket_read_start(socket)) == 0) write_bytes("p", 1, NULL);
      break;
    case PARTING:
      *it.bulk = 'q';
      write_bytes(it.bulk, BULK, on_parted);
      *it.bulk = 'x';
      break;
    case UNREAD: it.asked = write_bytes("q", 1, NULL) == 0; break;
    case NAMES: it.over = true; break;
  }
}

static void on_unreachable(rover_t *rover, rover_server_t *server, int status) {
  (void)rover;
  (void)server;
  fprintf(stderr, "unreachable: %s\n", uv_strerror(status));
  CHECK(!"unreachable");
}

static void on_error(rover_t *rover, rover_server_t *server, int status,
                     const char *message) {
  (void)rover;
  (void)server;
  CHECK(message);
  tell(status);
}

/* -- Runs ----------------------------------------------------------------- */

static void check_stats(void) {
  rover_stats_t s;
  rover_stats_get(it.rover, &s);
  CHECK(s.attempts == s.connections + s.rejected + s.unreachable + s.errors +
                          s.cancelled + s.in_flight);
  CHECK(s.connections == s.kept + s.closed);
}

static int add_server(const char *id, const char *host, int port) {
  return tell(rover_server_add(it.rover, id, host, port));
}

static int new_rover(void) {
  rover_options_t options = {
      .roving_interval = 1,
      .max_attempts = 1,
      .events = {
          .connection = on_connection,
          .unreachable = on_unreachable,
          .error = on_error}};
  it.over = it.told = it.drained = it.asked = it.going_on = it.closed = false;
  return tell(rover_new(&it.rover, &loop, &options));
}

static void on_closed(rover_t *rover) {
  (void)rover;
  it.closed = true;
}

static void close_rover(void) {
  check_stats();
  memory_fail(1, SIZE_MAX);
  rover_close(it.rover, on_closed);
  loop_until(is_closed);
  CHECK(!memory_has_failed()); /* closing needs no memory */
  memory_mend();
  it.rover = NULL;
}

static void live(enum story story, const char *host, int port) {
  it.story = story;
  if (add_server("a", host, port) < 0) return;
  /* By the clock or not: these differ in who hears of an error. */
  if (story == TALK) tell(rover_start(it.rover));
  else if (tell(rover_connect(it.rover)) < 0) return;
  loop_until(is_over);
}

static bool is_alone(void) { return it.going_on && !it.socket; }

static void run(enum story story, const char *host, int port) {
  it.bulk = malloc(BULK);
  CHECK(it.bulk);
  memset(it.bulk, 'x', BULK);
  torture_begin();
  if (new_rover() == 0) live(story, host, port);
  bool failed = torture_end();

  CHECK(failed || !it.told);
  CHECK(failed || it.rover);
  if (it.rover) {
    /* It goes on: the next tick finds a server. */
    it.over = true;
    it.going_on = false;
    CHECK(rover_server_add(it.rover, "a", host, port) == 0);
    CHECK(rover_start(it.rover) == 0);
    /* The end of what nobody reads is noticed after all. */
    if (it.socket && !it.asked) rover_socket_close(it.socket);
    loop_until(is_alone);
    close_rover();
  }
  free(it.bulk);
}

static void talk(void) { run(TALK, "127.0.0.1", peers.port); }
static void part(void) { run(PARTING, "127.0.0.1", peers.port); }
static void leave_unread(void) { run(UNREAD, "127.0.0.1", peers.eager_port); }
static void localhost(void) { run(NAMES, "localhost", peers.port); }
/* No literal to libuv, and yet no question to any name server. */
static void resolve(void) { run(NAMES, "127.1", peers.port); }

/* -- The system's resolver ------------------------------------------------ */

static void resolver(void) {
  CHECK(new_rover() == 0);
  CHECK(rover_server_add(it.rover, "a", "127.1", peers.port) == 0);
  memory_refuse_resolver(it.refused = true);
  CHECK(rover_connect(it.rover) == 0);
  loop_until(is_over);
  memory_refuse_resolver(it.refused = false);
  CHECK(it.told);
  close_rover();
}

/* -- The table of servers ------------------------------------------------- */

static void servers(void) {
  char id[16];
  size_t count = 0;
  torture_begin();
  if (new_rover() == 0) {
    for (int i = 0; i < SERVERS; i++) {
      snprintf(id, sizeof id, "s%d", i);
      if (add_server(id, "127.0.0.1", 1 + i) == 0) count++;
      else CHECK(!rover_server_get(it.rover, id));
      CHECK(rover_server_count(it.rover) == count);
    }
    /* Replacing one either does, or leaves the old one. */
    for (int i = 0; i < SERVERS; i += 16) {
      snprintf(id, sizeof id, "s%d", i);
      if (!rover_server_get(it.rover, id)) continue;
      int port = add_server(id, "127.0.0.1", 5000 + i) < 0 ? 1 + i : 5000 + i;
      CHECK(rover_server_port(rover_server_get(it.rover, id)) == port);
      CHECK(rover_server_count(it.rover) == count);
    }
  }
  torture_end();
  if (it.rover) {
    for (int i = 0; i < SERVERS; i++) {
      snprintf(id, sizeof id, "s%d", i);
      if (!rover_server_get(it.rover, id))
        CHECK(rover_server_add(it.rover, id, "127.0.0.1", 1) == 0);
      CHECK(rover_server_drop(it.rover, id) == 1);
      CHECK(!rover_server_get(it.rover, id));
    }
    CHECK(rover_server_count(it.rover) == 0);
    close_rover();
  }
}

/* A list in which half of the old one is at other ports, and as many are new,
 * takes its place, or all is as it was. */
static void setting(void) {
  static char ids[SERVERS][16];
  static rover_server_entry_t entries[SERVERS];
  rover_server_changes_t made = {0};

  CHECK(new_rover() == 0);
  for (int i = 0; i < SERVERS; i++) {
    snprintf(ids[i], sizeof ids[i], "s%d", i);
    entries[i] = (rover_server_entry_t){
        .id = ids[i], .host = "127.0.0.1", .port = 1 + i};
  }
  CHECK(rover_server_set(it.rover, entries, SERVERS / 2, NULL) == 0);
  CHECK(rover_server_pause(it.rover, "s1", ROVER_MS_MAX) == 1);
  rover_server_t *same = rover_server_get(it.rover, "s1");
  for (int i = 0; i < SERVERS / 2; i += 2) entries[i].port += SERVERS;

  torture_begin();
  int err = rover_server_set(it.rover, entries + 1, SERVERS - 1, &made);
  bool failed = torture_end();
  CHECK(err == 0 || (err == UV_ENOMEM && failed));
  CHECK(made.added == (err == 0 ? SERVERS / 2 : 0));
  CHECK(made.changed == (err == 0 ? SERVERS / 4 - 1 : 0));
  CHECK(made.dropped == (err == 0));
  for (int i = 0; i < SERVERS; i++) {
    rover_server_t *server = rover_server_get(it.rover, ids[i]);
    CHECK((server == NULL) == (err == 0 ? i == 0 : i >= SERVERS / 2));
    int port = err == 0 ? entries[i].port : 1 + i;
    CHECK(!server || rover_server_port(server) == port);
  }
  CHECK(rover_server_get(it.rover, "s1") == same);
  CHECK(rover_server_set(it.rover, entries, SERVERS, NULL) == 0);
  CHECK(rover_server_count(it.rover) == SERVERS);
  close_rover();
}

const struct scenario rover_scenarios[] = {
    {"a rover has a server or says that it cannot", servers, NULL, NULL, 0},
    {"a list of servers is replaced as a whole or not at all", setting, NULL,
     NULL, 0},
    {"a rover's connection is made, read, written to and shut down, or it is "
     "said why not", talk, NULL, NULL, 0},
    {"what was written is sent, though the peer ends first", part, NULL, NULL,
     0},
    {"the peer's end is noticed behind bytes that nobody reads", leave_unread,
     NULL, NULL, 0},
    {"localhost is found", localhost, NULL, NULL, 0},
    {"a name is resolved", resolve, NULL, NULL, 0},
    {"a resolver without memory is no server's fault", resolver, NULL, NULL, 0},
    {0}};
