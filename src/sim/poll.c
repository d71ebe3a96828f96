#include "poll.h"

#include <errno.h>
#include <stdlib.h>

#include "memory.h"

/* A watch links a file to an epoll. Those that may have events are in the
 * epoll's ready list; whether they have is asked when somebody wants to know,
 * as the kernel does. So one that had an event and has it no more costs one
 * look. An epoll is a file, too, and may be watched by another. */

#define ALWAYS (EPOLLERR | EPOLLHUP)
#define FLAGS (EPOLLET | EPOLLONESHOT | EPOLLWAKEUP | EPOLLEXCLUSIVE)

struct sim__epoll {
  struct sim__file file;
  struct sim__watch *watches; /* all of them */
  struct sim__watch *ready, *last_ready;
};

struct sim__watch {
  struct sim__epoll *epoll;
  struct sim__file *file;
  struct sim__watch *next_of_file;
  struct sim__watch *prev, *next; /* in the epoll's list */
  struct sim__watch *ready_prev, *ready_next;
  uint64_t data;
  uint32_t mask; /* 0: EPOLLONESHOT has reported it */
  int fd;
  bool is_ready; /* it is in the ready list */
};

static const struct sim__file_type epoll_type;

/* -- The ready list ------------------------------------------------------- */

static void add_ready(struct sim__watch *watch) {
  struct sim__epoll *epoll = watch->epoll;

  if (watch->is_ready) return;
  watch->is_ready = true;
  watch->ready_next = NULL;
  watch->ready_prev = epoll->last_ready;
  if (epoll->last_ready) epoll->last_ready->ready_next = watch;
  else epoll->ready = watch;
  epoll->last_ready = watch;
}

static void remove_ready(struct sim__watch *watch) {
  struct sim__epoll *epoll = watch->epoll;

  if (!watch->is_ready) return;
  watch->is_ready = false;
  if (watch->ready_prev) watch->ready_prev->ready_next = watch->ready_next;
  else epoll->ready = watch->ready_next;
  if (watch->ready_next) watch->ready_next->ready_prev = watch->ready_prev;
  else epoll->last_ready = watch->ready_prev;
}

static uint32_t events_of(const struct sim__watch *watch) {
  if (watch->mask == 0) return 0;
  return watch->file->type->poll(watch->file) & (watch->mask | ALWAYS);
}

/* Of an epoll: whether any of its watches has an event. */
static uint32_t poll_epoll(struct sim__file *file) {
  struct sim__epoll *epoll = (struct sim__epoll *)file;

  while (epoll->ready && !events_of(epoll->ready)) remove_ready(epoll->ready);
  return epoll->ready ? EPOLLIN | EPOLLRDNORM : 0;
}

void sim__poll_wake(struct sim__file *file, uint32_t key) {
  for (struct sim__watch *watch = file->watches; watch;
       watch = watch->next_of_file) {
    if (watch->mask == 0 || (key && !(key & (watch->mask | ALWAYS)))) continue;
    add_ready(watch);
    sim__poll_wake(&watch->epoll->file, EPOLLIN);
  }
  if (file->type == &epoll_type && !file->watches)
    sim__machine_kick(file->machine);
}

bool sim__has_events(int fd) {
  struct sim__file *file = sim__file_get(fd);
  return file && file->type->poll(file);
}

/* -- epoll_ctl() and epoll_wait() ----------------------------------------- */

bool sim__is_epoll(const struct sim__file *file) {
  return file->type == &epoll_type;
}

static struct sim__pool watches = {.size = sizeof(struct sim__watch)};

void sim__polls_end(void) { sim__pool_clear(&watches); }

static void watch_free(struct sim__watch *watch) {
  struct sim__watch **at = &watch->file->watches;

  remove_ready(watch);
  while (*at != watch) at = &(*at)->next_of_file;
  *at = watch->next_of_file;
  if (watch->prev) watch->prev->next = watch->next;
  else watch->epoll->watches = watch->next;
  if (watch->next) watch->next->prev = watch->prev;
  sim__pool_free(&watches, watch);
}

