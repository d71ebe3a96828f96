#define _GNU_SOURCE /* splice() */

#include "flow.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "list.h"
#include "transport.h"

enum {
  BUFFER_SIZE = 128 * 1024, /* at a time */
  BULK_SIZE = 256 * 1024,   /* of bulk; more would leave the receiver idle */
  PIPE_SIZE = 512 * 1024,   /* a page of it may hold few bytes */
  BULK_MIN = 16 * 1024,     /* a flow with less at a time is not bulk */
  ROUNDS = 2,               /* then other flows get a turn */
  PIPES_MAX = 64,           /* of a relay: pipes use up descriptors */
  PIPES_CACHED = 4          /* of those, kept while they are not in use */
};

/* -- Pipes ---------------------------------------------------------------- */

struct net__pipe {
  struct net__pipe *next;
  int read, write;
};

static struct net__pipe *pipe_new(void) {
  struct net__pipe *pipe = malloc(sizeof *pipe);
  int fds[2];

  if (!pipe) return NULL;
  if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) < 0) {
    free(pipe);
    return NULL;
  }
  /* The size stays the default if this user has too many pipes. */
  fcntl(fds[1], F_SETPIPE_SZ, PIPE_SIZE);
  pipe->read = fds[0];
  pipe->write = fds[1];
  return pipe;
}

/* Returns NULL if there are too many; bytes are copied then. */
static struct net__pipe *take_pipe(struct net__stock *stock) {
  struct net__pipe *pipe = stock->pipes;

  if (pipe) {
    LL_DELETE(stock->pipes, pipe);
    stock->cached--;
    return pipe;
  }
  if (stock->made == PIPES_MAX || !(pipe = pipe_new())) return NULL;
  stock->made++;
  return pipe;
}

