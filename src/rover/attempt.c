#include "attempt.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../net/clock.h"
#include "../net/descriptor.h"
#include "../net/list.h"
#include "../net/transport.h"
#include "explain.h"
#include "line.h"
#include "lookup.h"
#include "rejection.h"
#include "server.h"
#include "socket.h"
#include "tally.h"

/* The life of an attempt: it resolves the server's host, tries each address in
 * turn until one connects, does the TLS handshake if the server has TLS, and
 * reads the slot line. Then it has one outcome: a connection, which passes to a
 * socket (see socket.h); rejected (see rejection.h); unreachable; or an error.
 * If its server is dropped or paused, or the rover stopped, it is cancelled
 * without a callback. In every case the attempt is removed from the rover
 * before the callback, and freed after it. While the rover is held, an attempt
 * that has read its slot line waits. One timer serves the deadlines of all
 * attempts. */
struct rover__attempt {
  struct net__poll poll; /* of the current address, if any; else fd is -1 */
  struct rover__attempt *prev, *next;
  rover_t *rover;
  rover_server_t *server; /* NULL if there was none */
  struct net__tls_context *context; /* of its TLS; not counted, see follow() */
  uint64_t due;      /* when this phase expires, in the loop's time */
  uint64_t deadline; /* for resolving, connecting and the handshake */
  uint64_t began;    /* in ns */
  struct rover__asker asker;
  union net__address *addresses; /* the next one to try, ... */
  size_t left;                   /* ... and how many are left */
  union net__address known[2];   /* their storage, ... */
  union net__address *found;     /* ... or the resolver's answer, or NULL */
  size_t count;
  int status; /* why the addresses tried so far did not connect */
  enum rover__phase phase;
  bool failed;  /* with `status`, which is reported when due */
  bool expired; /* by a deadline, which set `status` */
  bool graced;
  unsigned char length;
  char line[ROVER__LINE_MAX];
};

/* -- Deadlines ------------------------------------------------------------ */

/* What TLS says of a failure, cut. */
enum { EXPLANATION_MAX = 512 };

static void on_deadline(uv_timer_t *timer);

/* Most attempts end long before their deadline, so the timer is not restarted
 * for each: when it fires, it is set to the earliest deadline left. */
static void arm(rover_t *rover, uint64_t due) {
  if (rover->due > 0 && rover->due <= due) return;
  uint64_t now = uv_now(rover->loop);
  rover->due = due;
  uv_timer_start(&rover->deadline, on_deadline, due > now ? due - now : 0, 0);
}

/* Never due in the present turn of the loop: attempts that fail and are retried
 * at once must not starve everything else. */
static void set_due(struct rover__attempt *a, uint64_t now, uint64_t ms) {
  a->graced = false;
  a->due = net__after(now, ms > 0 ? ms : 1);
  arm(a->rover, a->due);
}

/* Asks for events of the current address. */
static int watch(struct rover__attempt *a, int events) {
  return net__poll_set(&a->rover->poller->epoll, &a->poll,
                       events | NET_DISCONNECT);
}

/* -- Ending --------------------------------------------------------------- */

static void drop_descriptor(struct rover__attempt *a) {
  if (a->poll.fd >= 0) net__poll_close(&a->rover->poller->epoll, &a->poll);
  a->poll.fd = -1;
}

/* Removes the attempt from the rover. */
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
  size_t size = sizeof *a + a->count * sizeof *a->found;
  rover__lookup_leave(&a->asker);
  drop_descriptor(a);
  rover__count_memory(a->rover, -(ptrdiff_t)size);
  free(a->found);
  if (a->server) rover_server_unref(a->server);
  free(a);
}

static void report_error(rover_t *rover, rover_server_t *server, int status,
                         const char *message) {
  rover->stats.errors++;
  if (server) {
    server->tally->errors++;
    rover__tally_fail(server->tally, status, message);
  }
  if (rover->options.events.error)
    rover->options.events.error(rover, server, status, message);
}

