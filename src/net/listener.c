#define _GNU_SOURCE /* accept4() */

#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "descriptor.h"
#include "reserve.h"
#include "turn.h"

/* The life of a listener: opened at an address, it accepts whenever its loop
 * reports connections, a few at a time, and hands each to its owner. When there
 * are no descriptors left, it spends those it holds in reserve. When these are
 * used up, or there is no memory, it reports that to its owner, leaves further
 * connections in the kernel's queue, and retries every 100 ms. Its owner can
 * change while it listens, unnoticed by clients. Closing removes the file of a
 * Unix socket, unless that has been replaced, or was there before. */

enum {
  RESERVE_MAX = 32,
  BACKLOG = 511,
  ACCEPTS = 32, /* at a time; then other handles get a turn */
  RETRY_MS = 100,
  NAMES = 10,    /* temporary names to try */
  KEEPALIVE = 15 /* seconds, as rovers have it */
};

struct net__listener {
  uv_poll_t poll;   /* poll.data is the listener, ... */
  uv_timer_t retry; /* so is retry.data */
  const struct net__listener_owner *owner;
  void *data;
  int fd;
  int port;
  uint64_t failing; /* since this net__now(); 0: it accepts */
  struct net__reserve reserve;
  int reserved;     /* how many to hold; 0: not known yet */
  unsigned handles; /* not closed yet, once it is closing */
  unsigned refs;    /* the handles, and calls under way */
  bool is_unix;
  char *path;   /* of a Unix socket, or NULL */
  dev_t device; /* the file there, ... */
  ino_t inode;
  bool owns_file; /* ... which it created */
  bool left;      /* to another process */
};

static int new_socket(int family) {
  int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  return fd < 0 ? uv_translate_sys_error(errno) : fd;
}

static int start_listening(struct net__listener *listener) {
  return listen(listener->fd, BACKLOG) < 0 ? uv_translate_sys_error(errno) : 0;
}

/* -- Unix sockets --------------------------------------------------------- */

/* A socket that is bound but does not listen yet looks like one whose owner has
 * died. So it is bound to a temporary name in the same folder, and is linked to
 * the wanted name, if that is free, once it listens. */

typedef char path_t[sizeof((struct sockaddr_un *)0)->sun_path];

/* Writes a name in the folder of `path` that is another, probably free, and as
 * long as fits. */
static int make_name(path_t out, const char *path) {
  static const char letters[] = "abcdefghijklmnopqrstuvwxyz012345";
  const char *slash = strrchr(path, '/');
  size_t folder = slash ? (size_t)(slash + 1 - path) : 0;
  size_t length = sizeof(path_t) - 1 - folder;
  unsigned char random[12];

  if (length > sizeof random) length = sizeof random;
  int err = uv_random(NULL, NULL, random, length, 0, NULL);
  if (err < 0) return err;
  memcpy(out, path, folder);
  for (size_t i = 0; i < length; i++)
    out[folder + i] = letters[random[i] % (sizeof letters - 1)];
  if (length > 1) out[folder] = '.';
  out[folder + length] = '\0';
  if (strcmp(out, path) == 0) out[folder] = out[folder] == 'a' ? 'b' : 'a';
  return 0;
}

/* Returns 0 if nobody listens at a path, or why it cannot be used. */
static int probe(const struct sockaddr_un *name) {
  int fd = new_socket(AF_UNIX);
  if (fd < 0) return fd;
  int err = connect(fd, (const struct sockaddr *)name, sizeof *name);
  if (err < 0) err = uv_translate_sys_error(errno);
  close(fd);
  if (err == UV_ECONNREFUSED || err == UV_ENOENT) return 0;
  return err == UV_EACCES || err == UV_EPERM ? err : UV_EADDRINUSE;
}

/* Removes a socket that nobody listens on. If it was replaced after it was
 * looked at, the new one is put back. */
static int remove_stale(const char *path, const struct stat *stale) {
  path_t aside;
  struct stat moved;

  int err = make_name(aside, path);
  if (err < 0) return err;
  if (rename(path, aside) < 0)
    return errno == ENOENT ? 0 : uv_translate_sys_error(errno);
  if (lstat(aside, &moved) == 0 &&
      (moved.st_ino != stale->st_ino || moved.st_dev != stale->st_dev)) {
    err = UV_EADDRINUSE;
    if (link(aside, path) < 0) err = uv_translate_sys_error(errno);
  }
  unlink(aside);
  return err;
}

