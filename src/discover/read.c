#include "read.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MAX = 32 << 20, READS_MAX = 3 };

/* -- In a thread ---------------------------------------------------------- */

static int fail(struct discover__task *task, int err) {
  snprintf(task->message, sizeof task->message, "%s", uv_strerror(err));
  return err;
}

static struct discover__stamp stamp_of(const struct stat *s) {
  return (struct discover__stamp){.dev = (uint64_t)s->st_dev,
                                  .ino = (uint64_t)s->st_ino,
                                  .size = (uint64_t)s->st_size,
                                  .seconds = s->st_mtim.tv_sec,
                                  .nanoseconds = s->st_mtim.tv_nsec,
                                  .changed = s->st_ctim.tv_sec,
                                  .changed_nanoseconds = s->st_ctim.tv_nsec};
}

static int read_all(struct discover__task *task, int fd, size_t size) {
  free(task->bytes);
  task->length = 0;
  task->bytes = malloc(size + 1);
  if (!task->bytes) return fail(task, UV_ENOMEM);
  while (task->length < size) {
    ssize_t n = read(fd, task->bytes + task->length, size - task->length);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(task, -errno);
    if (n == 0) break;
    task->length += (size_t)n;
  }
  return 0;
}

static int stamp(struct discover__task *task, int fd,
                 struct discover__stamp *now) {
  struct stat s;

  if (fstat(fd, &s) < 0) return fail(task, -errno);
  if (!S_ISREG(s.st_mode)) {
    snprintf(task->message, sizeof task->message, "not a regular file");
    return UV_EINVAL;
  }
  if (s.st_size > FILE_MAX) {
    snprintf(task->message, sizeof task->message, "more than %d MiB",
             FILE_MAX >> 20);
    return UV_E2BIG;
  }
  *now = stamp_of(&s);
  return 0;
}

static bool same(const struct discover__stamp *one,
                 const struct discover__stamp *other) {
  return memcmp(one, other, sizeof *one) == 0;
}

/* What has been written meanwhile may be in it by half. */
static int read_open(struct discover__task *task, int fd) {
  struct discover__stamp known = task->stamp, after = known;
  int err = stamp(task, fd, &task->stamp);

  if (err == 0 && same(&task->stamp, &known)) return 1;
  for (int tries = 0; err == 0 && tries < READS_MAX; tries++) {
    err = read_all(task, fd, (size_t)task->stamp.size);
    if (err == 0) err = stamp(task, fd, &after);
    if (err == 0 && same(&task->stamp, &after)) return 0;
    task->stamp = after;
    if (err == 0 && lseek(fd, 0, SEEK_SET) < 0) err = fail(task, -errno);
  }
  if (err < 0) return err;
  snprintf(task->message, sizeof task->message, "it changes while it is read");
  return UV_EAGAIN;
}