/* Ends the attempt as failed. */
static void finish(struct rover__attempt *a, int status) {
  rover_t *rover = a->rover;
  rover_unreachable_cb unreachable = rover->options.events.unreachable;

  leave(a);
  drop_descriptor(a);
  if (!a->server || net__is_exhaustion(status)) {
    report_error(rover, a->server, status, rover__explain_lack(status));
  } else {
    const struct rover__failing failing = {
        .host = rover_server_host(a->server),
        .phase = a->phase,
        .status = status,
        .expired = a->expired,
        .partly = a->length > 0};
    char text[ROVER__TEXT_MAX];
    rover__count_unreachable(rover, status);
    rover->why = rover__explain(&rover->options, &failing, text);
    a->server->tally->unreachable++;
    a->server->tally->failing = 1;
    rover__tally_fail(a->server->tally, status, rover->why);
    if (unreachable) unreachable(rover, a->server, status);
    rover->why = NULL;
  }
  release(a);
}

static void finish_error(struct rover__attempt *a, int status,
                         const char *message) {
  leave(a);
  drop_descriptor(a);
  report_error(a->rover, a->server, status, message);
  release(a);
}

/* The bytes are not a slot line. The message quotes them and, without reading
 * on, some that follow: enough to recognise the protocol. */
static void finish_protocol(struct rover__attempt *a) {
  char seen[64], quoted[60], message[128];
  size_t length = a->length, left = sizeof seen - length;

  memcpy(seen, a->line, length);
  ssize_t more =
      a->poll.tls
          ? net__recv(&a->poll, seen + length, left)
          : recv(a->poll.fd, seen + length, left, MSG_PEEK | MSG_DONTWAIT);
  if (more > 0) length += (size_t)more;
  rover__quote(quoted, sizeof quoted, seen, length);
  snprintf(message, sizeof message, "not a slot line: %s", quoted);
  finish_error(a, UV_EPROTO, message);
}

/* The connection broke, or its TLS did: a certificate may also be refused after
 * the handshake. */
static void finish_broken(struct rover__attempt *a, int status) {
  const struct net__tls *tls = a->poll.tls;
  const char *why = NULL;
  char message[EXPLANATION_MAX];

  if (!tls || (status != UV_EPROTO && status != ROVER_ECERT)) {
    finish(a, status);
    return;
  }
  why = tls->type->why(tls); /* it lives as long as the TLS */
  snprintf(message, sizeof message, "%s",
           why ? why : "the peer's TLS does not suit ours");
  finish_error(a, status, message);
}

static void finish_rejected(struct rover__attempt *a, int slot) {
  rover_t *rover = a->rover;
  rover_rejected_cb rejected = rover->options.events.rejected;

  leave(a);
  drop_descriptor(a);
  rover__rejected(rover);
  rover__tally_reject(a->server->tally, slot);
  if (rejected) rejected(rover, slot, a->server);
  release(a);
}

static void finish_connection(struct rover__attempt *a, int slot) {
  if (rover__rejects(a->rover, a->server, slot)) {
    finish_rejected(a, slot);
    return;
  }
  leave(a);
  int err = rover__socket_deliver(a->rover, a->server, slot, &a->poll);
  if (err == 0) a->poll.fd = -1;
  drop_descriptor(a);
  if (err < 0) report_error(a->rover, a->server, err, rover__explain_lack(err));
  release(a);
}

/* -- The slot line -------------------------------------------------------- */

/* The slot line is complete. While the rover is held, the attempt waits,
 * without a deadline. */
static void on_slot(struct rover__attempt *a, int slot) {
  rover_t *rover = a->rover;
  rover__histogram_add(&rover->slots, &rover__slot_buckets, slot);
  rover__histogram_add(&rover->connect_seconds, &rover__second_buckets,
                       (double)(uv_hrtime() - a->began) / 1e9);
  if (!rover->held) {
    finish_connection(a, slot);
    return;
  }
  a->phase = ROVER__HELD;
  a->due = UINT64_MAX;
}

/* Delivers an attempt that was held. What the server did meanwhile is polled
 * again, and reported to the socket. */
static void deliver_held(struct rover__attempt *a) {
  int slot;
  rover__line_parse(a->line, a->length, &slot);
  net__poll_again(&a->rover->poller->epoll, &a->poll);
  finish_connection(a, slot);
}

/* Whether the line is incomplete; if not, the attempt has ended, or waits. */
static bool read_line(struct rover__attempt *a) {
  int slot, wanted = rover__line_parse(a->line, a->length, &slot);

  while (wanted > 0) {
    ssize_t n = net__recv(&a->poll, a->line + a->length, (size_t)wanted);
    if (n == UV_EAGAIN) return true;
    if (n <= 0) {
      finish_broken(a, n == 0 ? UV_EOF : (int)n);
      return false;
    }
    a->length = (unsigned char)(a->length + n);
    wanted = rover__line_parse(a->line, a->length, &slot);
  }
  if (wanted == 0) on_slot(a, slot);
  else finish_protocol(a);
  return false;
}