static struct sim__watch *watch_new(struct sim__epoll *epoll,
                                    struct sim__file *file, int fd) {
  struct sim__watch *watch = sim__pool_new(&watches);

  *watch = (struct sim__watch){.epoll = epoll, .file = file, .fd = fd};
  watch->next_of_file = file->watches;
  file->watches = watch;
  watch->next = epoll->watches;
  if (watch->next) watch->next->prev = watch;
  epoll->watches = watch;
  return watch;
}

static struct sim__watch *find(const struct sim__epoll *epoll,
                               const struct sim__file *file, int fd) {
  struct sim__watch *watch = file->watches;
  while (watch && (watch->epoll != epoll || watch->fd != fd))
    watch = watch->next_of_file;
  return watch;
}

int sim__epoll_ctl(struct sim__file *of, int op, int fd,
                   const struct epoll_event *event) {
  struct sim__epoll *epoll = (struct sim__epoll *)of;
  struct sim__file *file = sim__file_get(fd);

  if (!file) return -EBADF;
  if (!sim__is_epoll(of) || file == of) return -EINVAL;
  struct sim__watch *watch = find(epoll, file, fd);
  if (op == EPOLL_CTL_ADD && watch) return -EEXIST;
  if (op != EPOLL_CTL_ADD && !watch) return -ENOENT;
  if (op == EPOLL_CTL_DEL) {
    watch_free(watch);
    return 0;
  }
  if (!watch) watch = watch_new(epoll, file, fd);
  watch->mask = event->events | ALWAYS;
  watch->data = event->data.u64;
  if (!events_of(watch)) return 0;
  add_ready(watch);
  sim__poll_wake(of, EPOLLIN);
  return 0;
}

/* Takes a ready watch off the list, and puts it back behind the others if it is
 * level-triggered. */
static uint32_t take(struct sim__watch *watch) {
  uint32_t events = events_of(watch);

  remove_ready(watch);
  if (!events) return 0;
  if (watch->mask & EPOLLONESHOT) watch->mask = 0;
  else if (!(watch->mask & EPOLLET)) add_ready(watch);
  return events & ~(uint32_t)FLAGS;
}

int sim__epoll_wait(struct sim__file *of, struct epoll_event *events,
                    int room) {
  struct sim__epoll *epoll = (struct sim__epoll *)of;
  struct sim__watch *watch = epoll->ready, *last = epoll->last_ready;
  int count = 0;

  if (!sim__is_epoll(of) || room <= 0) return -EINVAL;
  while (watch && count < room) {
    struct sim__watch *next = watch == last ? NULL : watch->ready_next;
    uint64_t data = watch->data;
    uint32_t now = take(watch);
    if (now) {
      events[count].events = now;
      events[count++].data.u64 = data;
    }
    watch = next;
  }
  return count;
}

void sim__poll_forget(struct sim__file *file) {
  while (file->watches) watch_free(file->watches);
}

static void close_epoll(struct sim__file *file) {
  struct sim__epoll *epoll = (struct sim__epoll *)file;

  sim__poll_forget(file);
  while (epoll->watches) watch_free(epoll->watches);
  free(epoll);
}

static const struct sim__file_type epoll_type = {.poll = poll_epoll,
                                                 .close = close_epoll};

int sim__epoll_new(void) {
  struct sim__epoll *epoll = sim__new(sizeof *epoll);
  epoll->file.type = &epoll_type;
  return sim__fd_new(&epoll->file, 0);
}

/* -- poll() --------------------------------------------------------------- */

int sim__poll(struct pollfd *fds, nfds_t count) {
  int ready = 0;

  for (nfds_t i = 0; i < count; i++) {
    struct pollfd *fd = &fds[i];
    struct sim__file *file = sim__file_get(fd->fd);
    fd->revents = 0;
    if (fd->fd < 0) continue;
    if (file)
      fd->revents =
          (short)(file->type->poll(file) & ((uint32_t)fd->events | ALWAYS));
    else if (fd->fd < SIM__FIRST_FD) fd->revents = fd->events;
    else fd->revents = POLLNVAL;
    if (fd->revents) ready++;
  }
  return ready;
}
