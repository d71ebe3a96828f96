#include "pair.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "descriptor.h"
#include "list.h"
#include "transport.h"

/* The life of a pair: it takes over two connections, and two flows copy what
 * comes from one end to the other. When one side ends, its end is passed on:
 * the pair is half closed, and the other side may go on. Once both flows are
 * done, both ends are closed. If an end breaks, a peer vanishes, or a deadline
 * expires, both are closed at once, with a reset unless everything was sent to
 * that end. Then the owner is notified, and the pair is freed once no call can
 * refer to it any more. */

static struct net__pair *pair_of(struct net__poll *end, int side) {
  return (struct net__pair *)(end - side); /* `ends` is the first field */
}

/* -- Deadlines ------------------------------------------------------------ */

/* Each list is sorted by when its pairs were put there, so only its first has to
 * be checked. A pair whose bytes move goes to the end only once it has been in
 * its place for a while: the pairs beside it may be in no cache. So it is due that
 * much later than the last of these may demand. */
static uint64_t slack_of(uint64_t timeout) {
  enum { PART = 16, MOST = 1000 };
  return net__sooner(timeout / PART, MOST);
}

static uint64_t timeout_of(const struct net__pairs *pairs,
                           struct net__pair *const *list) {
  uint64_t timeout = pairs->idle_timeout;
  return list == &pairs->half_closed
             ? net__sooner(timeout, pairs->half_close_timeout)
             : timeout;
}

static uint64_t since_of(const struct net__pair *pair) {
  return atomic_load_explicit(&pair->since, memory_order_relaxed);
}

static uint64_t due_of(const struct net__pairs *pairs,
                       struct net__pair *const *list) {
  if (!*list) return NET_NEVER;
  uint64_t timeout = timeout_of(pairs, list);
  return net__after((*list)->listed, net__after(timeout, slack_of(timeout)));
}

static void set_since(struct net__pair *pair, uint64_t now) {
  atomic_store_explicit(&pair->since, now, memory_order_relaxed);
}

static void enlist(struct net__pair *pair, struct net__pair **list) {
  struct net__pairs *pairs = pair->pairs;

  DL_APPEND(*list, pair);
  pair->list = list;
  pair->listed = net__now();
  set_since(pair, pair->listed);
  if (*list == pair) pairs->owner->due(pairs->data, due_of(pairs, list));
}

/* Restarts the deadline. */
static void move(struct net__pair *pair, struct net__pair **list) {
  DL_DELETE(*pair->list, pair);
  enlist(pair, list);
}

/* Bytes have moved, or one side has ended. */
static void touch(struct net__pair *pair, struct net__pair **list) {
  pair->unsent[NET_NEAR] = pair->unsent[NET_FAR] = 0;
  uint64_t now = net__now();
  bool is_late = now - pair->listed > slack_of(timeout_of(pair->pairs, list));
  if (pair->list != list || is_late) move(pair, list);
  else set_since(pair, now);
}

/* A peer has bytes to acknowledge. */
static void check_soon(struct net__pairs *pairs) {
  if (pairs->check > 0) return;
  pairs->check = net__now() + NET__CHECK_MS;
  pairs->owner->due(pairs->data, pairs->check);
}

/* -- Ending --------------------------------------------------------------- */

bool net__pair_has_ended(const struct net__pair *pair) {
  return pair->list == &pair->pairs->ended;
}

/* A side that was sent everything, and the end, is not reset: it may still be
 * reading, and a reset would discard what the kernel has not sent yet. */
static void finish(struct net__pair *pair, enum net__outcome outcome) {
  struct net__pairs *pairs = pair->pairs;

  for (int side = NET_NEAR; side <= NET_FAR; side++) {
    struct net__poll *poll = &pair->ends[side];
    net__flow_close(&pair->flows[side], pairs->stock);
    if (outcome != NET_DONE && pair->flows[!side].state != FLOW_DONE)
      net__reset_on_close(poll);
    net__poll_close(pairs->epoll, poll);
  }
  DL_DELETE(*pair->list, pair);
  pair->list = &pairs->ended;
  LL_PREPEND(pairs->ended, pair);
  pairs->owner->ended(pairs->data, pair, outcome);
}

void net__pair_cut(struct net__pair *pair) { finish(pair, NET_CUT); }

void net__pairs_cut(struct net__pairs *pairs) {
  while (pairs->open) net__pair_cut(pairs->open);
  while (pairs->half_closed) net__pair_cut(pairs->half_closed);
}

/* -- Copying -------------------------------------------------------------- */