/* Connected. Most lines are there already, and need no deadline. */
static void begin_line(struct rover__attempt *a, bool is_readable) {
  a->phase = ROVER__READING;
  if (!is_readable || read_line(a))
    set_due(a, net__now(), a->rover->options.slot_timeout);
}

/* -- TLS ------------------------------------------------------------------ */

static void shake_hands(struct rover__attempt *a) {
  int err = a->poll.tls->type->handshake(a->poll.tls);
  if (err == UV_EAGAIN) return;
  if (err < 0) {
    finish_broken(a, err);
    return;
  }
  struct net__tls_facts facts;
  a->poll.tls->type->describe(a->poll.tls, &facts);
  a->rover->stats.handshakes++;
  a->rover->stats.handshakes_resumed += facts.resumed;
  begin_line(a, true);
}

/* All the time that is left is this address's, since what fails from now on is
 * not tried at another. */
static void secure(struct rover__attempt *a, struct net__tls_context *context) {
  char host[ROVER_HOST_MAX + 1], key[ROVER_HOST_MAX + sizeof ":65535"];
  int port = rover_server_port(a->server);
  uint64_t now = net__now();

  snprintf(key, sizeof key, "%s:%d", rover_server_host(a->server), port);
  snprintf(host, sizeof host, "%s", rover_server_host(a->server));
  host[strcspn(host, "%")] = '\0'; /* no certificate has the zone */
  a->phase = ROVER__SECURING;
  a->context = context;
  set_due(a, now, a->deadline > now ? a->deadline - now : 0);
  int err = context->type->open(context, a->poll.fd, host, key, &a->poll.tls);
  if (err == 0) err = watch(a, NET_READABLE | NET_WRITABLE);
  if (err < 0) finish(a, err);
  else shake_hands(a);
}

/* -- Connecting ----------------------------------------------------------- */

static int try_next(struct rover__attempt *a, uint64_t now);

/* Keeps the most telling error of several addresses: that there is no route (no
 * IPv6, say) is the least. */
static void note(struct rover__attempt *a, int status, bool expired) {
  bool vague = a->status == UV_ENETUNREACH || a->status == UV_EAFNOSUPPORT;
  if (a->status < 0 && !vague && !net__is_exhaustion(status)) return;
  a->status = status;
  a->expired = expired;
}

/* The current address did not connect. */
static void try_other(struct rover__attempt *a, int status, bool expired) {
  note(a, status, expired);
  drop_descriptor(a);
  status = try_next(a, net__now());
  if (status < 0) finish(a, status);
}

static bool is_to_itself(const struct rover__attempt *a) {
  return net__address_is_own(a->poll.fd, rover_server_port(a->server));
}

/* Only what is connected can be reset; behind an end that is EPIPE to Linux. */
static bool is_reset(int status) {
  return status == UV_ECONNRESET || status == UV_EPIPE;
}

/* Before it was known to be connected. What came before a reset can be read. */
static void on_failure(struct rover__attempt *a, int events) {
  bool secured = rover__server_tls(a->rover, a->server);
  int err = secured ? 0 : net__fd_peek(a->poll.fd); /* takes the error, too */

  if (err > 0) {
    begin_line(a, true);
    return;
  }
  if (err == 0) err = net__fd_error(a->poll.fd);
  if (is_reset(err)) {
    a->phase = secured ? ROVER__SECURING : ROVER__READING;
    finish(a, err);
  } else {
    try_other(a, err < 0 ? err : events, false);
  }
}

static void on_ready(struct net__poll *poll, int events) {
  struct rover__attempt *a = (struct rover__attempt *)poll;

  if (a->phase == ROVER__HELD) return;
  if (!poll->is_set) { /* the kernel has no room for it */
    finish(a, events);
    return;
  }
  if (a->phase == ROVER__CONNECTING && events < 0) {
    on_failure(a, events);
    return;
  }
  /* A connection to itself carries no bytes, so only a silent one is
   * checked. */
  if (a->phase == ROVER__CONNECTING && events == NET_WRITABLE &&
      is_to_itself(a)) {
    net__fd_reset_on_close(a->poll.fd);
    try_other(a, UV_ECONNREFUSED, false);
    return;
  }
  if (a->phase == ROVER__CONNECTING) {
    struct net__tls_context *context = rover__server_tls(a->rover, a->server);
    if (context) {
      secure(a, context);
      return;
    }
    begin_line(a, events != NET_WRITABLE);
    return;
  }
  if (a->phase == ROVER__SECURING) shake_hands(a);
  else if (events != NET_WRITABLE || a->poll.tls) read_line(a);
}

