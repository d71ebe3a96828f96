#define _GNU_SOURCE /* fopencookie() */
#include "streams.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The standard streams of the C library, and with them those of Lua. A command
 * that prints and ends may block on its reader; run may not, so a policy's
 * print(), io.write() and io.stderr:write() go through the log's outputs. */

/* Opens those of descriptors 0 to 2 that are closed, as libuv expects. They
 * still cannot be written. */
void cli_streams_open(void) {
  for (int fd = 0; fd <= 2; fd++) {
    if (fcntl(fd, F_GETFD) >= 0) continue;
    /* open() returns the lowest free number. */
    if (open("/dev/null", fd == 0 ? O_RDWR : O_RDONLY) != fd) abort();
  }
}

int cli_streams_end(void) {
  errno = 0;
  /* With line buffering a write may have failed earlier. */
  bool failed = ferror(stdout);
  failed = fclose(stdout) != 0 || failed;
  if (!failed) return 0;
  fprintf(stderr, "callosum-rover: standard output: %s\n",
          errno ? strerror(errno) : "some of it could not be written");
  return EXIT_FAILURE;
}

/* -- While a loop runs ---------------------------------------------------- */

#ifdef __GLIBC__ /* there, the streams are variables */

struct route {
  struct cli_log *log;
  struct cli_output *output;
  FILE *own;
};

/* Static, since another thread may use a stream after the loop has ended. */
static struct route routes[2];

static ssize_t on_write(void *cookie, const char *text, size_t length) {
  struct route *route = cookie;
  errno = cli_log_text(route->log, route->output, text, length);
  return errno ? 0 : (ssize_t)length;
}

static FILE *route_to(struct route *route, struct cli_log *log,
                      struct cli_output *output, FILE *own, int mode) {
  static const cookie_io_functions_t functions = {.write = on_write};

  *route = (struct route){log, output, own};
  FILE *stream = fopencookie(route, "w", functions);
  if (!stream) return own;
  setvbuf(stream, NULL, mode, BUFSIZ);
  return stream;
}

/* Whether both are the same pipe, terminal or socket, where text from two
 * queues would mix. */
static bool are_same(void) {
  struct stat out, err;
  return fstat(STDOUT_FILENO, &out) == 0 && fstat(STDERR_FILENO, &err) == 0 &&
         out.st_dev == err.st_dev && out.st_ino == err.st_ino &&
         !S_ISREG(out.st_mode);
}

void cli_streams_route(struct cli_log *log) {
  stdout = route_to(&routes[0], log, are_same() ? &log->errors : &log->printed,
                    stdout, isatty(STDOUT_FILENO) ? _IOLBF : _IOFBF);
  stderr = route_to(&routes[1], log, &log->errors, stderr, _IONBF);
}

void cli_streams_restore(void) {
  if (!routes[0].own) return;
  fflush(stdout);
  stdout = routes[0].own;
  stderr = routes[1].own;
}

#else

void cli_streams_route(struct cli_log *log) { (void)log; }

void cli_streams_restore(void) {}

#endif
