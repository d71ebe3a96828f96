#include "pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "bytes.h"
#include "memory.h"
#include "poll.h"

/* -- Pipes ---------------------------------------------------------------- */

struct pipe {
  struct sim__bytes bytes;
  size_t count, size;
  struct end *reader, *writer; /* NULL: closed */
};

struct end {
  struct sim__file file;
  struct pipe *pipe;
};

enum { PIPE_SIZE = 64 * 1024, PAGE = 4096, PIPE_MOST = 1024 * 1024 };

static const struct sim__file_type reader_type, writer_type;

static bool is_pipe(const struct sim__file *file) {
  return file->type == &reader_type || file->type == &writer_type;
}

static struct pipe *pipe_of(struct sim__file *file) {
  return ((struct end *)file)->pipe;
}

static uint32_t poll_reader(struct sim__file *file) {
  const struct pipe *pipe = pipe_of(file);
  return (pipe->count > 0 ? EPOLLIN | EPOLLRDNORM : 0) |
         (pipe->writer ? 0 : EPOLLHUP);
}

static bool has_room(const struct pipe *pipe) {
  return pipe->size - pipe->count >= PAGE;
}

static uint32_t poll_writer(struct sim__file *file) {
  const struct pipe *pipe = pipe_of(file);
  return (has_room(pipe) ? EPOLLOUT | EPOLLWRNORM : 0) |
         (pipe->reader ? 0 : EPOLLERR);
}

static ssize_t read_pipe(struct sim__file *file, void *bytes, size_t size) {
  struct pipe *pipe = pipe_of(file);
  bool had_room = has_room(pipe);

  if (pipe->count == 0) return pipe->writer ? -EAGAIN : 0;
  if (size > pipe->count) size = pipe->count;
  sim__bytes_take(&pipe->bytes, bytes, size);
  pipe->count -= size;
  if (!had_room && has_room(pipe) && pipe->writer)
    sim__poll_wake(&pipe->writer->file, EPOLLOUT);
  return (ssize_t)size;
}

static ssize_t write_pipe(struct sim__file *file, const void *bytes,
                          size_t size) {
  struct pipe *pipe = pipe_of(file);

  if (!pipe->reader) return -EPIPE;
  if (pipe->count == pipe->size || (size <= PAGE && !has_room(pipe)))
    return -EAGAIN;
  if (size > pipe->size - pipe->count) size = pipe->size - pipe->count;
  sim__bytes_add(&pipe->bytes, bytes, size);
  pipe->count += size;
  sim__poll_wake(&pipe->reader->file, EPOLLIN);
  return (ssize_t)size;
}

static void close_end(struct sim__file *file) {
  struct end *end = (struct end *)file;
  struct pipe *pipe = end->pipe;

  sim__poll_forget(file);
  if (pipe->reader == end) pipe->reader = NULL;
  else pipe->writer = NULL;
  free(end);
  if (pipe->reader) sim__poll_wake(&pipe->reader->file, 0);
  else if (pipe->writer) sim__poll_wake(&pipe->writer->file, 0);
  else {
    sim__bytes_clear(&pipe->bytes);
    free(pipe);
  }
}

static const struct sim__file_type reader_type = {poll_reader, close_end,
                                                  read_pipe, NULL};
static const struct sim__file_type writer_type = {poll_writer, close_end, NULL,
                                                  write_pipe};

static struct end *end_new(struct pipe *pipe, const struct sim__file_type *type,
                           int flags) {
  struct end *end = sim__new(sizeof *end);
  end->file.type = type;
  end->file.blocks = !(flags & O_NONBLOCK);
  end->pipe = pipe;
  return end;
}

int sim__pipe(int fds[2], int flags) {
  struct pipe *pipe = sim__new(sizeof *pipe);

  pipe->size = PIPE_SIZE;
  pipe->reader = end_new(pipe, &reader_type, flags);
  pipe->writer = end_new(pipe, &writer_type, flags);
  struct end *writer = pipe->writer;
  int read = sim__fd_new(&pipe->reader->file, 0);
  if (read < 0) {
    close_end(&writer->file);
    return read;
  }
  int write = sim__fd_new(&writer->file, 0);
  if (write < 0) {
    sim__fd_close(read);
    return write;
  }
  fds[0] = read;
  fds[1] = write;
  return 0;
}

int sim__pipe_size(struct sim__file *file, int wanted) {
  if (!is_pipe(file)) return -EBADF;
  struct pipe *pipe = pipe_of(file);
  if (wanted > PIPE_MOST) return -EPERM;
  if (wanted > 0 && (size_t)wanted < pipe->count) return -EBUSY;
  if (wanted > 0) pipe->size = (size_t)(wanted < PAGE ? PAGE : wanted);
  return (int)pipe->size;
}

