/* Private to src/net and src/relay: a socket that listens, for an owner. */
#ifndef NET_LISTENER_H
#define NET_LISTENER_H

#include <stdbool.h>

#include <uv.h>

struct net__listener;

struct net__listener_owner {
  /* The descriptor is the owner's from here on. Returns 0, or a negative error,
   * of which exhaustion (UV_ENOMEM, ...) counts as that of accepting. */
  int (*accepted)(void *data, int fd, bool is_unix);
  /* Called each time that it cannot, which has been so for `ms`: 0 if it could
   * the last time. net__listener_accept() may help. */
  void (*failed)(void *data, int status, uint64_t ms);
  void (*told)(void *data); /* that was all for now */
  void (*closed)(void *data);
};

/* Listens at `name`. A Unix socket has the permissions `mode` from the
 * beginning, and replaces one that nobody listens on. Ownership: `owner` must
 * outlive the listener, which ends in closed(). */
int net__listener_open(struct net__listener **listener, uv_loop_t *loop,
                       const struct sockaddr *name, int mode,
                       const struct net__listener_owner *owner, void *data);
void net__listener_close(struct net__listener *listener);

/* Connections are this owner's from now on. `path` leads to the socket, if it
 * is a Unix socket: the folder may have several names, and this is the one to
 * use. If it failed to accept, it tries again. */
void net__listener_give(struct net__listener *listener, void *data,
                        const char *path);

/* Has its share of descriptors in reserve again; to be called when some may
 * have become free, and for the first time in a later turn of the loop than
 * open: whoever sets up others now may be short of them. */
void net__listener_reserve(struct net__listener *listener);

/* Accepts one connection without spending any of them. Returns its descriptor,
 * UV_EAGAIN if there is none, or the kernel's error. */
int net__listener_accept(struct net__listener *listener);

int net__listener_set_mode(struct net__listener *listener, int mode);

/* The port, 0 for a Unix socket. */
int net__listener_port(const struct net__listener *listener);

/* Whether a path, however it is spelled, leads to its socket. */
bool net__listener_is_at(const struct net__listener *listener,
                         const char *path);

#endif
