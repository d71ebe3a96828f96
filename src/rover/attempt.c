#include "internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <utlist.h>

/* The system's resolver at work, which may go on after its attempt. */
struct lookup {
  uv_getaddrinfo_t request;
  rover_t *rover;
  struct rover__attempt *attempt; /* NULL once that has ended */
  struct addrinfo *addresses;     /* what it found */
};

/* One attempt: resolve, try each address in turn until one connects, read the
 * slot line. It ends, and is freed, where it leaves the rover. */
struct rover__attempt {
  struct rover__poll poll; /* of the address being tried; else fd is -1 */
  struct rover__attempt *prev, *next;
  rover_t *rover;
  const rover_server_t *server; /* NULL: there was nobody to ask */
  uint64_t due;      /* when the present phase ends, in the loop's time */
  uint64_t deadline; /* of resolving and connecting */
  struct lookup *lookup;      /* or NULL */
  struct addrinfo *addresses; /* still to be tried */
  struct {
    struct addrinfo info;
    union {
      struct sockaddr any;
      struct sockaddr_in v4;
      struct sockaddr_in6 v6;
    } name;
  } known[2];
  int status; /* why the addresses tried so far did not connect */
  enum { FAILED, RESOLVING, CONNECTING, READING, HELD } phase;
  bool graced;
  unsigned char length;
  char line[ROVER__LINE_MAX];
};

/* -- Deadlines ------------------------------------------------------------ */

static void on_deadline(uv_timer_t *timer);

/* Most attempts end long before their deadline, so one timer for all of them is
 * not set again for each: it fires for the first that it was set for, and then
 * looks for what is next. */
static void arm(rover_t *rover, uint64_t due) {
  if (rover->due > 0 && rover->due <= due) return;
  uint64_t now = uv_now(rover->loop);
  rover->due = due;
  uv_timer_start(&rover->deadline, on_deadline,
                 due > now ? due - now : 0, 0);
}

/* The loop's idea of the time is old if the program was busy, and to update it
 * would have timers due that libuv is just about to leave for the next turn. */
static uint64_t now_in_ms(void) { return uv_hrtime() / 1000000; }

/* In the next turn of the loop at the soonest: what fails at once, and is tried
 * again at once, is not to hold up the rest. */
static void set_due(struct rover__attempt *a, uint64_t now, uint64_t ms) {
  a->graced = false;
  a->due = now + (ms > 0 ? ms : 1);
  arm(a->rover, a->due);
}

/* -- Ending --------------------------------------------------------------- */

static void free_lookup(struct lookup *lookup) {
  rover_t *rover = lookup->rover;
  uv_freeaddrinfo(lookup->addresses);
  free(lookup);
  rover__count_memory(rover, -(ptrdiff_t)sizeof *lookup);
  rover__unref(rover);
}

static void drop_lookup(struct rover__attempt *a) {
  if (!a->lookup) return;
  a->lookup->attempt = NULL;
  if (a->phase == RESOLVING) uv_cancel((uv_req_t *)&a->lookup->request);
  else free_lookup(a->lookup);
}

static void drop_descriptor(struct rover__attempt *a) {
  if (a->poll.fd >= 0) rover__poll_close(a->rover->poller, &a->poll);
  a->poll.fd = -1;
}

/* Takes the attempt out of the rover, which has none of it any more. */
static void leave(struct rover__attempt *a) {
  rover_t *rover = a->rover;
  if (rover->cursor == a) rover->cursor = a->next;
  DL_DELETE(rover->attempts, a);
  rover->stats.in_flight--;
  if (rover->attempts) return;
  uv_timer_stop(&rover->deadline);
  rover->due = 0;
}

static void release(struct rover__attempt *a) {
  drop_lookup(a);
  drop_descriptor(a);
  rover__count_memory(a->rover, -(ptrdiff_t)sizeof *a);
  if (a->server) rover_server_unref(a->server);
  free(a);
}

static const char *explain(int status) {
  switch (status) {
    case UV_EDESTADDRREQ: return "No servers to contact";
    case UV_EMFILE:
      return "this process has no descriptors left; raise its limit";
    case UV_ENFILE: return "this system has no descriptors left";
    case UV_ENOMEM: return "out of memory";
    default: return uv_strerror(status);
  }
}

