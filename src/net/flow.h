/* Private to src/net, src/rover and src/relay: one way of a pair.
 *
 * Small messages go through one buffer that all flows of a stock share; what
 * the receiver does not take of them at once is copied aside. A flow that fills
 * that buffer carries bulk, and goes on through a pipe, where bytes are moved
 * without being copied, and wait without taking a buffer of ours. (That takes
 * 0.2 to 0.6 of the CPU time, but twice as much if the sender is a Unix
 * socket.) Either way nothing more is taken in until all is given out. Knows
 * nothing of libuv. */
#ifndef NET_FLOW_H
#define NET_FLOW_H

#include <stdbool.h>
#include <stddef.h>

/* What it waits for: bytes from the sender, room at the receiver, its next turn
 * while there is more, nothing. */
enum net__flow_state { FLOW_READS, FLOW_WRITES, FLOW_YIELDS, FLOW_DONE };

/* At rest it has no buffer: what it holds is what the receiver did not take. */
struct net__flow {
  struct net__pipe *pipe; /* has them, ... */
  char *bytes;            /* ... or they are here, ... */
  size_t start, length;   /* ... from start on, so many */
  unsigned char state;
  bool ended;   /* the sender has */
  bool wary;    /* of a short read: more may be behind it */
  bool splices; /* is allowed to, ... */
  bool bulk;    /* ... and does */
};

/* What flows of one thread share. */
struct net__stock {
  char *buffer;
  struct net__pipe *pipes; /* the pipe cache: empty ones, ... */
  unsigned cached;         /* ... so many of ... */
  unsigned made;           /* ... all there are */
};

/* Copies what can be copied now, and sets the state: FLOW_READS only if there
 * is nothing left to read, FLOW_DONE if the end has come, and all before it is
 * given out. *copied is how many bytes were taken in. Returns 0, or the
 * negative errno of what broke one of the descriptors. */
int net__flow_run(struct net__flow *flow, struct net__stock *stock, int from,
                  int to, size_t *copied);

/* Drops what it holds. */
void net__flow_close(struct net__flow *flow, struct net__stock *stock);

void net__stock_clear(struct net__stock *stock);

#endif
