/* Holds a process up, to be preloaded: it stops right before it calls one of
 * these functions for the first time, or right after bind(), if HELD_AT names
 * it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void hold(const char *call) {
  const char *at = getenv("HELD_AT");
  if (!at || strcmp(at, call) != 0) return;
  unsetenv("HELD_AT");
  raise(SIGSTOP);
}

int bind(int fd, const struct sockaddr *name, socklen_t size) {
  int (*next)(int, const struct sockaddr *, socklen_t);
  *(void **)&next = dlsym(RTLD_NEXT, "bind");
  int result = next(fd, name, size);
  hold("bind");
  return result;
}

int listen(int fd, int backlog) {
  int (*next)(int, int);
  *(void **)&next = dlsym(RTLD_NEXT, "listen");
  hold("listen");
  return next(fd, backlog);
}

int link(const char *from, const char *to) {
  int (*next)(const char *, const char *);
  *(void **)&next = dlsym(RTLD_NEXT, "link");
  hold("link");
  return next(from, to);
}

int rename(const char *from, const char *to) {
  int (*next)(const char *, const char *);
  *(void **)&next = dlsym(RTLD_NEXT, "rename");
  hold("rename");
  return next(from, to);
}

int unlink(const char *path) {
  int (*next)(const char *);
  *(void **)&next = dlsym(RTLD_NEXT, "unlink");
  hold("unlink");
  return next(path);
}
