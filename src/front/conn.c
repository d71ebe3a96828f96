#include "conn.h"

#include <netinet/tcp.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "../net/clock.h"
#include "../net/descriptor.h"
#include "../net/list.h"
#include "admission.h"
#include "handshake.h"
#include "state.h"

/* The life of a connection: accepted and, with TLS, secured (see handshake.c),
 * it takes the lowest free index, is sent its slot line, and is unused: nothing
 * is read, but its first byte, or its end, is noticed. If it has to begin with
 * a PROXY header, only that is read. Then the front connects to the backend,
 * and a pair (see ../net/pair.c) joins the two; the connection is part of the
 * pair from then on. A drain ends it in order: it is sent a FIN, and closed
 * once the client has ended, too; if the client sends anything before that, it
 * is reset. However it closes, its index is free at once; its memory is freed
 * at the end of a batch of events. */

enum { RETRY_MS = 20, LINE_ROOM = 16 };

static const char late[] = "its PROXY header did not come in time";

static void on_near(struct net__poll *poll, int events);

/* -- Its index ------------------------------------------------------------ */

bool front__conn_take_index(struct front__conn *conn) {
  rover_front_t *front = conn->front;

  if (front__slots_get(&front->slots, &conn->index) < 0) return false;
  if (conn->list) front->stats.securing--;
  conn->has_index = true;
  conn->drain = front->drain.serial;
  front->stats.open++;
  return true;
}

/* -- Ending --------------------------------------------------------------- */

static void leave_drain(struct front__conn *conn) {
  if (front__conn_is_drained(conn)) conn->front->drain.left--;
}

/* Told to end or be cut; or it is done, or stays. */
static void set_leaves(struct front__conn *conn, bool leaves) {
  uint64_t *leaving = &conn->front->drain.leaving;

  if (conn->leaves == leaves) return;
  conn->leaves = leaves;
  if (leaves) ++*leaving;
  else --*leaving;
}

static void free_index(struct front__conn *conn) {
  rover_front_t *front = conn->front;

  front__slots_put(&front->slots, conn->index);
  if (front->index_cb)
    front->index_cb(front, conn->index, 0, NULL, front->index_arg);
  front->stats.open--;
}

/* Frees its index, and counts it. */
static void count_out(struct front__conn *conn, uint64_t *counter) {
  rover_front_t *front = conn->front;

  if (conn->has_index && conn->state != FRONT_ENDING) leave_drain(conn);
  set_leaves(conn, false);
  front__state_leave(conn);
  if (conn->has_index) free_index(conn);
  if (conn->address) front__addresses_drop(&front->addresses, conn->address);
  (*counter)++;
}

static void close_far(struct front__conn *conn) {
  if (conn->far.fd >= 0)
    net__poll_close(&conn->front->poller->epoll, &conn->far);
  conn->far.fd = -1;
}

/* Closes a connection that is not joined. */
static void finish(struct front__conn *conn, uint64_t *counter) {
  count_out(conn, counter);
  if (conn->state < FRONT_ENDING) net__header_free(conn->header);
  close_far(conn);
  net__poll_close(&conn->front->poller->epoll, &conn->near);
  LL_PREPEND(conn->front->closed, conn);
}

void front__conns_bury(rover_front_t *front) {
  struct front__conn *conn;

  while ((conn = front->closed)) {
    front->closed = conn->next;
    free(conn);
  }
}

static void finish_by_reset(struct front__conn *conn, uint64_t *counter) {
  net__reset_on_close(&conn->near);
  finish(conn, counter);
}

/* The client disconnected before it was joined. */
static void finish_gone(struct front__conn *conn) {
  conn->front->stats.probes++;
  finish(conn, &conn->front->stats.closed);
}

/* It cannot be joined. */
static void fail(struct front__conn *conn, int status) {
  rover_front_stats_t *stats = &conn->front->stats;

  front__backend_report(conn->front, status);
  finish_by_reset(conn, conn->has_line ? &stats->failed : &stats->refused);
}

static void set_cuts(struct front__conn *conn) {
  conn->cuts = true;
  set_leaves(conn, true);
}

