/* Private to src/admin: the connections of those who ask. */
#ifndef ADMIN_CONN_H
#define ADMIN_CONN_H

#include <uv.h>

#include "answer.h"
#include "door.h"
#include "request.h"

/* So many at a time; for a further one, the one that has been idle for longest
 * is closed, so that nobody can keep others out by connecting. While none is
 * idle or slow, there may be more. */
enum { ADMIN_CONN_COUNT = 32, ADMIN_CONN_MAX = 128 };

struct admin__conn;

struct admin__conns {
  uv_loop_t *loop;
  struct admin__conn *list; /* who has been idle for longest comes first */
  unsigned count;           /* in the list */
  unsigned handles;         /* not closed yet */
  /* Has to call admin__conn_answer(), now or later. `request` is valid during
   * the call. */
  void (*respond)(void *data, struct admin__conn *conn,
                  const struct admin__request *request);
  void (*freed)(void *data);  /* a descriptor has become free */
  void (*closed)(void *data); /* admin__conns_close() is done */
  void *data;
  bool closing;
};

/* Ownership: `fd` is the connection's. Errors: UV_ENOMEM and the kernel's. */
int admin__conn_new(struct admin__conns *conns, int fd,
                    const struct admin__door *door);

/* Ownership: the answer is the connection's. */
void admin__conn_answer(struct admin__conn *conn,
                        const struct admin__answer *answer);

/* Yours, 0 at first: what is to be answered later. */
int *admin__conn_awaits(struct admin__conn *conn);

/* The one after `conn`, or the first for NULL; NULL if there is none. */
struct admin__conn *admin__conn_next(const struct admin__conns *conns,
                                     const struct admin__conn *conn);

const struct admin__door *admin__conn_door(const struct admin__conn *conn);

/* No further request is read: what is under way is answered, and then all are
 * closed. */
void admin__conns_finish(struct admin__conns *conns);

/* Closes all, and calls `closed` back, perhaps before it returns. */
void admin__conns_close(struct admin__conns *conns);

#endif
