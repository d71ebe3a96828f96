/* A rover's TLS, by its headers: with a server of ours in this process. */
#define received heard /* sockets.h has one of its own */
#include "secured.h"
#undef received
#include "sockets.h"

#include <fcntl.h>

#include "rover/reload.h"

static rover_tls_t *ours, *theirs;
static struct side far_side;
static size_t memory;

/* What the other side of a connection is up to is done meanwhile. */
#define MEANWHILE(action, condition) UNTIL(((action), (condition)))

static void accept_tls(void) {
  int fd = accepted(listener);
  CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
  open_server(&far_side, theirs, fd);
  UNTIL(far_side.tls->type->handshake(far_side.tls) == 0);
}

/* As keep(), by TLS. */
static void keep_secured(void) {
  rover_options_t options = {.tls = ours = client(NULL), .memory = &memory};
  theirs = server("server", NULL);
  listener = listening();
  rover = roving(&told, port_of(listener), &options);
  EQUAL(0, rover_connect(rover));
  accept_tls();
  sent(&far_side, "7\r\n");
  UNTIL(told.connections == 1);
  kept_socket = told.socket;
  EQUAL(0, rover_socket_set_events(kept_socket, &noting, notes));
  last_status = 1;
}

static void done_secured(void) {
  finish(rover, &told);
  close(listener);
  if (far_side.tls) close_side(&far_side);
  rover_tls_unref(ours);
  rover_tls_unref(theirs);
  EQUAL(0, memory);
}

/* Takes what has come; returns how many bytes so far. */
static size_t taken;
static void take(void) {
  static char bytes[1 << 16];
  ssize_t n;
  while ((n = far_side.tls->type->recv(far_side.tls, bytes, sizeof bytes)) > 0)
    taken += (size_t)n;
}

static void reads_and_writes(void) {
  keep_secured();
  sent(&far_side, "before");
  EQUAL(0, rover_socket_read_start(kept_socket));
  EQUAL(0, received);
  UNTIL(received == 6);
  rover_socket_read_stop(kept_socket);
  sent(&far_side, "unread");
  settle();
  EQUAL(6, received);
  EQUAL(0, wrote("hello", "w"));
  SAME("d", notes);
  UNTIL(strchr(notes, 'w'));
  EQUAL(0, last_status);
  taken = 0;
  MEANWHILE(take(), taken == 5);
  EQUAL(0, rover_socket_read_start(kept_socket));
  UNTIL(received == 12);
  SAME("beforeunread", data);
  done_secured();
}

static void queues(void) {
  keep_secured();
  size_t before = memory;
  flood("w");
  CHECK(memory > before + 1000000);
  EQUAL(0, wrote("z", "v"));
  EQUAL(0, rover_socket_shutdown(kept_socket, on_done, "s"));
  EQUAL(UV_ENOTCONN, rover_socket_shutdown(kept_socket, NULL, NULL));
  EQUAL(UV_EPIPE, wrote("!", NULL));
  EQUAL(UV_ENOTSUP, rover_socket_detach(kept_socket));
  SAME("", notes);
  taken = 0;
  MEANWHILE(take(), strchr(notes, 's'));
  MEANWHILE(take(), taken == PLENTY + 1);
  SAME("wvrs", notes);
  EQUAL(before, memory);
  done_secured();
}

static void closes_with_a_queue(void) {
  keep_secured();
  flood("w");
  EQUAL(0, rover_socket_shutdown(kept_socket, on_done, "s"));
  rover_socket_close(kept_socket);
  SAME("", notes);
  UNTIL(strchr(notes, 'c'));
  SAME("wsc", notes);
  EQUAL(0, last_status);
  done_secured();
}

static void ends(void) {
  keep_secured();
  UNTIL(far_side.tls->type->shutdown(far_side.tls) == 0);
  UNTIL(strchr(notes, 'c'));
  SAME("ec", notes);
  EQUAL(0, last_status);
  done_secured();
}

static void is_cut(void) {
  keep_secured();
  sent(&far_side, "unread");
  settle();
  CHECK(shutdown(far_side.fd, SHUT_WR) == 0);
  UNTIL(strchr(notes, 'c'));
  EQUAL(UV_ECONNRESET, last_status);
  done_secured();
}

static void has_names(void) {
  struct sockaddr_storage name;
  keep_secured();
  CHECK(!rover_socket_stream(kept_socket));
  EQUAL(UV_ENOTSUP, rover_socket_detach(kept_socket));
  EQUAL(0, rover_socket_peername(kept_socket, &name));
  EQUAL(port_of(listener), ntohs(((struct sockaddr_in *)&name)->sin_port));
  EQUAL(0, rover_socket_sockname(kept_socket, &name));
  EQUAL(UV_EINVAL, rover_socket_sockname(kept_socket, NULL));
  rover_socket_close(kept_socket);
  EQUAL(UV_EINVAL, rover_socket_peername(kept_socket, &name));
  EQUAL(UV_EINVAL, rover_socket_detach(kept_socket));
  CHECK(!rover_socket_stream(kept_socket));
  UNTIL(strchr(notes, 'c'));
  done_secured();
}

