#include "predecessor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin.h"
#include "link.h"

/* The life of a process that takes over: it is passed what listens in the other
 * one, and loads the policy. As its loop does not run yet, nothing is accepted;
 * it says that it is ready, waits until it has the slots that are taken, and
 * says that it serves. Then its loop runs, and hears which slots come free. All
 * of them do when the other one has ended, however. See link.h. */

enum { FIRST = 3, WAIT_MS = 30000 };

struct listener {
  char noun[8], name[ROVER_ID_MAX + 1];
  bool has_file; /* of a Unix socket, which this process has to remove */
};

/* There is one process, and one before it. */
static struct {
  bool is_there;
  int fd; /* of the link, until libuv has it */
  uv_pipe_t link;
  bool watched;
  struct cli_link in;
  char bytes[4096];
  rover_host_t *host;
  cli_predecessor_cb cb;
  void *data;
  int status;    /* what has gone wrong */
  bool greeted;  /* `wanted` is known, ... */
  size_t wanted; /* ... how many listeners there are */
  struct listener *listeners;
  size_t count; /* so far */
  size_t lost;  /* decisions by hand that mean nothing here */
  bool goes;    /* may begin */
} before;

void cli_predecessor_open(void) {
  long fd = cli_link_number(getenv(CLI_LINK_VARIABLE));

  unsetenv(CLI_LINK_VARIABLE);
  if (fd < FIRST || fcntl((int)fd, F_GETFD) < 0) return;
  for (int each = FIRST; each <= fd; each++) fcntl(each, F_SETFD, FD_CLOEXEC);
  before.fd = (int)fd;
  before.is_there = true;
}

size_t cli_predecessor_lost(void) { return before.lost; }

bool cli_predecessor_is_there(void) { return before.is_there; }

/* -- What it says ---------------------------------------------------------- */

static void on_upgrade(char *words[CLI_LINK_WORDS]) {
  long count = cli_link_number(words[2]);

  if (cli_link_number(words[1]) != 1 || count < 0 || before.greeted) {
    before.status = UV_EPROTO;
    return;
  }
  before.greeted = true;
  before.wanted = (size_t)count;
  before.listeners = calloc((size_t)count + 1, sizeof *before.listeners);
  if (!before.listeners) before.status = UV_ENOMEM;
}

static const char *or_null(const char *word) {
  return word && *word ? word : NULL;
}

static void on_listener(char *words[CLI_LINK_WORDS]) {
  if (before.count == before.wanted || !words[4]) {
    before.status = UV_EPROTO;
    return;
  }
  struct listener *own = &before.listeners[before.count];
  snprintf(own->noun, sizeof own->noun, "%s", words[1]);
  snprintf(own->name, sizeof own->name, "%s", words[2]);
  if (!strcmp(own->noun, "admin")) {
    before.count++;
    return;
  }
  before.status = rover_host_pass(
      before.host, &(rover_host_socket_t){.fd = FIRST + (int)before.count,
                                          .fd_name = or_null(words[3]),
                                          .path = or_null(words[4]),
                                          .noun = own->noun,
                                          .name = own->name});
  before.count++;
}

int cli_predecessor_admin(size_t index) {
  for (size_t i = 0; i < before.count; i++)
    if (!strcmp(before.listeners[i].noun, "admin") &&
        cli_link_number(before.listeners[i].name) == (long)index)
      return FIRST + (int)i;
  return -1;
}

/* What is said of a listener, to whatever has its name here. */
struct said {
  const struct listener *of;
  const char *what;
  long number;
  const char *address; /* or NULL */
};

static void tell_relay(rover_host_t *host, const rover_host_relay_t *r,
                       void *arg) {
  const struct said *said = arg;
  (void)host;
  if (strcmp(said->of->noun, "relay") != 0 ||
      strcmp(said->of->name, r->name) != 0)
    return;
  if (!strcmp(said->what, "left")) rover_relay_stay(r->relay, said->number > 0);
}

/* Unknown addresses count towards no limit. */
static int hold(rover_front_t *front, uint32_t index, const char *address) {
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
  const struct sockaddr *peer = NULL;

  if (address && uv_ip4_addr(address, 0, &v4) == 0)
    peer = (const struct sockaddr *)&v4;
  else if (address && uv_ip6_addr(address, 0, &v6) == 0)
    peer = (const struct sockaddr *)&v6;
  return rover_front_hold(front, index, peer);
}

static void tell_front(rover_host_t *host, const rover_host_front_t *f,
                       void *arg) {
  const struct said *said = arg;
  (void)host;
  if (strcmp(said->of->noun, "front") != 0 ||
      strcmp(said->of->name, f->name) != 0)
    return;
  if (!strcmp(said->what, "left")) rover_front_stay(f->front, said->number > 0);
  else if (!strcmp(said->what, "taken"))
    before.status = hold(f->front, (uint32_t)said->number, said->address);
  else rover_front_release(f->front, (uint32_t)said->number);
}

static void tell(const struct listener *of, const char *what, long number,
                 const char *address) {
  static const rover_host_visitor_t each = {.relay = tell_relay,
                                            .front = tell_front};
  struct said said = {of, what, number, address};

  if (!strcmp(of->noun, "admin") && !strcmp(what, "left"))
    cli_admin_stay((size_t)cli_link_number(of->name), number > 0);
  rover_host_each(before.host, &each, &said);
}

