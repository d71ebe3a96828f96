/* The promises of <callosum/workers.h>, by relays. */
#include "rovers.h"

#include <callosum/relay.h>

#include "relay/reload.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>

enum { SECOND = 1000 };

static struct told told;
static rover_workers_t *workers;
static rover_t *rover;
static rover_relay_t *relay;
static int listener;
static int relays_closed;

static struct {
  int errors, status;
  char message[256];
} noted;

/* -- Threads that cannot be started --------------------------------------- */

static int cannot; /* how many more of them */

/* The library's calls come here. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                   void *(*run)(void *), void *data);
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                   void *(*run)(void *), void *data) {
  int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
  *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
  if (cannot > 0) {
    cannot--;
    return EAGAIN;
  }
  return real(thread, attributes, run, data);
}

/* -- Pairs that cannot be polled ------------------------------------------ */

static _Atomic int cannot_poll; /* how many more descriptors, in workers */

int epoll_ctl(int epoll, int op, int fd, struct epoll_event *event) {
  if (op == EPOLL_CTL_ADD && gettid() != getpid() && cannot_poll > 0) {
    cannot_poll--;
    errno = ENOSPC;
    return -1;
  }
  return (int)syscall(SYS_epoll_ctl, epoll, op, fd, event);
}

/* -- Servers that break --------------------------------------------------- */

static bool breaks; /* the connection of the next send() */

ssize_t send(int fd, const void *bytes, size_t size, int flags);
ssize_t send(int fd, const void *bytes, size_t size, int flags) {
  ssize_t (*real)(int, const void *, size_t, int);
  *(void **)&real = dlsym(RTLD_NEXT, "send");
  if (!breaks) return real(fd, bytes, size, flags);
  breaks = false;
  errno = ECONNRESET;
  return -1;
}

/* -- What there is -------------------------------------------------------- */

/* How many workers have a thread, and of one of these the signals that it
 * blocks, if there is one. */
static int threads_with(unsigned long long *blocked) {
  int count = 0;
  char path[512], line[256];
  struct dirent *task;
  DIR *tasks = opendir("/proc/self/task");
  CHECK(tasks);
  while ((task = readdir(tasks))) {
    bool is_worker = false;
    snprintf(path, sizeof path, "/proc/self/task/%s/status", task->d_name);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file)) {
      if (strcmp(line, "Name:\tcallosum-worker\n") == 0) is_worker = true;
      if (is_worker) sscanf(line, "SigBlk: %llx", blocked);
    }
    if (file) fclose(file);
    count += is_worker;
  }
  closedir(tasks);
  return count;
}

static int threads(void) {
  unsigned long long blocked;
  return threads_with(&blocked);
}

static rover_worker_stats_t worker(unsigned i) {
  rover_worker_stats_t stats;
  EQUAL(0, rover_worker_stats_get(workers, i, &stats));
  return stats;
}

static rover_relay_stats_t relayed(void) {
  rover_relay_stats_t s;
  rover_relay_stats_get(relay, &s);
  EQUAL(s.joined, s.ended + s.reset + s.cut + s.running);
  return s;
}

/* -- A relay -------------------------------------------------------------- */

static void on_client(rover_relay_t *own, rover_relay_client_t *client) {
  (void)own;
  EQUAL(0, rover_relay_client_join(client, told.socket));
}

static void on_relay_error(rover_relay_t *own, int status,
                           const char *message) {
  CHECK(own == relay);
  noted.errors++;
  noted.status = status;
  snprintf(noted.message, sizeof noted.message, "%s", message);
}

static void on_relay_closed(rover_relay_t *own) {
  (void)own;
  relays_closed++;
}

static rover_relay_t *made(rover_relay_options_t options) {
  rover_relay_t *own;
  options.events.client = on_client;
  options.events.error = on_relay_error;
  options.workers = workers;
  EQUAL(0, rover_relay_new(&own, loop, &options));
  return own;
}

