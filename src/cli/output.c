#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

/* Standard output or error, for a loop that must never block on its reader.
 * Text that cannot be written at once is queued, up to a limit; beyond that it
 * is lost, and the lost lines are counted.
 *
 * The open file description is shared with the parent process, so O_NONBLOCK is
 * not set on it. Sockets have MSG_DONTWAIT, and files never block. Pipes and
 * terminals are opened again, which creates a description of our own. Where
 * that is not possible, poll() is called first: then at least PIPE_BUF bytes
 * fit (pipe(7)), unless another process fills the pipe in between. */

enum { QUEUE_MAX = 1024 * 1024 };

void cli_output_open(struct cli_output *o, int stream) {
  struct stat about;
  char path[32];

  *o = (struct cli_output){.fd = stream, .stream = stream};
  if (fstat(stream, &about) < 0 || S_ISREG(about.st_mode)) return;
  o->is_socket = S_ISSOCK(about.st_mode);
  /* A stream that is not writable, such as a closed one, stays so. */
  if (o->is_socket || (fcntl(stream, F_GETFL) & O_ACCMODE) == O_RDONLY) return;
  snprintf(path, sizeof path, "/proc/self/fd/%d", stream);
  int fd = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (fd >= 0) o->fd = fd;
  else o->may_block = true;
}

void cli_output_close(struct cli_output *o) {
  if (o->fd != o->stream) close(o->fd);
  free(o->queue);
  *o = (struct cli_output){.fd = o->stream, .stream = o->stream};
}

/* Text lost after an incomplete lost line belongs to that line. */
void cli_output_lose(struct cli_output *o, const char *bytes, size_t length) {
  if (length == 0) return;
  bool ends = bytes[length - 1] == '\n';
  for (size_t i = 0; i < length; i++) o->lost += bytes[i] == '\n';
  o->lost += !ends;
  o->lost -= o->lost_within;
  o->lost_within = !ends;
  o->gap = true;
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

/* Writes as much as is possible without blocking, and returns how much. If that
 * is not all, errno is EAGAIN, or an error. */
static size_t write_now(struct cli_output *o, const char *bytes,
                        size_t length) {
  size_t sent = 0;

  while (sent < length) {
    ssize_t n = write_some(o, bytes + sent, length - sent);
    if (n > 0) sent += (size_t)n;
    else if (n == 0 || errno != EINTR) break;
  }
  if (sent > 0) o->sent_within = bytes[sent - 1] != '\n';
  return sent;
}

static bool is_full(void) { return errno == EAGAIN || errno == EWOULDBLOCK; }

/* Writes as much of the queue as possible. On an error all of it is lost. */
static void write_queue(struct cli_output *o) {
  if (o->length == 0) return;
  size_t sent = write_now(o, o->queue, o->length);
  if (sent < o->length && !is_full()) {
    cli_output_lose(o, o->queue + sent, o->length - sent);
    sent = o->length;
  }
  if (sent == 0) return;
  o->length -= sent;
  if (o->length <= QUEUE_MAX / 2) o->overflown = false;
  memmove(o->queue, o->queue + sent, o->length);
  if (o->length > 0) return;
  free(o->queue);
  o->queue = NULL;
}

/* Text longer than the limit is queued if the queue is empty. After a loss
 * nothing is queued until there is plenty of room, which makes a few long gaps
 * instead of many short ones. */
static bool enqueue(struct cli_output *o, const char *bytes, size_t length) {
  o->overflown = o->overflown ||
                 (o->length > 0 && o->length + length > QUEUE_MAX);
  if (o->overflown) return false;
  char *queue = realloc(o->queue, o->length + length);
  if (!queue) return false;
  memcpy(queue + o->length, bytes, length);
  o->queue = queue;
  o->length += length;
  return true;
}

/* Whether the text accepted so far ends within a line. */
static bool is_within(const struct cli_output *o) {
  return o->length > 0 ? o->queue[o->length - 1] != '\n' : o->sent_within;
}

/* Returns how much was accepted. A line is queued as a whole, or not beyond
 * what was written; other text, which may be as long as a policy's memory, as
 * far as the queue has room. */
static size_t take(struct cli_output *o, const char *bytes, size_t length,
                   bool is_line) {
  size_t sent = 0;

  if (o->length == 0) {
    sent = write_now(o, bytes, length);
    if (sent == length || !is_full()) return sent;
  }
  size_t rest = length - sent;
  if (!is_line && rest > QUEUE_MAX) rest = QUEUE_MAX;
  if (enqueue(o, bytes + sent, rest)) sent += rest;
  errno = EAGAIN;
  return sent;
}

size_t cli_output_put(struct cli_output *o, const char *text, size_t length,
                      bool is_line) {
  size_t taken = 0;

  write_queue(o);
  /* Otherwise it would continue a line of which some is lost. */
  bool begins = is_within(o) && (is_line || o->gap);
  if (!begins || take(o, "\n", 1, true) == 1)
    taken = take(o, text, length, is_line);
  o->gap = taken < length;
  if (!o->gap) o->lost_within = false;
  return taken;
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

void cli_output_drop(struct cli_output *o) {
  cli_output_lose(o, o->queue, o->length);
  free(o->queue);
  o->queue = NULL;
  o->length = 0;
}