/* Only one thread adds to it. */
static void add_to(_Atomic uint64_t *count, uint64_t more) {
  uint64_t before = atomic_load_explicit(count, memory_order_relaxed);
  atomic_store_explicit(count, before + more, memory_order_relaxed);
}

static int copy(struct net__pair *pair, int side, size_t *copied) {
  struct net__pairs *pairs = pair->pairs;
  struct net__poll *to = &pair->ends[!side];
  int err = net__flow_run(&pair->flows[side], pairs->stock, &pair->ends[side],
                          to, copied);
  if (*copied > 0) {
    add_to(&pairs->taken[side], *copied);
    atomic_store_explicit(&pair->spoke, (signed char)side,
                          memory_order_relaxed);
  }
  if (to->peer == PEER_SETTLED) to->peer = PEER_OWES;
  check_soon(pairs);
  return err;
}

/* That side broke. What it sent before can still be read: a server may have
 * answered, then reset the connection as it did not want the rest. */
static void break_off(struct net__pair *pair, int side) {
  struct net__flow *flow = &pair->flows[side];
  size_t copied;

  if (flow->state != FLOW_DONE) {
    copy(pair, side, &copied);
    flow->state = FLOW_READS; /* the next read sees the reset, as an end */
  }
  finish(pair, NET_BROKE);
}

/* Passes on the end of that side. If TLS has no room to say so yet, its flow
 * waits for that, with nothing to give out. */
static int pass_on(struct net__pair *pair, int side) {
  const struct net__poll *to = &pair->ends[!side];
  bool last = pair->flows[!side].state == FLOW_DONE;

  if (last && !to->tls) return 0; /* closing says it */
  int err = net__shutdown(to);
  if (err == -EAGAIN) pair->flows[side].state = FLOW_WRITES;
  return last || err == -EAGAIN ? 0 : err;
}

/* Copies what comes from that side, and passes on its end. */
static void run(struct net__pair *pair, int side) {
  const struct net__flow *flows = pair->flows;
  size_t copied;

  int err = copy(pair, side, &copied);
  if (err == 0 && flows[side].state == FLOW_DONE) err = pass_on(pair, side);
  bool done = flows[side].state == FLOW_DONE;
  if (err < 0) break_off(pair, !side);
  else if (done && flows[!side].state == FLOW_DONE) finish(pair, NET_DONE);
  else if (done) touch(pair, &pair->pairs->half_closed);
  else if (copied > 0) touch(pair, pair->list);
}

/* Polls both ends for what the flows wait for. One that has yielded is reported
 * again only if there is something to read. If it asked for that each time, room
 * to write, which there mostly is, would be reported without end. */
static void watch(struct net__pair *pair) {
  struct net__epoll *epoll = pair->pairs->epoll;

  for (int side = NET_NEAR; side <= NET_FAR; side++) {
    int from = pair->flows[side].state, to = pair->flows[!side].state;
    int events = 0;
    if (from == FLOW_READS || from == FLOW_YIELDS) events |= NET_READABLE;
    if (to == FLOW_WRITES) events |= NET_WRITABLE;
    net__poll_set(epoll, &pair->ends[side], events);
    if (from != FLOW_YIELDS) continue;
    net__poll_again(epoll, &pair->ends[side]);
    pair->flows[side].state = FLOW_READS;
  }
}

static void on_ready(struct net__pair *pair, int side, int events) {
  struct net__flow *from = &pair->flows[side], *to = &pair->flows[!side];
  struct net__tls *tls = pair->ends[side].tls;

  if (events < 0) {
    break_off(pair, side);
    return;
  }
  if (events & NET_PRIORITIZED) from->wary = true;
  if (tls) {
    tls->short_is_last = !from->wary && !(events & NET_DISCONNECT);
    events = NET_READABLE | NET_WRITABLE; /* an end comes inside */
  } else if (events & NET_DISCONNECT) {
    from->ending = true;
  }
  if (events & NET_READABLE && from->state != FLOW_WRITES &&
      from->state != FLOW_DONE)
    run(pair, side);
  if (events & NET_WRITABLE && !net__pair_has_ended(pair) &&
      to->state == FLOW_WRITES)
    run(pair, !side);
  if (!net__pair_has_ended(pair)) watch(pair);
}

static void on_near(struct net__poll *end, int events) {
  on_ready(pair_of(end, NET_NEAR), NET_NEAR, events);
}

static void on_far(struct net__poll *end, int events) {
  on_ready(pair_of(end, NET_FAR), NET_FAR, events);
}

/* -- What is due ---------------------------------------------------------- */

