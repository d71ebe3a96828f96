#define _GNU_SOURCE /* accept4() */

#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
  BACKLOG = 511,
  ACCEPTS = 32, /* then others have their turn */
  RETRY_MS = 100,
  LOCK_TRIES = 20, /* 5 ms apart */
  KEEPALIVE = 15 /* seconds, as of a rover */
};

struct rover__listener {
  uv_poll_t poll; /* poll.data is the listener */
  rover_relay_t *relay;
  int fd;
  int port;
  bool told;  /* that it cannot accept */
  char *path; /* or NULL, ... */
  dev_t device; /* ... and the file that it made there */
  ino_t inode;
};

static int new_socket(int family) {
#ifdef SOCK_CLOEXEC
  int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
#else
  int fd = socket(family, SOCK_STREAM, 0);
  if (fd >= 0) {
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, O_NONBLOCK);
  }
#endif
  return fd < 0 ? uv_translate_sys_error(errno) : fd;
}

/* -- Unix sockets --------------------------------------------------------- */

/* One that is bound, and about to listen, looks stale: whoever takes a path in
 * this folder keeps others of us from that until it listens. Returns what is
 * locked, or -1 and it is done without, since the folder cannot be read, or
 * somebody else holds it. */
static int lock_folder(const char *path) {
  char folder[sizeof((struct sockaddr_un *)0)->sun_path];

  strcpy(folder, path);
  char *slash = strrchr(folder, '/');
  if (slash) slash[slash == folder ? 1 : 0] = '\0';
  int fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return -1;
  for (int i = 0; i < LOCK_TRIES; i++) {
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
    if (errno != EWOULDBLOCK) break;
    uv_sleep(5);
  }
  close(fd);
  return -1;
}

static void unlock_folder(int fd) {
  if (fd < 0) return;
  flock(fd, LOCK_UN); /* a process that is being started may have it, too */
  close(fd);
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

/* Makes room at a path where there is a socket that nobody listens on. */
static int remove_stale(const struct sockaddr_un *name) {
  struct stat before, now;

  if (lstat(name->sun_path, &before) < 0)
    return errno == ENOENT ? 0 : uv_translate_sys_error(errno);
  if (!S_ISSOCK(before.st_mode)) return UV_ENOTSOCK;
  int err = probe(name);
  if (err < 0) return err;
  /* Somebody else may have made room, and use of it, meanwhile. */
  if (lstat(name->sun_path, &now) < 0) return 0;
  if (now.st_ino != before.st_ino || now.st_dev != before.st_dev)
    return UV_EADDRINUSE;
  return unlink(name->sun_path) < 0 && errno != ENOENT
             ? uv_translate_sys_error(errno)
             : 0;
}

static int bind_path(struct rover__listener *listener,
                     const struct sockaddr_un *name, int mode) {
  const struct sockaddr *any = (const struct sockaddr *)name;
  struct stat made;

  /* Linux makes the file with the socket's own permissions, less the umask's.
   * Elsewhere nobody can connect before listen(), when they are set. */
  fchmod(listener->fd, (mode_t)mode);
  int err = bind(listener->fd, any, sizeof *name) < 0 ? errno : 0;
  if (err == EADDRINUSE) {
    int status = remove_stale(name);
    if (status < 0) return status;
    err = bind(listener->fd, any, sizeof *name) < 0 ? errno : 0;
  }
  if (err) return uv_translate_sys_error(err);
  if (lstat(name->sun_path, &made) < 0) return uv_translate_sys_error(errno);
  if (!S_ISSOCK(made.st_mode)) return UV_ENOTSOCK; /* any more */
  listener->device = made.st_dev;
  listener->inode = made.st_ino;
  listener->path = strdup(name->sun_path);
  if (!listener->path) {
    unlink(name->sun_path);
    return UV_ENOMEM;
  }
  if ((made.st_mode & 0777) == (mode_t)mode) return 0;
  return rover__listener_set_mode(listener, mode);
}

/* Whoever may write to the folder may have put a link there. */
int rover__listener_set_mode(struct rover__listener *listener, int mode) {
  return fchmodat(AT_FDCWD, listener->path, (mode_t)mode,
                  AT_SYMLINK_NOFOLLOW) < 0
             ? uv_translate_sys_error(errno)
             : 0;
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

  rover__set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (is_v6) rover__set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  rover__set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  rover__set_keepalive(fd, KEEPALIVE);
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

/* There is no accepting for now. The clients stay in the kernel's queue, which
 * would report them all the time. */
static void pause_accepting(struct rover__listener *listener, int status) {
  rover_relay_t *relay = listener->relay;
  bool told = listener->told;

  uv_poll_stop(&listener->poll);
  relay->retry = uv_now(relay->loop) + RETRY_MS;
  rover__relay_arm(relay, relay->retry);
  listener->told = true;
  if (!told && relay->options.events.error)
    relay->options.events.error(relay, status, explain(status));
}

static int accept_client(int listener) {
#ifdef SOCK_CLOEXEC
  int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
#else
  int fd = accept(listener, NULL, NULL);
  if (fd >= 0) {
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, O_NONBLOCK);
  }
#endif
  return fd < 0 ? uv_translate_sys_error(errno) : fd;
}

/* Asking is cheap; accept() makes a socket before it looks. */
static bool has_more(const struct rover__listener *listener) {
  struct pollfd poll_fd = {.fd = listener->fd, .events = POLLIN};
  return poll(&poll_fd, 1, 0) > 0;
}

static void accept_clients(struct rover__listener *listener, int status) {
  for (int i = 0; i < ACCEPTS; i++) {
    if (i > 0 && !has_more(listener)) return;
    int fd = status < 0 ? status : accept_client(listener->fd);
    if (fd == UV_EAGAIN) return;
    if (fd >= 0)
      fd = rover__client_new(listener->relay, fd, listener->path != NULL);
    if (uv_is_closing((uv_handle_t *)&listener->poll)) return;
    if (fd == 0) listener->told = false;
    /* Anything else is about one client, which has gone already. */
    if (status < 0 || rover__is_exhaustion(fd)) {
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
  unlink_path(listener);
  uv_close((uv_handle_t *)&listener->poll, on_closed);
  close(listener->fd);
}

static int start_listening(struct rover__listener *listener) {
  return listen(listener->fd, BACKLOG) < 0 ? uv_translate_sys_error(errno) : 0;
}

static int listen_at_path(struct rover__listener *listener,
                          const rover_relay_t *relay) {
  int lock = lock_folder(relay->options.address.path);
  int err = bind_path(listener, &relay->name.path, relay->options.address.mode);
  if (err == 0) err = start_listening(listener);
  unlock_folder(lock);
  return err;
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