int sim__pipe_unread(struct sim__file *file, int *count) {
  if (!is_pipe(file)) return -ENOTTY;
  *count = (int)pipe_of(file)->count;
  return 0;
}

ssize_t sim__splice(struct sim__file *from, struct sim__file *to, size_t size) {
  enum { MOST = 256 * 1024 };
  ssize_t room = (ssize_t)(size < MOST ? size : MOST);

  if (is_pipe(from) == is_pipe(to) || !from->type->read || !to->type->write)
    return -EINVAL;
  struct pipe *pipe = pipe_of(is_pipe(from) ? from : to);
  if (is_pipe(to)) {
    size_t left = pipe->size - pipe->count;
    if (!pipe->reader) return -EPIPE;
    if (left == 0) return -EAGAIN;
    if ((size_t)room > left) room = (ssize_t)left;
  } else {
    if (pipe->count == 0) return pipe->writer ? -EAGAIN : 0;
    if ((size_t)room > pipe->count) room = (ssize_t)pipe->count;
  }
  char *bytes = sim__grow(NULL, (size_t)room);
  ssize_t n;
  if (is_pipe(to)) {
    n = from->type->read(from, bytes, (size_t)room);
    if (n > 0) {
      sim__bytes_add(&pipe->bytes, bytes, (size_t)n);
      pipe->count += (size_t)n;
      sim__poll_wake(&pipe->reader->file, EPOLLIN);
    }
  } else {
    sim__bytes_peek(&pipe->bytes, bytes, (size_t)room);
    n = to->type->write(to, bytes, (size_t)room);
    if (n > 0) read_pipe(from, NULL, (size_t)n);
  }
  free(bytes);
  return n;
}

/* -- Eventfds ------------------------------------------------------------- */

struct eventfd {
  struct sim__file file;
  uint64_t count;
  bool semaphore;
};

static uint32_t poll_eventfd(struct sim__file *file) {
  uint64_t count = ((struct eventfd *)file)->count;
  return (count > 0 ? EPOLLIN : 0) | (count < UINT64_MAX - 1 ? EPOLLOUT : 0);
}

static ssize_t read_eventfd(struct sim__file *file, void *bytes, size_t size) {
  struct eventfd *event = (struct eventfd *)file;
  uint64_t count = event->semaphore ? 1 : event->count;

  if (size < sizeof count) return -EINVAL;
  if (event->count == 0) return -EAGAIN;
  event->count -= count;
  memcpy(bytes, &count, sizeof count);
  sim__poll_wake(file, EPOLLOUT);
  return sizeof count;
}

static ssize_t write_eventfd(struct sim__file *file, const void *bytes,
                             size_t size) {
  struct eventfd *event = (struct eventfd *)file;
  uint64_t count;

  if (size < sizeof count) return -EINVAL;
  memcpy(&count, bytes, sizeof count);
  if (count > UINT64_MAX - 1 - event->count) return -EAGAIN;
  event->count += count;
  sim__poll_wake(file, EPOLLIN);
  return sizeof count;
}

static void close_simple(struct sim__file *file) {
  sim__poll_forget(file);
  free(file);
}

static const struct sim__file_type eventfd_type = {poll_eventfd, close_simple,
                                                   read_eventfd, write_eventfd};

bool sim__is_eventfd(const struct sim__file *file) {
  return file->type == &eventfd_type;
}

int sim__eventfd(unsigned count, int flags) {
  struct eventfd *event = sim__new(sizeof *event);
  event->file.type = &eventfd_type;
  event->file.blocks = !(flags & EFD_NONBLOCK);
  event->count = count;
  event->semaphore = (flags & EFD_SEMAPHORE) != 0;
  return sim__fd_new(&event->file, 0);
}

/* -- inotify -------------------------------------------------------------- */

static uint32_t poll_never(struct sim__file *file) {
  (void)file;
  return 0;
}

static ssize_t read_never(struct sim__file *file, void *bytes, size_t size) {
  (void)file;
  (void)bytes;
  (void)size;
  return -EAGAIN;
}

static const struct sim__file_type inotify_type = {poll_never, close_simple,
                                                   read_never, NULL};

int sim__inotify(int flags) {
  struct sim__file *file = sim__new(sizeof *file);
  file->type = &inotify_type;
  file->blocks = !(flags & O_NONBLOCK);
  return sim__fd_new(file, 0);
}