/* A relay with so many workers; 0: on the loop. */
static void begin(unsigned count, rover_relay_options_t options) {
  CHECK(!workers);
  if (count > 0)
    EQUAL(0, rover_workers_new(&workers,
                               &(rover_workers_options_t){.threads = count}));
  memset(&noted, 0, sizeof noted);
  relays_closed = 0;
  relay = made(options);
  EQUAL(0, rover_relay_listen(relay));
  listener = listening();
  rover = roving(&told, port_of(listener), NULL);
}

static void close_relay(rover_relay_t *own, uint64_t ms) {
  int before = relays_closed;
  EQUAL(0, rover_relay_close(own, ms, on_relay_closed));
  UNTIL(relays_closed == before + 1);
}

static void free_workers(void) {
  rover_workers_free(workers);
  workers = NULL;
}

static void end(void) {
  close_relay(relay, 0);
  finish(rover, &told);
  close(listener);
  free_workers();
}

/* Two ends that are joined; reads of them wait for a while. */
struct joint {
  int client, server;
};

static void wait_for_bytes(int fd) {
  struct timeval most = {10, 0};
  CHECK(fcntl(fd, F_SETFL, 0) == 0);
  CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most) == 0);
}

static struct joint joined(void) {
  struct sockaddr_in name =
      loopback(rover_relay_options(relay)->address.port);
  struct joint joint = {.server = kept(rover, &told, listener, "1\r\n")};
  uint64_t before = relayed().joined;
  joint.client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(connect(joint.client, (struct sockaddr *)&name, sizeof name) == 0);
  UNTIL(relayed().joined == before + 1);
  wait_for_bytes(joint.client);
  wait_for_bytes(joint.server);
  return joint;
}

static void close_joint(struct joint joint) {
  close(joint.client);
  close(joint.server);
}

/* Waits without the loop. While Linux clears up an io_uring that libuv closed,
 * it interrupts what waits with a timeout, as a signal would. */
static ssize_t heard(int fd, void *bytes, size_t size) {
  ssize_t n;
  do n = recv(fd, bytes, size, 0);
  while (n < 0 && errno == EINTR);
  return n;
}

/* Passes without the loop. */
static void passes(int from, int to, const char *text) {
  char bytes[64];
  ssize_t length = (ssize_t)strlen(text);
  say(from, text);
  EQUAL(length, heard(to, bytes, sizeof bytes));
  CHECK(memcmp(bytes, text, (size_t)length) == 0);
}

static void passes_both_ways(struct joint joint) {
  passes(joint.client, joint.server, "question");
  passes(joint.server, joint.client, "answer");
}

static int ended(int fd) {
  char byte;
  return heard(fd, &byte, 1) == 0;
}

static int was_reset(int fd) {
  char byte;
  return heard(fd, &byte, 1) < 0 && errno == ECONNRESET;
}

/* -- Cases ---------------------------------------------------------------- */

static void refuses(void) {
  rover_workers_options_t odd = {.reserved = {1}};
  rover_worker_stats_t stats;
  EQUAL(UV_EINVAL, rover_workers_new(NULL, NULL));
  EQUAL(UV_EINVAL, rover_workers_new(&workers, &odd));
  odd = (rover_workers_options_t){.threads = ROVER_WORKERS_MAX + 1};
  EQUAL(UV_EINVAL, rover_workers_new(&workers, &odd));
  CHECK(!workers);
  EQUAL(0, rover_workers_new(&workers, NULL));
  EQUAL(1, rover_workers_count(workers));
  EQUAL(UV_EINVAL, rover_worker_stats_get(workers, 1, &stats));
  free_workers();
  rover_workers_free(NULL);
}

static void copies(void) {
  begin(1, (rover_relay_options_t){0});
  struct joint joint = joined();
  for (int i = 0; i < 100; i++) passes_both_ways(joint);
  CHECK(shutdown(joint.client, SHUT_WR) == 0);
  CHECK(ended(joint.server));
  passes(joint.server, joint.client, "late");
  close(joint.server);
  CHECK(ended(joint.client));
  UNTIL(relayed().ended == 1);
  EQUAL(100 * strlen("question"), relayed().received);
  EQUAL(100 * strlen("answer") + strlen("late"), relayed().sent);
  close(joint.client);
  end();
}

