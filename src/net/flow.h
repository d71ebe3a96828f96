/* Private to src/net, src/rover, src/relay and src/front: one direction of a
 * pair.
 *
 * Small messages go through one buffer that all flows of a stock share; what
 * the receiver does not accept at once is copied aside. A flow that fills
 * that buffer carries bulk data and switches to a pipe: splice(2) moves
 * bytes without copying them, and they wait in the kernel. (This takes 0.2
 * to 0.6 of the CPU time, but twice as much if the sender is a Unix socket.)
 * Either way nothing more is read until everything has been written. Does
 * not use libuv. */
#ifndef NET_FLOW_H
#define NET_FLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "epoll.h"

/* What a flow waits for: bytes from the sender; room at the receiver; its next
 * turn, as there is more to copy; nothing. */
enum net__flow_state { FLOW_READS, FLOW_WRITES, FLOW_YIELDS, FLOW_DONE };

/* An idle flow has no buffer: it holds only what the receiver did not
 * accept. */
struct net__flow {
  struct net__pipe *pipe; /* holds the bytes, ... */
  char *bytes;            /* ... or they are here, ... */
  uint32_t start, length; /* ... `length` of them from `start` */
  unsigned char state;
  bool ended;   /* the sender has ended its side */
  bool ending;  /* its end has arrived: a short read is the last */
  bool wary;    /* a short read does not mean that nothing is left */
  bool splices; /* may use a pipe */
  bool bulk;    /* carries bulk, so it uses a pipe */
  bool leads;   /* its bytes, from malloc(), were not sent by the sender */
};

/* What flows of one thread share. */
struct net__stock {
  char *buffer;
  struct net__pipe *pipes; /* the pipe cache: empty pipes */
  unsigned cached;         /* their number */
  unsigned made;           /* the number of all pipes */
};

/* Copies what can be copied now, and sets the state: FLOW_READS only if nothing
 * is left to read, FLOW_DONE if the sender has ended and everything before that
 * has been written. *copied is the number of bytes read. Returns 0, or the
 * error that broke one of the connections. */
int net__flow_run(struct net__flow *flow, struct net__stock *stock,
                  const struct net__poll *from, const struct net__poll *to,
                  size_t *copied);

/* Discards the bytes it holds. */
void net__flow_close(struct net__flow *flow, struct net__stock *stock);

void net__stock_clear(struct net__stock *stock);

#endif
