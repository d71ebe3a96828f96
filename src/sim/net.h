/* Private to src/sim: what a machine's network and a connection are made of. */
#ifndef SIM_NET_H
#define SIM_NET_H

#include <stddef.h>

#include "address.h"
#include "bytes.h"

struct sim__end;
struct sim__end_ops; /* of tcp.h */

/* What setsockopt() sets, and accepted connections inherit. */
struct sim__options {
  uint32_t user_timeout;   /* ms */
  uint32_t send, receive;  /* bytes; 0: as the network has it */
  uint16_t idle, interval; /* seconds */
  uint8_t count;
  bool keepalive, nodelay;
  bool resets; /* when it is closed: SO_LINGER of 0 */
};

struct sim__listener {
  struct sim__machine *machine;
  struct sim__listener *prev, *next; /* of the machine */
  struct sim__address local;         /* without an IP: all */
  ino_t inode; /* of a Unix socket, which is found by that: see path.h; or 0 */
  bool paused;
  unsigned backlog, waiting;
  struct sim__end *first, **last; /* those that wait, by next_waiting */
  struct sim__options options;
  /* One more waits. */
  void (*ready)(struct sim__listener *listener);
  /* Of a native one. */
  void (*accepted)(struct sim__end *end, void *arg);
  void *data; /* of the socket, or `arg` */
  struct sim__event pump;
};

/* What goes one way. Bytes are counted from the first: those from `taken` to
 * `written` are in the queue, wherever they are on their way. */
struct sim__stream {
  struct sim__bytes bytes;
  uint64_t written; /* by the sender's program */
  uint64_t sent;
  uint64_t arrived;
  uint64_t taken; /* by the receiver's program */
  uint64_t acked; /* as the sender knows it */
  uint64_t edge;  /* the sender may send up to here */
  /* Acknowledgements that the sender gets at these times. They are no events,
   * unless it waits for one. If there are more, the last stands for all of
   * these. */
  struct sim__ack {
    uint64_t at, to, edge;
  } acks[2];
  uint64_t last;  /* when the last segment arrives, as they keep their order */
  uint64_t since; /* the oldest byte that is not acknowledged was sent */
  uint64_t sent_at; /* when bytes were last sent for the first time */
  uint64_t blocked; /* the window has been closed since; 0: it is not */
  uint8_t ack_count;
  bool ending;  /* a FIN follows `written` */
  bool fin;     /* it was sent, ... */
  bool ended;   /* ... and has arrived */
  bool stalled; /* something that was sent is lost, and is sent again later */
};

enum sim__state {
  SIM__CLOSED,  /* the server's end, before it knows */
  SIM__OPENING, /* a SYN was sent */
  SIM__EMBRYO,  /* established, but the queue of the listener was full */
  SIM__OPEN,
  SIM__DEAD /* by an error, or a reset */
};

struct sim__end {
  struct sim__machine *machine; /* NULL: it has been freed */
  struct sim__end *prev, *next; /* of the machine */
  const struct sim__end_ops *ops;
  void *data;
  struct sim__stream in;
  struct sim__address local, remote;
  struct sim__options options;
  struct sim__end *next_waiting; /* to be accepted */
  struct sim__event timer;       /* see silence.c */
  struct sim__event acked;       /* an acknowledgement, if it waits */
  struct sim__event notify;      /* of native ends within a machine */
  uint64_t heard;                /* when the peer last gave a sign of life */
  uint64_t began;                /* to connect */
  int err;                       /* why it is dead, until it was asked for */
  uint8_t state;                 /* enum sim__state */
  uint8_t side;                  /* 0: it connected; 1: it was accepted */
  uint8_t tries;                 /* of a SYN, or to enter the queue */
  bool native;
  bool gone;       /* its program has closed it */
  bool lost;       /* and its kernel has forgotten it */
  bool waits;      /* for room to write */
  bool blind;      /* shutdown(SHUT_RD) */
  bool counted;    /* among the machine's */
  uint8_t pending; /* what `notify` is to tell */
};

struct sim__conn {
  uint64_t id;
  struct sim__end ends[2];
  uint32_t packets; /* under way */
  uint32_t draws;   /* of random delays */
  bool is_unix;
  bool within; /* one machine: what is sent is there */
};

/* What a machine has on the network. */
struct sim__net {
  struct sim__end *ends;
  struct sim__listener *listeners;
  struct sim__path *paths;   /* see path.h */
  struct sim__machine **cut; /* off from these */
  uint32_t cut_count, cut_room;
  uint32_t open; /* connections */
  uint64_t busy; /* until when its link sends */
  ino_t inodes;  /* given out so far */
  bool down;     /* it is silent */
};

static inline struct sim__conn *sim__conn_of(const struct sim__end *end) {
  const struct sim__end *first = end - end->side;
  return (struct sim__conn *)((char *)first - offsetof(struct sim__conn, ends));
}

static inline struct sim__end *sim__peer(const struct sim__end *end) {
  return &sim__conn_of(end)->ends[!end->side];
}

#endif
