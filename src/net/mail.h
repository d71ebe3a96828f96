/* Private to src/net: letters from threads to another one.
 *
 * A letter is part of what it is about, so that posting needs no memory and
 * cannot fail. Until it is opened it is the receiver's. */
#ifndef NET_MAIL_H
#define NET_MAIL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct net__letter {
  struct net__letter *next;
  void (*open)(struct net__letter *letter); /* called in the receiver */
};

/* Zero it. */
struct net__mail {
  _Atomic(struct net__letter *) last;
};

/* Returns whether there was none before: then the receiver may have to be
 * woken. */
static inline bool net__mail_post(struct net__mail *mail,
                                  struct net__letter *letter) {
  struct net__letter *last =
      atomic_load_explicit(&mail->last, memory_order_relaxed);
  do letter->next = last;
  while (!atomic_compare_exchange_weak_explicit(
      &mail->last, &last, letter, memory_order_release, memory_order_relaxed));
  return !last;
}

/* Opens all, in the order in which they were posted. Only the receiver may. */
static inline void net__mail_open(struct net__mail *mail) {
  struct net__letter *letter, *first = NULL, *next;

  if (!atomic_load_explicit(&mail->last, memory_order_relaxed)) return;
  letter = atomic_exchange_explicit(&mail->last, NULL, memory_order_acquire);
  for (; letter; letter = next) {
    next = letter->next;
    letter->next = first;
    first = letter;
  }
  for (letter = first; letter; letter = next) {
    next = letter->next;
    letter->open(letter); /* which may post it again, or free it */
  }
}

#endif
