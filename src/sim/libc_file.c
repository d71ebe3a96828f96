#undef _FORTIFY_SOURCE
#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "path.h"
#include "real.h"
#include "route.h"
#include "socket.h"

/* libc's functions on files and processes. Files are real, except for the names
 * of Unix sockets, which each machine has for itself. There are no further
 * processes. */

#pragma GCC visibility push(default)

static struct sim__path *path_at(const char *name) {
  return sim__current ? sim__path_find(sim__current, name) : NULL;
}

/* -- Opening -------------------------------------------------------------- */

/* The lowest numbers are few, and shared by all machines: what one opens gets a
 * number above those that are virtual. */
static int move_up(int fd) {
  if (fd < 0 || !sim__current) return fd;
  int moved = REAL(fcntl)(fd, F_DUPFD_CLOEXEC, (int)sim__fd_limit);
  int err = errno;
  REAL(close)(fd);
  errno = err;
  return moved;
}

static void tell_written(const char *path) {
  if (sim__current && sim__on_surprise && strncmp(path, "/dev/", 5) != 0)
    sim__on_surprise(sim__current, SIM__WRITTEN, path);
}

#define OPEN(name)                                                             \
  int name(const char *path, int flags, ...) {                                 \
    va_list rest;                                                              \
    va_start(rest, flags);                                                     \
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0;  \
    va_end(rest);                                                              \
    if ((flags & O_ACCMODE) != O_RDONLY) tell_written(path);                   \
    return move_up(REAL(name)(path, flags, mode));                             \
  }
OPEN(open)
OPEN(open64)

int __open_2(const char *path, int flags);
int __open_2(const char *path, int flags) { return open(path, flags); }

int __open64_2(const char *path, int flags);
int __open64_2(const char *path, int flags) { return open64(path, flags); }

#define FOPEN(name)                                                            \
  FILE *name(const char *restrict path, const char *restrict mode) {           \
    if (strpbrk(mode, "wa+")) tell_written(path);                              \
    return REAL(name)(path, mode);                                             \
  }
FOPEN(fopen)
FOPEN(fopen64)

/* -- Names of sockets ----------------------------------------------------- */

#define STAT(name, type)                                                       \
  int name(const char *restrict path, struct type *restrict out) {             \
    const struct sim__path *own = path_at(path);                               \
    if (!own) return REAL(name)(path, out);                                    \
    sim__path_stat(own, (struct stat *)out);                                   \
    return 0;                                                                  \
  }
STAT(stat, stat)
STAT(lstat, stat)
STAT(stat64, stat64)
STAT(lstat64, stat64)

static void describe(const struct sim__file *file, struct stat *out) {
  bool is_socket = sim__socket_of((struct sim__file *)file) != NULL;
  *out = (struct stat){.st_mode = (is_socket ? S_IFSOCK : S_IFIFO) | 0600,
                       .st_nlink = 1,
                       .st_blksize = 4096};
}

#define FSTAT(name, type)                                                      \
  int name(int fd, struct type *out) {                                         \
    const struct sim__file *file = sim__file_get(fd);                          \
    if (!file) return REAL(name)(fd, out);                                     \
    describe(file, (struct stat *)out);                                        \
    return 0;                                                                  \
  }
FSTAT(fstat, stat)
FSTAT(fstat64, stat64)

int access(const char *path, int mode) {
  return path_at(path) ? 0 : REAL(access)(path, mode);
}

int link(const char *from, const char *to) {
  const struct sim__path *own = path_at(from);
  if (!own) return REAL(link)(from, to);
  if (REAL(access)(to, F_OK) == 0) return sim__result(-EEXIST);
  return sim__result(sim__path_link(sim__current, own, to));
}

int rename(const char *from, const char *to) {
  struct sim__path *own = path_at(from);
  return own ? sim__result(sim__path_rename(sim__current, own, to))
             : REAL(rename)(from, to);
}

