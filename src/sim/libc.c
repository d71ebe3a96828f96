#undef _FORTIFY_SOURCE
#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "kernel.h"
#include "pipe.h"
#include "poll.h"
#include "real.h"
#include "socket.h"
#include "thread.h"

/* libc's functions on descriptors. libuv, luv and Lua call those of the program
 * rather than libc's, as the loader looks there first. For a descriptor of the
 * running machine they are this kernel's, for all others libc's. */

/* Attributes of poll() say that it only writes to its argument. */
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#pragma GCC visibility push(default)

/* A socket of the running machine; NULL with *err set if it is another file of
 * its, or 0 if it is real. */
static struct sim__socket *socket_at(int fd, int *err) {
  struct sim__file *file = sim__file_get(fd);
  struct sim__socket *found = file ? sim__socket_of(file) : NULL;
  *err = file ? ENOTSOCK : 0;
  return found;
}

/* Calls ours for a socket, and libc's for a real descriptor. */
#define ON_SOCKET(fd, ours, libcs)                                             \
  int err;                                                                     \
  struct sim__socket *socket = socket_at(fd, &err);                            \
  if (socket) return sim__result((int)(ours));                                 \
  if (!err) return libcs;                                                      \
  errno = err;                                                                 \
  return -1

/* -- epoll ---------------------------------------------------------------- */

int epoll_create1(int flags) {
  return sim__current ? sim__result(sim__epoll_new())
                      : REAL(epoll_create1)(flags);
}

int epoll_create(int size) {
  return sim__current ? sim__result(sim__epoll_new())
                      : REAL(epoll_create)(size);
}

int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event) {
  struct sim__file *file = sim__file_get(epfd);
  return file ? sim__result(sim__epoll_ctl(file, op, fd, event))
              : REAL(epoll_ctl)(epfd, op, fd, event);
}

static uint64_t ns_of(int timeout) {
  return timeout < 0 ? SIM__NEVER : (uint64_t)timeout * SIM__MS;
}

static bool has_event(void *file) {
  struct sim__file *epoll = file;
  return epoll->type->poll(epoll) != 0;
}

static int wait_in(struct sim__file *file, struct epoll_event *events, int room,
                   int timeout) {
  if (!sim__is_epoll(file)) return sim__result(-EINVAL);
  if (timeout != 0 && !has_event(file))
    sim__wait(ns_of(timeout), has_event, file);
  return sim__result(sim__epoll_wait(file, events, room));
}

int epoll_wait(int epfd, struct epoll_event *events, int room, int timeout) {
  struct sim__file *file = sim__file_get(epfd);
  return file ? wait_in(file, events, room, timeout)
              : REAL(epoll_wait)(epfd, events, room, timeout);
}

int epoll_pwait(int epfd, struct epoll_event *events, int room, int timeout,
                const sigset_t *mask) {
  struct sim__file *file = sim__file_get(epfd);
  return file ? wait_in(file, events, room, timeout)
              : REAL(epoll_pwait)(epfd, events, room, timeout, mask);
}

static bool has_virtual(const struct pollfd *fds, nfds_t count) {
  for (nfds_t i = 0; i < count; i++)
    if (sim__file_get(fds[i].fd)) return true;
  return false;
}

struct polled {
  struct pollfd *fds;
  nfds_t count;
};

static bool has_ready(void *arg) {
  const struct polled *polled = arg;
  return sim__poll(polled->fds, polled->count) > 0;
}

int poll(struct pollfd *fds, nfds_t count, int timeout) {
  struct polled polled = {fds, count};

  if (!has_virtual(fds, count)) return REAL(poll)(fds, count, timeout);
  if (timeout != 0 && !has_ready(&polled))
    sim__wait(ns_of(timeout), has_ready, &polled);
  return sim__poll(fds, count);
}

int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
          const sigset_t *mask) {
  if (!has_virtual(fds, count)) return REAL(ppoll)(fds, count, timeout, mask);
  int ms = -1;
  if (timeout) ms = (int)(timeout->tv_sec * 1000 + timeout->tv_nsec / 1000000);
  return poll(fds, count, ms);
}

/* -- Waiting -------------------------------------------------------------- */

/* Waits until a file can be read, or written, if it is one that blocks. Returns
 * whether to try again. */
static bool has_input(void *file) {
  struct sim__file *in = file;
  return in->type->poll(in) & (EPOLLIN | EPOLLERR | EPOLLHUP);
}

static bool has_room(void *file) {
  struct sim__file *out = file;
  return out->type->poll(out) & (EPOLLOUT | EPOLLERR | EPOLLHUP);
}

