/* A file on a mount that hangs: open() of the file HUNG returns once the file
 * GATE, a FIFO, has something to be read. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int wait_at_gate(void) {
  int gate = open(getenv("GATE"), O_RDONLY | O_CLOEXEC);
  char byte;
  ssize_t n = read(gate, &byte, 1);
  close(gate);
  return n == 1 ? 0 : -1;
}

static int open_real(const char *name, const char *path, int flags,
                     va_list args) {
  int (*real)(const char *, int, ...) =
      (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, name);
  const char *hung = getenv("HUNG");
  mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;

  if (hung && !strcmp(hung, path) && wait_at_gate() < 0) return -1;
  return real(path, flags, mode);
}

int open(const char *path, int flags, ...) {
  va_list args;
  va_start(args, flags);
  int fd = open_real("open", path, flags, args);
  va_end(args);
  return fd;
}

int open64(const char *path, int flags, ...) {
  va_list args;
  va_start(args, flags);
  int fd = open_real("open64", path, flags, args);
  va_end(args);
  return fd;
}