static int read_file(struct discover__task *task) {
  int fd = open(task->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
  if (fd < 0) return fail(task, -errno);
  int status = read_open(task, fd);
  close(fd);
  return status;
}

static struct discover__digest digest_of(const char *bytes, size_t length) {
  const uint64_t factor = UINT64_C(0x9e3779b97f4a7c15);
  struct discover__digest digest = {length, length};
  uint64_t word;

  for (; length > 0; bytes += sizeof word) {
    size_t part = length < sizeof word ? length : sizeof word;
    word = 0;
    memcpy(&word, bytes, part);
    digest.hash = (digest.hash ^ word) * factor;
    digest.hash ^= digest.hash >> 29;
    length -= part;
  }
  return digest;
}

static int parse(struct discover__task *task) {
  struct discover__digest known = task->digest;

  task->digest = digest_of(task->bytes, task->length);
  if (known.length > 0 && !memcmp(&known, &task->digest, sizeof known))
    return 1;
  return discover__list_parse(&task->list, task->bytes, task->length,
                              task->port, task->message, sizeof task->message);
}

static int make(struct discover__task *task) {
  struct discover__answer *answer = &task->answer;
  int err = answer->make(answer->from, &task->list);

  answer->drop(answer->from);
  answer->from = NULL;
  if (err == UV_E2BIG)
    snprintf(task->message, sizeof task->message, "more than %d servers",
             ROVER_SOURCE_SERVERS_MAX);
  else if (err < 0) fail(task, err);
  return err;
}

static const char heading[] =
    "# The servers of a source, as it last knew them.\n";

/* Nothing else is overwritten: the path is a policy's. */
static int check_place(struct discover__task *task) {
  char begins[sizeof heading] = "";
  int fd = open(task->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
  if (fd < 0) return errno == ENOENT ? 0 : fail(task, -errno);
  ssize_t n = read(fd, begins, sizeof heading - 1);
  close(fd);
  if (n == 0 || !strcmp(begins, heading)) return 0;
  snprintf(task->message, sizeof task->message,
           "the file is not one that a source has written");
  return UV_EEXIST;
}

static int write_all(int fd, const char *bytes, size_t length) {
  while (length > 0) {
    uv_buf_t buffer = uv_buf_init((char *)bytes, (unsigned)length);
    uv_fs_t request;
    int n = uv_fs_write(NULL, &request, fd, &buffer, 1, -1, NULL);
    uv_fs_req_cleanup(&request);
    if (n < 0 && n != UV_EINTR) return n;
    if (n > 0) {
      bytes += n;
      length -= (size_t)n;
    }
  }
  return 0;
}

static int write_list(int fd, const struct discover__list *list) {
  char text[16 * 1024];
  size_t used = (size_t)snprintf(text, sizeof text, "%s", heading);
  int err = 0;

  for (size_t i = 0; i < list->count && err == 0; i++) {
    const struct discover__entry *e = &list->entries[i];
    char id[DISCOVER__ID_SIZE], weight[16] = "";
    discover__list_id(id, e->host, e->port);
    if (e->weight > 0) snprintf(weight, sizeof weight, " %u", e->weight);
    used += (size_t)snprintf(text + used, sizeof text - used, "%s%s\n", id,
                             weight);
    if (sizeof text - used > DISCOVER__ID_SIZE + sizeof weight) continue;
    err = write_all(fd, text, used);
    used = 0;
  }
  return err < 0 ? err : write_all(fd, text, used);
}

/* Whoever reads it sees the one before or this one, and never a part, not even
 * after the machine has lost power. */
static int store(struct discover__task *task) {
  size_t length = strlen(task->path);
  int err = check_place(task);
  if (err < 0) return err;
  char *path = malloc(length + sizeof ".XXXXXX");
  if (!path) return fail(task, UV_ENOMEM);
  memcpy(path, task->path, length);
  strcpy(path + length, ".XXXXXX");
  int fd = mkstemp(path);
  err = fd < 0 ? -errno : 0;
  if (err == 0) {
    err = write_list(fd, task->list);
    if (err == 0 && fchmod(fd, 0644) < 0) err = -errno;
    if (err == 0 && fsync(fd) < 0) err = -errno;
    if (close(fd) < 0 && err == 0) err = -errno;
    if (err == 0 && rename(path, task->path) < 0) err = -errno;
    if (err < 0) unlink(path);
  }
  free(path);
  return err < 0 ? fail(task, err) : 0;
}

static void work(struct discover__task *task) {
  switch (task->what) {
    case DISCOVER__READ: task->status = read_file(task); break;
    case DISCOVER__PARSE: task->status = parse(task); break;
    case DISCOVER__MAKE: task->status = make(task); break;
    case DISCOVER__LOAD:
      task->status = read_file(task);
      if (task->status == 0) task->status = parse(task);
      break;
    case DISCOVER__STORE: task->status = store(task); break;
  }
}

static struct discover__task *task_of(uv_work_t *request) {
  return (struct discover__task *)((char *)request -
                                   offsetof(struct discover__task, work));
}

static void on_work(uv_work_t *request) { work(task_of(request)); }

/* -- On the loop ---------------------------------------------------------- */

int discover__task_new(struct discover__task **out, const char *path) {
  size_t size = path ? strlen(path) + 1 : 1;
  struct discover__task *task = calloc(1, sizeof *task + size);
  if (!task) return UV_ENOMEM;
  if (path) memcpy(task->path, path, size);
  *out = task;
  return 0;
}

static void after_work(uv_work_t *request, int status) {
  struct discover__task *task = task_of(request);
  if (status < 0) task->status = status;
  task->done(task);
}

int discover__task_start(uv_loop_t *loop, struct discover__task *task) {
  return uv_queue_work(loop, &task->work, on_work, after_work);
}

void discover__task_run(struct discover__task *task) {
  work(task);
  task->done(task);
}

void discover__task_cancel(struct discover__task *task) {
  uv_cancel((uv_req_t *)&task->work);
}

void discover__task_free(struct discover__task *task) {
  if (task->answer.from) task->answer.drop(task->answer.from);
  free(task->bytes);
  free(task->list);
  free(task);
}
