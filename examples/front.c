/* Gives slots at the first port, for a server at the second one that knows
 * nothing of Callosum. Ctrl-C drains for five seconds, and ends it.
 *
 *   cc -o build/front examples/front.c \
 *     $(pkg-config --cflags --libs callosum-rover)
 *   build/front 4040 4041
 */
#include <callosum/front.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum { DRAIN_MS = 5000 };

static void on_backend(rover_front_t *front, int up, int status,
                       const char *message) {
  (void)front, (void)status;
  if (up) puts("the server is back");
  else fprintf(stderr, "the server is down: %s\n", message);
}

static void on_error(rover_front_t *front, int status, const char *message) {
  (void)front, (void)status;
  fprintf(stderr, "%s\n", message);
}

static void on_close(rover_front_t *front) {
  rover_front_stats_t stats;
  rover_front_stats_get(front, &stats);
  printf("%llu connections, %llu of them used\n",
         (unsigned long long)stats.accepted, (unsigned long long)stats.joined);
}

static void on_interrupt(uv_signal_t *signal, int signum) {
  (void)signum;
  rover_front_close(signal->data, DRAIN_MS, on_close);
  uv_close((uv_handle_t *)signal, NULL);
}

int main(int argc, char *argv[]) {
  rover_front_options_t options = {
      .events = {.backend = on_backend, .error = on_error}};
  uv_loop_t *loop = uv_default_loop();
  uv_signal_t interrupt;
  rover_front_t *front;

  if (argc < 3) return 2;
  signal(SIGPIPE, SIG_IGN); /* see <callosum/rover.h> */
  setvbuf(stdout, NULL, _IOLBF, 0);
  options.address.port = atoi(argv[1]);
  options.backend.port = atoi(argv[2]);
  int err = rover_front_new(&front, loop, &options);
  if (err == 0) err = rover_front_listen(front);
  if (err == 0) err = uv_signal_init(loop, &interrupt);
  interrupt.data = front;
  if (err == 0) err = uv_signal_start(&interrupt, on_interrupt, SIGINT);
  if (err == 0) printf("slots at %s for %s\n", argv[1], argv[2]);
  if (err == 0) err = uv_run(loop, UV_RUN_DEFAULT);
  if (err == 0) err = uv_loop_close(loop);
  if (err < 0) fprintf(stderr, "%s: %s\n", argv[0], uv_strerror(err));
  return err < 0;
}
