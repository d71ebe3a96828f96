#define _GNU_SOURCE /* accept4() */

#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
  BACKLOG = 511,
  ACCEPTS = 32, /* then others have their turn */
  RETRY_MS = 100,
  NAMES = 10, /* tried before there is none to bind to */
  SPARES_MAX = 32,
  KEEPALIVE = 15 /* seconds, as of a rover */
};

struct rover__listener {
  uv_poll_t poll; /* poll.data is the listener */
  rover_relay_t *relay;
  int fd;
  int port;
  bool told;  /* that it cannot accept, ... */
  uint64_t since; /* ... which has been so since then: net__now() */
  /* A rover that is to keep many sockets takes what descriptors there are:
   * these are left for the clients that they are for. */
  int spares[SPARES_MAX];
  int spare_count, spares_wanted; /* 0: that is yet to be seen */
  char *path; /* or NULL, ... */
  dev_t device; /* ... and the file that it made there */
  ino_t inode;
};

static int new_socket(int family) {
  int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  return fd < 0 ? uv_translate_sys_error(errno) : fd;
}

static int start_listening(struct rover__listener *listener) {
  return listen(listener->fd, BACKLOG) < 0 ? uv_translate_sys_error(errno) : 0;
}

/* -- Unix sockets --------------------------------------------------------- */

/* A socket that is bound, and is yet to listen, looks like one whose owner has
 * died. So it is bound to a name of its own in that folder, and gets the name
 * that is wanted, if that is free, once it listens. */

typedef char path_t[sizeof((struct sockaddr_un *)0)->sun_path];

/* Writes a name in the folder of `path` that is probably free. It is no longer
 * than there is room for. */
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
  return 0;
}

/* Whether somebody listens at a path: 0 if not, or why it cannot be had. */
static int probe(const struct sockaddr_un *name) {
  int fd = new_socket(AF_UNIX);
  if (fd < 0) return fd;
  int err = connect(fd, (const struct sockaddr *)name, sizeof *name);
  if (err < 0) err = uv_translate_sys_error(errno);
  close(fd);
  if (err == UV_ECONNREFUSED || err == UV_ENOENT) return 0;
  return err == UV_EACCES || err == UV_EPERM ? err : UV_EADDRINUSE;
}

/* Takes away a socket that nobody listens on. It may have gone, and another
 * have come, since it was looked at: then that is put back. */
static int remove_stale(const char *path, const struct stat *stale) {
  path_t aside;
  struct stat moved;

  int err = make_name(aside, path);
  if (err < 0) return err;
  if (rename(path, aside) < 0)
    return errno == ENOENT ? 0 : uv_translate_sys_error(errno);
  if (lstat(aside, &moved) == 0 && (moved.st_ino != stale->st_ino ||
                                    moved.st_dev != stale->st_dev)) {
    err = UV_EADDRINUSE;
    if (link(aside, path) < 0) err = uv_translate_sys_error(errno);
  }
  unlink(aside);
  return err;
}

/* Makes room at a path where there is a socket that nobody listens on. */
static int make_room(const struct sockaddr_un *name) {
  struct stat there;

  if (lstat(name->sun_path, &there) < 0)
    return errno == ENOENT ? 0 : uv_translate_sys_error(errno);
  if (!S_ISSOCK(there.st_mode)) return UV_ENOTSOCK;
  int err = probe(name);
  return err < 0 ? err : remove_stale(name->sun_path, &there);
}

/* Gives what is at `own` the name that is wanted, too. */
static int publish(const char *own, const struct sockaddr_un *name) {
  if (link(own, name->sun_path) == 0) return 0;
  if (errno != EEXIST) return uv_translate_sys_error(errno);
  int err = make_room(name);
  if (err < 0) return err;
  if (link(own, name->sun_path) == 0) return 0;
  return errno == EEXIST ? UV_EADDRINUSE : uv_translate_sys_error(errno);
}

