/* Private to src/front: the backend, and whether it is up. Owner: front.c. */
#ifndef FRONT_BACKEND_H
#define FRONT_BACKEND_H

#include <callosum/front.h>

#include "../net/endpoint.h"
#include "../net/epoll.h"

struct front__backend {
  union net__endpoint name;
  char *reason; /* why it was set down, or NULL */
  int status;   /* why it was found down; 0: it is up */
  int shortage; /* of this machine's resources, when last connecting; or 0 */
  unsigned failures;      /* in a row, other than refusals */
  struct net__poll check; /* in progress; otherwise its fd is -1 */
  uint64_t due;     /* the deadline of the check, or when the next one begins */
  bool notified_up; /* what the program was last notified of */
  int notified_shortage;
};

void front__backend_init(struct front__backend *backend);
void front__backend_clear(rover_front_t *front);

/* Returns a descriptor that is connected or, with *pending set, connecting:
 * once it is writable or broken, call front__backend_connected(). Errors: those
 * of connect(2); pass them to front__backend_report(). */
int front__backend_connect(rover_front_t *front, bool *pending);

/* Returns 0, or why it did not connect. */
int front__backend_connected(const rover_front_t *front, int fd);

/* Takes the result of connecting, 0 or an error, into account. */
void front__backend_report(rover_front_t *front, int status);

bool front__backend_is_up(const struct front__backend *backend);

/* The options have changed. If the backend has another address now, or would
 * stay down as it is no longer checked, its state is unknown. */
void front__backend_move(rover_front_t *front, const union net__endpoint *name);

int front__backend_set_down(rover_front_t *front, const char *reason);
void front__backend_take_down(rover_front_t *front, rover_front_t *from);

uint64_t front__backend_due(const rover_front_t *front);
void front__backend_expire(rover_front_t *front, uint64_t polled, uint64_t now);

/* Call back if the program has not been notified yet: of a shortage; that the
 * backend is up or down. The front may be gone after either. */
void front__backend_notify_shortage(rover_front_t *front);
void front__backend_notify_state(rover_front_t *front);

#endif
