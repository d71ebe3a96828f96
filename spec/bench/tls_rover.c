/* A program that embeds the rover with TLS, without Lua.
 *
 *   tls_rover handshakes COUNT IN_FLIGHT CERT KEY CA PORT   connects, reads the
 *       slot line, closes; so often. Says "begin" and "done".
 *   tls_rover keep COUNT CERT KEY CA PORT   keeps so many sockets, says "kept",
 *       and waits for its end.
 *
 * Sessions are resumed if the server lets them. */
#include <callosum/tls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long count, begun, done;
static int keeps;

static void die(const char *what, const char *why) {
  fprintf(stderr, "tls_rover: %s: %s\n", what, why);
  exit(1);
}

static void check(int err) {
  if (err < 0) die("failed", uv_strerror(err));
}

static void say(const char *what) {
  puts(what);
  fflush(stdout);
}

static void on_unreachable(rover_t *rover, rover_server_t *server, int status) {
  (void)rover;
  die(rover_server_id(server), uv_strerror(status));
}

static void on_error(rover_t *rover, rover_server_t *server, int status,
                     const char *message) {
  (void)rover, (void)server, (void)status;
  die("error", message);
}

static void on_connection(rover_t *rover, int slot, rover_socket_t *socket) {
  (void)slot;
  if (!keeps) rover_socket_close(socket);
  done++;
  if (begun < count) {
    begun++;
    check(rover_connect(rover));
  }
  if (done < count) return;
  say(keeps ? "kept" : "done");
  if (!keeps) rover_close(rover, NULL);
}

static rover_tls_t *new_tls(char **files) {
  char message[ROVER_TLS_MESSAGE_MAX];
  rover_tls_client_options_t options = {
      .cert = files[0], .key = files[1], .ca = files[2]};
  rover_tls_t *tls;
  if (rover_tls_client_new(&tls, &options, message) < 0)
    die("certificates", message);
  return tls;
}

static void run(unsigned in_flight, char **files, int port) {
  rover_options_t options = {
      .max_attempts = in_flight,
      .tls = new_tls(files),
      .events = {
          .connection = on_connection,
          .unreachable = on_unreachable,
          .error = on_error}};
  uv_loop_t loop;
  rover_t *rover;

  check(uv_loop_init(&loop));
  check(rover_new(&rover, &loop, &options));
  rover_tls_unref(options.tls);
  check(rover_server_add(rover, "s", "127.0.0.1", port));
  if (!keeps) say("begin");
  while (begun < count && begun < (long)in_flight) {
    begun++;
    check(rover_connect(rover));
  }
  check(uv_run(&loop, UV_RUN_DEFAULT));
}

int main(int argc, char **argv) {
  if (argc == 8 && !strcmp(argv[1], "handshakes")) {
    count = atol(argv[2]);
    run((unsigned)atoi(argv[3]), argv + 4, atoi(argv[7]));
  } else if (argc == 7 && !strcmp(argv[1], "keep")) {
    keeps = 1;
    count = atol(argv[2]);
    run(16, argv + 3, atoi(argv[6]));
  } else {
    return 2;
  }
  return 0;
}
