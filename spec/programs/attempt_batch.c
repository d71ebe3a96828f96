/* Attempts that are made in a callback: most of them have their slot line by the
 * end of the batch of events, and the kernel's epoll is never told of them. */
#include "rovers.h"

#include "rover/reload.h"

#include <sys/epoll.h>
#include <sys/syscall.h>

static struct told told;
static int listener;
static int asked;      /* calls of epoll_ctl(2) by now */
static int refusing;   /* what it fails with, or 0 */
static int fds[8];     /* the servers' ends, in order */
static const char *lines[8]; /* what they send at once; NULL ends the list */
static void (*last)(rover_t *rover); /* called once they have */
static const rover_socket_events_t *reads; /* of those that are read */

int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event) {
  asked++;
  errno = refusing;
  return refusing ? -1 : (int)syscall(SYS_epoll_ctl, epfd, op, fd, event);
}

/* Makes the next attempt, and answers it before the callback returns. */
static void chain(rover_t *rover, int slot, rover_socket_t *socket) {
  int i = told.connections;
  on_connection(rover, slot, socket);
  if (reads) {
    EQUAL(0, rover_socket_set_events(socket, reads, NULL));
    EQUAL(0, rover_socket_read_start(socket));
  }
  if (!lines[i]) return;
  EQUAL(1, rover_connect_to(rover, "s"));
  fds[i] = accepted(listener);
  say(fds[i], lines[i]);
  if (!lines[i + 1] && last) last(rover);
}

/* A rover whose first connection begins the chain; and waits for that. */
static rover_t *begin(const char *const of[], void (*then)(rover_t *),
                      int *first) {
  const rover_events_t events = {.connection = chain,
                                 .unreachable = on_unreachable,
                                 .error = on_error};
  const rover_options_t options = {.slot_timeout = 10000};
  listener = listening();
  rover_t *rover = roving(&told, port_of(listener), &options);
  rover_set_events(rover, &events, &told);
  memset(lines, 0, sizeof lines);
  for (int i = 0; of[i]; i++) lines[i] = of[i];
  last = then;
  *first = greeted(rover, listener, "0\r\n");
  asked = 0;
  UNTIL(told.connections + told.unreachable + told.errors > 0);
  return rover;
}

static void end(rover_t *rover, int first) {
  finish(rover, &told);
  close(first);
  close(listener);
  for (int i = 0; lines[i]; i++) close(fds[i]);
}

/* The same, until all of the chain are connected in one turn: on a busy machine
 * that is over sooner, and then the kernel is asked about the rest. */
static rover_t *begin_quick(const char *const of[], void (*then)(rover_t *),
                            int *first) {
  int all = 1;
  while (of[all - 1]) all++;
  for (int tries = 0; tries < 100; tries++) {
    rover_t *rover = begin(of, then, first);
    if (told.connections == all) return rover;
    UNTIL(told.connections + told.unreachable + told.errors >= all);
    refusing = 0;
    end(rover, *first);
  }
  CHECK(!"a turn of the loop that is long enough");
  return NULL;
}

static const char *const three[] = {"1\r\n", "22\r\n", "2147483647\r\n", NULL};

static void unasked(void) {
  int first;
  rover_t *rover = begin_quick(three, NULL, &first);
  EQUAL(2147483647, told.slot);
  EQUAL(3, asked); /* once for each that is kept since */
  EQUAL(4, sound(rover).kept);
  for (int i = 0; i < 3; i++) shutdown(fds[i], SHUT_WR);
  UNTIL(sound(rover).kept == 1);
  end(rover, first);
}

static char heard[8];

static void on_bytes(rover_socket_t *socket, const char *bytes, size_t n) {
  (void)socket;
  EQUAL(5, n);
  memcpy(heard, bytes, n);
}

static void untouched(void) {
  static const char *const of[] = {"1\r\nhello", NULL};
  const rover_socket_events_t events = {.data = on_bytes};
  int first;
  rover_t *rover = begin(of, NULL, &first);
  UNTIL(told.connections == 2);
  settle();
  EQUAL(0, rover_socket_set_events(told.socket, &events, NULL));
  EQUAL(0, rover_socket_read_start(told.socket));
  UNTIL(*heard);
  SAME("hello", heard);
  end(rover, first);
}

static void pieces(void) {
  static const char *const of[] = {"1\r\n", "1", NULL};
  int first;
  rover_t *rover = begin(of, NULL, &first);
  UNTIL(told.connections == 2);
  settle();
  EQUAL(2, told.connections);
  say(fds[1], "2\r\n");
  UNTIL(told.connections == 3);
  EQUAL(12, told.slot);
  end(rover, first);
}

static void late(void) {
  static const char *const of[] = {"1\r\n", "", NULL};
  int first;
  rover_t *rover = begin(of, NULL, &first);
  UNTIL(told.connections == 2);
  settle();
  int before = asked;
  uint64_t later = uv_now(loop) + 150; /* than it is seen to be connected */
  UNTIL(uv_now(loop) > later);
  say(fds[1], "9\r\n");
  UNTIL(told.connections == 3);
  EQUAL(before, asked);
  EQUAL(9, told.slot);
  end(rover, first);
}

