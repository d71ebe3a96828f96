#include "handshake.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "../net/clock.h"
#include "../net/descriptor.h"
#include "../net/list.h"

/* The life of a handshake: until the client's first record has come, however
 * slowly, it costs a descriptor. Then its TLS is opened, and each time that
 * something arrives, it is queued for a step. A step may take a millisecond, so
 * only a few are made in a turn of the loop, first come, first served. Once it
 * is done, or has failed, the connection is conn.c's. A client that is too slow
 * is closed at its deadline. If there are too many connections, the oldest
 * handshake makes room for a new one; a front that is almost full has room for
 * some all the same, so that a client has time to complete its own while
 * others are begun. */

enum {
  SHARE_NS = 2 * 1000 * 1000,
  BEYOND_MIN = 16, /* handshakes beyond max_clients */
  REPORTS_MAX = 10, /* in a second */
  HANDSHAKE_RECORD = 22,
  RECORD_MAX = 16384 + 256 /* bytes behind its head */
};

/* -- Failing -------------------------------------------------------------- */

static bool may_report(rover_front_t *front) {
  uint64_t now = net__now();

  if (now >= front->second + 1000) {
    front->second = now;
    front->reported = 0;
  }
  return front->reported++ < REPORTS_MAX;
}

static void report(struct front__conn *conn, int status, const char *why) {
  if (may_report(conn->front))
    front__rejects_add(conn->front, status, "refused", why,
                       front__conn_peer(conn));
}

/* It was refused, or has refused us. */
static void fail(struct front__conn *conn, uint64_t *counter, int status,
                 const char *otherwise) {
  const struct net__tls *tls = conn->near.tls;
  const char *why = tls->type->why(tls);

  (*counter)++;
  report(conn, status, why ? why : otherwise);
  front__conn_turn_away(conn);
}

static void lose(struct front__conn *conn) {
  conn->front->stats.handshakes_aborted++;
  front__conn_cut(conn);
}

/* This machine lacks memory. */
static void give_up(struct front__conn *conn, int status) {
  rover_front_t *front = conn->front;

  if (may_report(front)) front->failing = status;
  front__conn_cut(conn);
}

void front__handshake_expire(struct front__conn *conn) {
  conn->front->stats.handshakes_timed_out++;
  report(conn, UV_ETIMEDOUT, "its TLS handshake was not done in time");
  front__conn_cut(conn);
}

/* -- Going on ------------------------------------------------------------- */

static void finish(struct front__conn *conn) {
  rover_front_stats_t *stats = &conn->front->stats;
  const struct net__tls *tls = conn->near.tls;
  struct net__tls_facts facts = {0};

  tls->type->describe(tls, &facts);
  stats->handshakes++;
  if (facts.resumed) stats->handshakes_resumed++;
  front__conn_secured(conn);
}

static int open_tls(struct front__conn *conn) {
  struct net__tls_context *context = front__tls(conn->front);

  if (conn->near.tls) return 0;
  if (!context) return UV_ECANCELED; /* no longer, since a reload */
  return context->type->open(context, conn->near.fd, NULL, NULL,
                             &conn->near.tls);
}

static void step(struct front__conn *conn) {
  rover_front_stats_t *stats = &conn->front->stats;
  int err = open_tls(conn);

  if (err == 0) err = conn->near.tls->type->handshake(conn->near.tls);
  switch (err) {
    case 0: finish(conn); break;
    case UV_EAGAIN: break;
    case NET_ECERT:
      fail(conn, &stats->handshakes_rejected, err, "a certificate was refused");
      break;
    case UV_EPROTO:
      fail(conn, &stats->handshakes_invalid, err, "it speaks no TLS");
      break;
    case UV_ENOMEM: give_up(conn, err); break;
    default: lose(conn);
  }
}

static void append(struct front__conn *conn) {
  DL_APPEND2(conn->front->queue, conn, queue_prev, queue_next);
  conn->queued = true;
}

/* Whether the first record is there, or something that is none. */
static int look_for_record(int fd) {
  unsigned char head[5];
  int unread = 0;
  ssize_t n;

  do n = recv(fd, head, sizeof head, MSG_PEEK | MSG_DONTWAIT);
  while (n < 0 && errno == EINTR);
  if (n <= 0) return n < 0 ? -errno : 0;
  if (head[0] != HANDSHAKE_RECORD) return 1;
  if (n < (ssize_t)sizeof head) return UV_EAGAIN;
  int length = head[3] << 8 | head[4];
  ioctl(fd, FIONREAD, &unread);
  return length > RECORD_MAX || unread >= (int)sizeof head + length ? 1
                                                                    : UV_EAGAIN;
}

static bool is_clear(const rover_front_t *front) {
  return front->options.tls && front__tls(front)->is_clear;
}

void front__handshake_ready(struct front__conn *conn, int events) {
  int waits = events < 0 ? events : 1;

  if (conn->queued) return;
  if (!conn->near.tls && events >= 0 && !is_clear(conn->front))
    waits = look_for_record(conn->near.fd);
  if (waits == UV_EAGAIN && events & NET_DISCONNECT) waits = 0;
  if (waits == UV_EAGAIN) return;
  if (waits > 0 || conn->near.tls) append(conn);
  else lose(conn);
}

/* Newcomers get no slot for now. Those that have their index were here before
 * that. */
static void turn_all_away(rover_front_t *front) {
  struct front__conn *conn, *next;

  DL_FOREACH_SAFE(front->conns[FRONT_SECURING], conn, next) {
    if (!conn->has_index) front__conn_turn_away(conn);
  }
}

static void turn_away(rover_front_t *front) {
  if (front->drain.refuses || !front__backend_is_up(&front->backend))
    turn_all_away(front);
}

void front__handshakes_run(rover_front_t *front) {
  struct front__conn *conn;

  turn_away(front);
  if (!front->queue) return;
  uint64_t until = uv_hrtime() + SHARE_NS;
  while ((conn = front->queue)) {
    DL_DELETE2(front->queue, conn, queue_prev, queue_next);
    conn->queued = false;
    step(conn);
    if (uv_hrtime() >= until) break;
  }
}

void front__handshakes_settle(rover_front_t *front) {
  turn_away(front);
  /* If it is closed before its event comes, a batch ends, and the next one gets
   * an event. */
  if (front->queue) net__poll_again(&front->poller->epoll, &front->queue->near);
}

/* -- Too many ------------------------------------------------------------- */

/* How many connections there may be, with those in their handshake. */
static uint64_t room(const rover_front_t *front) {
  uint64_t most = front->options.max_clients;
  return most + (most / 4 > BEYOND_MIN ? most / 4 : BEYOND_MIN);
}

bool front__handshakes_make_room(rover_front_t *front) {
  const rover_front_stats_t *s = &front->stats;
  struct front__conn *conn = front->conns[FRONT_SECURING];

  if (s->open + s->held + s->securing < room(front)) return true;
  while (conn && conn->has_index) conn = conn->next;
  if (!conn) return false;
  front->stats.handshakes_displaced++;
  front__conn_cut(conn);
  return true;
}