/* Copies what has not been reported yet; returns whether there was any. */
static bool catch_up(struct net__pair *pair) {
  uint64_t since = since_of(pair);

  for (int side = NET_NEAR; side <= NET_FAR && !net__pair_has_ended(pair);
       side++)
    if (pair->flows[side].state != FLOW_DONE) run(pair, side);
  if (!net__pair_has_ended(pair)) watch(pair);
  return net__pair_has_ended(pair) || since_of(pair) != since;
}

/* Whether bytes have left the kernel since the last check. The first check
 * after bytes were copied sees a change if any are unsent. */
static bool has_left(struct net__pair *pair) {
  bool moved = false;

  for (int side = NET_NEAR; side <= NET_FAR; side++) {
    int unsent = net__fd_unsent(pair->ends[side].fd);
    if (unsent != pair->unsent[side]) moved = true;
    pair->unsent[side] = unsent;
  }
  return moved;
}

/* If the timeout was longer when it was put there, bytes may have moved since; it
 * then gets the same time again, too. */
static void expire(struct net__pair *pair, uint64_t polled) {
  if (catch_up(pair)) return;
  uint64_t timeout = timeout_of(pair->pairs, pair->list);
  bool is_early = net__after(since_of(pair), timeout) > polled;
  if (is_early || has_left(pair)) move(pair, pair->list);
  else net__pair_cut(pair);
}

/* Returns whether peers have bytes to acknowledge. A peer that has vanished
 * ends the pair. */
static bool check(struct net__pair *pair) {
  bool more = false;

  for (int side = NET_NEAR; side <= NET_FAR; side++) {
    struct net__poll *end = &pair->ends[side];
    if (end->peer == PEER_SETTLED) continue;
    end->peer = (unsigned char)net__fd_check_peer(
        end->fd, end->peer, pair->pairs->dead_peer_timeout);
    if (end->peer == PEER_GONE) {
      break_off(pair, side);
      return false;
    }
    more |= end->peer != PEER_SETTLED;
  }
  return more;
}

static void check_all(struct net__pairs *pairs, struct net__pair *list) {
  struct net__pair *pair, *next;
  DL_FOREACH_SAFE(list, pair, next) {
    if (check(pair)) check_soon(pairs);
  }
}

uint64_t net__pairs_due(const struct net__pairs *pairs) {
  uint64_t due = net__sooner(due_of(pairs, &pairs->open),
                             due_of(pairs, &pairs->half_closed));
  return pairs->check > 0 ? net__sooner(due, pairs->check) : due;
}

void net__pairs_expire(struct net__pairs *pairs, uint64_t polled,
                       uint64_t now) {
  while (due_of(pairs, &pairs->open) <= polled) expire(pairs->open, polled);
  while (due_of(pairs, &pairs->half_closed) <= polled)
    expire(pairs->half_closed, polled);
  if (pairs->check > 0 && pairs->check <= now) {
    pairs->check = 0;
    check_all(pairs, pairs->open);
    check_all(pairs, pairs->half_closed);
  }
}

/* -- Life ----------------------------------------------------------------- */

static struct net__flow flow_from(bool is_unix) {
  /* A read from a Unix socket stops after a passed descriptor. */
  return (struct net__flow){.splices = !is_unix, .wary = is_unix};
}

/* Reports changes from now on. */
static int add(struct net__pairs *pairs, struct net__poll *poll) {
  bool changes = poll->changes;
  int events = NET_READABLE | (poll->tls ? NET_WRITABLE : 0);

  poll->changes = true;
  int err = net__poll_set(pairs->epoll, poll, events);
  if (err < 0) poll->changes = changes;
  else if (poll->tls) poll->tls->short_is_last = false; /* not known yet */
  return err;
}

static void init(struct net__pair *pair, struct net__pairs *pairs,
                 const struct net__end *near, const struct net__end *far) {
  *pair = (struct net__pair){
      .flows = {flow_from(near->is_unix), flow_from(far->is_unix)},
      .pairs = pairs,
      .spoke = NET_NOBODY,
  };
}

/* Takes the place of what is there. */
static void take(struct net__pair *pair, enum net__side side,
                 const struct net__end *end,
                 void (*ready)(struct net__poll *poll, int events)) {
  struct net__epoll *epoll = pair->pairs->epoll;

  net__poll_move(epoll, end->poll, &pair->ends[side], ready);
  if (end->again) net__poll_again(epoll, &pair->ends[side]);
}