static bool waits(struct sim__file *file, ssize_t result, int flags,
                  bool (*is_ready)(void *file)) {
  if (result != -EAGAIN || !file->blocks || flags & MSG_DONTWAIT) return false;
  sim__wait(SIM__NEVER, is_ready, file);
  return is_ready(file);
}

/* -- Sockets -------------------------------------------------------------- */

int socket(int domain, int type, int protocol) {
  return sim__current ? sim__result(sim__socket(domain, type, protocol))
                      : REAL(socket)(domain, type, protocol);
}

int socketpair(int domain, int type, int protocol, int fds[2]) {
  return sim__current ? sim__result(sim__socketpair(domain, type, fds))
                      : REAL(socketpair)(domain, type, protocol, fds);
}

/* The folder of a Unix socket is a real one. */
static int check_folder(const struct sockaddr *name, socklen_t size) {
  char path[sizeof(struct sockaddr_un)] = "";
  size_t start = offsetof(struct sockaddr_un, sun_path);

  if (size <= start || name->sa_family != AF_UNIX) return 0;
  memcpy(path, (const char *)name + start,
         size - start < sizeof path ? size - start : sizeof path - 1);
  char *slash = strrchr(path, '/');
  if (!slash) return 0;
  if (REAL(access)(path, F_OK) == 0) return -EADDRINUSE;
  slash[slash == path] = '\0';
  return REAL(access)(path, W_OK) < 0 ? -errno : 0;
}

static int bind_one(struct sim__socket *socket, const struct sockaddr *name,
                    socklen_t size) {
  int err = check_folder(name, size);
  return err < 0 ? err : sim__bind(socket, name, size);
}

int bind(int fd, const struct sockaddr *name, socklen_t size) {
  ON_SOCKET(fd, bind_one(socket, name, size), REAL(bind)(fd, name, size));
}

int listen(int fd, int backlog) {
  ON_SOCKET(fd, sim__socket_listen(socket, backlog), REAL(listen)(fd, backlog));
}

static int accept_one(struct sim__socket *socket, struct sockaddr *name,
                      socklen_t *size, int flags) {
  int fd;
  do fd = sim__accept(socket, name, size, flags);
  while (waits(&socket->file, fd, 0, has_input));
  return fd;
}

int accept4(int fd, struct sockaddr *name, socklen_t *size, int flags) {
  ON_SOCKET(fd, accept_one(socket, name, size, flags),
            REAL(accept4)(fd, name, size, flags));
}

int accept(int fd, struct sockaddr *name, socklen_t *size) {
  ON_SOCKET(fd, accept_one(socket, name, size, 0),
            REAL(accept)(fd, name, size));
}

static int connect_one(struct sim__socket *socket, const struct sockaddr *name,
                       socklen_t size) {
  int err = sim__socket_connect(socket, name, size);

  if (err != -EINPROGRESS || !socket->file.blocks) return err;
  if (!has_room(socket)) sim__wait(SIM__NEVER, has_room, socket);
  return sim__socket_connect(socket, name, size);
}

int connect(int fd, const struct sockaddr *name, socklen_t size) {
  ON_SOCKET(fd, connect_one(socket, name, size), REAL(connect)(fd, name, size));
}

int getsockname(int fd, struct sockaddr *name, socklen_t *size) {
  ON_SOCKET(fd, sim__getsockname(socket, name, size),
            REAL(getsockname)(fd, name, size));
}

int getpeername(int fd, struct sockaddr *name, socklen_t *size) {
  ON_SOCKET(fd, sim__getpeername(socket, name, size),
            REAL(getpeername)(fd, name, size));
}

int getsockopt(int fd, int level, int name, void *value, socklen_t *size) {
  ON_SOCKET(fd, sim__getsockopt(socket, level, name, value, size),
            REAL(getsockopt)(fd, level, name, value, size));
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t size) {
  ON_SOCKET(fd, sim__setsockopt(socket, level, name, value, size),
            REAL(setsockopt)(fd, level, name, value, size));
}

int shutdown(int fd, int how) {
  ON_SOCKET(fd, sim__shutdown(socket, how), REAL(shutdown)(fd, how));
}

/* -- Reading and writing -------------------------------------------------- */

static ssize_t read_one(struct sim__file *file, void *bytes, size_t size,
                        int flags) {
  struct sim__socket *from = sim__socket_of(file);
  ssize_t n;

  if (!from && !file->type->read) return -EBADF;
  do
    n = from ? sim__recv(from, bytes, size, flags)
             : file->type->read(file, bytes, size);
  while (waits(file, n, flags, has_input));
  return n;
}

