/* Private to src/sim: a connection, its two ends, and what is under way between
 * them. */
#ifndef SIM_CONN_H
#define SIM_CONN_H

#include "bytes.h"
#include "listener.h"
#include "tcp.h"

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

/* A connection from a machine to another, or within one. `local` has an address
 * or a port if it was bound to one. Returns the client's end. */
struct sim__end *sim__conn_open(struct sim__machine *from,
                                const struct sim__address *local,
                                struct sim__machine *machine,
                                const struct sim__address *remote,
                                const struct sim__options *options);

/* Begins to connect: within a machine the end is open or dead at once. */
void sim__conn_begin(struct sim__end *client);

/* Two ends that are connected already, of Unix sockets: a pair, or a client and
 * the end that now waits at `listener`. Returns the first. */
struct sim__end *sim__conn_pair(struct sim__machine *machine,
                                struct sim__listener *listener);

/* A client's end that is dead already, as it could not connect. */
struct sim__end *sim__conn_failed(struct sim__machine *machine, int err);

/* Tells a native end what it is: connected, or dead. */
void sim__end_tell_begun(struct sim__end *end);

/* Frees a connection that nobody has any more. */
void sim__conn_free_if_over(struct sim__conn *conn);

/* The first one that waits at a listener, or NULL. */
struct sim__end *sim__conn_accept(struct sim__listener *listener);

/* Resets what waits at a listener. */
void sim__conn_refuse_all(struct sim__listener *listener);

/* Bytes that can be read, whether there is room to write, and how many bytes
 * are not acknowledged. */
uint64_t sim__end_unread(const struct sim__end *end);
bool sim__end_is_writable(struct sim__end *end);
uint64_t sim__end_unsent(struct sim__end *end);

/* As of recv() and send(), without blocking. `to` NULL discards. */
ssize_t sim__end_read(struct sim__end *end, void *to, size_t size, bool peek);
ssize_t sim__end_write(struct sim__end *end, const void *from, size_t size);
void sim__end_shut(struct sim__end *end);

/* As of close(): with `resets`, or unread bytes, by a reset. */
void sim__end_close(struct sim__end *end, bool resets);

/* Its kernel has forgotten it, and tells nobody. */
void sim__end_vanish(struct sim__end *end);

/* The network between it and its peer was cut, or healed. */
void sim__end_cut(struct sim__end *end, bool cut);

/* Knows acknowledgements that have come by now. */
void sim__end_settle(struct sim__end *end);

/* The options of an end have changed. */
void sim__end_tune(struct sim__end *end);

/* -- For silence.c -------------------------------------------------------- */

void sim__end_die(struct sim__end *end, int err);
void sim__end_connect_again(struct sim__end *end);
void sim__end_enter_queue(struct sim__end *end);
void sim__end_send_again(struct sim__end *end);

#endif
