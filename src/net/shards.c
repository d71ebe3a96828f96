#include "shards.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "clock.h"
#include "list.h"
#include "transport.h"
#include "workers.h"

/* An owner's pairs run on its loop, by the epoll that its other connections are
 * polled with; or, with workers, in these: a shard has those in one worker.
 *
 * What happens to a pair is decided on the loop, and done by the worker. A
 * pair's letter takes it to its worker, and comes back once it has ended; its
 * request goes there and comes back as the answer. The pair is freed once both
 * are back. A shard's orders do the same for all of its pairs. As letters arrive
 * in order, once a shard's last orders are back, nothing refers to it. */

struct net__shard {
  struct net__pairs pairs; /* the worker's */
  struct net__shards *shards;
  struct net__workers_slot *slot;
  struct net__letter orders;
  bool away;   /* the orders: the worker has them, and the next three fields */
  bool cuts;   /* all pairs */
  bool closes; /* is left by the worker */
  uint64_t idle, half_close, dead_peer;
  pthread_mutex_t last; /* held by the worker while it posts its last letter */
  bool again;           /* orders have changed meanwhile */
  bool wants_cut;       /* in these */
};

enum asked { NOTHING, SPLIT, CUT };

enum { MUTE_MS = 1000 };

static const char not_started[] =
    "cannot start a worker thread, so that others or the loop copy its share";
static const char too_many_threads[] =
    "cannot start a worker thread, so that others or the loop copy its share; "
    "raise the limit of processes (ulimit -u, or TasksMax= of a unit)";
static const char not_polled[] =
    "cannot poll a connection in a worker thread, so that it was reset";
static const char too_many_polled[] =
    "cannot poll a connection in a worker thread, so that it was reset; raise "
    "fs.epoll.max_user_watches";

#define OF(pointer, type, field)                                               \
  ((type *)((char *)(pointer)-offsetof(type, field)))

static struct net__shard *shard_of(const struct net__pair *pair) {
  return pair->pairs->data;
}

/* -- In workers ----------------------------------------------------------- */

static void post(struct net__shards *shards, struct net__letter *letter,
                 void (*open)(struct net__letter *letter)) {
  letter->open = open;
  if (!net__mail_post(&shards->mail, letter)) return;
  /* If the bell still rings, libuv does nothing. It must not find that before
   * the letter is there, or the loop may have looked in between. */
  atomic_thread_fence(memory_order_seq_cst);
  uv_async_send(&shards->bell);
}

static void on_over(struct net__letter *letter);
static void on_answer(struct net__letter *letter);
static void on_obeyed(struct net__letter *letter);

static void on_worker_due(void *shard, uint64_t due) {
  net__worker_due(&((struct net__shard *)shard)->slot->worker, due);
}

static void on_worker_ended(void *shard, struct net__pair *pair,
                            enum net__outcome outcome) {
  (void)shard;
  pair->outcome = (unsigned char)outcome;
}

static void on_worker_batch_end(void *data) {
  struct net__shard *shard = data;
  struct net__pair *pair;

  while ((pair = shard->pairs.ended)) {
    LL_DELETE(shard->pairs.ended, pair);
    post(shard->shards, &pair->letter, on_over);
  }
}

static void on_begin(struct net__letter *letter) {
  net__pair_begin(OF(letter, struct net__pair, letter));
}

/* Its near end is no longer polled. It is ended here, not by the owner: while
 * the loop is busy, whoever is there must not go on asking. */
static bool split(struct net__pair *pair) {
  if (!net__pair_split(pair, pair->seen, (enum net__side)pair->seen_spoke))
    return false;
  net__poll_leave(pair->pairs->epoll, &pair->ends[NET_NEAR]);
  net__shutdown(&pair->ends[NET_NEAR]); /* the owner tries again */
  return true;
}

/* The worker's last word: see free_shard(). */
static void post_last(struct net__shard *shard) {
  pthread_mutex_lock(&shard->last);
  post(shard->shards, &shard->orders, on_obeyed);
  pthread_mutex_unlock(&shard->last);
}

static void on_request(struct net__letter *letter) {
  struct net__pair *pair = OF(letter, struct net__pair, request);

  if (!net__pair_has_ended(pair)) {
    if (pair->asked == CUT) net__pair_cut(pair);
    else pair->is_split = split(pair);
  }
  post(shard_of(pair)->shards, letter, on_answer);
}