static void tell_error(rover_t *rover, const rover_server_t *server,
                       int status, const char *message) {
  rover->stats.errors++;
  if (rover->options.events.error)
    rover->options.events.error(rover, server, status, message);
}

/* The attempt failed: its one outcome. */
static void finish(struct rover__attempt *a, int status) {
  rover_t *rover = a->rover;
  rover_unreachable_cb unreachable = rover->options.events.unreachable;

  leave(a);
  drop_descriptor(a);
  if (!a->server || rover__is_exhaustion(status)) {
    tell_error(rover, a->server, status, explain(status));
  } else {
    rover__count_unreachable(rover, status);
    if (unreachable) unreachable(rover, a->server, status);
  }
  release(a);
}

/* What came is no slot line. The message shows it, and, without taking it,
 * some of what came behind it: enough to recognise the protocol. */
static void finish_protocol(struct rover__attempt *a) {
  char seen[64], quoted[60], message[128];
  size_t length = a->length;

  memcpy(seen, a->line, length);
  ssize_t more = recv(a->poll.fd, seen + length, sizeof seen - length,
                      MSG_PEEK | MSG_DONTWAIT);
  if (more > 0) length += (size_t)more;
  rover__quote(quoted, sizeof quoted, seen, length);
  snprintf(message, sizeof message, "not a slot line: %s", quoted);
  leave(a);
  drop_descriptor(a);
  tell_error(a->rover, a->server, UV_EPROTO, message);
  release(a);
}

static void finish_connection(struct rover__attempt *a, int slot) {
  leave(a);
  int err = rover__socket_deliver(a->rover, a->server, slot, &a->poll);
  if (err == 0) a->poll.fd = -1;
  drop_descriptor(a);
  if (err < 0) tell_error(a->rover, a->server, err, explain(err));
  release(a);
}

/* -- The slot line -------------------------------------------------------- */

/* It has come. While the rover is held, it waits for that to end, and nothing
 * is due of it. */
static void arrive(struct rover__attempt *a, int slot) {
  if (!a->rover->held) {
    finish_connection(a, slot);
    return;
  }
  a->phase = HELD;
  a->due = UINT64_MAX;
}

/* What the server has done meanwhile is yet to be told. */
static void go_in(struct rover__attempt *a) {
  int slot;
  rover__line_parse(a->line, a->length, &slot);
  rover__poll_again(a->rover->poller, &a->poll);
  finish_connection(a, slot);
}