/* Both ends send all the while, and the loop does nothing. */
static void copies_much(void) {
  enum { ALL = 32 << 20 };
  static char bytes[1 << 17];
  begin(1, (rover_relay_options_t){0});
  struct joint joint = joined();
  size_t sent = 0, got = 0;
  while (got < ALL) {
    if (sent < ALL) {
      ssize_t n = send(joint.client, bytes, sizeof bytes, MSG_DONTWAIT);
      if (n > 0) sent += (size_t)n;
      if (sent > ALL) sent = ALL;
    }
    ssize_t n = recv(joint.server, bytes, sizeof bytes,
                     sent < ALL ? MSG_DONTWAIT : 0);
    if (n > 0) got += (size_t)n;
  }
  passes(joint.server, joint.client, "enough");
  close_joint(joint);
  UNTIL(relayed().running == 0);
  CHECK(relayed().received >= ALL);
  end();
}

static void starts_late(void) {
  begin(2, (rover_relay_options_t){0});
  settle();
  EQUAL(0, threads());
  EQUAL(0, worker(0).started);
  struct joint one = joined();
  passes_both_ways(one);
  EQUAL(1, threads());
  CHECK(worker(0).started && !worker(1).started);
  struct joint other = joined();
  passes_both_ways(other);
  EQUAL(2, threads());
  close_joint(one);
  close_joint(other);
  end();
  EQUAL(0, threads());
}

/* The signals that user code may block at all. */
static void takes_no_signal(void) {
  begin(1, (rover_relay_options_t){0});
  struct joint joint = joined();
  passes_both_ways(joint);
  unsigned long long blocked = 0;
  EQUAL(1, threads_with(&blocked));
  for (int i = 1; i < SIGNALS; i++)
    if (i != SIGKILL && i != SIGSTOP && (i < 32 || i > SIGRTMIN))
      if (!(blocked >> (i - 1) & 1))
        failed(__FILE__, __LINE__, "signal %d is not blocked", i);
  close_joint(joint);
  end();
}

static void keeps_descriptors(void) {
  enum { MOST = 256 };
  bool is_ours[MOST];
  for (int fd = 0; fd < MOST; fd++) is_ours[fd] = fcntl(fd, F_GETFD) < 0;
  begin(2, (rover_relay_options_t){0});
  struct joint joint = joined();
  passes_both_ways(joint);
  for (int fd = 0; fd < MOST; fd++) {
    int flags = fcntl(fd, F_GETFD);
    if (is_ours[fd] && flags >= 0 && !(flags & FD_CLOEXEC))
      failed(__FILE__, __LINE__, "descriptor %d would stay open", fd);
  }
  close_joint(joint);
  end();
}

/* A child has copies of all descriptors until it calls exec(). What ends here
 * must not keep the worker busy because of these. */
static void forks(void) {
  int hold[2];
  begin(1, (rover_relay_options_t){0});
  struct joint joint = joined();
  passes_both_ways(joint);
  CHECK(pipe2(hold, O_CLOEXEC) == 0);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    char byte;
    close(hold[1]);
    _exit(read(hold[0], &byte, 1) == 0 ? 0 : 1);
  }
  close(hold[0]);
  CHECK(shutdown(joint.client, SHUT_RDWR) == 0);
  CHECK(shutdown(joint.server, SHUT_RDWR) == 0);
  close_joint(joint);
  UNTIL(relayed().running == 0);
  uint64_t turns = worker(0).turns;
  for (int i = 0; i < 20; i++) settle();
  CHECK(worker(0).turns - turns <= 4);
  close(hold[1]);
  CHECK(waitpid(child, NULL, 0) == child);
  end();
}

