/* Private to src/net: a thread that runs pairs. */
#ifndef NET_WORKER_H
#define NET_WORKER_H

#include <pthread.h>

#include "mail.h"
#include "pair.h"

/* But for `mail` and `turns`, all of it is the thread's. */
struct net__worker {
  struct net__epoll epoll;
  struct net__poll bell; /* an eventfd, which wakes it */
  struct net__mail mail;
  struct net__stock stock;
  struct net__pairs *pairs; /* a list: one of each owner */
  uint64_t due;             /* the earliest deadline, or earlier */
  uint64_t now;             /* net__now() at the end of the last turn */
  _Atomic uint64_t turns;
  struct net__letter stop;
  bool stops;
  bool has_thread; /* else net__worker_turn() is called */
  pthread_t thread;
};

/* Opens its descriptors. Errors: those of epoll_create1(2), eventfd(2). */
int net__worker_open(struct net__worker *worker);

/* Starts the thread. Errors: those of pthread_create(3). */
int net__worker_start(struct net__worker *worker);

/* Once it has no pairs left: stops the thread, and waits for it. */
void net__worker_close(struct net__worker *worker);

/* Has the thread open the letter. */
void net__worker_post(struct net__worker *worker, struct net__letter *letter);

void net__worker_turn(struct net__worker *worker);

/* CPU time of the thread, in us; 0 without one. */
uint64_t net__worker_cpu(const struct net__worker *worker);

/* -- In the thread ------------------------------------------------------- */

/* There is a deadline. */
void net__worker_due(struct net__worker *worker, uint64_t due);

/* Pairs are to be run; no more. */
void net__worker_add(struct net__worker *worker, struct net__pairs *pairs);
void net__worker_drop(struct net__worker *worker, struct net__pairs *pairs);

#endif
