/* What the C programs of this folder share. Each is a table of cases, for
 * spec/support/programs.lua: without arguments it lists them; with a case's
 * number, the port of a Callosum server and an empty folder it runs that one,
 * prints nothing if all is well, and else says what is not, and exits with 1.
 *
 * It sees to what a library must leave alone, too: after each case the loop has
 * to be empty, no descriptor left open, and no signal's action changed. In
 * programs that define HAS_WORKERS first, relays and fronts have n
 * workers if WORKERS=n is in the environment. */
#ifndef CHECK_H
#define CHECK_H

#define _GNU_SOURCE /* accept4() */

#include <callosum/rover.h>
#include <callosum/workers.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct check {
  const char *what; /* function or callback that it is about */
  const char *says; /* what is so, as a sentence */
  void (*run)(void);
};

/* Of each program; ended by {NULL}. */
extern const struct check checks[];

static int server_port;     /* of the Callosum server, which echoes */
static int chosen;          /* the index of the case that runs */
static uint64_t deadline;   /* when it has taken too long */
#ifdef HAS_WORKERS
static rover_workers_t *workers; /* or NULL */
#endif

/* Of each thread. */
static _Thread_local uv_loop_t *loop;
static _Thread_local uv_timer_t tick; /* see turn() */
static _Thread_local const char *folder; /* for files */
static _Thread_local char doing[256]; /* where this is; set by loops */

/* -- Checking ------------------------------------------------------------- */

__attribute__((format(printf, 3, 4), noreturn))
static void failed(const char *file, int line, const char *format, ...) {
  va_list args;
  va_start(args, format);
  fprintf(stderr, "%s:%d: ", file, line);
  if (*doing) fprintf(stderr, "%s: ", doing);
  vfprintf(stderr, format, args);
  fputc('\n', stderr);
  va_end(args);
  _exit(1);
}

#define CHECK(condition)                                                       \
  ((condition) ? (void)0 : failed(__FILE__, __LINE__, "%s", #condition))

#define EQUAL(expected, actual)                                                \
  do {                                                                         \
    long long want_ = (long long)(expected), got_ = (long long)(actual);       \
    if (want_ != got_)                                                         \
      failed(__FILE__, __LINE__, "%s is %lld and not %lld", #actual, got_,     \
             want_);                                                           \
  } while (0)

#define SAME(expected, actual)                                                 \
  do {                                                                         \
    const char *want_ = (expected), *got_ = (actual);                          \
    if (!got_ || strcmp(want_, got_) != 0)                                     \
      failed(__FILE__, __LINE__, "%s is \"%s\" and not \"%s\"", #actual,       \
             got_ ? got_ : "(NULL)", want_);                                   \
  } while (0)


/* -- The loop ------------------------------------------------------------- */

static void on_tick(uv_timer_t *timer) { (void)timer; }

/* Waits for the loop, but not for long: conditions may be of peers. */
static void turn(const char *file, int line, const char *condition) {
  if (uv_hrtime() > deadline)
    failed(file, line, "waited in vain for: %s", condition);
  uv_update_time(loop);
  uv_timer_start(&tick, on_tick, 2, 2); /* it may be due before the poll, too */
  uv_run(loop, UV_RUN_ONCE);
  uv_timer_stop(&tick);
}

/* Runs the loop until the condition holds. */
#define UNTIL(condition)                                                       \
  while (!(condition)) turn(__FILE__, __LINE__, #condition)

/* Runs it a few times, so that what is due has most likely come: for checks
 * that something does not. */
static inline void settle(void) {
  turn(__FILE__, __LINE__, "");
  for (int i = 0; i < 4; i++) uv_run(loop, UV_RUN_NOWAIT);
}

/* -- Raw servers, in this thread ------------------------------------------ */

static inline struct sockaddr_in loopback(int port) {
  struct sockaddr_in name = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port)};
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return name;
}

static inline int port_of(int fd) {
  struct sockaddr_in name = loopback(0);
  socklen_t size = sizeof name;
  CHECK(getsockname(fd, (struct sockaddr *)&name, &size) == 0);
  return ntohs(name.sin_port);
}

/* A socket on a free port, where connections are refused. */
static inline int bound(void) {
  struct sockaddr_in name = loopback(0);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&name, sizeof name) == 0);
  return fd;
}

/* One where the kernel takes connections; see accepted(). */
static inline int listening(void) {
  int fd = bound();
  CHECK(listen(fd, 64) == 0);
  return fd;
}

/* Runs the loop until somebody has connected; returns our end. */
static inline int accepted(int listener) {
  int fd;
  UNTIL((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >=
        0);
  return fd;
}

static inline void say(int fd, const char *text) {
  CHECK(send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text));
}

/* Runs the loop until exactly these bytes have come. */
static inline void hear(int fd, const char *text) {
  char bytes[4096];
  size_t length = strlen(text), heard = 0;
  ssize_t n;
  CHECK(length < sizeof bytes);
  while (heard < length) {
    UNTIL((n = recv(fd, bytes + heard, length - heard, 0)) >= 0);
    if (n == 0) failed(__FILE__, __LINE__, "the end and not \"%s\"", text);
    heard += (size_t)n;
  }
  bytes[heard] = '\0';
  SAME(text, bytes);
}