static void deals(void) {
  struct joint joints[6];
  begin(3, (rover_relay_options_t){0});
  for (int i = 0; i < 6; i++) joints[i] = joined();
  for (unsigned i = 0; i < 3; i++) EQUAL(2, worker(i).pairs);
  for (int i = 0; i < 6; i++) passes_both_ways(joints[i]);
  /* The first and the fourth are of the same. */
  close_joint(joints[0]);
  close_joint(joints[3]);
  UNTIL(relayed().running == 4);
  EQUAL(0, worker(0).pairs);
  joints[0] = joined();
  joints[3] = joined();
  for (unsigned i = 0; i < 3; i++) EQUAL(2, worker(i).pairs);
  EQUAL(4, worker(0).joined);
  CHECK(worker(0).turns > 0 && worker(0).cpu > 0);
  for (int i = 0; i < 6; i++) close_joint(joints[i]);
  UNTIL(relayed().running == 0);
  end();
}

static void shares(void) {
  begin(1, (rover_relay_options_t){0});
  rover_relay_t *first = relay, *second = made((rover_relay_options_t){0});
  EQUAL(0, rover_relay_listen(second));
  struct joint one = joined();
  relay = second;
  struct joint other = joined();
  EQUAL(2, worker(0).pairs);
  passes_both_ways(one);
  passes_both_ways(other);
  relay = first;
  close_relay(first, 0);
  CHECK(was_reset(one.client));
  EQUAL(1, worker(0).pairs);
  passes_both_ways(other);
  relay = second;
  close_joint(one);
  close_joint(other);
  end();
}

/* -- Deadlines ------------------------------------------------------------ */

static void cuts_idle(void) {
  begin(1, (rover_relay_options_t){.idle_timeout = 500});
  struct joint joint = joined();
  passes_both_ways(joint);
  CHECK(was_reset(joint.client)); /* without the loop */
  CHECK(was_reset(joint.server));
  EQUAL(1, relayed().running);
  UNTIL(relayed().cut == 1);
  close_joint(joint);
  joint = joined();
  CHECK(shutdown(joint.server, SHUT_WR) == 0);
  CHECK(ended(joint.client));
  UNTIL(relayed().cut == 2);
  close_joint(joint);
  end();
}

static void follows(void) {
  begin(1, (rover_relay_options_t){0});
  struct joint joint = joined();
  passes_both_ways(joint);
  rover_relay_t *new = made((rover_relay_options_t){.idle_timeout = 50});
  rover_relay_exchange(relay, new);
  settle();
  CHECK(was_reset(joint.client));
  UNTIL(relayed().cut == 1);
  close_relay(new, 0);
  close_joint(joint);
  end();
}

/* Exchanging all but where pairs run. */
static void keeps_workers(void) {
  begin(1, (rover_relay_options_t){0});
  rover_relay_t *new;
  rover_workers_t *own;
  EQUAL(0, rover_workers_new(&own, NULL));
  EQUAL(0, rover_relay_new(&new, loop,
                           &(rover_relay_options_t){
                               .events = {.client = on_client},
                               .workers = own}));
  EQUAL(0, rover_relay_listen(new));
  rover_relay_exchange(relay, new);
  CHECK(rover_relay_options(relay)->workers == workers);
  CHECK(rover_relay_options(new)->workers == own);
  struct joint joint = joined();
  EQUAL(1, worker(0).pairs);
  passes_both_ways(joint);
  close_relay(new, 0);
  rover_workers_free(own);
  passes_both_ways(joint);
  close_joint(joint);
  end();
}

/* -- Closing -------------------------------------------------------------- */

static void closes_at_once(void) {
  begin(2, (rover_relay_options_t){0});
  struct joint one = joined(), other = joined();
  passes_both_ways(one);
  EQUAL(0, rover_relay_close(relay, 0, on_relay_closed));
  EQUAL(2, relayed().running);
  UNTIL(relays_closed == 1);
  CHECK(was_reset(one.client) && was_reset(one.server));
  CHECK(was_reset(other.client) && was_reset(other.server));
  EQUAL(0, worker(0).pairs + worker(1).pairs);
  close_joint(one);
  close_joint(other);
  finish(rover, &told);
  close(listener);
  free_workers();
}

