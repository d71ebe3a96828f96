/* The promises of <callosum/front.h> about TLS that a client has to be exact for;
 * spec/front_tls_spec.lua has the rest. */
#include "fronts.h"
#include "secured.h"

#include "front/reload.h"
#include "net/descriptor.h"

/* -- Clients -------------------------------------------------------------- */

static rover_tls_t *theirs;

static void begin_secured(rover_front_options_t options, const char *ca) {
  options.tls = server("server", ca);
  theirs = client("client");
  begin(options);
  rover_tls_unref(options.tls);
}

static void end_secured(void) {
  end();
  rover_tls_unref(theirs);
}

static void call(struct side *side) {
  open_client(side, theirs, calling(front), "localhost", "front");
}

static void shake(struct side *side) {
  int result;
  UNTIL((result = side->tls->type->handshake(side->tls)) != -EAGAIN);
  if (result < 0) failed(__FILE__, __LINE__, "%d: %s", result, why(side));
}

/* How it ends, after exactly this text. */
static int heard(struct side *side, const char *text) {
  char bytes[256];
  size_t all = 0;
  ssize_t n;

  for (;;) {
    size_t size = sizeof bytes - 1 - all;
    UNTIL((n = side->tls->type->recv(side->tls, bytes + all, size)) != -EAGAIN);
    if (n <= 0) break;
    all += (size_t)n;
  }
  bytes[all] = '\0';
  SAME(text, bytes);
  return (int)n;
}

static void hears(struct side *side, const char *text) {
  char bytes[256];
  size_t length = strlen(text), all = 0;

  while (all < length) {
    ssize_t n;
    UNTIL((n = side->tls->type->recv(side->tls, bytes + all, length - all)) !=
          -EAGAIN);
    if (n <= 0) failed(__FILE__, __LINE__, "%zd: %s", n, why(side));
    all += (size_t)n;
  }
  bytes[all] = '\0';
  SAME(text, bytes);
}

static void greeted(struct side *side, const char *line) {
  call(side);
  shake(side);
  hears(side, line);
}

/* Its first record, or a part of it, for one that is to get no further. */
static void begins(struct side *side) {
  call(side);
  EQUAL(-EAGAIN, side->tls->type->handshake(side->tls));
}

/* -- Options -------------------------------------------------------------- */

static void checks_options(void) {
  rover_tls_t *own = server("server", NULL), *all = server("server", "ca.crt");
  rover_tls_t *of_client = client(NULL);
  rover_front_t *made = NULL;
  rover_front_options_t options = {.backend.port = 1, .tls = of_client};
  EQUAL(UV_EINVAL, rover_front_new(&made, loop, &options));
  options.tls = own;
  options.handshake_timeout = ROVER_MS_MAX + 1;
  EQUAL(UV_EINVAL, rover_front_new(&made, loop, &options));
  options.handshake_timeout = 0;
  options.address.host = "0.0.0.0";
  EQUAL(UV_EPERM, rover_front_new(&made, loop, &options));
  options.tls = all;
  EQUAL(0, rover_front_new(&made, loop, &options));
  EQUAL(5000, rover_front_options(made)->handshake_timeout);
  CHECK(rover_front_options(made)->tls == all);
  rover_tls_unref(all); /* it has its own */
  rover_tls_unref(own);
  rover_tls_unref(of_client);
  close_front(made, 0);
}

/* -- Its states ----------------------------------------------------------- */

/* A FIN is not enough, and each side may go on when the other has ended. */
static void half_closes(void) {
  struct side one;
  begin_secured((rover_front_options_t){0}, "ca.crt");
  greeted(&one, "0\r\n");
  sent(&one, "request");
  EQUAL(0, one.tls->type->shutdown(one.tls));
  int far = accepted(backend);
  hear(far, "request");
  EQUAL(0, gone_open(far));
  say(far, "answer");
  hears(&one, "answer");
  say(far, " and more");
  close(far);
  EQUAL(0, heard(&one, " and more"));
  UNTIL(sound_front(front).ended == 1);
  close_side(&one);
  end_secured();
}

static void ends_unused(void) {
  struct side one, other;
  begin_secured((rover_front_options_t){.half_close_timeout = 1}, NULL);
  greeted(&one, "0\r\n");
  greeted(&other, "1\r\n");
  EQUAL(0, rover_front_drain(front, ROVER_NEVER));
  EQUAL(0, rover_front_set_down(front, "to end those who are unused"));
  EQUAL(0, heard(&one, ""));
  EQUAL(0, heard(&other, ""));
  EQUAL(0, one.tls->type->shutdown(one.tls));
  UNTIL(sound_front(front).open == 0); /* the other one is late */
  CHECK(sound_front(front).closed == 2);
  close_side(&one);
  close_side(&other);
  end_secured();
}

static void resets(void) {
  struct side one;
  begin_secured((rover_front_options_t){0}, NULL);
  greeted(&one, "0\r\n");
  sent(&one, "hello");
  int far = accepted(backend);
  hear(far, "hello");
  net__fd_reset_on_close(far);
  close(far);
  EQUAL(-ECONNRESET, heard(&one, "")); /* no close_notify */
  UNTIL(sound_front(front).reset == 1);
  close_side(&one);
  end_secured();
}