static void cut_joined(struct front__conn *conn) {
  if (conn->cuts) return;
  set_cuts(conn);
  if (!conn->splits) net__shards_cut_pair(&conn->front->pairs, &conn->pair);
}

void front__conn_cut(struct front__conn *conn) {
  rover_front_stats_t *stats = &conn->front->stats;
  bool began = conn->state > FRONT_SECURING;

  if (conn->state == FRONT_JOINED) cut_joined(conn);
  else finish_by_reset(conn, began ? &stats->closed : &stats->refused);
}

void front__conn_turn_away(struct front__conn *conn) {
  finish(conn, &conn->front->stats.refused);
}

void front__conns_cut(rover_front_t *front) {
  for (int state = FRONT_SECURING; state < FRONT_JOINED; state++)
    while (front->conns[state]) front__conn_cut(front->conns[state]);
  struct front__conn *conn;
  DL_FOREACH(front->conns[FRONT_JOINED], conn) { set_cuts(conn); }
  net__shards_cut(&front->pairs);
}

void front__conn_ended(struct net__pair *pair, enum net__outcome outcome) {
  struct front__conn *conn = (struct front__conn *)pair;
  rover_front_stats_t *stats = &conn->front->stats;

  switch (outcome) {
    case NET_DONE: stats->ended++; break;
    case NET_BROKE: stats->reset++; break;
    case NET_CUT: stats->cut++; break;
  }
  count_out(conn, &stats->closed);
}

/* -- Being ended ---------------------------------------------------------- */

/* Sends a FIN. Returns whether the connection is still there. */
static bool shut(struct front__conn *conn) {
  int err = net__shutdown(&conn->near);

  conn->shuts = err == UV_EAGAIN;
  if (err == 0 || conn->shuts) return true;
  front__conn_cut(conn);
  return false;
}

/* Nothing that the client sends from now on is forwarded. */
static void begin_ending(struct front__conn *conn) {
  int events = NET_READABLE | (conn->near.tls ? NET_WRITABLE : 0);
  conn->pair.unsent[NET_NEAR] = 0;
  leave_drain(conn);
  set_leaves(conn, false);
  front__state_move(conn, FRONT_ENDING);
  if (conn->cuts ||
      net__poll_set(&conn->front->poller->epoll, &conn->near, events) < 0)
    front__conn_cut(conn);
  else shut(conn);
}

void front__conn_end_joined(struct front__conn *conn, uint64_t since,
                            enum net__side spoke) {
  if (conn->leaves) return;
  conn->splits = true;
  set_leaves(conn, true);
  net__shards_split(&conn->front->pairs, &conn->pair, since, spoke);
}

/* Something is in flight. */
static void stay(struct front__conn *conn) {
  if (conn->cuts) net__shards_cut_pair(&conn->front->pairs, &conn->pair);
  else set_leaves(conn, false);
}

void front__conn_split(struct net__pair *pair, struct net__poll *near) {
  struct front__conn *conn = (struct front__conn *)pair;
  rover_front_t *front = conn->front;

  conn->splits = false;
  if (!near) {
    stay(conn);
    return;
  }
  net__poll_move(&front->poller->epoll, near, &conn->near, on_near);
  front->stats.drained++;
  begin_ending(conn);
}

/* The client has ended, too, or has sent something that is not forwarded: a
 * reset tells it so. */
static void on_ending(struct front__conn *conn, int events) {
  if (conn->shuts && events >= 0 && !shut(conn)) return;
  int waits = events < 0 ? events : net__peek(&conn->near);

  if (waits == UV_EAGAIN) return;
  if (waits == 0) finish(conn, &conn->front->stats.closed);
  else front__conn_cut(conn);
}

/* As long as bytes leave this machine, it gets the same time again. */
static void expire_ending(struct front__conn *conn) {
  int unsent = net__fd_unsent(conn->near.fd);

  if (unsent == conn->pair.unsent[NET_NEAR]) {
    front__conn_cut(conn);
    return;
  }
  conn->pair.unsent[NET_NEAR] = unsent;
  front__state_move(conn, FRONT_ENDING);
}