static void on_said(char *words[CLI_LINK_WORDS]) {
  long place = cli_link_number(words[1]), number = cli_link_number(words[2]);

  if (place < 0 || (size_t)place >= before.count || number < 0) {
    before.status = UV_EPROTO;
    return;
  }
  struct listener *own = &before.listeners[place];
  bool is_left = !strcmp(words[0], "left");
  if (is_left) own->has_file = number > 0;
  if (!is_left || own->has_file) tell(own, words[0], number, words[3]);
}

/* The new policy may have no such rover or front: then it has no use for it. */
static void on_decision(char *words[CLI_LINK_WORDS]) {
  bool drained = !strcmp(words[0], "drained");
  rover_host_decision_t d = {.rover = words[1], .id = words[2],
                             .address = words[3]};
  long ms = cli_link_number(words[drained ? 1 : 7]);

  if (drained) {
    d.rover = NULL;
  } else {
    d.port = (int)cli_link_number(words[4]);
    d.how = (rover_steer_t)cli_link_number(words[5]);
    d.added = cli_link_number(words[6]) > 0;
  }
  d.ms = (uint64_t)ms;
  int err = ms < 0 ? UV_EPROTO : rover_host_decide(before.host, &d);
  if (err == UV_EPROTO || err == UV_ENOMEM) before.status = err;
  else if (err < 0) before.lost++;
}

static void on_line(void *data, char *words[CLI_LINK_WORDS]) {
  const char *word = words[0];

  (void)data;
  if (before.status < 0) return;
  if (!strcmp(word, "upgrade")) on_upgrade(words);
  else if (!strcmp(word, "listener")) on_listener(words);
  else if (!strcmp(word, "left") || !strcmp(word, "taken") ||
           !strcmp(word, "freed"))
    on_said(words);
  else if (!strcmp(word, "steered") || !strcmp(word, "drained"))
    on_decision(words);
  else if (!strcmp(word, "go")) before.goes = true;
  else if (!strcmp(word, "main") && before.cb) before.cb(before.data, false);
}

static int feed(const char *bytes, size_t length) {
  if (!cli_link_feed(&before.in, bytes, length, on_line, NULL))
    return UV_EPROTO;
  return before.status;
}

/* -- Before the loop runs -------------------------------------------------- */

static bool has_all(void) {
  return before.greeted && before.count == before.wanted;
}

static bool goes(void) { return before.goes; }

static int wait_until(bool (*done)(void)) {
  uint64_t until = uv_hrtime() / 1000000 + WAIT_MS;

  while (!done()) {
    uint64_t now = uv_hrtime() / 1000000;
    struct pollfd link = {.fd = before.fd, .events = POLLIN};
    int ready = poll(&link, 1, now < until ? (int)(until - now) : 0);
    if (ready == 0 && now >= until) return UV_ETIMEDOUT;
    if (ready <= 0) continue;
    ssize_t n = read(before.fd, before.bytes, sizeof before.bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return UV_ECONNRESET;
    int err = feed(before.bytes, (size_t)n);
    if (err < 0) return err;
  }
  return 0;
}

static int answer(const char *line) {
  size_t length = strlen(line);
  return write(before.fd, line, length) == (ssize_t)length ? 0 : UV_ECONNRESET;
}

int cli_predecessor_give(rover_host_t *host) {
  before.host = host;
  return before.is_there ? wait_until(has_all) : 0;
}

int cli_predecessor_take_over(rover_host_t *host) {
  before.host = host;
  if (!before.is_there) return 0;
  int err = answer("ready\n");
  if (err == 0) err = wait_until(goes);
  if (err == 0) answer("serving\n"); /* or the other one has just ended */
  /* If the other process goes on, it keeps the files of its Unix sockets. */
  for (size_t i = 0; err < 0 && i < before.count; i++)
    if (before.listeners[i].has_file) tell(&before.listeners[i], "left", 0, NULL);
  return err;
}

/* -- Once it runs ---------------------------------------------------------- */

static void release_front(rover_host_t *host, const rover_host_front_t *f,
                          void *arg) {
  (void)host;
  (void)arg;
  rover_front_release(f->front, ROVER_FRONT_ALL);
}

static void on_gone(uv_handle_t *link) {
  (void)link;
  free(before.listeners);
  before.listeners = NULL;
  before.count = 0;
}

void cli_predecessor_close(void) {
  if (!before.watched) return;
  before.watched = false;
  uv_close((uv_handle_t *)&before.link, on_gone);
}

static void on_alloc(uv_handle_t *link, size_t size, uv_buf_t *buffer) {
  (void)link;
  (void)size;
  *buffer = uv_buf_init(before.bytes, sizeof before.bytes);
}

static void on_read(uv_stream_t *link, ssize_t n, const uv_buf_t *buffer) {
  static const rover_host_visitor_t release = {.front = release_front};

  (void)link;
  if (n >= 0 && feed(buffer->base, (size_t)n) == 0) return;
  rover_host_each(before.host, &release, NULL);
  cli_predecessor_close();
  before.is_there = false;
  before.cb(before.data, true);
}

int cli_predecessor_watch(rover_host_t *host, cli_predecessor_cb cb,
                          void *data) {
  uv_loop_t *loop = rover_host_loop(host);

  if (!before.is_there) return 0;
  before.cb = cb;
  before.data = data;
  int err = uv_pipe_init(loop, &before.link, 0);
  if (err < 0) return err;
  before.watched = true;
  err = uv_pipe_open(&before.link, before.fd);
  if (err == 0)
    err = uv_read_start((uv_stream_t *)&before.link, on_alloc, on_read);
  uv_unref((uv_handle_t *)&before.link);
  return err;
}