/* Each address gets an equal share of the time left, so that an address that
 * drops packets cannot use up the time of those after it. */
static uint64_t share(const struct rover__attempt *a, uint64_t now) {
  uint64_t left = a->deadline > now ? a->deadline - now : 0;
  return left / (a->left + 1);
}

/* Starts to connect. May fail at once.
 *
 * In most cases the slot line follows the connection so soon that an event for
 * the latter, too, would only double the work. TLS begins with our bytes. */
static int connect_to(struct rover__attempt *a, union net__address *name) {
  int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
  socklen_t size = net__address_set_port(name, rover_server_port(a->server));
  a->poll.fd = socket(name->any.sa_family, type, 0);
  if (a->poll.fd < 0) return uv_translate_sys_error(errno);
  if (connect(a->poll.fd, &name->any, size) < 0 && errno != EINPROGRESS &&
      errno != EINTR)
    return errno == EADDRNOTAVAIL ? net__address_blame_port(name, size)
                                  : uv_translate_sys_error(errno);
  int more = rover__server_tls(a->rover, a->server) ? NET_WRITABLE : 0;
  return net__poll_begin(&a->rover->poller->epoll, &a->poll,
                         NET_READABLE | NET_DISCONNECT | more);
}

/* Sees whether it is connected, and if not, asks for that from now on. */
static void look(struct rover__attempt *a) {
  if (!rover__server_tls(a->rover, a->server) &&
      net__fd_is_connected(a->poll.fd) && !is_to_itself(a)) {
    begin_line(a, false);
    return;
  }
  uint64_t now = net__now();
  watch(a, NET_READABLE | NET_WRITABLE);
  set_due(a, now, share(a, now));
}

/* When to look. A server that sends no slot line thus has at most a sixteenth
 * more time for it. */
static uint64_t time_to_look(const struct rover__attempt *a, uint64_t share) {
  enum { MOST_MS = 100, PART = 16 };
  share = net__sooner(share, a->rover->options.slot_timeout);
  return net__sooner(share / PART, MOST_MS);
}

/* Starts to connect to the next address that does not fail at once. Returns 0,
 * or the error to report if there is none. */
static int try_next(struct rover__attempt *a, uint64_t now) {
  a->phase = ROVER__CONNECTING;
  /* Another address may have local ports left. */
  while (a->left > 0 &&
         (a->status == UV_EADDRNOTAVAIL || !net__is_exhaustion(a->status))) {
    a->left--;
    int err = connect_to(a, a->addresses++);
    if (err == 0) {
      uint64_t ms = share(a, now);
      set_due(a, now, a->poll.events & NET_WRITABLE ? ms : time_to_look(a, ms));
      return 0;
    }
    note(a, err, false);
    drop_descriptor(a);
  }
  return a->status;
}

/* -- Resolving ------------------------------------------------------------ */

/* Ends the attempt with `status` in the next turn of the loop. */
static void fail(struct rover__attempt *a, int status) {
  a->status = status;
  a->failed = true;
  set_due(a, net__now(), 0);
}

static void on_answer(struct rover__asker *asker, int status,
                      union net__address *addresses, size_t count) {
  struct rover__attempt *a = asker->data;

  a->found = a->addresses = addresses;
  a->count = a->left = count;
  rover__count_memory(a->rover, (ptrdiff_t)(count * sizeof *addresses));
  if (status == 0) status = try_next(a, net__now());
  if (status < 0) fail(a, status);
}

static int begin(struct rover__attempt *a, uint64_t now) {
  if (!a->server) return UV_EDESTADDRREQ;
  const char *host = rover_server_host(a->server);
  int known = net__address_parse(host, a->known);
  if (known < 0) return known;
  if (known > 0) {
    a->addresses = a->known;
    a->left = (size_t)known;
    return try_next(a, now);
  }
  a->asker = (struct rover__asker){.data = a, .answered = on_answer};
  int err = rover__lookup_ask(a->rover, host, &a->asker);
  if (err == 0) set_due(a, now, a->rover->options.connect_timeout);
  return err;
}

/* -- Entry points --------------------------------------------------------- */

