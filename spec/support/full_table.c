/* The system's table of descriptors for the specs, to be preloaded: it is full
 * while the file that FULL_TABLE names is there. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static bool is_full(void) {
  const char *path = getenv("FULL_TABLE");
  int before = errno;
  bool full = path && access(path, F_OK) == 0;
  errno = full ? ENFILE : before;
  return full;
}

int socket(int domain, int type, int protocol) {
  int (*make)(int, int, int);
  *(void **)&make = dlsym(RTLD_NEXT, "socket");
  return is_full() ? -1 : make(domain, type, protocol);
}

int accept4(int listener, struct sockaddr *name, socklen_t *size, int flags) {
  int (*make)(int, struct sockaddr *, socklen_t *, int);
  *(void **)&make = dlsym(RTLD_NEXT, "accept4");
  return is_full() ? -1 : make(listener, name, size, flags);
}

int epoll_create1(int flags) {
  int (*make)(int);
  *(void **)&make = dlsym(RTLD_NEXT, "epoll_create1");
  return is_full() ? -1 : make(flags);
}
