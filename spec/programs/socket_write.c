/* The promises of <callosum/rover.h> about writing to kept sockets. */
#include "sockets.h"

/* -- Writing -------------------------------------------------------------- */

static void write_buffers(void) {
  char bytes[] = "one, two, three";
  uv_buf_t buffers[] = {uv_buf_init(bytes, 5), uv_buf_init(NULL, 0),
                        uv_buf_init(bytes + 5, 5), uv_buf_init(bytes + 10, 5)};
  keep();
  EQUAL(0, rover_socket_write(kept_socket, buffers, 4, NULL, NULL));
  EQUAL(0, rover_socket_write(kept_socket, buffers, 4, on_done, "w"));
  memset(bytes, 'x', sizeof bytes - 1);
  memset(buffers, 0, sizeof buffers);
  SAME("", notes);
  hear(peer, "one, two, threeone, two, three");
  UNTIL(*notes);
  SAME("w", notes);
  EQUAL(0, last_status);
  done();
}

static void write_nothing(void) {
  uv_buf_t empty = uv_buf_init(NULL, 0);
  keep();
  EQUAL(0, rover_socket_write(kept_socket, NULL, 0, NULL, NULL));
  EQUAL(0, rover_socket_write(kept_socket, &empty, 1, NULL, NULL));
  EQUAL(0, rover_socket_write(kept_socket, NULL, 0, on_done, "a"));
  EQUAL(0, rover_socket_write(kept_socket, &empty, 1, on_done, "b"));
  UNTIL(strlen(notes) == 2);
  SAME("ab", notes);
  EQUAL(0, last_status);
  done();
}

static void write_misuse(void) {
  uv_buf_t buffers[] = {uv_buf_init("right", 5), uv_buf_init(NULL, 1)};
  keep();
  EQUAL(UV_EINVAL, rover_socket_write(kept_socket, NULL, 1, NULL, NULL));
  EQUAL(UV_EINVAL, rover_socket_write(kept_socket, NULL, 1, on_done, "w"));
  EQUAL(UV_EINVAL, rover_socket_write(kept_socket, buffers, 2, NULL, NULL));
  EQUAL(UV_EINVAL, rover_socket_write(kept_socket, buffers, 2, on_done, "w"));
  settle();
  CHECK(is_open(peer)); /* and nothing came */
  SAME("", notes);
  EQUAL(0, rover_socket_is_closing(kept_socket));
  done();
}

static void drain(void) {
  keep();
  flood("a");
  EQUAL(0, wrote("b", "b"));
  EQUAL(0, wrote("c", NULL));
  size_t queued = rover_socket_write_queue_size(kept_socket);
  settle();
  SAME("", notes);
  CHECK(rover_socket_write_queue_size(kept_socket) <= queued);
  EQUAL(0, rover_socket_shutdown(kept_socket, on_done, "s"));
  EQUAL(PLENTY + 2, drained(peer)); /* x only, says the next case */
  UNTIL(strchr(notes, 's'));
  SAME("abrs", notes);
  EQUAL(0, rover_socket_write_queue_size(kept_socket));
  done();
}

static void write_copies(void) {
  char bytes[1 << 16];
  size_t heard = 0;
  ssize_t n;
  keep();
  flood(NULL);
  while (heard < PLENTY) {
    UNTIL((n = recv(peer, bytes, sizeof bytes, 0)) >= 0);
    for (ssize_t i = 0; i < n; i++) CHECK(bytes[i] == 'x');
    heard += (size_t)n;
  }
  UNTIL(*notes);
  SAME("r", notes);
  done();
}

static void write_broken(void) {
  for (int asked = 0; asked <= 1; asked++) {
    snprintf(doing, sizeof doing, asked ? "with callback" : "without");
    memset(notes, 0, sizeof notes);
    keep();
    reset(peer);
    int fd = descriptor();
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    do CHECK(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0);
    while (info.tcpi_state != TCP_CLOSE);
    int err = wrote("lost", asked ? "w" : NULL);
    if (asked) {
      EQUAL(0, err);
      UNTIL(*notes);
      CHECK(last_status < 0 && *notes == 'w');
      err = last_status;
    }
    EQUAL(UV_ECONNRESET, err);
    UNTIL(strchr(notes, 'c'));
    SAME(asked ? "wc" : "c", notes);
    EQUAL(err, last_status);
    finish(rover, &told);
    close(listener);
  }
}

static void shut(void) {
  keep();
  EQUAL(0, wrote("before", "w"));
  EQUAL(0, rover_socket_shutdown(kept_socket, on_done, "s"));
  EQUAL(UV_ENOTCONN, rover_socket_shutdown(kept_socket, on_done, "t"));
  EQUAL(UV_EPIPE, wrote("after", NULL));
  EQUAL(UV_EPIPE, wrote("after", "x"));
  EQUAL(UV_EPIPE, rover_socket_write(kept_socket, NULL, 0, NULL, NULL));
  EQUAL(6, drained(peer));
  UNTIL(strlen(notes) == 2);
  SAME("ws", notes);
  EQUAL(0, last_status);
  EQUAL(UV_ENOTCONN, rover_socket_shutdown(kept_socket, on_done, "t"));
  EQUAL(UV_EPIPE, wrote("after", "x"));
  EQUAL(0, rover_socket_read_start(kept_socket)); /* the peer may still send */
  say(peer, "answer");
  UNTIL(received == 6);
  shutdown(peer, SHUT_WR);
  UNTIL(strchr(notes, 'c'));
  SAME("wsdec", notes);
  done();
}

const struct check checks[] = {
    {"rover_socket_write()", "sends all buffers in order, and calls back later",
     write_buffers},
    {"rover_socket_write()", "takes nothing at all, too", write_nothing},
    {"rover_socket_write()", "returns UV_EINVAL for buffers that are NULL, and "
                             "sends none", write_misuse},
    {"rover_socket_write()", "copies what it queues", write_copies},
    {"rover_socket_write()", "tells what broke the connection, and the socket "
                             "closes with that", write_broken},
    {"the drain callback", "comes once, after the callbacks of all writes",
     drain},
    {"rover_socket_shutdown()", "ends our side after what is written, once; "
                                "writing is UV_EPIPE then", shut},
    {NULL, NULL, NULL}};