/* -- The slot line -------------------------------------------------------- */

/* Writes digits, CR and LF; returns the length. */
static size_t write_line(char line[LINE_ROOM], uint32_t number) {
  char digits[LINE_ROOM];
  size_t count = 0, length = 0;

  do digits[count++] = (char)('0' + number % 10);
  while (number /= 10);
  while (count > 0) line[length++] = digits[--count];
  line[length++] = '\r';
  line[length++] = '\n';
  return length;
}

/* The send buffer of a new connection has room for the line. */
static bool send_line(struct front__conn *conn) {
  char line[LINE_ROOM];
  double weight = conn->front->options.weight;
  size_t length = write_line(line, front__slot_number(conn->index, weight));

  ssize_t n = net__send(&conn->near, line, length, MSG_DONTWAIT);
  conn->has_line = n == (ssize_t)length;
  return conn->has_line;
}

/* -- Joining -------------------------------------------------------------- */

const struct sockaddr *front__conn_peer(const struct front__conn *conn) {
  return conn->is_unix ? NULL : &conn->peer.any;
}

/* The header that the backend is sent. Errors: UV_ENOMEM. */
static int make_header(const struct front__conn *conn, char **header,
                       size_t *length) {
  int version = conn->front->options.send_proxy;

  *header = NULL;
  if (version == 0) return 0;
  *header = net__header_make(conn->header, &conn->near, front__conn_peer(conn),
                             version, length);
  return *header ? 0 : UV_ENOMEM;
}

static int open_pair(struct front__conn *conn) {
  rover_front_t *front = conn->front;
  struct net__header *own = conn->header; /* the pair takes its place */
  bool far_is_unix = front->backend.name.any.sa_family == AF_UNIX;
  char *header;
  size_t length;

  int err = make_header(conn, &header, &length);
  if (err == 0)
    err = net__shards_open(
        &front->pairs, &conn->pair,
        &(struct net__end){&conn->near, conn->is_unix, conn->near_again},
        &(struct net__end){&conn->far, far_is_unix, conn->far_again});
  if (err < 0) {
    free(header);
    return err;
  }
  if (header) net__pair_begin_with(&conn->pair, header, length);
  net__header_free(own);
  conn->far.fd = -1; /* the pair's */
  return 0;
}

static void join(struct front__conn *conn) {
  rover_front_t *front = conn->front;

  front__backend_report(front, 0);
  if (!conn->has_line && !send_line(conn)) {
    finish_by_reset(conn, &front->stats.failed);
    return;
  }
  /* From here on, a client may be slow to read. */
  if (!conn->is_unix)
    net__fd_set(conn->near.fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 0);
  int err = open_pair(conn);
  if (err < 0) {
    fail(conn, err);
    return;
  }
  front__state_move(conn, FRONT_JOINED);
  front->stats.joined++;
  net__shards_start(&front->pairs, &conn->pair);
}

static void on_far(struct net__poll *poll, int events) {
  struct front__conn *conn =
      (struct front__conn *)((char *)poll - offsetof(struct front__conn, far));
  int err = front__backend_connected(conn->front, poll->fd);

  if (err == 0 && events < 0) err = events;
  if (events & ~NET_WRITABLE) conn->far_again = true;
  if (err < 0) fail(conn, err);
  else if (events & NET_WRITABLE) join(conn);
}

/* The queue of a Unix socket is full, and nothing reports when it has room. */
static void retry_soon(rover_front_t *front) {
  if (front->retry < NET_NEVER) return;
  front->retry = net__now() + RETRY_MS;
  net__alarm_set(&front->alarm, front->retry);
}

static void connect_far(struct front__conn *conn) {
  rover_front_t *front = conn->front;
  bool pending;

  int fd = front__backend_connect(front, &pending);
  if (fd == UV_EAGAIN) {
    retry_soon(front);
    return;
  }
  if (fd < 0) {
    fail(conn, fd);
    return;
  }
  conn->far = (struct net__poll){.fd = fd, .ready = on_far, .changes = pending};
  int err = pending ? net__poll_set(&front->poller->epoll, &conn->far,
                                    NET_READABLE | NET_WRITABLE)
                    : 0;
  if (err < 0) fail(conn, err);
  else if (!pending) join(conn);
}