static ssize_t write_one(struct sim__file *file, void *bytes, size_t size,
                         int flags) {
  struct sim__socket *to = sim__socket_of(file);
  ssize_t n;

  if (!to && !file->type->write) return -EBADF;
  do
    n = to ? sim__send_to(to, bytes, size, flags)
           : file->type->write(file, bytes, size);
  while (waits(file, n, flags, has_room));
  return n;
}

static ssize_t read_from(struct sim__file *file, void *bytes, size_t size) {
  return sim__result_long(read_one(file, bytes, size, 0));
}

static ssize_t write_to(struct sim__file *file, const void *bytes,
                        size_t size) {
  if (!sim__in_thread() || !sim__is_eventfd(file))
    return sim__result_long(write_one(file, (void *)bytes, size, 0));
  sim__work_answer(file); /* the end of work, to its loop */
  return (ssize_t)size;
}

ssize_t read(int fd, void *bytes, size_t size) {
  struct sim__file *file = sim__file_get(fd);
  return file ? read_from(file, bytes, size) : REAL(read)(fd, bytes, size);
}

ssize_t write(int fd, const void *bytes, size_t size) {
  struct sim__file *file = sim__file_get(fd);
  return file ? write_to(file, bytes, size) : REAL(write)(fd, bytes, size);
}

/* One vector at a time, until one is not read or written as a whole. */
static ssize_t
each(struct sim__file *file, const struct iovec *vectors, size_t count,
     ssize_t (*fn)(struct sim__file *file, void *bytes, size_t size, int flags),
     int flags) {
  ssize_t sum = 0;

  for (size_t i = 0; i < count; i++) {
    if (vectors[i].iov_len == 0) continue;
    ssize_t n = fn(file, vectors[i].iov_base, vectors[i].iov_len, flags);
    if (n < 0) return sum > 0 ? sum : sim__result_long(n);
    sum += n;
    if ((size_t)n < vectors[i].iov_len) break;
  }
  return sum;
}

ssize_t readv(int fd, const struct iovec *vectors, int count) {
  struct sim__file *file = sim__file_get(fd);
  return file ? each(file, vectors, (size_t)count, read_one, 0)
              : REAL(readv)(fd, vectors, count);
}

ssize_t writev(int fd, const struct iovec *vectors, int count) {
  struct sim__file *file = sim__file_get(fd);
  return file ? each(file, vectors, (size_t)count, write_one, 0)
              : REAL(writev)(fd, vectors, count);
}

#define ON_SOCKET_LONG(fd, ours, libcs)                                        \
  int err;                                                                     \
  struct sim__socket *socket = socket_at(fd, &err);                            \
  if (socket) return sim__result_long(ours);                                   \
  if (!err) return libcs;                                                      \
  errno = err;                                                                 \
  return -1

ssize_t recv(int fd, void *bytes, size_t size, int flags) {
  ON_SOCKET_LONG(fd, read_one(&socket->file, bytes, size, flags),
                 REAL(recv)(fd, bytes, size, flags));
}

ssize_t send(int fd, const void *bytes, size_t size, int flags) {
  ON_SOCKET_LONG(fd, write_one(&socket->file, (void *)bytes, size, flags),
                 REAL(send)(fd, bytes, size, flags));
}

ssize_t recvfrom(int fd, void *restrict bytes, size_t size, int flags,
                 struct sockaddr *restrict name, socklen_t *restrict length) {
  ON_SOCKET_LONG(fd, read_one(&socket->file, bytes, size, flags),
                 REAL(recvfrom)(fd, bytes, size, flags, name, length));
}