int net__pair_open(struct net__pairs *pairs, struct net__pair *pair,
                   const struct net__end *near, const struct net__end *far) {
  bool is_new = !far->poll->is_set;

  int err = add(pairs, far->poll);
  if (err < 0) return err;
  err = add(pairs, near->poll);
  if (err < 0) {
    if (is_new) net__poll_leave(pairs->epoll, far->poll);
    return err;
  }
  init(pair, pairs, near, far);
  take(pair, NET_NEAR, near, on_near);
  take(pair, NET_FAR, far, on_far);
  enlist(pair, &pairs->open);
  return 0;
}

static void leave(struct net__pair *pair, enum net__side side,
                  struct net__epoll *epoll, struct net__poll *poll,
                  void (*ready)(struct net__poll *poll, int events)) {
  if (poll->is_set) net__poll_leave(epoll, poll);
  net__poll_move(epoll, poll, &pair->ends[side], ready);
}

void net__pair_prepare(struct net__pairs *pairs, struct net__pair *pair,
                       struct net__epoll *epoll, const struct net__end *near,
                       const struct net__end *far) {
  init(pair, pairs, near, far);
  leave(pair, NET_NEAR, epoll, near->poll, on_near);
  leave(pair, NET_FAR, epoll, far->poll, on_far);
}

/* What the kernel has is reported once an end is polled. */
void net__pair_begin(struct net__pair *pair) {
  struct net__pairs *pairs = pair->pairs;

  enlist(pair, &pairs->open);
  pair->error = add(pairs, &pair->ends[NET_FAR]);
  if (pair->error == 0) pair->error = add(pairs, &pair->ends[NET_NEAR]);
  if (pair->error < 0) finish(pair, NET_BROKE);
  else if (pair->is_broken) break_off(pair, NET_FAR);
  else net__pair_start(pair);
}

/* Bulk waits for the pipes of the other thread's stock. An end is kept for that
 * thread, too, and so are bytes that the far side does not accept yet. To decrypt
 * is the thread's. */
size_t net__pair_run_ahead(struct net__pair *pair, struct net__stock *stock) {
  struct net__flow *flow = &pair->flows[NET_NEAR];
  const struct net__poll *near = &pair->ends[NET_NEAR];
  const struct net__poll *far = &pair->ends[NET_FAR];
  bool splices = flow->splices;
  size_t copied;

  if (near->tls) return 0;
  flow->splices = false;
  int err = net__flow_run(flow, stock, near, far, &copied);
  flow->splices = splices;
  if (err < 0) net__flow_close(flow, stock);
  pair->is_broken = err < 0;
  pair->is_ahead = err == 0 && flow->state == FLOW_READS;
  if (copied > 0) pair->spoke = NET_NEAR;
  return copied;
}

void net__pair_begin_with(struct net__pair *pair, char *bytes, size_t length) {
  struct net__flow *flow = &pair->flows[NET_NEAR];
  flow->bytes = bytes;
  flow->start = 0;
  flow->length = (uint32_t)length;
  flow->leads = true;
}

/* What was sent before, such as a slot line, may not be acknowledged yet. */
void net__pair_start(struct net__pair *pair) {
  pair->ends[NET_NEAR].peer = pair->ends[NET_FAR].peer = PEER_OWES;
  check_soon(pair->pairs);
  if (!pair->is_ahead) run(pair, NET_NEAR);
  if (!net__pair_has_ended(pair) && net__holds(&pair->ends[NET_FAR]))
    run(pair, NET_FAR);
  if (!net__pair_has_ended(pair)) watch(pair);
}

/* Takes nothing from the kernel: TLS would hold it, and nothing report it. */
static bool is_at_rest(const struct net__pair *pair, int side) {
  const struct net__poll *end = &pair->ends[side];
  return pair->flows[side].state == FLOW_READS && !net__holds(end) &&
         net__fd_peek(end->fd) == -EAGAIN;
}

bool net__pair_split(struct net__pair *pair, uint64_t since,
                     enum net__side spoke) {
  if (since_of(pair) != since || pair->spoke != spoke) return false;
  if (!is_at_rest(pair, NET_FAR) || !is_at_rest(pair, NET_NEAR)) return false;
  DL_DELETE(*pair->list, pair);
  net__poll_close(pair->pairs->epoll, &pair->ends[NET_FAR]);
  return true;
}

bool net__pairs_are_over(const struct net__pairs *pairs) {
  return !pairs->open && !pairs->half_closed;
}

void net__pairs_bury(struct net__pairs *pairs) {
  struct net__pair *pair;

  while ((pair = pairs->ended)) {
    pairs->ended = pair->next;
    free(pair);
  }
}
