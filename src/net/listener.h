/* Private to src/net, src/relay and src/front: a socket that listens, for an
 * owner. */
#ifndef NET_LISTENER_H
#define NET_LISTENER_H

#include <stdbool.h>

#include <uv.h>

#include "address.h"

struct net__listener;

struct net__listener_owner {
  /* The descriptor belongs to the owner from here on. `peer` is who connected,
   * or NULL for a Unix socket. Returns 0 or a negative error; exhaustion
   * (UV_ENOMEM, ...) is treated as a failure to accept. */
  int (*accepted)(void *data, int fd, const union net__address *peer);
  /* Called each time that it cannot accept, which has lasted for `ms`; 0 the
   * first time. net__listener_accept() may help. */
  void (*failed)(void *data, int status, uint64_t ms);
  void (*batch_end)(void *data); /* the batch is over */
  void (*closed)(void *data);
};

/* Listens at `name`. A Unix socket has the permissions `mode` from the
 * beginning, and replaces one that nobody listens on. Ownership: `owner` must
 * outlive the listener, which ends in closed(). */
int net__listener_open(struct net__listener **listener, uv_loop_t *loop,
                       const struct sockaddr *name, int mode,
                       const struct net__listener_owner *owner, void *data);
void net__listener_close(struct net__listener *listener);

/* The same for a socket that listens already. `path` is where the file of a Unix
 * socket is, or NULL if that is where it was bound; it stays there at the end.
 * Ownership: `fd` is the listener's if this succeeds. */
int net__listener_adopt(struct net__listener **listener, uv_loop_t *loop,
                        int fd, const struct sockaddr *name, const char *path,
                        const struct net__listener_owner *owner, void *data);

/* Hands the listener to another owner. For a Unix socket, `path` is the name to
 * use from now on, as the folder may have several, or NULL. A listener that failed to
 * accept tries again. */
void net__listener_give(struct net__listener *listener, void *data,
                        const char *path);

/* Accepts no more, and leaves the file of a Unix socket where it is, since
 * another process has the socket, too; returns whether the file was its own. The
 * second undoes that, and says whether the file, then of this mode, is. */
bool net__listener_leave(struct net__listener *listener);
void net__listener_stay(struct net__listener *listener, bool owns_file,
                        int mode);

/* Fills its reserve of descriptors again. To be called when some may have
 * become free, and at first in a later turn of the loop than open, so that
 * listeners being set up in the same turn do not run short. */
void net__listener_reserve(struct net__listener *listener);

/* Accepts one connection without spending the reserve. Returns its descriptor,
 * UV_EAGAIN if there is none, or the kernel's error. */
int net__listener_accept(struct net__listener *listener);

int net__listener_set_mode(struct net__listener *listener, int mode);

/* Its descriptor, whose options connections inherit that are accepted: keepalive
 * after 15 s and TCP_NODELAY, unless they are set anew. */
int net__listener_fd(const struct net__listener *listener);

/* The port, 0 for a Unix socket. */
int net__listener_port(const struct net__listener *listener);

/* Whether a path, however spelled, leads to its socket. */
bool net__listener_is_at(const struct net__listener *listener,
                         const char *path);

#endif
