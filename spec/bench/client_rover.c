/* A program that embeds the rover, without Lua.
 *
 *   client_rover handshakes COUNT IN_FLIGHT PORT...
 *       connects, reads the slot line, closes; so often. Says "begin" and
 *       "done".
 *   client_rover keep COUNT PORT...
 *       keeps so many sockets, says "kept", and waits for its end.
 *   client_rover servers COUNT STEP
 *       adds so many servers, whose ids count up by STEP in seven digits, says
 *       "added" and the seconds, then the nanoseconds of a pick, and waits for
 *       its end. A rover whose servers are all paused draws 64 times until it
 *       gives up an attempt, so that is what is timed: no socket is made, and
 *       one draw may overlap the next. */
#include <callosum/rover.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCH = 1000, DRAWS = 64, ATTEMPTS = 20000, IN_FLIGHT = 64 };

static struct {
  long count, step, begun, done;
  int keeps;
} work;

static void die(const char *what, int err) {
  fprintf(stderr, "client_rover: %s: %s\n", what, uv_strerror(err));
  exit(1);
}

static void check(int err) {
  if (err < 0) die("failed", err);
}

static void say(const char *what) {
  puts(what);
  fflush(stdout);
}

static void on_unreachable(rover_t *rover, rover_server_t *server, int status) {
  (void)rover;
  die(rover_server_id(server), status);
}

static void on_error(rover_t *rover, rover_server_t *server, int status,
                     const char *message) {
  (void)rover, (void)server;
  die(message, status);
}

static void on_connection(rover_t *rover, int slot, rover_socket_t *socket) {
  (void)slot;
  if (!work.keeps) rover_socket_close(socket);
  work.done++;
  if (work.begun < work.count) {
    work.begun++;
    check(rover_connect(rover));
  }
  if (work.done < work.count) return;
  say(work.keeps ? "kept" : "done");
  if (!work.keeps) rover_close(rover, NULL);
}

static rover_t *new_rover(uv_loop_t *loop, unsigned in_flight, char **ports) {
  rover_options_t options = {
      .max_attempts = in_flight,
      .events = {
          .connection = on_connection,
          .unreachable = on_unreachable,
          .error = on_error}};
  rover_t *rover;
  check(rover_new(&rover, loop, &options));
  for (; *ports; ports++)
    check(rover_server_add(rover, *ports, "127.0.0.1", atoi(*ports)));
  return rover;
}

static void run_connects(uv_loop_t *loop, unsigned in_flight, char **ports) {
  rover_t *rover = new_rover(loop, in_flight, ports);
  if (!work.keeps) say("begin");
  while (work.begun < work.count && work.begun < (long)in_flight) {
    work.begun++;
    check(rover_connect(rover));
  }
  check(uv_run(loop, UV_RUN_DEFAULT));
}

/* -- Servers -------------------------------------------------------------- */

/* The processor's time. */
static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

typedef struct {
  char id[16], host[16];
} name_t;

static void set_name(name_t *name, long number) {
  snprintf(name->id, sizeof name->id, "server-%07ld",
           number * work.step % 10000000);
  snprintf(name->host, sizeof name->host, "10.%d.%d.%d",
           (int)(number >> 16) & 255, (int)(number >> 8) & 255,
           (int)number & 255);
}

static void run_servers(uv_loop_t *loop, char **none) {
  rover_t *rover = new_rover(loop, 1, none);
  double seconds = 0, from;

  for (long i = 0; i < work.count; i += BATCH) {
    static name_t names[BATCH];
    for (int j = 0; j < BATCH; j++) set_name(&names[j], i + j);
    from = now();
    for (int j = 0; j < BATCH; j++)
      check(rover_server_add(rover, names[j].id, names[j].host, 4040));
    seconds += now() - from;
  }
  printf("added %.6f\n", seconds);
  fflush(stdout);

  for (long i = 0; i < work.count; i++) {
    name_t name = {.id = ""};
    set_name(&name, i);
    check(rover_server_pause(rover, name.id, ROVER_MS_MAX / 2));
  }
  from = now();
  for (int i = 0; i < ATTEMPTS; i++)
    if (rover_connect(rover) != UV_EAGAIN) die("not paused", UV_EINVAL);
  printf("%.1f\n", (now() - from) / ATTEMPTS / DRAWS * 1e9);
  fflush(stdout);
  getchar();
}

int main(int argc, char **argv) {
  uv_loop_t loop;
  check(uv_loop_init(&loop));
  if (argc < 3) return 2;
  work.count = atol(argv[2]);
  if (!strcmp(argv[1], "handshakes") && argc > 4) {
    run_connects(&loop, (unsigned)atoi(argv[3]), argv + 4);
  } else if (!strcmp(argv[1], "keep") && argc > 3) {
    work.keeps = 1;
    run_connects(&loop, IN_FLIGHT, argv + 3);
  } else if (!strcmp(argv[1], "servers") && argc > 3) {
    work.step = atol(argv[3]);
    run_servers(&loop, argv + argc);
  } else {
    return 2;
  }
  return 0;
}