int rover__attempt_start(rover_t *rover, rover_server_t *server) {
  struct rover__tally *tally = server ? rover__tally_get(rover, server) : NULL;
  if (server && !tally) return UV_ENOMEM;
  struct rover__attempt *a = malloc(sizeof *a);
  if (!a) return UV_ENOMEM;

  *a = (struct rover__attempt){
      .poll = {.fd = -1, .ready = on_ready, .changes = true},
      .rover = rover,
      .server = server,
      .began = uv_hrtime()};
  if (server) rover_server_ref(server);
  DL_APPEND(rover->attempts, a);
  rover__count_memory(rover, sizeof *a);
  rover->stats.attempts++;
  rover->stats.in_flight++;
  if (tally) tally->attempts++;

  uint64_t now = a->began / 1000000; /* net__now() */
  a->deadline = net__after(now, rover->options.connect_timeout);
  int err = begin(a, now);
  if (err < 0) fail(a, err);
  return 0;
}

/* If the loop was blocked, the answer may have arrived long ago, so an expired
 * attempt gets one more poll, whether libuv runs timers before polling or,
 * since 1.45, after. */
static void expire(struct rover__attempt *a) {
  if (a->failed) {
    finish(a, a->status);
  } else if (a->phase == ROVER__HELD) {
    deliver_held(a);
  } else if (a->phase == ROVER__CONNECTING &&
             !(a->poll.events & NET_WRITABLE)) {
    look(a);
  } else if (!a->graced || net__poller_is_behind(a->rover->poller)) {
    a->graced = true;
    a->due = uv_now(a->rover->loop) + 1;
    arm(a->rover, a->due);
  } else if (a->phase == ROVER__CONNECTING) {
    try_other(a, UV_ETIMEDOUT, true);
  } else {
    a->expired = true;
    finish(a, UV_ETIMEDOUT);
  }
}

/* Callbacks may end attempts, and start new ones, which are not due yet. */
void rover__attempt_expire(struct net__source *overdue) {
  rover_t *rover = (rover_t *)((char *)overdue - offsetof(rover_t, overdue));
  uint64_t now = uv_now(rover->loop);
  struct rover__attempt *a;

  rover->due = 0;
  for (rover->cursor = rover->attempts; (a = rover->cursor);) {
    rover->cursor = a->next;
    if (a->due > now) {
      arm(rover, a->due);
      continue;
    }
    expire(a);
    if (rover->cursor && !net__turn_lasts(&rover->turn->base)) {
      net__turn_wait(&rover->turn->base, overdue);
      return;
    }
  }
}

static void on_deadline(uv_timer_t *timer) {
  rover_t *rover = timer->data;
  if (net__turn_take(&rover->turn->base, &rover->overdue))
    rover__attempt_expire(&rover->overdue);
}

void rover__attempt_deliver_held(rover_t *rover) {
  struct rover__attempt *a;
  DL_FOREACH(rover->attempts, a) {
    if (a->phase == ROVER__HELD) set_due(a, uv_now(rover->loop), 0);
  }
}

static void cancel(struct rover__attempt *a) {
  if (a->phase == ROVER__CONNECTING && is_to_itself(a))
    net__fd_reset_on_close(a->poll.fd);
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

/* Connected already, it must be by TLS if the server is to have that now, and
 * by the same: what was verified by a CA that is trusted no longer must not
 * become a connection. */
static bool is_as_secure(const struct rover__attempt *a,
                         struct net__tls_context *context) {
  if (a->phase < ROVER__SECURING || a->context == context) return true;
  return a->context && context && context->type->is_same(context, a->context);
}

/* While it goes on, the context is the server's, which counts it. */
static void follow(struct rover__attempt *a, rover_server_t *server,
                   struct net__tls_context *context) {
  rover_server_t *old = a->server;
  a->server = rover_server_ref(server);
  if (a->context) a->context = context;
  rover_server_unref(old);
}

void rover__attempt_follow(rover_t *rover,
                           rover_server_t *(*same)(const rover_t *rover,
                                                   const rover_server_t *as)) {
  struct rover__attempt *a, *next;
  DL_FOREACH_SAFE(rover->attempts, a, next) {
    rover_server_t *old = a->server;
    rover_server_t *new = old ? same(rover, old) : NULL;
    struct net__tls_context *context =
        new ? rover__server_tls(rover, new) : NULL;
    if (new && is_as_secure(a, context)) follow(a, new, context);
    else if (old) cancel(a);
  }
}