static void broken(void) {
  static const char *const of[] = {"1\r\n", "7", NULL}, *const no[] = {"x", NULL};
  int first;
  rover_t *rover = begin(of, NULL, &first);
  UNTIL(told.connections == 2);
  reset(fds[1]);
  UNTIL(told.unreachable == 1);
  EQUAL(UV_ECONNRESET, told.status);
  fds[1] = dup(first);
  end(rover, first);
  rover = begin(no, NULL, &first);
  EQUAL(1, told.errors);
  EQUAL(UV_EPROTO, told.status);
  end(rover, first);
}

static int nobody;

static void ask_nobody(rover_t *rover) {
  nobody = bound();
  EQUAL(0, rover_server_add(rover, "n", "127.0.0.1", port_of(nobody)));
  EQUAL(1, rover_connect_to(rover, "n"));
}

static void refused(void) {
  int first;
  rover_t *rover = begin(three, ask_nobody, &first);
  UNTIL(told.unreachable == 1);
  EQUAL(UV_ECONNREFUSED, told.status);
  SAME("n", told.id);
  EQUAL(4, told.connections);
  close(nobody);
  end(rover, first);
}

static void stopped(void) {
  int first;
  rover_t *rover = begin(three, rover_stop, &first);
  UNTIL(told.connections == 3);
  settle();
  EQUAL(3, told.connections); /* the last one was cancelled */
  EQUAL(1, sound(rover).cancelled);
  end(rover, first);
}

static void hold(rover_t *rover) { rover_hold(rover, true); }

static void held(void) {
  int first;
  rover_t *rover = begin(three, hold, &first);
  UNTIL(told.connections == 3);
  settle();
  EQUAL(3, told.connections);
  EQUAL(1, sound(rover).in_flight);
  rover_hold(rover, false);
  UNTIL(told.connections == 4);
  shutdown(fds[2], SHUT_WR);
  UNTIL(sound(rover).kept == 3);
  end(rover, first);
}

static void refuse_watches(rover_t *rover) {
  (void)rover;
  refusing = ENOSPC;
}

static void exhausted(void) {
  static const char *const none[] = {"1\r\n", "", NULL},
                           *const part[] = {"1\r\n", "7", NULL};
  for (int i = 0; i < 2; i++) {
    int first;
    rover_t *rover = begin(i == 0 ? none : part, refuse_watches, &first);
    UNTIL(told.errors + told.unreachable > 0);
    EQUAL(1, told.errors);
    EQUAL(UV_ENOSPC, told.status);
    EQUAL(0, told.unreachable);
    refusing = 0;
    end(rover, first);
  }
}

static const char *const one[] = {"1\r\n", NULL};

static void unwatched(void) {
  int first;
  rover_t *rover = begin_quick(one, refuse_watches, &first);
  UNTIL(told.errors);
  EQUAL(UV_ENOSPC, told.status);
  EQUAL(2, sound(rover).kept);
  refusing = 0;
  close(kept(rover, &told, listener, "2\r\n"));
  shutdown(fds[0], SHUT_WR);
  UNTIL(sound(rover).kept == 1);
  end(rover, first);
}

static int lost; /* the status of a close */

static void on_lost(rover_socket_t *socket, int status) {
  (void)socket;
  lost = status;
}

static void unread(void) {
  static const rover_socket_events_t events = {.data = on_bytes,
                                               .close = on_lost};
  int first;
  reads = &events;
  rover_t *rover = begin_quick(one, refuse_watches, &first);
  UNTIL(lost);
  EQUAL(UV_ENOSPC, lost);
  EQUAL(1, sound(rover).kept);
  refusing = 0;
  reads = NULL;
  end(rover, first);
}

const struct check checks[] = {
    {"an attempt in a callback", "whose slot line is there by the end of the "
                                 "batch needs no event", unasked},
    {"an attempt in a callback", "takes no byte behind the slot line",
     untouched},
    {"an attempt in a callback", "waits for the rest of its slot line", pieces},
    {"an attempt in a callback", "waits for its slot line, and asks the kernel "
                                 "once, however long that takes", late},
    {"an attempt in a callback", "fails if the server resets it, or sends what "
                                 "is no slot line", broken},
    {"an attempt in a callback", "is refused by a port that nobody listens on",
     refused},
    {"rover_stop()", "in a callback cancels attempts that have their slot line",
     stopped},
    {"rover_hold()", "in a callback holds attempts that have their slot line",
     held},
    {"an attempt in a callback", "tells if the kernel has no room for what it "
                                 "waits for", exhausted},
    {"a connection of a callback", "stays, and is watched later, if the kernel "
                                   "has no room for it", unwatched},
    {"a connection of a callback", "is closed if it is read, and the kernel has "
                                   "no room for it", unread},
    {NULL, NULL, NULL}};
