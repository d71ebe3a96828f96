#include "passed.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The environment has LISTEN_FDS, how many descriptors there are, from 3 on;
 * LISTEN_PID, for whom they are: a parent may have left both behind; and
 * LISTEN_FDNAMES, with colons between the names. */

enum { FIRST = 3 };

static struct {
  int count;
  char *names; /* a copy, or NULL */
} passed;

_Noreturn static void fail(const char *count, const char *what) {
  fprintf(stderr,
          "callosum-rover: LISTEN_FDS is '%s', but %s: start it by a systemd "
          "socket unit, or without that variable\n",
          count, what);
  exit(EXIT_FAILURE);
}

static long number(const char *text) {
  char *end;
  long value = strtol(text, &end, 10);
  return isdigit((unsigned char)*text) && !*end ? value : -1;
}

static void keep(const char *count, const char *names) {
  long many = number(count);
  char what[64];

  if (many < 0 || many > INT_MAX - FIRST)
    fail(count, "that is no number of descriptors");
  for (int fd = FIRST; fd < FIRST + many; fd++) {
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) == 0) continue;
    snprintf(what, sizeof what, "descriptor %d is not open", fd);
    fail(count, what);
  }
  passed.count = (int)many;
  passed.names = names ? strdup(names) : NULL;
}

void cli_passed_open(void) {
  static const char *const variables[] = {"LISTEN_FDS", "LISTEN_PID",
                                          "LISTEN_FDNAMES", "LISTEN_PIDFDID"};
  const char *count = getenv("LISTEN_FDS"), *pid = getenv("LISTEN_PID");

  if (count && pid && number(pid) == (long)getpid())
    keep(count, getenv("LISTEN_FDNAMES"));
  for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
    unsetenv(variables[i]);
}

int cli_passed_give(rover_host_t *host) {
  char *rest = passed.names;
  int err = 0;

  for (int fd = FIRST; fd < FIRST + passed.count && err == 0; fd++) {
    const char *name = rest ? strsep(&rest, ":") : NULL;
    err = rover_host_pass(host,
                          &(rover_host_socket_t){.fd = fd, .fd_name = name});
  }
  free(passed.names);
  passed.names = NULL;
  passed.count = 0;
  return err;
}