/* Binds to a name in the folder of `path`, which is written to `own`. */
static int bind_beside(struct rover__listener *listener, const char *path,
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

/* Whoever may write to the folder may have put a link there. */
static int set_mode(const char *path, int mode) {
  return fchmodat(AT_FDCWD, path, (mode_t)mode, AT_SYMLINK_NOFOLLOW) < 0
             ? uv_translate_sys_error(errno)
             : 0;
}

/* What is bound at `own` listens, with the mode that is wanted. */
static int listen_beside(struct rover__listener *listener, const char *own,
                         int mode) {
  struct stat made;

  if (lstat(own, &made) < 0) return uv_translate_sys_error(errno);
  if (!S_ISSOCK(made.st_mode)) return UV_ENOTSOCK; /* any more */
  listener->device = made.st_dev;
  listener->inode = made.st_ino;
  int err = (made.st_mode & 0777) == (mode_t)mode ? 0 : set_mode(own, mode);
  return err < 0 ? err : start_listening(listener);
}

static int listen_at_path(struct rover__listener *listener,
                          const rover_relay_t *relay) {
  const struct sockaddr_un *name = &relay->name.path;
  int mode = relay->options.address.mode;
  struct sockaddr_un own = {0};

  listener->path = strdup(name->sun_path);
  if (!listener->path) return UV_ENOMEM;
  /* The file is made with the socket's own permissions, less the umask's. */
  fchmod(listener->fd, (mode_t)mode);
  int err = bind_beside(listener, name->sun_path, &own);
  if (err < 0) return err;
  err = listen_beside(listener, own.sun_path, mode);
  if (err == 0) err = publish(own.sun_path, name);
  unlink(own.sun_path);
  return err;
}

int rover__listener_set_mode(struct rover__listener *listener, int mode) {
  return set_mode(listener->path, mode);
}

bool rover__listener_is_at(const struct rover__listener *listener,
                           const char *path) {
  struct stat now;
  return listener->path && lstat(path, &now) == 0 &&
         now.st_ino == listener->inode && now.st_dev == listener->device;
}

/* -- TCP ------------------------------------------------------------------ */

/* What is set of the listener, accepted connections have. */
static int bind_tcp(struct rover__listener *listener,
                    const struct sockaddr *name) {
  int fd = listener->fd;
  bool is_v6 = name->sa_family == AF_INET6;
  struct sockaddr_in6 taken = {0}; /* the larger one */
  socklen_t size = sizeof taken;

  net__fd_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (is_v6) net__fd_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  net__fd_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  net__fd_set_keepalive(fd, KEEPALIVE);
  if (bind(fd, name, is_v6 ? sizeof taken : sizeof(struct sockaddr_in)) < 0 ||
      getsockname(fd, (struct sockaddr *)&taken, &size) < 0)
    return uv_translate_sys_error(errno);
  listener->port = ntohs(taken.sin6_port); /* where sin_port is, too */
  return 0;
}

/* -- Accepting ------------------------------------------------------------ */

static const char *explain(int status) {
  switch (status) {
    case UV_EMFILE:
      return "cannot accept clients: this process has no descriptors left; "
             "raise its limit";
    case UV_ENFILE:
      return "cannot accept clients: this system has no descriptors left";
    case UV_ENOMEM: return "cannot accept clients: out of memory";
    default: return "cannot accept clients";
  }
}

static int accept_client(int listener) {
  int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  return fd < 0 ? uv_translate_sys_error(errno) : fd;
}

/* Asking is cheap; accept() makes a socket before it looks. */
static bool has_more(const struct rover__listener *listener) {
  struct pollfd poll_fd = {.fd = listener->fd, .events = POLLIN};
  return poll(&poll_fd, 1, 0) > 0;
}

static void spend(struct rover__listener *listener) {
  close(listener->spares[--listener->spare_count]);
}

/* How many descriptors it keeps for clients, when so many are in use. Relays do
 * not know of each other: those that come once half of all are in use, be it as
 * spares, have one each. */
static int share_of_limit(rlim_t used) {
  struct rlimit limit;
  rlim_t share = SPARES_MAX;

  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    rlim_t half = limit.rlim_cur / 2;
    if (limit.rlim_cur / 32 < share) share = limit.rlim_cur / 32;
    if (half < used + share) share = half > used ? half - used : 0;
  }
  return share > 0 ? (int)share : 1;
}

void rover__listener_reserve(struct rover__listener *listener) {
  int loop = uv_backend_fd(listener->relay->loop);

  while (listener->spares_wanted == 0 ||
         listener->spare_count < listener->spares_wanted) {
    int fd = fcntl(loop, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) return;
    /* It has the least number that was free. */
    if (listener->spares_wanted == 0)
      listener->spares_wanted = share_of_limit((rlim_t)fd);
    listener->spares[listener->spare_count++] = fd;
  }
}

static int accept_spending(struct rover__listener *listener) {
  int fd = accept_client(listener->fd);

  if (fd != UV_EMFILE || listener->spare_count == 0) return fd;
  spend(listener);
  return accept_client(listener->fd);
}

/* Those in the queue have waited as long as a client does. To be closed is an
 * answer, for which the descriptor does that is kept for joins. */