static void closes_in_time(void) {
  begin(1, (rover_relay_options_t){0});
  struct joint one = joined(), other = joined();
  EQUAL(0, rover_relay_close(relay, ROVER_NEVER, on_relay_closed));
  passes_both_ways(one);
  close_joint(one);
  UNTIL(relayed().ended == 1);
  passes_both_ways(other);
  EQUAL(0, relays_closed);
  EQUAL(UV_EALREADY, rover_relay_close(relay, 20, NULL));
  UNTIL(relays_closed == 1);
  CHECK(was_reset(other.client) && was_reset(other.server));
  close_joint(other);
  finish(rover, &told);
  close(listener);
  free_workers();
}

/* Closed without waiting: then the loop does, until there is nothing left. */
static void closes_in_loop(void) {
  begin(1, (rover_relay_options_t){0});
  struct joint joint = joined();
  passes_both_ways(joint);
  finish(rover, &told);
  EQUAL(0, rover_relay_close(relay, 0, on_relay_closed));
  uv_run(loop, UV_RUN_DEFAULT);
  EQUAL(1, relays_closed);
  CHECK(was_reset(joint.client));
  close_joint(joint);
  close(listener);
  free_workers();
}

/* Nothing moves, so nobody is woken. */
static void sleeps(void) {
  enum { MANY = 20 };
  struct joint joints[MANY];
  begin(1, (rover_relay_options_t){.idle_timeout = 3600 * SECOND});
  for (int i = 0; i < MANY; i++) joints[i] = joined();
  for (int i = 0; i < MANY; i++) passes_both_ways(joints[i]);
  /* Until all is acknowledged, and that was checked. */
  uint64_t until = uv_hrtime() + 1500000000;
  UNTIL(uv_hrtime() > until);
  uint64_t turns = worker(0).turns;
  for (int i = 0; i < 100; i++) settle();
  EQUAL(turns, worker(0).turns);
  for (int i = 0; i < MANY; i++) close_joint(joints[i]);
  UNTIL(relayed().running == 0);
  end();
}

/* -- Without a thread ----------------------------------------------------- */

static void on_loop(struct joint joint) {
  CHECK(fcntl(joint.client, F_SETFL, O_NONBLOCK) == 0);
  CHECK(fcntl(joint.server, F_SETFL, O_NONBLOCK) == 0);
  say(joint.client, "question");
  hear(joint.server, "question");
}

static void cannot_start(void) {
  begin(1, (rover_relay_options_t){0});
  cannot = 1;
  struct joint one = joined(), other = joined();
  UNTIL(noted.errors == 1);
  EQUAL(UV_EAGAIN, noted.status);
  SAME("cannot start a worker thread, so that others or the loop copy its "
       "share; raise the limit of processes (ulimit -u, or TasksMax= of a unit)",
       noted.message);
  on_loop(one);
  on_loop(other);
  EQUAL(0, worker(0).started);
  EQUAL(1, worker(0).failed);
  EQUAL(0, worker(0).pairs);
  uint64_t until = uv_hrtime() + UINT64_C(1000000000);
  UNTIL(uv_hrtime() > until);
  struct joint third = joined();
  CHECK(worker(0).started);
  passes_both_ways(third);
  on_loop(one);
  EQUAL(1, noted.errors);
  close_relay(relay, 0); /* both those of the loop, and the worker's */
  CHECK(was_reset(third.client));
  close_joint(one);
  close_joint(other);
  close_joint(third);
  finish(rover, &told);
  close(listener);
  free_workers();
}

/* The second one cannot, so that the first has them all. */
static void others_take_over(void) {
  begin(2, (rover_relay_options_t){0});
  struct joint one = joined();
  cannot = 1;
  struct joint other = joined(), third = joined();
  UNTIL(noted.errors == 1);
  EQUAL(3, worker(0).pairs);
  passes_both_ways(one);
  passes_both_ways(other);
  passes_both_ways(third);
  close_joint(one);
  close_joint(other);
  close_joint(third);
  end();
}

