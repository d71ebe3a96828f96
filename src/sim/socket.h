/* Private to src/sim: sockets, as a machine's code sees them. Every function
 * here is the system call of its name for the running machine, and returns a
 * negative errno where that fails. */
#ifndef SIM_SOCKET_H
#define SIM_SOCKET_H

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "net.h"

struct sim__socket {
  struct sim__file file;
  short domain, type;
  uint8_t state;
  bool bound, reuse, v6only;
  mode_t mode;          /* by fchmod(), of a Unix socket */
  struct sim__end *end; /* NULL: it was not connected */
  struct sim__listener *listener;
  struct sim__address local;
  struct sim__options options; /* until there is an end */
  ino_t inode;                 /* it is bound to, or 0 */
  char *path;                  /* likewise, or NULL */
};

/* NULL: it is no socket. */
struct sim__socket *sim__socket_of(struct sim__file *file);

int sim__socket(int domain, int type, int protocol);
int sim__socketpair(int domain, int type, int fds[2]);
int sim__bind(struct sim__socket *socket, const struct sockaddr *name,
              socklen_t size);
int sim__socket_listen(struct sim__socket *socket, int backlog);
int sim__accept(struct sim__socket *socket, struct sockaddr *name,
                socklen_t *size, int flags);
int sim__socket_connect(struct sim__socket *socket, const struct sockaddr *name,
                        socklen_t size);
int sim__getsockname(struct sim__socket *socket, struct sockaddr *name,
                     socklen_t *size);
int sim__getpeername(struct sim__socket *socket, struct sockaddr *name,
                     socklen_t *size);
int sim__shutdown(struct sim__socket *socket, int how);
ssize_t sim__recv(struct sim__socket *socket, void *bytes, size_t size,
                  int flags);
ssize_t sim__send_to(struct sim__socket *socket, const void *bytes, size_t size,
                     int flags);

/* See option.c. */
int sim__getsockopt(struct sim__socket *socket, int level, int name,
                    void *value, socklen_t *size);
int sim__setsockopt(struct sim__socket *socket, int level, int name,
                    const void *value, socklen_t size);
int sim__socket_ioctl(struct sim__socket *socket, unsigned long request,
                      void *arg);

#endif