static void turn_away(struct rover__listener *listener) {
  rover_relay_t *relay = listener->relay;

  for (int i = 0; i < ACCEPTS && has_more(listener); i++) {
    if (!rover__relay_reserve(relay)) return;
    close(relay->spare);
    relay->spare = -1;
    int fd = accept_client(listener->fd);
    if (fd >= 0) rover__client_turn_away(relay, fd);
    rover__relay_reserve(relay);
    if (fd < 0) return;
  }
}

/* There is no accepting for now. The clients stay in the kernel's queue, which
 * would report them all the time. */
static void pause_accepting(struct rover__listener *listener, int status) {
  rover_relay_t *relay = listener->relay;
  bool told = listener->told;
  uint64_t now = net__now();

  uv_poll_stop(&listener->poll);
  relay->retry = uv_now(relay->loop) + RETRY_MS;
  rover__relay_arm(relay, relay->retry);
  listener->told = true;
  if (!told) listener->since = now;
  if (now - listener->since >= relay->options.wait_timeout &&
      status == UV_EMFILE)
    turn_away(listener);
  if (!told && relay->options.events.error)
    relay->options.events.error(relay, status, explain(status));
}

static void accept_clients(struct rover__listener *listener, int status) {
  for (int i = 0; i < ACCEPTS; i++) {
    if (i > 0 && (net__is_late(listener->poll.loop) || !has_more(listener)))
      return;
    int fd = status < 0 ? status : accept_spending(listener);
    if (fd == UV_EAGAIN) return;
    if (fd >= 0)
      fd = rover__client_new(listener->relay, fd, listener->path != NULL);
    if (uv_is_closing((uv_handle_t *)&listener->poll)) return;
    if (fd == 0) listener->told = false;
    /* Anything else is about one client, which has gone already. */
    if (status < 0 || net__is_exhaustion(fd)) {
      pause_accepting(listener, fd);
      return;
    }
  }
}

static void on_listener(uv_poll_t *poll, int status, int events) {
  struct rover__listener *listener = poll->data;
  (void)events;
  accept_clients(listener, status);
  rover__relay_bury(listener->relay);
}

void rover__listener_resume(struct rover__listener *listener) {
  uv_poll_start(&listener->poll, UV_READABLE, on_listener);
}

/* The folder may have several names, and this one may stay the longer. Without
 * memory for it, the old one does. */
static void follow_path(struct rover__listener *listener, const char *path) {
  if (!strcmp(listener->path, path)) return;
  char *own = strdup(path);
  if (!own) return;
  free(listener->path);
  listener->path = own;
}

void rover__listener_give(struct rover__listener *listener,
                          rover_relay_t *relay) {
  listener->relay = relay;
  if (listener->path) follow_path(listener, relay->options.address.path);
  rover__listener_resume(listener);
}

/* -- Life ----------------------------------------------------------------- */

static void on_closed(uv_handle_t *handle) {
  struct rover__listener *listener = handle->data;
  rover_relay_t *relay = listener->relay;
  free(listener->path);
  free(listener);
  rover__relay_unref(relay);
}

/* What there is at its path, if that is still its own, goes with it. */
static void unlink_path(struct rover__listener *listener) {
  if (listener->path && rover__listener_is_at(listener, listener->path))
    unlink(listener->path);
}

void rover__listener_close(struct rover__listener *listener) {
  listener->relay->refs++;
  while (listener->spare_count > 0) spend(listener);
  unlink_path(listener);
  uv_close((uv_handle_t *)&listener->poll, on_closed);
  close(listener->fd);
}

static int listen_at_port(struct rover__listener *listener,
                          const rover_relay_t *relay) {
  int err = bind_tcp(listener, &relay->name.any);
  return err < 0 ? err : start_listening(listener);
}

static int open_socket(struct rover__listener *listener,
                       rover_relay_t *relay) {
  listener->fd = new_socket(relay->name.any.sa_family);
  if (listener->fd < 0) return listener->fd;
  int err = relay->options.address.path ? listen_at_path(listener, relay)
                                        : listen_at_port(listener, relay);
  if (err < 0) return err;
  return uv_poll_init(relay->loop, &listener->poll, listener->fd);
}

int rover__listener_open(struct rover__listener **out, rover_relay_t *relay) {
  struct rover__listener *listener = calloc(1, sizeof *listener);
  if (!listener) return UV_ENOMEM;
  listener->fd = -1;
  int err = open_socket(listener, relay);
  if (err < 0) {
    unlink_path(listener);
    if (listener->fd >= 0) close(listener->fd);
    free(listener->path);
    free(listener);
    return err;
  }
  listener->poll.data = listener;
  rover__listener_give(listener, relay);
  *out = listener;
  return 0;
}

int rover__listener_port(const struct rover__listener *listener) {
  return listener->port;
}