static void begin_connecting(struct front__conn *conn) {
  front__state_move(conn, FRONT_CONNECTING);
  connect_far(conn);
}

/* -- Its PROXY header ----------------------------------------------------- */

static void reject(struct front__conn *conn, int status, const char *reason) {
  front__admission_reject(conn->front, status, reason, &conn->header->peer.any);
  finish_by_reset(conn, &conn->front->stats.closed);
}

/* Connects even if nothing follows the header: the backend may have to speak
 * first. */
static void read_header(struct front__conn *conn) {
  const char *why = NULL;
  int err = net__header_read(conn->header, &conn->near, &why);

  switch (err) {
    case 0: begin_connecting(conn); break;
    case UV_EAGAIN: break;
    case UV_EPROTO: reject(conn, err, why); break;
    case UV_ENOMEM: fail(conn, err); break;
    default: finish(conn, &conn->front->stats.closed);
  }
}

static void begin_header(struct front__conn *conn) {
  front__state_move(conn, FRONT_HEADER);
  int err = net__header_new(&conn->header, front__conn_peer(conn));
  if (err < 0) fail(conn, err);
  else if (front__trusts(conn->front, &conn->header->peer.any))
    read_header(conn);
  else reject(conn, UV_EACCES, FRONT_UNTRUSTED); /* no longer, since a reload */
}

/* The client has sent something, or has been there long enough. */
static void begin(struct front__conn *conn) {
  if (conn->front->options.accept_proxy) begin_header(conn);
  else begin_connecting(conn);
}

/* -- Unused --------------------------------------------------------------- */

void front__conn_end(struct front__conn *conn) {
  int waits = net__peek(&conn->near);

  if (waits == UV_EAGAIN) begin_ending(conn);
  else if (waits > 0) begin(conn);
  else finish_gone(conn);
}

static void on_unused(struct front__conn *conn, int events) {
  int waits = events;

  /* What is readable, and no end, is data; but under TLS it may be anything. */
  if (events >= 0 && (conn->near.tls || events != NET_READABLE))
    waits = net__peek(&conn->near);
  if (waits > 0) begin(conn);
  else if (waits != UV_EAGAIN) finish_gone(conn);
}

/* A client that has only ended its side may have sent a request before that,
 * and a header counts as one. */
static void on_connecting(struct front__conn *conn, int events) {
  bool may_end = conn->near.tls || events & NET_DISCONNECT;
  int waits = events < 0 ? events : 1;

  if (waits > 0 && may_end && !conn->header) waits = net__peek(&conn->near);
  if (waits <= 0 && waits != UV_EAGAIN) finish_gone(conn);
}

static void on_near(struct net__poll *poll, int events) {
  struct front__conn *conn =
      (struct front__conn *)((char *)poll - offsetof(struct front__conn, near));

  if (events & (NET_DISCONNECT | NET_PRIORITIZED)) conn->near_again = true;
  switch (conn->state) {
    case FRONT_SECURING: front__handshake_ready(conn, events); break;
    case FRONT_UNUSED: on_unused(conn, events); break;
    case FRONT_HEADER: read_header(conn); break; /* an error, too */
    case FRONT_CONNECTING: on_connecting(conn, events); break;
    default: on_ending(conn, events);
  }
}

/* -- Deadlines ------------------------------------------------------------ */

uint64_t front__conns_due(const rover_front_t *front) {
  uint64_t due = front->retry;

  for (int state = FRONT_SECURING; state < FRONT_JOINED; state++)
    due = net__sooner(due, front__state_due(front, state));
  return due;
}

/* The client has kept it for kept_after, or left it idle for too long. */
static void expire_unused(struct front__conn *conn) {
  const rover_front_options_t *o = &conn->front->options;
  bool kept =
      o->connect_on == ROVER_FRONT_ON_KEPT && o->kept_after <= o->idle_timeout;
  int waits = kept ? net__peek(&conn->near) : 0;

  if (!kept) front__conn_end(conn);
  else if (waits > 0 || waits == UV_EAGAIN) begin(conn);
  else finish_gone(conn);
}