static void on_orders(struct net__letter *letter) {
  struct net__shard *shard = OF(letter, struct net__shard, orders);
  struct net__worker *worker = &shard->slot->worker;
  struct net__pairs *pairs = &shard->pairs;

  if (!pairs->prev) net__worker_add(worker, pairs);
  pairs->idle_timeout = shard->idle;
  pairs->half_close_timeout = shard->half_close;
  pairs->dead_peer_timeout = shard->dead_peer;
  net__worker_due(worker, net__pairs_due(pairs));
  if (shard->cuts) net__pairs_cut(pairs);
  if (!shard->closes) {
    post(shard->shards, letter, on_obeyed);
    return;
  }
  net__worker_drop(worker, pairs);
  post_last(shard);
}

static const struct net__pairs_owner shard_owner = {
    on_worker_due, on_worker_ended, on_worker_batch_end};

/* -- On the loop ---------------------------------------------------------- */

static void fail(struct net__shards *shards, int status, const char *at) {
  shards->failing = status;
  shards->failing_at = at;
  shards->owner->due(shards->data, net__now()); /* to be told */
}

/* What has changed since the worker got them. */
static void send_orders(struct net__shard *shard) {
  const struct net__pairs *own = &shard->shards->pairs;

  shard->again = shard->away;
  if (shard->away) return;
  shard->away = true;
  shard->cuts = shard->wants_cut;
  shard->wants_cut = false;
  shard->idle = own->idle_timeout;
  shard->half_close = own->half_close_timeout;
  shard->dead_peer = own->dead_peer_timeout;
  shard->closes = shard->shards->closed != NULL;
  shard->orders.open = on_orders;
  net__worker_post(&shard->slot->worker, &shard->orders);
}

static void ask(struct net__pair *pair, enum asked asked) {
  if (pair->asked != NOTHING) {
    if (pair->asked < asked) pair->wanted = (unsigned char)asked;
    return;
  }
  pair->asked = (unsigned char)asked;
  pair->wanted = NOTHING;
  pair->cuts = shard_of(pair)->shards->cuts;
  pair->request.open = on_request;
  net__worker_post(&shard_of(pair)->slot->worker, &pair->request);
}

static void leave(struct net__pair *pair) {
  struct net__shard *shard = shard_of(pair);

  shard->shards->count--;
  shard->slot->pairs--;
}

/* A pair could not be polled. As there may be thousands, not each is told. */
static void fail_poll(struct net__shards *shards, int status) {
  uint64_t now = net__now();

  if (now < shards->mute) return;
  shards->mute = now + MUTE_MS;
  fail(shards, status, status == -ENOSPC ? too_many_polled : not_polled);
}

static void on_over(struct net__letter *letter) {
  struct net__pair *pair = OF(letter, struct net__pair, letter);
  struct net__shards *shards = shard_of(pair)->shards;

  leave(pair);
  if (pair->error < 0) fail_poll(shards, pair->error);
  pair->is_over = true;
  shards->owner->ended(shards->data, pair, (enum net__outcome)pair->outcome);
  if (pair->asked == NOTHING) free(pair);
}

/* It was split, but was to be cut meanwhile. */
static void cut_near(struct net__pair *pair) {
  const struct net__shards *shards = shard_of(pair)->shards;
  struct net__poll *near = &pair->ends[NET_NEAR];

  net__reset_on_close(near);
  net__poll_close(shards->pairs.epoll, near);
  shards->owner->ended(shards->data, pair, NET_CUT);
  free(pair);
}

static void on_answer(struct net__letter *letter) {
  struct net__pair *pair = OF(letter, struct net__pair, request);
  const struct net__shards *shards = shard_of(pair)->shards;
  bool splits = pair->asked == SPLIT, is_split = pair->is_split;

  pair->asked = NOTHING;
  if (pair->is_over) {
    free(pair);
    return;
  }
  if (is_split) leave(pair);
  if (is_split && (pair->wanted == CUT || pair->cuts != shards->cuts)) {
    cut_near(pair);
    return;
  }
  if (pair->wanted != NOTHING) ask(pair, (enum asked)pair->wanted);
  if (splits)
    shards->owner->split(shards->data, pair,
                         is_split ? &pair->ends[NET_NEAR] : NULL);
}

