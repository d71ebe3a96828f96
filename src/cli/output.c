#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* Standard error, for a loop that must never wait for whoever reads it. What is
 * not taken at once is queued, up to a limit.
 *
 * The open file is shared with whoever started us, so it is left blocking.
 * Sockets can be told with each call not to block, and files never do. Pipes
 * and terminals are opened anew, which makes an open file of our own. Where
 * that is not possible, poll() is asked first: then at least PIPE_BUF bytes
 * find room (pipe(7)), unless another process fills it in between. */

enum { QUEUE_MAX = 1024 * 1024 };

void cli_output_open(struct cli_output *o) {
  struct stat about;

  *o = (struct cli_output){.fd = STDERR_FILENO};
  if (fstat(STDERR_FILENO, &about) < 0 || S_ISREG(about.st_mode)) return;
  o->is_socket = S_ISSOCK(about.st_mode);
  if (o->is_socket) return;
  int fd = open("/proc/self/fd/2",
                O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (fd >= 0) o->fd = fd;
  else o->may_block = true;
}

void cli_output_close(struct cli_output *o) {
  if (o->fd != STDERR_FILENO) close(o->fd);
  free(o->queue);
  *o = (struct cli_output){.fd = STDERR_FILENO};
}

static bool is_ready(const struct cli_output *o, int ms) {
  struct pollfd p = {.fd = o->fd, .events = POLLOUT};
  return poll(&p, 1, ms) != 0;
}

static ssize_t write_some(const struct cli_output *o, const char *bytes,
                          size_t length) {
  if (o->is_socket)
    return send(o->fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (!o->may_block) return write(o->fd, bytes, length);
  if (is_ready(o, 0))
    return write(o->fd, bytes, length < PIPE_BUF ? length : PIPE_BUF);
  errno = EAGAIN;
  return -1;
}

/* Writes what is taken at once, and tells how much that is; less than all if
 * errno is EAGAIN, or something worse. */
static size_t write_now(struct cli_output *o, const char *bytes,
                        size_t length) {
  size_t sent = 0;

  while (sent < length) {
    ssize_t n = write_some(o, bytes + sent, length - sent);
    if (n > 0) sent += (size_t)n;
    else if (n == 0 || errno != EINTR) break;
  }
  if (sent > 0) o->within_line = bytes[sent - 1] != '\n';
  return sent;
}

static bool is_full(void) { return errno == EAGAIN || errno == EWOULDBLOCK; }

/* Writes of the queue what is taken. If it breaks, all of it is lost. */
static void write_queue(struct cli_output *o) {
  if (o->length == 0) return;
  size_t sent = write_now(o, o->queue, o->length);
  if (sent < o->length && !is_full())
    while (sent < o->length) o->lost += o->queue[sent++] == '\n';
  if (sent == 0) return;
  o->length -= sent;
  memmove(o->queue, o->queue + sent, o->length);
  if (o->length > 0) return;
  free(o->queue);
  o->queue = NULL;
}

/* A line that is longer than the queue may be is taken if it is the only one.
 * Once a line is lost, none is taken until there is room for many, so that the
 * log tells of long gaps and not of many. */
static bool enqueue(struct cli_output *o, const char *bytes, size_t length) {
  size_t most = o->lost > 0 ? QUEUE_MAX / 2 : QUEUE_MAX;
  if (o->length > 0 && o->length + length > most) return false;
  char *queue = realloc(o->queue, o->length + length);
  if (!queue) return false;
  memcpy(queue + o->length, bytes, length);
  o->queue = queue;
  o->length += length;
  return true;
}

bool cli_output_put(struct cli_output *o, const char *line, size_t length) {
  size_t sent = 0;

  write_queue(o);
  if (o->length == 0) {
    /* The rest of the line before was lost. */
    if (o->within_line && write_now(o, "\n", 1) == 0) return false;
    sent = write_now(o, line, length);
    if (sent == length) return true;
    if (!is_full()) return false;
  }
  return enqueue(o, line + sent, length - sent);
}

bool cli_output_flush(struct cli_output *o, uint64_t deadline) {
  write_queue(o);
  while (o->length > 0) {
    uint64_t now = uv_hrtime() / 1000000;
    if (now >= deadline) return false;
    is_ready(o, (int)(deadline - now));
    write_queue(o);
  }
  return true;
}
