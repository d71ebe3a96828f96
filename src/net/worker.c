#define _GNU_SOURCE /* pthread_setname_np() */

#include "worker.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "list.h"

/* The life of a worker: it waits for its pairs' connections, for the earliest of
 * their deadlines, and for letters, by which it is given pairs and asked to do
 * something about them. It has an epoll and a clock, but neither loop nor
 * callbacks of the program's. What has ended it reports at the end of a turn,
 * once no call refers to it. */

enum { BATCH = 512, STACK_SIZE = 512 * 1024 };

/* -- Turns ---------------------------------------------------------------- */

/* So that epoll_wait() may be asked for it, rounded to its limit. */
static int until(const struct net__worker *worker) {
  if (worker->due == NET_NEVER) return -1;
  if (worker->due <= worker->now) return 0;
  uint64_t ms = worker->due - worker->now;
  return ms < INT_MAX ? (int)ms : INT_MAX;
}

static void expire(struct net__worker *worker, uint64_t polled) {
  struct net__pairs *pairs;

  worker->due = NET_NEVER;
  DL_FOREACH(worker->pairs, pairs) {
    net__pairs_expire(pairs, polled, worker->now);
    net__worker_due(worker, net__pairs_due(pairs));
  }
}

static void report(struct net__worker *worker) {
  struct net__pairs *pairs;

  DL_FOREACH(worker->pairs, pairs) {
    if (pairs->ended) pairs->owner->batch_end(pairs->data);
  }
}

static void turn(struct net__worker *worker, int timeout) {
  struct epoll_event batch[BATCH];
  uint64_t polled = worker->now;

  int count = epoll_wait(worker->epoll.fd, batch, BATCH, timeout);
  for (int i = 0; i < count; i++) {
    if (i + 1 < count) net__epoll_prefetch(&worker->epoll, &batch[i + 1]);
    net__epoll_deliver(&worker->epoll, &batch[i]);
  }
  net__mail_open(&worker->mail);
  worker->now = net__now();
  if (worker->due <= worker->now) expire(worker, polled);
  report(worker);
  atomic_store_explicit(
      &worker->turns,
      atomic_load_explicit(&worker->turns, memory_order_relaxed) + 1,
      memory_order_relaxed);
}

void net__worker_turn(struct net__worker *worker) { turn(worker, 0); }

void net__worker_due(struct net__worker *worker, uint64_t due) {
  worker->due = net__sooner(worker->due, due);
}

void net__worker_add(struct net__worker *worker, struct net__pairs *pairs) {
  DL_APPEND(worker->pairs, pairs);
}

void net__worker_drop(struct net__worker *worker, struct net__pairs *pairs) {
  DL_DELETE(worker->pairs, pairs);
}

/* -- Letters -------------------------------------------------------------- */

/* Edge-triggered, so that each write is reported once, read or not. */
static void on_bell(struct net__poll *bell, int events) {
  (void)bell;
  (void)events;
}

void net__worker_post(struct net__worker *worker, struct net__letter *letter) {
  if (!net__mail_post(&worker->mail, letter) || !worker->has_thread) return;
  while (eventfd_write(worker->bell.fd, 1) < 0 && errno == EINTR) {}
}

static void on_stop(struct net__letter *letter) {
  struct net__worker *worker =
      (struct net__worker *)((char *)letter -
                             offsetof(struct net__worker, stop));
  worker->stops = true;
}

/* -- Life ----------------------------------------------------------------- */

static void *run(void *data) {
  struct net__worker *worker = data;

  while (!worker->stops) turn(worker, until(worker));
  return NULL;
}

/* Signals are for the program's threads. */
int net__worker_start(struct net__worker *worker) {
  pthread_attr_t attributes;
  sigset_t all, before;

  int err = pthread_attr_init(&attributes);
  if (err != 0) return -err;
  pthread_attr_setstacksize(&attributes, STACK_SIZE);
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  err = pthread_create(&worker->thread, &attributes, run, worker);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  if (err != 0) return -err;
  pthread_setname_np(worker->thread, "callosum-worker");
  worker->has_thread = true;
  return 0;
}

int net__worker_open(struct net__worker *worker) {
  *worker = (struct net__worker){
      .bell = {.ready = on_bell, .changes = true},
      .due = NET_NEVER,
      .now = net__now(),
      .stop = {.open = on_stop},
  };
  worker->bell.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (worker->bell.fd < 0) return -errno;
  int err = net__epoll_open(&worker->epoll);
  if (err == 0) {
    err = net__poll_set(&worker->epoll, &worker->bell, NET_READABLE);
    if (err == 0) return 0;
    net__epoll_close(&worker->epoll);
    net__epoll_clear(&worker->epoll);
  }
  close(worker->bell.fd);
  return err;
}

void net__worker_close(struct net__worker *worker) {
  if (worker->has_thread) {
    net__worker_post(worker, &worker->stop);
    pthread_join(worker->thread, NULL);
  }
  net__stock_clear(&worker->stock);
  net__epoll_close(&worker->epoll);
  net__epoll_clear(&worker->epoll);
  close(worker->bell.fd);
}

uint64_t net__worker_cpu(const struct net__worker *worker) {
  struct timespec time = {0};
  clockid_t clock;

  if (!worker->has_thread || pthread_getcpuclockid(worker->thread, &clock) != 0)
    return 0;
  clock_gettime(clock, &time);
  return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_nsec / 1000;
}