/* Removes what is at a path if it is a socket that nobody listens on. */
static int make_room(const struct sockaddr_un *name) {
  struct stat there;

  if (lstat(name->sun_path, &there) < 0)
    return errno == ENOENT ? 0 : uv_translate_sys_error(errno);
  if (!S_ISSOCK(there.st_mode)) return UV_ENOTSOCK;
  int err = probe(name);
  return err < 0 ? err : remove_stale(name->sun_path, &there);
}

/* Links the socket at `own` to the wanted name, too. */
static int publish(const char *own, const struct sockaddr_un *name) {
  if (link(own, name->sun_path) == 0) return 0;
  if (errno != EEXIST) return uv_translate_sys_error(errno);
  int err = make_room(name);
  if (err < 0) return err;
  if (link(own, name->sun_path) == 0) return 0;
  return errno == EEXIST ? UV_EADDRINUSE : uv_translate_sys_error(errno);
}

/* Binds to a name in the folder of `path`, which is written to `own`. */
static int bind_beside(struct net__listener *listener, const char *path,
                       struct sockaddr_un *own) {
  own->sun_family = AF_UNIX;
  for (int i = 0; i < NAMES; i++) {
    int err = make_name(own->sun_path, path);
    if (err < 0) return err;
    if (bind(listener->fd, (struct sockaddr *)own, sizeof *own) == 0) return 0;
    if (errno != EADDRINUSE) break;
  }
  return uv_translate_sys_error(errno);
}

/* Other users with write access to the folder may have put a link there. */
static int set_mode(const char *path, int mode) {
  return fchmodat(AT_FDCWD, path, (mode_t)mode, AT_SYMLINK_NOFOLLOW) < 0
             ? uv_translate_sys_error(errno)
             : 0;
}

/* The socket bound at `own` listens, with the wanted mode. */
static int listen_beside(struct net__listener *listener, const char *own,
                         int mode) {
  struct stat made;

  if (lstat(own, &made) < 0) return uv_translate_sys_error(errno);
  if (!S_ISSOCK(made.st_mode)) return UV_ENOTSOCK; /* replaced meanwhile */
  listener->device = made.st_dev;
  listener->inode = made.st_ino;
  listener->owns_file = true;
  int err = (made.st_mode & 0777) == (mode_t)mode ? 0 : set_mode(own, mode);
  return err < 0 ? err : start_listening(listener);
}

static int listen_at_path(struct net__listener *listener,
                          const struct sockaddr_un *name, int mode) {
  struct sockaddr_un own = {0};

  listener->path = strdup(name->sun_path);
  if (!listener->path) return UV_ENOMEM;
  /* The file gets the socket's permissions, minus the umask. */
  fchmod(listener->fd, (mode_t)mode);
  int err = bind_beside(listener, name->sun_path, &own);
  if (err < 0) return err;
  err = listen_beside(listener, own.sun_path, mode);
  if (err == 0) err = publish(own.sun_path, name);
  unlink(own.sun_path);
  return err;
}

int net__listener_set_mode(struct net__listener *listener, int mode) {
  return set_mode(listener->path, mode);
}

bool net__listener_is_at(const struct net__listener *listener,
                         const char *path) {
  struct stat now;
  return listener->path && lstat(path, &now) == 0 &&
         now.st_ino == listener->inode && now.st_dev == listener->device;
}

/* -- TCP ------------------------------------------------------------------ */

/* Accepted connections inherit these options. */
static void set_options(int fd) {
  net__fd_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  net__fd_set_keepalive(fd, KEEPALIVE);
}

static int bind_port(struct net__listener *listener,
                     const struct sockaddr *name) {
  int fd = listener->fd;
  bool is_v6 = name->sa_family == AF_INET6;
  struct sockaddr_in6 taken = {0}; /* the larger of the two */
  socklen_t size = sizeof taken;

  net__fd_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (is_v6) net__fd_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  set_options(fd);
  if (bind(fd, name, is_v6 ? sizeof taken : sizeof(struct sockaddr_in)) < 0 ||
      getsockname(fd, (struct sockaddr *)&taken, &size) < 0)
    return uv_translate_sys_error(errno);
  listener->port = ntohs(taken.sin6_port); /* at the same offset as sin_port */
  return 0;
}

static void unref(struct net__listener *listener) {
  if (--listener->refs > 0) return;
  free(listener->path);
  free(listener);
}

static bool is_closing(const struct net__listener *listener) {
  return uv_is_closing((const uv_handle_t *)&listener->poll);
}

/* -- Accepting ------------------------------------------------------------ */

/* Sets *peer unless that is NULL. */
static int accept_one(struct net__listener *listener,
                      union net__address *peer) {
  socklen_t size = sizeof *peer;
  int fd = accept4(listener->fd, (struct sockaddr *)peer, peer ? &size : NULL,
                   SOCK_NONBLOCK | SOCK_CLOEXEC);
  return fd < 0 ? uv_translate_sys_error(errno) : fd;
}

