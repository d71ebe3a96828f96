#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include "host.h"

/* A policy that is replaced by another in a part of the hosts only: these read
 * the other file where they open the policy's. The program is linked with
 * --wrap, so these are the calls of our own code, such as src/host/script.c. */

/* NOLINTBEGIN(bugprone-reserved-identifier): the linker's names */
int __real_open(const char *path, int flags, ...);
int __real_stat(const char *path, struct stat *about);
int __wrap_open(const char *path, int flags, ...);
int __wrap_stat(const char *path, struct stat *about);
/* NOLINTEND(bugprone-reserved-identifier) */

static const char *file_of(const char *path) {
  const struct sim__host *host = sim__current ? sim__current->data : NULL;

  if (!host || !host->script || strcmp(path, host->hosts->policy) != 0)
    return path;
  return host->script;
}

int __wrap_open(const char *path, int flags, ...) {
  mode_t mode = 0;

  if (flags & O_CREAT) {
    va_list args;
    va_start(args, flags);
    mode = va_arg(args, mode_t);
    va_end(args);
  }
  return __real_open(file_of(path), flags, mode);
}

int __wrap_stat(const char *path, struct stat *about) {
  return __real_stat(file_of(path), about);
}
