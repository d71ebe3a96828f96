/* Private to src/sim: what listens, and the connections that wait there. */
#ifndef SIM_LISTENER_H
#define SIM_LISTENER_H

#include "route.h"

struct sim__end;

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

void sim__listener_add(struct sim__machine *machine,
                       struct sim__listener *listener);

/* Takes it off its machine; what waits stays in its list. */
void sim__listener_remove(struct sim__listener *listener);

/* What listens at an address of the machine, or NULL. */
struct sim__listener *sim__listener_at(const struct sim__machine *machine,
                                       const struct sim__address *address);

/* Whether a further connection gets no answer. */
bool sim__listener_is_full(const struct sim__listener *listener);

#endif
