/* A kept socket for the programs of this folder, and what its callbacks have
 * told. */
#ifndef SOCKETS_H
#define SOCKETS_H

#include "rovers.h"

#include <netinet/tcp.h>

enum { PLENTY = 8 << 20 }; /* more than the buffers of both ends hold */

static struct told told;
static rover_t *rover;
static rover_socket_t *kept_socket;
static int listener, peer;

/* What the socket's callbacks told, in order: 'd'ata, 'e'nd, d'r'ain,
 * 'c'lose, and of requests the letter that is their argument. */
static char notes[64];
static int last_status; /* of a request or the close */
static char data[256];  /* the first bytes that came */
static size_t received;

static void note(char what) {
  size_t length = strlen(notes);
  if (what == 'd' && length && notes[length - 1] == 'd') return;
  CHECK(length < sizeof notes - 1);
  notes[length] = what;
}

static void on_data(rover_socket_t *socket, const char *bytes, size_t length) {
  CHECK(socket == kept_socket && length > 0);
  for (size_t i = 0; i < length && received + i < sizeof data - 1; i++)
    data[received + i] = bytes[i];
  received += length;
  note('d');
}

static void on_end(rover_socket_t *socket) {
  CHECK(socket == kept_socket && !rover_socket_is_closing(socket));
  note('e');
}

static void on_drain(rover_socket_t *socket) {
  EQUAL(0, rover_socket_write_queue_size(socket));
  note('r');
}

static void on_socket_closed(rover_socket_t *socket, int status) {
  CHECK(rover_socket_is_closing(socket));
  CHECK(rover_socket_data(socket) == notes);
  last_status = status;
  note('c');
}

static void on_done(rover_socket_t *socket, int status, void *arg) {
  CHECK(socket == kept_socket);
  last_status = status;
  note(*(const char *)arg);
}

static const rover_socket_events_t noting = {
    .data = on_data,
    .end = on_end,
    .drain = on_drain,
    .close = on_socket_closed};

static inline void keep_with(const rover_options_t *options,
                             const char *greeting) {
  listener = listening();
  rover = roving(&told, port_of(listener), options);
  peer = kept(rover, &told, listener, greeting);
  kept_socket = told.socket;
  rover_socket_set_events(kept_socket, &noting, notes);
  last_status = 1;
}

static inline void keep(void) { keep_with(NULL, "7\r\n"); }

static inline void done(void) {
  finish(rover, &told);
  close(listener);
  close(peer);
}

static inline int wrote(const char *text, const char *letter) {
  uv_buf_t buffer = uv_buf_init((char *)text, (unsigned)strlen(text));
  return rover_socket_write(kept_socket, &buffer, 1, letter ? on_done : NULL,
                            (void *)letter);
}

/* Writes more than can be sent, of which the case keeps nothing. */
static inline void flood(const char *letter) {
  char *bytes = malloc(PLENTY);
  uv_buf_t buffer = uv_buf_init(bytes, PLENTY);
  memset(bytes, 'x', PLENTY);
  EQUAL(0, rover_socket_write(kept_socket, &buffer, 1,
                              letter ? on_done : NULL, (void *)letter));
  memset(bytes, 'y', PLENTY);
  free(bytes);
  CHECK(rover_socket_write_queue_size(kept_socket) > 0);
}

static inline int descriptor(void) {
  uv_os_fd_t fd;
  EQUAL(0, uv_fileno((uv_handle_t *)rover_socket_stream(kept_socket), &fd));
  return fd;
}

static inline int option(int fd, int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  CHECK(getsockopt(fd, level, name, &value, &size) == 0);
  return value;
}

#endif