/* What was held while the rover was is delivered, with its end. */
static void is_held(void) {
  rover_options_t options = {
      .tls = ours = client(NULL), .memory = &memory, .allow_half_open = 1};
  theirs = server("server", NULL);
  listener = listening();
  rover = roving(&told, port_of(listener), &options);
  rover_hold(rover, 1);
  EQUAL(0, rover_connect(rover));
  accept_tls();
  sent(&far_side, "7\r\nrest");
  UNTIL(far_side.tls->type->shutdown(far_side.tls) == 0);
  settle();
  EQUAL(0, told.connections);
  rover_hold(rover, 0);
  UNTIL(told.connections == 1);
  kept_socket = told.socket;
  EQUAL(0, rover_socket_set_events(kept_socket, &noting, notes));
  EQUAL(0, rover_socket_read_start(kept_socket));
  UNTIL(strchr(notes, 'e'));
  SAME("de", notes);
  SAME("rest", data);
  rover_socket_close(kept_socket);
  UNTIL(strchr(notes, 'c'));
  EQUAL(0, last_status);
  done_secured();
}

/* Attempts that secure their connections are cancelled as others are. */
static void is_cancelled(void) {
  rover_options_t options = {.tls = ours = client(NULL), .memory = &memory};
  theirs = server("server", NULL);
  listener = listening();
  rover = roving(&told, port_of(listener), &options);
  EQUAL(0, rover_connect(rover));
  int fd = accepted(listener);
  char byte;
  UNTIL(recv(fd, &byte, 1, MSG_DONTWAIT) == 1); /* of the client's hello */
  const rover_server_entry_t entry = {
      .id = "s", .host = "127.0.0.1", .port = port_of(listener), .plain = 1};
  EQUAL(0, rover_server_set(rover, &entry, 1, NULL));
  EQUAL(1, sound(rover).cancelled);
  close(fd);
  settle();
  EQUAL(0, told.unreachable + told.errors);
  done_secured();
}

/* A reload with another context of the same files: the session goes on. */
static void goes_on_after_an_exchange(void) {
  struct told told2;
  keep_secured();
  CHECK(!facts_of(&far_side).resumed);
  close_side(&far_side);
  UNTIL(strchr(notes, 'c'));
  rover_options_t options = {.tls = client(NULL), .memory = &memory};
  rover_t *other = roving(&told2, port_of(listener), &options);
  rover_tls_unref(options.tls);
  rover_exchange(rover, other);
  rover_set_events(rover, &telling, &told);
  finish(other, &told2);
  EQUAL(0, rover_connect(rover));
  accept_tls();
  CHECK(facts_of(&far_side).resumed);
  sent(&far_side, "8\r\n");
  UNTIL(told.slot == 8);
  done_secured();
}

static void of_servers(void) {
  ours = client(NULL);
  theirs = server("server", NULL);
  rover_tls_t *own = client(NULL);
  rover_options_t options = {.tls = theirs};
  EQUAL(UV_EINVAL, rover_new(&rover, loop, &options));
  options = (rover_options_t){.tls = ours, .memory = &memory};
  rover = roving(&told, 0, &options);
  CHECK(rover_options(rover)->tls == ours);
  rover_server_entry_t entry = {
      .id = "a", .host = "h", .port = 1, .tls = theirs};
  EQUAL(UV_EINVAL, rover_server_add_entry(rover, &entry));
  entry.tls = own;
  entry.plain = 1;
  EQUAL(UV_EINVAL, rover_server_add_entry(rover, &entry));
  EQUAL(UV_EINVAL, rover_server_add_entry(rover, NULL));
  entry.plain = 0;
  entry.weight = 3;
  size_t before = memory;
  EQUAL(0, rover_server_add_entry(rover, &entry));
  rover_server_t *a = rover_server_get(rover, "a");
  CHECK(rover_server_tls(a) == own && !rover_server_is_plain(a));
  EQUAL(3, rover_server_weight(a));
  EQUAL(0, rover_server_add_entry(rover, &entry));
  CHECK(rover_server_get(rover, "a") == a);
  EQUAL(0, rover_server_add(rover, "a", "h", 1)); /* as of the rover now */
  a = rover_server_get(rover, "a");
  CHECK(!rover_server_tls(a));
  EQUAL(3, rover_server_weight(a));
  rover_server_changes_t changes;
  entry.tls = NULL;
  entry.plain = 1;
  EQUAL(0, rover_server_set(rover, &entry, 1, &changes));
  EQUAL(1, changes.changed);
  CHECK(rover_server_is_plain(rover_server_get(rover, "a")));
  EQUAL(0, rover_server_set(rover, &entry, 1, &changes));
  EQUAL(0, changes.changed);
  EQUAL(1, rover_server_drop(rover, "a"));
  EQUAL(before, memory);
  finish(rover, &told);
  rover_tls_unref(own);
  rover_tls_unref(ours);
  rover_tls_unref(theirs);
}

const struct check checks[] = {
    {"a socket under TLS", "is read and written", reads_and_writes},
    {"a socket under TLS", "queues, drains and shuts down", queues},
    {"a socket under TLS", "finishes its queue when it closes",
     closes_with_a_queue},
    {"a socket under TLS", "ends with its peer", ends},
    {"a socket under TLS", "breaks where it was not ended", is_cut},
    {"a socket under TLS", "has names, but no stream", has_names},
    {"a socket under TLS", "is held in a reload", is_held},
    {"a rover", "cancels handshakes with servers that are to be without TLS",
     is_cancelled},
    {"a rover", "resumes sessions after a reload", goes_on_after_an_exchange},
    {"a rover", "has servers of their own TLS", of_servers},
    {NULL, NULL, NULL}};