/* Which is told, but not for each: there may be thousands. */
static void cannot_poll_pairs(void) {
  begin(1, (rover_relay_options_t){0});
  struct joint one = joined();
  passes_both_ways(one);
  uint64_t from = uv_hrtime();
  for (int i = 1; i <= 3; i++) {
    cannot_poll = 1;
    struct joint other = joined();
    CHECK(was_reset(other.client) && was_reset(other.server));
    UNTIL(relayed().reset == (uint64_t)i);
    close_joint(other);
  }
  UNTIL(noted.errors > 0);
  CHECK((uint64_t)noted.errors <= 1 + (uv_hrtime() - from) / 1000000000);
  EQUAL(UV_ENOSPC, noted.status);
  SAME("cannot poll a connection in a worker thread, so that it was reset; "
       "raise fs.epoll.max_user_watches",
       noted.message);
  passes_both_ways(one);
  struct joint last = joined();
  passes_both_ways(last);
  close_joint(one);
  close_joint(last);
  end();
}

/* A relay with one worker that is stepped. */
static void begin_stepped(rover_relay_options_t options) {
  begin(0, (rover_relay_options_t){0});
  close_relay(relay, 0);
  EQUAL(0, rover_workers_new(&workers,
                             &(rover_workers_options_t){.is_stepped = 1}));
  relay = made(options);
  EQUAL(0, rover_relay_listen(relay));
}

static void end_stepped(void) {
  int before = relays_closed;
  EQUAL(0, rover_relay_close(relay, 0, on_relay_closed));
  while (relays_closed == before) {
    rover_workers_step(workers);
    settle();
  }
  finish(rover, &told);
  close(listener);
  free_workers();
}