/* However few bytes come at a time. */
static void by_byte(void) {
  int ends[2], fd;
  char bytes[4096];
  struct side one;
  ssize_t n;
  begin_secured((rover_front_options_t){0}, "ca.crt");
  fd = calling(front);
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
                   ends) == 0);
  open_client(&one, theirs, ends[0], "localhost", "front");
  int result;
  do {
    result = one.tls->type->handshake(one.tls);
    while ((n = recv(ends[1], bytes, 1, 0)) > 0) {
      EQUAL(1, send(fd, bytes, 1, MSG_NOSIGNAL));
      uv_run(loop, UV_RUN_NOWAIT);
    }
    UNTIL((n = recv(fd, bytes, sizeof bytes, 0)) > 0 || result == 0);
    if (n > 0) EQUAL(n, send(ends[1], bytes, (size_t)n, MSG_NOSIGNAL));
  } while (result == -EAGAIN);
  EQUAL(0, result);
  UNTIL(sound_front(front).unused == 1);
  close_side(&one);
  close(ends[1]);
  close(fd);
  end_secured();
}

static void closes(void) {
  struct side one, other;
  begin_secured((rover_front_options_t){0}, NULL);
  begins(&one);
  call(&other); /* says nothing */
  UNTIL(sound_front(front).securing == 2);
  EQUAL(0, rover_front_close(front, ROVER_NEVER, on_front_closed));
  UNTIL(fronts_closed == 1);
  close_side(&one);
  close_side(&other);
  close(backend);
  rover_tls_unref(theirs);
}

/* -- From one process, and one policy, to the next ------------------------ */

static char told_indices[64];

static void on_index(rover_front_t *of, uint32_t index, int taken,
                     const struct sockaddr *peer, void *arg) {
  size_t used = strlen(told_indices);
  (void)of;
  (void)arg;
  CHECK(!taken || peer);
  snprintf(told_indices + used, sizeof told_indices - used, "%c%u ",
           taken ? '+' : '-', index);
}

static void leaves(void) {
  struct side one, other, third;
  begin_secured((rover_front_options_t){0}, "ca.crt");
  greeted(&one, "0\r\n");
  begins(&other);
  begins(&third);
  UNTIL(sound_front(front).securing == 2);
  told_indices[0] = '\0';
  EQUAL(0, rover_front_leave(front, on_index, NULL));
  SAME("+0 +1 +2 ", told_indices);
  rover_front_stats_t s = sound_front(front);
  CHECK(s.open == 3 && s.securing == 0);
  EQUAL(0, rover_front_drain(front, ROVER_NEVER));
  settle();
  shake(&other); /* it was here before that */
  hears(&other, "1\r\n");
  close_side(&third);
  UNTIL(strstr(told_indices, "-2 ") != NULL);
  close_side(&one);
  close_side(&other);
  UNTIL(sound_front(front).open == 0);
  EQUAL(1, sound_front(front).refused);
  end_secured();
}

static void replace(rover_tls_t *tls) {
  rover_front_t *other;
  rover_front_options_t options = {.address.port = front_port(front),
                                   .backend.port = port_of(backend),
                                   .events = telling_front,
                                   .tls = tls};
  EQUAL(0, rover_front_new(&other, loop, &options));
  EQUAL(0, rover_front_take_listener(other, front));
  rover_front_exchange(front, other);
  close_front(other, 0);
}

static void exchanges(void) {
  struct side joined_one, unused, under_way, late;
  begin_secured((rover_front_options_t){0}, NULL);
  greeted(&joined_one, "0\r\n");
  sent(&joined_one, "hello");
  int far = accepted(backend);
  hear(far, "hello");
  greeted(&unused, "1\r\n");
  begins(&under_way);
  UNTIL(sound_front(front).securing == 1);
  settle();
  rover_tls_t *next = server("server", "ca.crt");
  replace(next);
  rover_tls_unref(next);
  shake(&under_way);
  hears(&under_way, "2\r\n");
  say(far, "still");
  hears(&joined_one, "still");
  sent(&unused, "here");
  int second = accepted(backend);
  hear(second, "here");
  rover_tls_unref(theirs);
  theirs = client(NULL);
  call(&late);
  UNTIL(late.tls->type->handshake(late.tls) != -EAGAIN);
  UNTIL(sound_front(front).handshakes_rejected == 1);
  EQUAL(ROVER_ECERT, told_front.status);
  close_side(&late);
  replace(NULL);
  int plain = greeted_as(3);
  say(far, "still");
  hears(&joined_one, "still");
  close_side(&joined_one);
  close_side(&unused);
  close_side(&under_way);
  close(far);
  close(second);
  close(plain);
  end_secured();
}

const struct check checks[] = {
    {"tls", "is a server's, and lets others connect if it knows them all",
     checks_options},
    {"a connection", "goes on one way when the other has ended", half_closes},
    {"a connection", "that is ended is told so by close_notify", ends_unused},
    {"a reset", "is not passed on as an end", resets},
    {"a handshake", "may come byte by byte", by_byte},
    {"a front", "that closes waits for no handshake", closes},
    {"rover_front_leave()", "has handshakes go on, with indices of their own",
     leaves},
    {"rover_front_exchange()", "leaves secured connections untouched",
     exchanges},
    {NULL, NULL, NULL}};