static ssize_t move(int from, int to, size_t length) {
  return splice(from, NULL, to, NULL, length,
                SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
}

static void pipe_free(struct net__pipe *pipe) {
  close(pipe->read);
  close(pipe->write);
  free(pipe);
}

static void put_pipe(struct net__flow *flow, struct net__stock *stock) {
  struct net__pipe *pipe = flow->pipe;

  flow->pipe = NULL;
  if (flow->length > 0 || stock->cached == PIPES_CACHED) {
    pipe_free(pipe);
    stock->made--;
    return;
  }
  LL_PREPEND(stock->pipes, pipe);
  stock->cached++;
}

void net__stock_clear(struct net__stock *stock) {
  struct net__pipe *pipe, *next;
  LL_FOREACH_SAFE(stock->pipes, pipe, next) pipe_free(pipe);
  free(stock->buffer);
  *stock = (struct net__stock){0};
}

/* -- Taking in ------------------------------------------------------------ */

/* With TLS, only where the kernel does the records. */
static bool may_splice(const struct net__flow *flow,
                       const struct net__poll *from,
                       const struct net__poll *to) {
  return flow->splices && (!from->tls || from->tls->splices_in) &&
         (!to->tls || to->tls->splices_out);
}

static ssize_t take_in_bulk(struct net__flow *flow, struct net__stock *stock,
                            const struct net__poll *from) {
  ssize_t n;

  flow->pipe = take_pipe(stock);
  if (!flow->pipe) {
    flow->bulk = false;
    return -EINTR; /* without a pipe, try again */
  }
  do n = move(from->fd, flow->pipe->write, BULK_SIZE);
  while (n < 0 && errno == EINTR);
  if (n < BULK_MIN) flow->bulk = false;
  if (n > 0) {
    flow->length = (uint32_t)n;
    return n;
  }
  int err = n < 0 ? -errno : 0;
  put_pipe(flow, stock);
  /* Unsupported by the socket; or, of TLS, the next record is no data. */
  if (err == -EINVAL && !from->tls) flow->splices = false;
  /* splice() reports nothing, or an end, at urgent data; recv() is exact. */
  return n == 0 || err == -EINVAL || err == -EAGAIN ? -EINTR : err;
}

/* Returns how many bytes the flow holds now, 0 at the sender's end. */
static ssize_t take_in(struct net__flow *flow, struct net__stock *stock,
                       const struct net__poll *from,
                       const struct net__poll *to) {
  ssize_t n;

  if (flow->bulk && !net__holds(from)) {
    n = take_in_bulk(flow, stock, from);
    if (n != -EINTR) return n;
  }
  if (!stock->buffer) stock->buffer = malloc(BUFFER_SIZE);
  if (!stock->buffer) return -ENOMEM;
  n = net__recv(from, stock->buffer, BUFFER_SIZE);
  if (n < 0) return n;
  flow->bulk =
      net__has_more(from, (size_t)n, BUFFER_SIZE) && may_splice(flow, from, to);
  flow->bytes = stock->buffer;
  flow->start = 0;
  flow->length = (uint32_t)n;
  return n;
}

/* -- Giving out ----------------------------------------------------------- */

/* Copies what is left in the shared buffer to a buffer for this flow alone. */
static int keep(struct net__flow *flow, const struct net__stock *stock) {
  if (flow->bytes != stock->buffer) return 0;
  char *bytes = malloc(flow->length);
  if (!bytes) return -ENOMEM;
  memcpy(bytes, flow->bytes + flow->start, flow->length);
  flow->bytes = bytes;
  flow->start = 0;
  return 0;
}

static void drop(struct net__flow *flow, struct net__stock *stock) {
  if (flow->pipe) put_pipe(flow, stock);
  if (flow->bytes != stock->buffer) free(flow->bytes);
  flow->bytes = NULL;
}

/* Returns how many bytes `to` has taken, or an error. */
static ssize_t put(const struct net__flow *flow, const struct net__poll *to) {
  /* The end can go with the last bytes in one packet. */
  int flags = flow->ended ? MSG_MORE : 0;
  ssize_t n;

  if (!flow->pipe)
    return net__send(to, flow->bytes + flow->start, flow->length, flags);
  do n = move(flow->pipe->read, to->fd, flow->length);
  while (n < 0 && errno == EINTR);
  return n < 0 ? -errno : n;
}

static int give_out(struct net__flow *flow, struct net__stock *stock,
                    const struct net__poll *to) {
  while (flow->length > 0) {
    ssize_t n = put(flow, to);
    if (n == -EAGAIN && !flow->pipe && keep(flow, stock) < 0) return -ENOMEM;
    if (n < 0) return (int)n;
    flow->start += (uint32_t)n;
    flow->length -= (uint32_t)n;
  }
  drop(flow, stock);
  return 0;
}

/* -- The whole ------------------------------------------------------------ */

/* What the sender has sent already goes into one packet with the bytes before
 * it. Sets *more to whether it may have more. */
static int gather(struct net__flow *flow, struct net__stock *stock,
                  const struct net__poll *from, size_t *copied, bool *more) {
  flow->leads = false;
  if (!stock->buffer) stock->buffer = malloc(BUFFER_SIZE);
  if (!stock->buffer) return -ENOMEM;
  memcpy(stock->buffer, flow->bytes, flow->length);
  size_t room = BUFFER_SIZE - flow->length;
  ssize_t n = net__recv(from, stock->buffer + flow->length, room);
  if (n < 0 && n != -EAGAIN) return (int)n;
  free(flow->bytes);
  flow->bytes = stock->buffer;
  if (n < 0) n = 0;
  else if (n == 0) flow->ended = true;
  flow->length += (uint32_t)n;
  *copied = (size_t)n;
  *more = !flow->ended && (flow->wary || net__has_more(from, (size_t)n, room));
  if (flow->ending && !*more) flow->ended = true;
  return 0;
}

int net__flow_run(struct net__flow *flow, struct net__stock *stock,
                  const struct net__poll *from, const struct net__poll *to,
                  size_t *copied) {
  bool more = true; /* the sender may have more */

  *copied = 0;
  int err = flow->leads ? gather(flow, stock, from, copied, &more) : 0;
  if (err < 0) return err;
  for (int round = 0;; round++) {
    flow->state = FLOW_WRITES;
    err = give_out(flow, stock, to);
    if (err < 0) return err == -EAGAIN ? 0 : err;
    flow->state = flow->ended ? FLOW_DONE : more ? FLOW_YIELDS : FLOW_READS;
    if (flow->state != FLOW_YIELDS) return 0;
    /* An end that TLS holds would not be reported in the next turn. */
    if (round >= ROUNDS && !net__holds(from)) return 0;
    ssize_t n = take_in(flow, stock, from, to);
    if (n == -EAGAIN) {
      flow->state = FLOW_READS;
      return 0;
    }
    if (n < 0) return (int)n;
    /* A short read means that nothing is left, except for a wary flow, and for
     * a pipe, whose capacity is counted in pages. */
    more =
        flow->pipe || flow->wary || net__has_more(from, (size_t)n, BUFFER_SIZE);
    flow->ended = n == 0 || (flow->ending && !more);
    *copied += (size_t)n;
  }
}

void net__flow_close(struct net__flow *flow, struct net__stock *stock) {
  drop(flow, stock);
}