static void steps(void) {
  char byte;
  begin_stepped((rover_relay_options_t){.idle_timeout = 1});
  struct joint joint = joined();
  EQUAL(0, threads());
  EQUAL(0, worker(0).turns);
  rover_workers_step(workers);
  EQUAL(1, worker(0).turns);
  say(joint.client, "x");
  settle();
  CHECK(recv(joint.server, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
  /* The kernel may need a moment. */
  while (recv(joint.server, &byte, 1, MSG_DONTWAIT) < 0)
    rover_workers_step(workers);
  EQUAL(1, relayed().running);
  while (relayed().cut == 0) {
    rover_workers_step(workers);
    settle();
  }
  EQUAL(0, worker(0).cpu);
  close_joint(joint);
  end_stepped();
}

/* The client has said this before it is joined. */
static struct joint joined_after(const char *text, bool broken) {
  struct sockaddr_in name =
      loopback(rover_relay_options(relay)->address.port);
  struct joint joint = {.server = kept(rover, &told, listener, "1\r\n")};
  joint.client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(connect(joint.client, (struct sockaddr *)&name, sizeof name) == 0);
  say(joint.client, text);
  breaks = broken;
  UNTIL(relayed().joined == 1);
  wait_for_bytes(joint.client);
  wait_for_bytes(joint.server);
  return joint;
}

/* What has come by then; the rest is the worker's. */
static void runs_ahead(void) {
  char byte;
  begin_stepped((rover_relay_options_t){0});
  struct joint joint = joined_after("a", false);
  EQUAL(1, heard(joint.server, &byte, 1));
  EQUAL('a', byte);
  EQUAL(0, worker(0).turns);
  EQUAL(1, relayed().received);
  say(joint.client, "b");
  say(joint.server, "c");
  CHECK(shutdown(joint.client, SHUT_WR) == 0);
  CHECK(shutdown(joint.server, SHUT_WR) == 0);
  while (relayed().ended == 0) {
    rover_workers_step(workers);
    settle();
  }
  EQUAL(2, relayed().received);
  EQUAL(1, relayed().sent);
  EQUAL(1, heard(joint.server, &byte, 1));
  EQUAL('b', byte);
  EQUAL(0, heard(joint.server, &byte, 1));
  EQUAL(1, heard(joint.client, &byte, 1));
  EQUAL('c', byte);
  close_joint(joint);
  end_stepped();
}

static void breaks_ahead(void) {
  char byte;
  begin_stepped((rover_relay_options_t){0});
  struct joint joint = joined_after("a", true);
  EQUAL(1, relayed().running);
  say(joint.server, "b");
  while (relayed().reset == 0) {
    rover_workers_step(workers);
    settle();
  }
  EQUAL(1, relayed().received);
  EQUAL(1, relayed().sent);
  EQUAL(1, heard(joint.client, &byte, 1));
  EQUAL('b', byte);
  CHECK(was_reset(joint.client) && was_reset(joint.server));
  close_joint(joint);
  end_stepped();
}

/* In each turn there is as much to do as it takes on, or more. */
static void cuts_idle_in_a_crowd(void) {
  enum { BUSY = 520 };
  static struct joint joints[BUSY];
  struct rlimit limit, more;
  char bytes[64];
  CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  more = limit;
  more.rlim_cur = limit.rlim_max;
  CHECK(setrlimit(RLIMIT_NOFILE, &more) == 0);
  begin_stepped((rover_relay_options_t){.idle_timeout = 500});
  for (int i = 0; i < BUSY; i++) joints[i] = joined();
  struct joint idle = joined();
  while (relayed().cut == 0) {
    for (int k = 0; k < BUSY; k++) {
      say(joints[k].client, "question");
      say(joints[k].server, "answer");
    }
    rover_workers_step(workers);
    for (int k = 0; k < BUSY; k++) {
      while (recv(joints[k].client, bytes, 64, MSG_DONTWAIT) > 0) continue;
      while (recv(joints[k].server, bytes, 64, MSG_DONTWAIT) > 0) continue;
    }
    settle();
  }
  CHECK(was_reset(idle.client) && was_reset(idle.server));
  EQUAL(BUSY, relayed().running);
  close_joint(idle);
  for (int i = 0; i < BUSY; i++) close_joint(joints[i]);
  end_stepped();
  CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

const struct check checks[] = {
    {"rover_workers_new()", "refuses what is out of its range", refuses},
    {"a worker", "copies both ways, whatever the loop does", copies},
    {"a worker", "copies megabytes, whatever the loop does", copies_much},
    {"a worker", "starts with its first pair, and ends when it is freed",
     starts_late},
    {"a worker", "takes no signal", takes_no_signal},
    {"a worker", "passes no descriptor on to other programs",
     keeps_descriptors},
    {"a worker", "rests though a child has the descriptors of what has ended",
     forks},
    {"a worker", "sleeps while nothing moves", sleeps},
    {"a pair", "belongs to the worker with the fewest", deals},
    {"workers", "may be shared by relays, of which one is closed", shares},
    {"idle_timeout and half_close_timeout", "hold, whatever the loop does",
     cuts_idle},
    {"idle_timeout", "holds while more is to be done than a turn takes on",
     cuts_idle_in_a_crowd},
    {"rover_relay_exchange()", "has new timeouts hold for open pairs", follows},
    {"rover_relay_exchange()", "leaves each its workers", keeps_workers},
    {"rover_relay_close()", "is done when the workers have cut all",
     closes_at_once},
    {"rover_relay_close()", "keeps the loop alive until it is done",
     closes_in_loop},
    {"rover_relay_close()", "gives the workers' pairs their time",
     closes_in_time},
    {"a worker that cannot be started",
     "is told, and tried again, and the loop copies meanwhile", cannot_start},
    {"a worker that cannot be started", "leaves its share to others",
     others_take_over},
    {"a pair that a worker cannot poll", "is reset, which is told",
     cannot_poll_pairs},
    {"rover_workers_step()", "does what a thread would, and only then", steps},
    {"a client's first message", "does not wait for the worker", runs_ahead},
    {"a client's first message",
     "resets the client if the server has just broken", breaks_ahead},
    {NULL, NULL, NULL},
};