static void read_line(struct rover__attempt *a) {
  int slot, wanted = rover__line_parse(a->line, a->length, &slot);

  while (wanted > 0) {
    ssize_t n = recv(a->poll.fd, a->line + a->length, (size_t)wanted, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (n <= 0) {
      finish(a, n == 0 ? UV_EOF : uv_translate_sys_error(errno));
      return;
    }
    a->length = (unsigned char)(a->length + n);
    wanted = rover__line_parse(a->line, a->length, &slot);
  }
  if (wanted == 0) arrive(a, slot);
  else finish_protocol(a);
}

/* -- Connecting ----------------------------------------------------------- */

static int try_next(struct rover__attempt *a);

/* Of several addresses' faults, that of an address this machine has no way to
 * (no IPv6, say) tells the least. */
static void note(struct rover__attempt *a, int status) {
  bool vague = a->status == UV_ENETUNREACH || a->status == UV_EADDRNOTAVAIL ||
               a->status == UV_EAFNOSUPPORT;
  if (a->status == 0 || vague || rover__is_exhaustion(status))
    a->status = status;
}

/* The address that was tried did not connect. */
static void go_on(struct rover__attempt *a, int status) {
  note(a, status);
  drop_descriptor(a);
  status = try_next(a);
  if (status < 0) finish(a, status);
}

static void on_ready(struct rover__poll *poll, int events) {
  struct rover__attempt *a = (struct rover__attempt *)poll;

  if (a->phase == HELD) return;
  if (a->phase == CONNECTING && events < 0) {
    int err = rover__error_of(poll->fd);
    go_on(a, err < 0 ? err : events);
    return;
  }
  if (a->phase == CONNECTING) {
    a->phase = READING;
    set_due(a, now_in_ms(), a->rover->options.slot_timeout);
  }
  if (events != UV_WRITABLE) read_line(a);
}

/* An address gets an equal share of the time left, so that one that swallows
 * packets leaves some to those behind it. */
static uint64_t share(const struct rover__attempt *a, uint64_t now) {
  uint64_t left = a->deadline > now ? a->deadline - now : 0;
  uint64_t addresses = 1;
  for (struct addrinfo *i = a->addresses; i; i = i->ai_next) addresses++;
  return left / addresses;
}

static void set_port(struct sockaddr *name, int port) {
  if (name->sa_family == AF_INET6)
    ((struct sockaddr_in6 *)name)->sin6_port = htons((uint16_t)port);
  else
    ((struct sockaddr_in *)name)->sin_port = htons((uint16_t)port);
}

/* Begins to connect. What is refused at once counts as any other refusal. */
static int connect_to(struct rover__attempt *a,
                      const struct addrinfo *address) {
  int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
  a->poll.fd = socket(address->ai_family, type, 0);
  if (a->poll.fd < 0) return uv_translate_sys_error(errno);
  if (connect(a->poll.fd, address->ai_addr, address->ai_addrlen) < 0 &&
      errno != EINPROGRESS && errno != EINTR)
    return uv_translate_sys_error(errno);
  return rover__poll_set(a->rover->poller, &a->poll,
                         UV_READABLE | UV_WRITABLE | UV_DISCONNECT);
}

/* Connects to the next address that takes it. Returns 0 when one is on its
 * way, else why none is. */
static int try_next(struct rover__attempt *a) {
  a->phase = CONNECTING;
  while (a->addresses && !rover__is_exhaustion(a->status)) {
    struct addrinfo *address = a->addresses;
    a->addresses = address->ai_next;
    set_port(address->ai_addr, rover_server_port(a->server));
    int err = connect_to(a, address);
    if (err == 0) {
      uint64_t now = now_in_ms();
      set_due(a, now, share(a, now));
      return 0;
    }
    note(a, err);
    drop_descriptor(a);
  }
  return a->status;
}

/* -- Resolving ------------------------------------------------------------ */

/* A resolver that can open no descriptor, neither for its files nor to ask,
 * only says that there is no such name. */
static int blame(int status) {
  if (status == UV_EAI_MEMORY) return UV_ENOMEM;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int err = fd < 0 ? uv_translate_sys_error(errno) : 0;
  if (fd >= 0) close(fd);
  return rover__is_exhaustion(err) ? err : status;
}

static void on_resolved(uv_getaddrinfo_t *request, int status,
                        struct addrinfo *addresses) {
  struct lookup *lookup = request->data;
  struct rover__attempt *a = lookup->attempt;

  lookup->addresses = addresses;
  if (!a) {
    free_lookup(lookup);
    return;
  }
  a->phase = FAILED; /* so far */
  if (status < 0) {
    status = blame(status);
  } else {
    a->addresses = addresses;
    a->status = addresses ? 0 : UV_EAI_NODATA;
    status = try_next(a);
  }
  if (status < 0) finish(a, status);
}

static int resolve(struct rover__attempt *a, const char *host) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
  struct lookup *lookup = malloc(sizeof *lookup);
  if (!lookup) return UV_ENOMEM;

  *lookup = (struct lookup){.rover = a->rover, .attempt = a};
  lookup->request.data = lookup;
  int err = uv_getaddrinfo(a->rover->loop, &lookup->request, on_resolved, host,
                           NULL, &hints);
  if (err < 0) {
    free(lookup);
    return err;
  }
  rover__count_memory(a->rover, sizeof *lookup);
  a->rover->refs++;
  a->lookup = lookup;
  a->phase = RESOLVING;
  set_due(a, now_in_ms(), a->rover->options.connect_timeout);
  return 0;
}

/* Puts known[index].name before the addresses. */
static void add_known(struct rover__attempt *a, int index) {
  struct addrinfo *info = &a->known[index].info;
  info->ai_addr = &a->known[index].name.any;
  info->ai_family = info->ai_addr->sa_family;
  info->ai_addrlen = info->ai_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                                 : sizeof(struct sockaddr_in);
  info->ai_next = a->addresses;
  a->addresses = info;
}