int unlink(const char *path) {
  struct sim__path *own = path_at(path);
  if (!own) return REAL(unlink)(path);
  sim__path_unlink(sim__current, own);
  return 0;
}

int remove(const char *path) {
  return path_at(path) ? unlink(path) : REAL(remove)(path);
}

int chmod(const char *path, mode_t mode) {
  struct sim__path *own = path_at(path);
  if (!own) return REAL(chmod)(path, mode);
  own->mode = mode & 07777;
  return 0;
}

int fchmodat(int folder, const char *path, mode_t mode, int flags) {
  return path_at(path) ? chmod(path, mode)
                       : REAL(fchmodat)(folder, path, mode, flags);
}

int fchmod(int fd, mode_t mode) {
  struct sim__file *file = sim__file_get(fd);
  if (!file) return REAL(fchmod)(fd, mode);
  struct sim__socket *socket = sim__socket_of(file);
  if (socket) socket->mode = mode & 07777;
  return 0;
}

/* -- Processes ------------------------------------------------------------ */

static int refuse(const char *what) {
  if (sim__on_surprise) sim__on_surprise(sim__current, SIM__PROCESS, what);
  errno = ENOSYS;
  return -1;
}

pid_t fork(void) { return sim__current ? refuse("fork()") : REAL(fork)(); }

pid_t vfork(void) { return fork(); }

/* Newer libuv calls these. */
#define SPAWN(name)                                                            \
  int name(pid_t *restrict pid, const char *restrict path,                     \
           const posix_spawn_file_actions_t *restrict actions,                 \
           const posix_spawnattr_t *restrict attributes,                       \
           char *const argv[restrict], char *const envp[restrict]) {           \
    if (!sim__current)                                                         \
      return REAL(name)(pid, path, actions, attributes, argv, envp);           \
    refuse("fork()");                                                          \
    return ENOSYS;                                                             \
  }
SPAWN(posix_spawn)
SPAWN(posix_spawnp)

FILE *popen(const char *command, const char *mode) {
  if (!sim__current) return REAL(popen)(command, mode);
  refuse("popen()");
  return NULL;
}

int system(const char *command) {
  if (!sim__current) return REAL(system)(command);
  return command ? refuse("system()") : 0;
}

pid_t getpid(void) {
  enum { FIRST = 1000 };
  return sim__current ? (pid_t)(FIRST + sim__current->id) : REAL(getpid)();
}

/* The number may be that of a real process. */
int kill(pid_t pid, int number) {
  if (!sim__current) return REAL(kill)(pid, number);
  return pid == getpid() && number == 0 ? 0 : refuse("kill()");
}

int killpg(pid_t group, int number) {
  return sim__current ? refuse("killpg()") : REAL(killpg)(group, number);
}

/* Nobody sends a machine signals, and those of the process are its own. */
int sigaction(int number, const struct sigaction *restrict set,
              struct sigaction *restrict old) {
  if (!sim__current) return REAL(sigaction)(number, set, old);
  if (old) *old = (struct sigaction){.sa_handler = SIG_DFL};
  return 0;
}

int getrlimit(__rlimit_resource_t what, struct rlimit *out) {
  if (!sim__current || what != RLIMIT_NOFILE) return REAL(getrlimit)(what, out);
  out->rlim_cur = sim__current->limit;
  out->rlim_max = sim__fd_limit;
  return 0;
}

int setrlimit(__rlimit_resource_t what, const struct rlimit *limit) {
  if (!sim__current || what != RLIMIT_NOFILE)
    return REAL(setrlimit)(what, limit);
  if (limit->rlim_cur > sim__fd_limit) return sim__result(-EPERM);
  sim__current->limit = (uint32_t)limit->rlim_cur;
  return 0;
}

int getrlimit64(__rlimit_resource_t what, struct rlimit64 *out) {
  if (!sim__current || what != RLIMIT_NOFILE)
    return REAL(getrlimit64)(what, out);
  out->rlim_cur = sim__current->limit;
  out->rlim_max = sim__fd_limit;
  return 0;
}

#pragma GCC visibility pop