static void expire_header(struct front__conn *conn) {
  read_header(conn);
  if (conn->list == &conn->front->conns[FRONT_HEADER])
    reject(conn, UV_ETIMEDOUT, late);
}

static void retry(rover_front_t *front) {
  struct front__conn *conn, *next;

  front->retry = NET_NEVER;
  DL_FOREACH_SAFE(front->conns[FRONT_CONNECTING], conn, next) {
    if (conn->far.fd < 0) connect_far(conn);
  }
}

void front__conns_expire(rover_front_t *front, uint64_t polled, uint64_t now) {
  if (front->retry <= now) retry(front);
  while (front__state_due(front, FRONT_SECURING) <= polled)
    front__handshake_expire(front->conns[FRONT_SECURING]);
  while (front__state_due(front, FRONT_UNUSED) <= polled)
    expire_unused(front->conns[FRONT_UNUSED]);
  while (front__state_due(front, FRONT_HEADER) <= polled)
    expire_header(front->conns[FRONT_HEADER]);
  while (front__state_due(front, FRONT_CONNECTING) <= polled) {
    struct front__conn *first = front->conns[FRONT_CONNECTING];
    fail(first, first->far.fd < 0 ? UV_EAGAIN : UV_ETIMEDOUT);
  }
  while (front__state_due(front, FRONT_ENDING) <= polled)
    expire_ending(front->conns[FRONT_ENDING]);
}

/* -- Accepting ------------------------------------------------------------ */

static struct front__conn *conn_new(rover_front_t *front, int fd) {
  struct front__conn *conn = calloc(1, sizeof *conn);

  if (!conn) return NULL;
  conn->front = front;
  if (!front->options.tls && !front__conn_take_index(conn)) {
    free(conn);
    return NULL;
  }
  conn->near = (struct net__poll){.fd = fd, .ready = on_near, .changes = true};
  conn->far.fd = -1;
  front->stats.accepted++;
  return conn;
}

/* Enters its first state with an index. */
static void greet(struct front__conn *conn) {
  rover_front_t *front = conn->front;
  bool connects = front->options.connect_on == ROVER_FRONT_ON_SLOT;

  front__state_move(conn, connects ? FRONT_CONNECTING : FRONT_UNUSED);
  if ((!connects && !send_line(conn)) ||
      net__poll_set(&front->poller->epoll, &conn->near, NET_READABLE) < 0)
    finish_by_reset(conn, &front->stats.failed);
  else if (connects) connect_far(conn);
}

/* The client may have sent something behind its part of the handshake, which
 * is not reported again. */
void front__conn_secured(struct front__conn *conn) {
  if (!conn->has_index &&
      (!front__gives_slots(conn->front) || !front__conn_take_index(conn))) {
    front__conn_turn_away(conn);
    return;
  }
  greet(conn);
  if (conn->list && conn->state == FRONT_UNUSED) on_unused(conn, 0);
}

int front__conn_new(rover_front_t *front, int fd,
                    const union net__address *peer) {
  struct front__address *address = NULL;
  struct front__conn *conn = NULL;
  bool admitted = front__admits(front, fd, peer, &address) &&
                  front__handshakes_make_room(front);

  if (admitted) conn = conn_new(front, fd);
  if (!conn) {
    if (address) front__addresses_drop(&front->addresses, address);
    front__refuse(front, fd);
    return admitted ? UV_ENOMEM : 0;
  }
  conn->address = address;
  conn->is_unix = !peer;
  if (peer) conn->peer = *peer;
  if (!front->options.tls) {
    greet(conn);
    return 0;
  }
  front__state_enter(conn, FRONT_SECURING);
  if (net__poll_set(&front->poller->epoll, &conn->near,
                    NET_READABLE | NET_WRITABLE) < 0)
    front__conn_cut(conn);
  return 0;
}