/* Finds the addresses without the resolver, if that can be. */
static bool are_known(struct rover__attempt *a) {
  const char *host = rover_server_host(a->server);
  struct sockaddr_in *v4 = &a->known[0].name.v4;

  /* Done for each attempt, and libc's takes half the time of libuv's. */
  bool is_v4 = inet_pton(AF_INET, host, &v4->sin_addr) == 1;
  if (is_v4) v4->sin_family = AF_INET;
  if (is_v4 || !uv_ip6_addr(host, 0, &a->known[0].name.v6)) {
    add_known(a, 0);
  } else if (!strcasecmp(host, "localhost") ||
             !strcasecmp(host, "localhost.")) {
    uv_ip4_addr("127.0.0.1", 0, &a->known[1].name.v4);
    add_known(a, 1);
    uv_ip6_addr("::1", 0, &a->known[0].name.v6);
    add_known(a, 0);
  }
  return a->addresses != NULL;
}

static int begin(struct rover__attempt *a) {
  if (!a->server) return UV_EDESTADDRREQ;
  return are_known(a) ? try_next(a)
                      : resolve(a, rover_server_host(a->server));
}

/* -- Entry points --------------------------------------------------------- */

int rover__attempt_start(rover_t *rover, rover_server_t *server) {
  struct rover__attempt *a = malloc(sizeof *a);
  if (!a) return UV_ENOMEM;

  *a = (struct rover__attempt){.poll = {.fd = -1, .ready = on_ready,
                                        .changes = true},
                               .rover = rover,
                               .server = server};
  if (server) rover_server_ref(server);
  DL_APPEND(rover->attempts, a);
  rover__count_memory(rover, sizeof *a);
  rover->stats.attempts++;
  rover->stats.in_flight++;

  a->deadline = now_in_ms() + rover->options.connect_timeout;
  int err = begin(a);
  if (err < 0) {
    a->status = err;
    a->phase = FAILED;
    set_due(a, now_in_ms(), 0);
  }
  return 0;
}

/* libuv runs timers before it polls. If the loop was held up, the answer may
 * long be there: let it poll once more before a deadline counts. */
static void expire(struct rover__attempt *a) {
  if (a->phase == FAILED) {
    finish(a, a->status);
  } else if (a->phase == HELD) {
    go_in(a);
  } else if (!a->graced ||
             rover__poll_is_behind(a->rover->poller, &a->poll)) {
    a->graced = true;
    a->due = uv_now(a->rover->loop) + 1;
  } else if (a->phase == CONNECTING) {
    go_on(a, UV_ETIMEDOUT);
  } else {
    finish(a, UV_ETIMEDOUT);
  }
}

/* Callbacks end attempts, and begin some: those are not due yet. */
void rover__attempt_expire(struct rover__source *overdue) {
  rover_t *rover = (rover_t *)((char *)overdue - offsetof(rover_t, overdue));
  uint64_t now = uv_now(rover->loop);
  struct rover__attempt *a;

  for (rover->cursor = rover->attempts; (a = rover->cursor);) {
    rover->cursor = a->next;
    if (a->due > now) continue;
    expire(a);
    if (rover->cursor && !rover__turn_lasts(rover->turn)) {
      rover__turn_wait(rover->turn, overdue);
      return;
    }
  }
  rover->due = 0;
  /* clang loses sight of leave(), which takes out what is freed. */
  DL_FOREACH(rover->attempts, a)
    arm(rover, a->due); /* NOLINT(clang-analyzer-unix.Malloc) */
}

static void on_deadline(uv_timer_t *timer) {
  rover_t *rover = timer->data;
  rover->due = 0;
  if (rover__turn_take(rover->turn, &rover->overdue))
    rover__attempt_expire(&rover->overdue);
}

void rover__attempt_let_in(rover_t *rover) {
  struct rover__attempt *a;
  DL_FOREACH(rover->attempts, a) {
    if (a->phase == HELD) set_due(a, uv_now(rover->loop), 0);
  }
}

static void cancel(struct rover__attempt *a) {
  a->rover->stats.cancelled++;
  leave(a);
  release(a);
}

void rover__attempt_cancel(rover_t *rover, const rover_server_t *server) {
  struct rover__attempt *a, *next;
  DL_FOREACH_SAFE(rover->attempts, a, next) {
    if (!server || a->server == server) cancel(a);
  }
}

void rover__attempt_follow_servers(rover_t *rover) {
  struct rover__attempt *a, *next;
  DL_FOREACH_SAFE(rover->attempts, a, next) {
    const rover_server_t *old = a->server;
    const rover_server_t *new = old ? rover__server_same(rover, old) : NULL;
    if (new) {
      a->server = rover_server_ref(new);
      rover_server_unref(old);
    } else if (old) {
      cancel(a);
    }
  }
}
