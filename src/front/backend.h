/* Private to src/front: the backend, and whether it is up. Owner: front.c. */
#ifndef FRONT_BACKEND_H
#define FRONT_BACKEND_H

#include <callosum/front.h>

#include "../net/endpoint.h"
#include "../net/epoll.h"

struct front__backend {
  union net__endpoint name;
  char *reason;           /* why it was set down, or NULL */
  int status;             /* why it was found down; 0: it is up */
  int lacks;              /* of this machine, when last connecting; or 0 */
  unsigned failures;      /* in a row, of those that may be chance */
  struct net__poll check; /* the one under way; else its fd is -1 */
  uint64_t due;           /* when that has failed, or the next one begins */
  bool told_up;           /* what the program knows */
  int told_lacks;
};

void front__backend_init(struct front__backend *backend);
void front__backend_clear(rover_front_t *front);

/* A descriptor that is connected or, with *pending set, connects: once it is
 * writable, or broken, front__backend_connected() is to be asked. Errors: those
 * of connect(2); they are to be reported. */
int front__backend_connect(rover_front_t *front, bool *pending);

/* Why that did not connect; or 0. */
int front__backend_connected(const rover_front_t *front, int fd);

/* The result of connecting, 0 or an error. */
void front__backend_report(rover_front_t *front, int status);

bool front__backend_is_up(const struct front__backend *backend);

/* It is elsewhere now: nothing is known of it. */
void front__backend_move(rover_front_t *front, const union net__endpoint *name);

int front__backend_set_down(rover_front_t *front, const char *reason);
void front__backend_take_down(rover_front_t *front, rover_front_t *from);

uint64_t front__backend_due(const rover_front_t *front);
void front__backend_expire(rover_front_t *front, uint64_t polled, uint64_t now);

/* Calls back for what the program does not know yet: that this machine lacks
 * something; that the backend is up, or down. Each as its last act, as the front
 * may be gone then. */
void front__backend_tell_lack(rover_front_t *front);
void front__backend_tell_state(rover_front_t *front);

#endif