int net__listener_accept(struct net__listener *listener) {
  return accept_one(listener, NULL);
}

/* How many connections wait, or at least whether one does. Asking is cheap:
 * accept() creates a socket before it looks for a client. */
static unsigned count_waiting(const struct net__listener *listener) {
  struct pollfd poll_fd = {.fd = listener->fd, .events = POLLIN};
  struct tcp_info info;
  socklen_t size = sizeof info;

  /* qemu takes TCP_INFO for a number. */
  if (!listener->is_unix &&
      getsockopt(listener->fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
      size > offsetof(struct tcp_info, tcpi_unacked))
    return info.tcpi_unacked; /* which is this of a listener */
  return poll(&poll_fd, 1, 0) > 0 ? 1 : 0;
}

/* How many descriptors to reserve when `used` are in use. Listeners do not know
 * of each other, so once half of the limit is used up or reserved, each
 * reserves one only. */
static int share_of_limit(rlim_t used) {
  struct rlimit limit;
  rlim_t share = RESERVE_MAX;

  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    rlim_t half = limit.rlim_cur / 2;
    if (limit.rlim_cur / 32 < share) share = limit.rlim_cur / 32;
    if (half < used + share) share = half > used ? half - used : 0;
  }
  return share > 0 ? (int)share : 1;
}

void net__listener_reserve(struct net__listener *listener) {
  struct net__reserve *reserve = &listener->reserve;
  int loop = uv_backend_fd(listener->poll.loop);

  if (listener->reserved == 0) {
    if (!net__reserve_fill(reserve, loop, 1)) return;
    /* dup() returns the lowest free number, so this is how many are in use. */
    listener->reserved = share_of_limit((rlim_t)reserve->fds[0]);
  }
  net__reserve_fill(reserve, loop, listener->reserved);
}

static int accept_spending(struct net__listener *listener,
                           union net__address *peer) {
  int fd = accept_one(listener, peer);

  if (fd != UV_EMFILE || !net__reserve_spend(&listener->reserve)) return fd;
  return accept_one(listener, peer);
}

static void start(struct net__listener *listener);

static void on_retry(uv_timer_t *retry) { start(retry->data); }

/* Connections stay in the kernel's queue, which the poll would keep
 * reporting. */
static void pause_accepting(struct net__listener *listener, int status) {
  uint64_t now = net__now();
  uint64_t since = listener->failing ? listener->failing : now;

  uv_poll_stop(&listener->poll);
  uv_timer_start(&listener->retry, on_retry, RETRY_MS, 0);
  listener->failing = since;
  listener->owner->failed(listener->data, status, now - since);
}

static void accept_some(struct net__listener *listener, int status) {
  union net__address name, *peer = listener->is_unix ? NULL : &name;
  unsigned waiting = 1;

  for (int i = 0; i < ACCEPTS && waiting > 0; i++) {
    if (i > 0 && net__is_late(listener->poll.loop)) return;
    int fd = status < 0 ? status : accept_spending(listener, peer);
    if (fd == UV_EAGAIN) return;
    if (fd >= 0) fd = listener->owner->accepted(listener->data, fd, peer);
    if (is_closing(listener)) return;
    waiting =
        i == 0 || listener->is_unix ? count_waiting(listener) : waiting - 1;
    if (fd == 0) listener->failing = 0;
    /* Any other error concerns a single connection, which is gone already. */
    if (status < 0 || net__is_exhaustion(fd)) {
      pause_accepting(listener, fd);
      return;
    }
  }
}

/* The owner's callbacks may run the loop, and the listener be closed in it. */
static void on_ready(uv_poll_t *poll, int status, int events) {
  struct net__listener *listener = poll->data;
  (void)events;
  listener->refs++;
  accept_some(listener, status);
  if (!is_closing(listener)) listener->owner->batch_end(listener->data);
  unref(listener);
}

static void start(struct net__listener *listener) {
  uv_timer_stop(&listener->retry);
  if (listener->left) return;
  uv_poll_start(&listener->poll, UV_READABLE, on_ready);
}

/* Keeps the old path if the new owner has none, or there is no memory. */
static void follow_path(struct net__listener *listener, const char *path) {
  if (!path || !strcmp(listener->path, path)) return;
  char *own = strdup(path);
  if (!own) return;
  free(listener->path);
  listener->path = own;
}

void net__listener_give(struct net__listener *listener, void *data,
                        const char *path) {
  listener->data = data;
  if (listener->path) follow_path(listener, path);
  start(listener);
}