/* Runs the loop until the other side has ended in order, taking what comes
 * before; returns how many bytes that was. */
static inline size_t drained(int fd) {
  static char bytes[1 << 16];
  size_t total = 0;
  ssize_t n;
  do {
    UNTIL((n = recv(fd, bytes, sizeof bytes, 0)) >= 0 || errno != EAGAIN);
    if (n > 0) total += (size_t)n;
  } while (n > 0);
  if (n < 0) failed(__FILE__, __LINE__, "%s, and not the end", strerror(errno));
  return total;
}

static inline int is_open(int fd) {
  char byte;
  return recv(fd, &byte, 1, MSG_PEEK) < 0 && errno == EAGAIN;
}

/* Ends the connection by a reset. */
static inline void reset(int fd) {
  struct linger linger = {1, 0};
  CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger) == 0);
  close(fd);
}

/* Runs `function` with a loop, which has to be empty then. */
static inline void with_loop(void (*function)(void)) {
  uv_loop_t own;
  loop = &own;
  CHECK(uv_loop_init(loop) == 0);
  uv_timer_init(loop, &tick);
  function();
  *doing = '\0';
  uv_close((uv_handle_t *)&tick, NULL);
  uv_run(loop, UV_RUN_DEFAULT);
  EQUAL(0, uv_loop_close(loop));
}

/* -- Running a case ------------------------------------------------------- */

static int descriptors(void) {
  int count = 0;
  DIR *dir = opendir("/proc/self/fd");
  while (dir && readdir(dir)) count++;
  if (dir) closedir(dir);
  return count;
}

enum { SIGNALS = 65 };

static void actions(struct sigaction list[SIGNALS]) {
  memset(list, 0, SIGNALS * sizeof *list);
  for (int i = 1; i < SIGNALS; i++) sigaction(i, NULL, &list[i]);
}

/* What the C library adds to the flags by itself is nobody's doing. */
enum { SA_OF_LIBC = 0x04000000 };

static void same_actions(const struct sigaction before[SIGNALS]) {
  struct sigaction after[SIGNALS];
  actions(after);
  for (int i = 1; i < SIGNALS; i++)
    if (before[i].sa_handler != after[i].sa_handler ||
        (before[i].sa_flags | SA_OF_LIBC) != (after[i].sa_flags | SA_OF_LIBC))
      failed(__FILE__, __LINE__, "the action of signal %d has changed", i);
}

static void run_with_workers(void (*function)(void)) {
#ifdef HAS_WORKERS
  const char *count = getenv("WORKERS");
  rover_workers_options_t options = {0};
  if (count) options.threads = (unsigned)atoi(count);
  if (count) CHECK(rover_workers_new(&workers, &options) == 0);
#endif
  with_loop(function);
#ifdef HAS_WORKERS
  rover_workers_free(workers);
#endif
}

static void run_check(const struct check *check) {
  uv_loop_t first;
  struct sigaction before[SIGNALS];
  const char *timeout = getenv("TEST_TIMEOUT");

  signal(SIGPIPE, SIG_IGN);
  actions(before);
  /* libuv opens two descriptors with the first loop of a process, for good. */
  CHECK(uv_loop_init(&first) == 0 && uv_loop_close(&first) == 0);
  int open = descriptors();
  deadline = uv_hrtime() +
             (timeout ? (uint64_t)atoi(timeout) : 10) * 900000000;
  run_with_workers(check->run);
  EQUAL(open, descriptors());
  same_actions(before);
}

/* Runs one case of several. */
static bool succeeds(const struct check *check) {
  int status;
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    char own[256];
    snprintf(own, sizeof own, "%s/%d", folder, chosen + 1);
    CHECK(mkdir(own, 0700) == 0);
    folder = own;
    run_check(check);
    exit(0);
  }
  CHECK(waitpid(pid, &status, 0) == pid);
  if (status != 0)
    fprintf(stderr, "%s %s: status %d\n", check->what, check->says, status);
  return status == 0;
}

/* Without arguments, lists the cases. Else the first says which to run, by their
 * numbers: "3" or "1 2 3". Each of several is a process, and has a folder. */
int main(int argc, char *argv[]) {
  int count = 0;
  bool well = true;
  while (checks[count].what) count++;
  if (argc < 4) {
    for (int i = 0; i < count; i++)
      printf("%s %s\n", checks[i].what, checks[i].says);
    return 0;
  }
  server_port = atoi(argv[2]);
  folder = argv[3];
  bool alone = !strchr(argv[1], ' ');
  for (char *at = argv[1]; *at; at += strspn(at, " ")) {
    chosen = (int)strtol(at, &at, 10) - 1;
    if (chosen < 0 || chosen >= count) return 2;
    if (alone) run_check(&checks[chosen]);
    else well &= succeeds(&checks[chosen]);
  }
  return well ? 0 : 1;
}

#endif
