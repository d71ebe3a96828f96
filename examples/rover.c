/* Keeps the sockets with the lowest slots, says hello on each, and prints the
 * answers: a rover in a C program, on its loop. Ctrl-C ends it.
 *
 *   cc -o build/rover examples/rover.c \
 *     $(pkg-config --cflags --libs callosum-rover)
 *   callosum-rover serve 4040 4041 -- build/rover 4040 4041
 */
#include <callosum/rover.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIMIT = 4 }; /* sockets to keep, over all servers */

static void say(rover_socket_t *socket, const char *what, size_t length) {
  printf("%s slot %d: %.*s\n", rover_server_id(rover_socket_server(socket)),
         rover_socket_slot(socket), (int)length, what);
}

static void on_close(rover_socket_t *socket, int status) {
  const char *what = status < 0 ? uv_strerror(status) : "closed";
  say(socket, what, strlen(what));
}

static void on_connection(rover_t *rover, int slot, rover_socket_t *socket) {
  static const rover_socket_events_t events = {.data = say, .close = on_close};
  uv_tcp_t *tcp = (uv_tcp_t *)rover_socket_stream(socket);
  struct sockaddr_storage peer;
  int size = sizeof peer, kept = 0;
  char hello[80] = "hello, ";

  rover_socket_set_events(socket, &events, NULL);
  for (rover_socket_t *s = rover_socket_first(rover); s;
       s = rover_socket_next(s))
    if (++kept > LIMIT) rover_socket_close(s); /* lowest slot first */
  if (rover_socket_is_closing(socket)) return;

  int err = UV_ENOMEM;
  if (tcp) err = uv_tcp_getpeername(tcp, (struct sockaddr *)&peer, &size);
  if (err == 0)
    err = uv_ip_name((struct sockaddr *)&peer, hello + 7, sizeof hello - 7);
  uv_buf_t buffer = uv_buf_init(hello, (unsigned)strlen(hello));
  if (err == 0) err = rover_socket_read_start(socket);
  if (err == 0) err = rover_socket_write(socket, &buffer, 1, NULL, NULL);
  if (err == 0) return;
  fprintf(stderr, "slot %d: %s\n", slot, uv_strerror(err));
  rover_socket_close(socket);
}

static void on_unreachable(rover_t *rover, rover_server_t *server, int status) {
  (void)status;
  fprintf(stderr, "%s: %s\n", rover_server_id(server),
          rover_unreachable_message(rover));
}

static void on_error(rover_t *rover, rover_server_t *server, int status,
                     const char *message) {
  (void)rover, (void)status;
  fprintf(stderr, "%s: %s\n", server ? rover_server_id(server) : "-", message);
}

static void on_interrupt(uv_signal_t *signal, int signum) {
  (void)signum;
  rover_close(signal->data, NULL);
  uv_close((uv_handle_t *)signal, NULL);
}

int main(int argc, char *argv[]) {
  rover_options_t options = {
      .roving_interval = 100, /* ms */
      .events = {
          .connection = on_connection,
          .unreachable = on_unreachable,
          .error = on_error}};
  uv_loop_t *loop = uv_default_loop();
  uv_signal_t interrupt;
  rover_t *rover;

  signal(SIGPIPE, SIG_IGN); /* see <callosum/rover.h> */
  setvbuf(stdout, NULL, _IOLBF, 0);
  int err = rover_new(&rover, loop, &options);
  for (int i = 1; i < argc && err == 0; i++)
    err = rover_server_add(rover, argv[i], "localhost", atoi(argv[i]));
  if (err == 0) err = rover_start(rover);
  if (err == 0) err = uv_signal_init(loop, &interrupt);
  interrupt.data = rover;
  if (err == 0) err = uv_signal_start(&interrupt, on_interrupt, SIGINT);
  if (err == 0) err = uv_run(loop, UV_RUN_DEFAULT);
  if (err == 0) err = uv_loop_close(loop);
  if (err < 0) fprintf(stderr, "%s: %s\n", argv[0], uv_strerror(err));
  return err < 0;
}