static void on_bell_closed(uv_handle_t *bell) {
  struct net__shards *shards = bell->data;
  shards->closed(shards->data);
}

/* The letter may be here before the worker has rung the bell. */
static void free_shard(struct net__shard *shard) {
  struct net__shards *shards = shard->shards;

  pthread_mutex_lock(&shard->last);
  pthread_mutex_unlock(&shard->last);
  pthread_mutex_destroy(&shard->last);
  for (int side = NET_NEAR; side <= NET_FAR; side++)
    shards->taken[side] += shard->pairs.taken[side];
  shards->shards[shard->slot - shards->workers->slots] = NULL;
  free(shard);
  if (--shards->open == 0)
    uv_close((uv_handle_t *)&shards->bell, on_bell_closed);
}

static void on_obeyed(struct net__letter *letter) {
  struct net__shard *shard = OF(letter, struct net__shard, orders);

  shard->away = false;
  if (shard->closes) free_shard(shard);
  else if (shard->again) send_orders(shard);
}

static void on_bell(uv_async_t *bell) {
  struct net__shards *shards = bell->data;

  net__mail_open(&shards->mail);
  if (!shards->closed) shards->owner->settle(shards->data);
}

/* Their own shard for these. */
static struct net__shard *shard_new(struct net__shards *shards,
                                    struct net__workers_slot *slot) {
  struct net__shard *shard = calloc(1, sizeof *shard);

  if (!shard) return NULL;
  shard->shards = shards;
  shard->slot = slot;
  shard->pairs.epoll = &slot->worker.epoll;
  shard->pairs.stock = &slot->worker.stock;
  shard->pairs.owner = &shard_owner;
  shard->pairs.data = shard;
  pthread_mutex_init(&shard->last, NULL);
  shards->open++;
  send_orders(shard);
  return shard;
}

/* The shard for one more pair; NULL: the loop. */
static struct net__shard *pick(struct net__shards *shards) {
  int status;

  if (!shards->workers) return NULL;
  if (!shards->shards) {
    shards->shards = calloc(shards->workers->count, sizeof *shards->shards);
    if (!shards->shards) return NULL;
  }
  struct net__workers_slot *slot = net__workers_pick(shards->workers, &status);
  if (status < 0)
    fail(shards, status, status == -EAGAIN ? too_many_threads : not_started);
  if (!slot) return NULL;
  struct net__shard **shard = &shards->shards[slot - shards->workers->slots];
  if (!*shard) *shard = shard_new(shards, slot);
  return *shard;
}

/* -- What owners call ----------------------------------------------------- */

static bool is_on_loop(const struct net__shards *shards,
                       const struct net__pair *pair) {
  return pair->pairs == &shards->pairs;
}

int net__shards_open(struct net__shards *shards, struct net__pair *pair,
                     const struct net__end *near, const struct net__end *far) {
  struct net__shard *shard = pick(shards);

  if (!shard) return net__pair_open(&shards->pairs, pair, near, far);
  net__pair_prepare(&shard->pairs, pair, shards->pairs.epoll, near, far);
  return 0;
}

void net__shards_start(struct net__shards *shards, struct net__pair *pair) {
  if (is_on_loop(shards, pair)) {
    net__pair_start(pair); /* most clients have sent something by now */
    if (shards->pairs.ended) shards->owner->due(shards->data, net__now());
    return;
  }
  struct net__workers_slot *slot = shard_of(pair)->slot;
  shards->count++;
  slot->pairs++;
  slot->joined++;
  /* The first message need not wait until the thread has woken. */
  shards->taken[NET_NEAR] += net__pair_run_ahead(pair, &shards->stock);
  pair->letter.open = on_begin;
  net__worker_post(&slot->worker, &pair->letter);
}

void net__shards_split(struct net__shards *shards, struct net__pair *pair,
                       uint64_t since, enum net__side spoke) {
  if (!is_on_loop(shards, pair)) {
    pair->seen = since;
    pair->seen_spoke = (signed char)spoke;
    ask(pair, SPLIT);
    return;
  }
  bool is_split = net__pair_split(pair, since, spoke);
  shards->owner->split(shards->data, pair,
                       is_split ? &pair->ends[NET_NEAR] : NULL);
}