ssize_t sendto(int fd, const void *bytes, size_t size, int flags,
               const struct sockaddr *name, socklen_t length) {
  ON_SOCKET_LONG(fd, write_one(&socket->file, (void *)bytes, size, flags),
                 REAL(sendto)(fd, bytes, size, flags, name, length));
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
  struct sim__file *file = sim__file_get(fd);

  if (!file) return REAL(recvmsg)(fd, message, flags);
  message->msg_controllen = 0;
  message->msg_flags = 0;
  return each(file, message->msg_iov, message->msg_iovlen, read_one, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
  struct sim__file *file = sim__file_get(fd);

  if (!file) return REAL(sendmsg)(fd, message, flags);
  return each(file, message->msg_iov, message->msg_iovlen, write_one, flags);
}

ssize_t splice(int from, off64_t *from_at, int to, off64_t *to_at, size_t size,
               unsigned flags) {
  struct sim__file *in = sim__file_get(from), *out = sim__file_get(to);

  if (!in && !out) return REAL(splice)(from, from_at, to, to_at, size, flags);
  if (!in || !out || from_at || to_at) return sim__result_long(-EINVAL);
  return sim__result_long(sim__splice(in, out, size));
}

/* libuv copies instead. */
ssize_t sendfile64(int to, int from, off64_t *offset, size_t size) {
  if (sim__file_get(to) || sim__file_get(from))
    return sim__result_long(-EINVAL);
  return REAL(sendfile64)(to, from, offset, size);
}

/* -- Pipes and the like --------------------------------------------------- */

int pipe2(int fds[2], int flags) {
  return sim__current ? sim__result(sim__pipe(fds, flags))
                      : REAL(pipe2)(fds, flags);
}

int pipe(int fds[2]) {
  return sim__current ? sim__result(sim__pipe(fds, 0)) : REAL(pipe)(fds);
}

int eventfd(unsigned count, int flags) {
  return sim__current ? sim__result(sim__eventfd(count, flags))
                      : REAL(eventfd)(count, flags);
}

int inotify_init1(int flags) {
  return sim__current ? sim__result(sim__inotify(flags))
                      : REAL(inotify_init1)(flags);
}

int inotify_add_watch(int fd, const char *path, uint32_t mask) {
  static int number;
  if (!sim__file_get(fd)) return REAL(inotify_add_watch)(fd, path, mask);
  return access(path, F_OK) < 0 ? -1 : ++number;
}

int inotify_rm_watch(int fd, int number) {
  return sim__file_get(fd) ? 0 : REAL(inotify_rm_watch)(fd, number);
}

/* -- Descriptors ---------------------------------------------------------- */

int close(int fd) {
  return sim__file_get(fd) ? sim__result(sim__fd_close(fd)) : REAL(close)(fd);
}

int dup(int fd) {
  struct sim__file *file = sim__file_get(fd);
  return file ? sim__result(sim__fd_new(file, 0)) : REAL(dup)(fd);
}

int dup3(int fd, int to, int flags) {
  struct sim__file *file = sim__file_get(fd);

  if (!file) return REAL(dup3)(fd, to, flags);
  if (to < SIM__FIRST_FD || (uint32_t)to >= sim__current->limit)
    return sim__result(-EBADF);
  return sim__fd_replace(file, to);
}

int dup2(int fd, int to) {
  return sim__file_get(fd) ? dup3(fd, to, 0) : REAL(dup2)(fd, to);
}

static int control(struct sim__file *file, int command, int arg) {
  switch (command) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC: return sim__fd_new(file, arg);
    case F_GETFD: return FD_CLOEXEC;
    case F_SETFD: return 0;
    case F_GETFL: return O_RDWR | (file->blocks ? 0 : O_NONBLOCK);
    case F_SETFL: file->blocks = !(arg & O_NONBLOCK); return 0;
    case F_GETPIPE_SZ: return sim__pipe_size(file, 0);
    case F_SETPIPE_SZ: return sim__pipe_size(file, arg);
    default: return -EINVAL;
  }
}

#define CONTROL(name)                                                          \
  int name(int fd, int command, ...) {                                         \
    struct sim__file *file = sim__file_get(fd);                                \
    va_list rest;                                                              \
    va_start(rest, command);                                                   \
    void *arg = va_arg(rest, void *); /* or an int, in the same place */       \
    va_end(rest);                                                              \
    return file ? sim__result(control(file, command, (int)(intptr_t)arg))      \
                : REAL(name)(fd, command, arg);                                \
  }
CONTROL(fcntl)
CONTROL(fcntl64)

int ioctl(int fd, unsigned long request, ...) {
  struct sim__file *file = sim__file_get(fd);
  va_list rest;
  va_start(rest, request);
  void *arg = va_arg(rest, void *);
  va_end(rest);
  if (!file) return REAL(ioctl)(fd, request, arg);
  struct sim__socket *found = sim__socket_of(file);
  if (found) return sim__result(sim__socket_ioctl(found, request, arg));
  if (request == FIONREAD) return sim__result(sim__pipe_unread(file, arg));
  if (request == FIONBIO) file->blocks = !*(int *)arg;
  return sim__result(request == FIONBIO || request == FIOCLEX ||
                             request == FIONCLEX
                         ? 0
                         : -ENOTTY);
}

#pragma GCC visibility pop