bool net__listener_leave(struct net__listener *listener) {
  bool owned = listener->owns_file;

  listener->left = true;
  listener->owns_file = false;
  uv_poll_stop(&listener->poll);
  uv_timer_stop(&listener->retry);
  return owned;
}

/* Without a mode, no path was declared: the file is that of whoever passed the
 * socket. */
void net__listener_stay(struct net__listener *listener, bool owns_file,
                        int mode) {
  listener->left = false;
  listener->owns_file =
      owns_file && mode > 0 && net__listener_is_at(listener, listener->path);
  if (listener->owns_file) set_mode(listener->path, mode);
  start(listener);
}

/* -- Life ----------------------------------------------------------------- */

static void on_closed(uv_handle_t *handle) {
  struct net__listener *listener = handle->data;

  if (--listener->handles > 0) return;
  listener->owner->closed(listener->data);
  unref(listener);
}

/* Removes the file at its path, unless that has been replaced. */
static void unlink_path(struct net__listener *listener) {
  if (listener->owns_file && net__listener_is_at(listener, listener->path))
    unlink(listener->path);
}

void net__listener_close(struct net__listener *listener) {
  net__reserve_drop(&listener->reserve);
  unlink_path(listener);
  listener->handles = 2;
  uv_close((uv_handle_t *)&listener->poll, on_closed);
  uv_close((uv_handle_t *)&listener->retry, on_closed);
  close(listener->fd);
}

static int listen_at_port(struct net__listener *listener,
                          const struct sockaddr *name) {
  int err = bind_port(listener, name);
  return err < 0 ? err : start_listening(listener);
}

static int open_socket(struct net__listener *listener,
                       const struct sockaddr *name, int mode) {
  listener->fd = new_socket(name->sa_family);
  if (listener->fd < 0) return listener->fd;
  return listener->is_unix
             ? listen_at_path(listener, (const struct sockaddr_un *)name, mode)
             : listen_at_port(listener, name);
}

static struct net__listener *
listener_new(const struct sockaddr *name,
             const struct net__listener_owner *owner, void *data) {
  struct net__listener *listener = calloc(1, sizeof *listener);

  if (!listener) return NULL;
  listener->is_unix = name->sa_family == AF_UNIX;
  listener->owner = owner;
  listener->data = data;
  listener->refs = 1;
  return listener;
}

static int begin(struct net__listener *listener, uv_loop_t *loop) {
  int err = uv_poll_init(loop, &listener->poll, listener->fd);
  if (err < 0) return err;
  uv_timer_init(loop, &listener->retry);
  listener->poll.data = listener->retry.data = listener;
  start(listener);
  return 0;
}

int net__listener_open(struct net__listener **out, uv_loop_t *loop,
                       const struct sockaddr *name, int mode,
                       const struct net__listener_owner *owner, void *data) {
  struct net__listener *listener = listener_new(name, owner, data);
  if (!listener) return UV_ENOMEM;
  int err = open_socket(listener, name, mode);
  if (err == 0) err = begin(listener, loop);
  if (err < 0) {
    unlink_path(listener);
    if (listener->fd >= 0) close(listener->fd);
    unref(listener);
    return err;
  }
  *out = listener;
  return 0;
}

/* Whatever is at its path now is taken for its file. An abstract socket has
 * none. */
static int find_file(struct net__listener *listener,
                     const struct sockaddr *name, const char *path) {
  const char *bound = ((const struct sockaddr_un *)name)->sun_path;
  struct stat there;

  if (!listener->is_unix || !bound[0]) return 0;
  listener->path = strdup(path ? path : bound);
  if (!listener->path) return UV_ENOMEM;
  if (lstat(listener->path, &there) < 0) return 0;
  listener->device = there.st_dev;
  listener->inode = there.st_ino;
  return 0;
}

int net__listener_adopt(struct net__listener **out, uv_loop_t *loop, int fd,
                        const struct sockaddr *name, const char *path,
                        const struct net__listener_owner *owner, void *data) {
  struct net__listener *listener = listener_new(name, owner, data);
  if (!listener) return UV_ENOMEM;
  listener->fd = fd;
  int err = find_file(listener, name, path);
  if (err == 0) err = begin(listener, loop);
  if (err < 0) {
    unref(listener);
    return err;
  }
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  if (!listener->is_unix) {
    set_options(fd);
    listener->port = ntohs(((const struct sockaddr_in6 *)name)->sin6_port);
  }
  *out = listener;
  return 0;
}

int net__listener_port(const struct net__listener *listener) {
  return listener->port;
}

int net__listener_fd(const struct net__listener *listener) {
  return listener->fd;
}