static struct net__shard *shard_at(const struct net__shards *shards,
                                   unsigned i) {
  return shards->shards ? shards->shards[i] : NULL;
}

static unsigned shards_most(const struct net__shards *shards) {
  return shards->workers ? shards->workers->count : 0;
}

void net__shards_cut(struct net__shards *shards) {
  net__pairs_cut(&shards->pairs);
  shards->cuts++;
  for (unsigned i = 0; i < shards_most(shards); i++) {
    struct net__shard *shard = shard_at(shards, i);
    if (!shard) continue;
    shard->wants_cut = true;
    send_orders(shard);
  }
}

void net__shards_cut_pair(struct net__shards *shards, struct net__pair *pair) {
  if (is_on_loop(shards, pair)) net__pair_cut(pair);
  else ask(pair, CUT);
}

void net__shards_set_timeouts(struct net__shards *shards, uint64_t idle,
                              uint64_t half_close, uint64_t dead_peer) {
  shards->pairs.idle_timeout = idle;
  shards->pairs.half_close_timeout = half_close;
  shards->pairs.dead_peer_timeout = dead_peer;
  for (unsigned i = 0; i < shards_most(shards); i++)
    if (shard_at(shards, i)) send_orders(shard_at(shards, i));
}

bool net__shards_are_over(const struct net__shards *shards) {
  return shards->count == 0 && net__pairs_are_over(&shards->pairs);
}

void net__shards_expire(struct net__shards *shards, uint64_t polled,
                        uint64_t now) {
  net__pairs_expire(&shards->pairs, polled, now);
}

uint64_t net__shards_due(const struct net__shards *shards) {
  return net__pairs_due(&shards->pairs);
}

void net__shards_bury(struct net__shards *shards) {
  net__pairs_bury(&shards->pairs);
}

uint64_t net__shards_taken(const struct net__shards *shards,
                           enum net__side side) {
  uint64_t taken = shards->taken[side] + shards->pairs.taken[side];

  for (unsigned i = 0; i < shards_most(shards); i++)
    if (shard_at(shards, i))
      taken += atomic_load_explicit(&shard_at(shards, i)->pairs.taken[side],
                                    memory_order_relaxed);
  return taken;
}

int net__shards_failing(struct net__shards *shards, const char **message) {
  int status = shards->failing;
  *message = shards->failing_at;
  shards->failing = 0;
  return status;
}

/* -- Life ----------------------------------------------------------------- */

static void on_due(void *data, uint64_t due) {
  struct net__shards *shards = data;
  shards->owner->due(shards->data, due);
}

static void on_ended(void *data, struct net__pair *pair,
                     enum net__outcome outcome) {
  struct net__shards *shards = data;
  shards->owner->ended(shards->data, pair, outcome);
}

static const struct net__pairs_owner loop_owner = {on_due, on_ended, NULL};

/* The owner keeps the loop alive, or does not. A loop has what its first
 * uv_async_t needs from the start, so that another one cannot fail. */
void net__shards_init(struct net__shards *shards, uv_loop_t *loop,
                      struct net__epoll *epoll, rover_workers_t *workers,
                      const struct net__shards_owner *owner, void *data) {
  shards->owner = owner;
  shards->data = data;
  shards->workers = workers;
  shards->pairs.epoll = epoll;
  shards->pairs.stock = &shards->stock;
  shards->pairs.owner = &loop_owner;
  shards->pairs.data = shards;
  if (!workers) return;
  uv_async_init(loop, &shards->bell, on_bell);
  uv_unref((uv_handle_t *)&shards->bell);
  shards->bell.data = shards;
}

bool net__shards_close(struct net__shards *shards, void (*closed)(void *data)) {
  if (!shards->workers) return false;
  shards->closed = closed;
  /* Until workers have answered, nothing else may keep the loop alive. */
  uv_ref((uv_handle_t *)&shards->bell);
  if (shards->open == 0) uv_close((uv_handle_t *)&shards->bell, on_bell_closed);
  for (unsigned i = 0; i < shards_most(shards); i++)
    if (shard_at(shards, i)) send_orders(shard_at(shards, i));
  return true;
}

void net__shards_clear(struct net__shards *shards) {
  net__pairs_bury(&shards->pairs);
  net__stock_clear(&shards->stock);
  free(shards->shards);
}
