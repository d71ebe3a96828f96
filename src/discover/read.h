/* Private to src/discover: what is done in threads of libuv's pool, so that
 * neither a slow disk nor a long list holds up the loop: files and texts are
 * read and written, and lists are made. */
#ifndef DISCOVER_READ_H
#define DISCOVER_READ_H

#include "list.h"

/* The state of a file. Has no padding, so it is compared as bytes. */
struct discover__stamp {
  uint64_t dev, ino, size;
  int64_t seconds, nanoseconds;
  int64_t changed, changed_nanoseconds;
};

struct discover__digest {
  uint64_t hash;
  size_t length; /* 0: of nothing */
};

/* A file or a text to be read, or a file to be written. Set up what is not an
 * outcome, in memory of malloc(), and start it; whoever is called back frees
 * it by discover__task_free(). */
struct discover__task {
  uv_work_t work;
  void *data; /* yours */
  void (*done)(struct discover__task *task);
  enum {
    DISCOVER__READ,
    DISCOVER__PARSE,
    DISCOVER__MAKE,
    DISCOVER__LOAD,
    DISCOVER__STORE
  } what;
  char *bytes; /* to parse; what was read */
  size_t length;
  int port;
  struct discover__answer answer; /* to make the list of */
  char note[512];                 /* the answer's; "": none */
  struct discover__list *list; /* what was parsed, made or loaded; to store */
  struct discover__stamp stamp;   /* to read only if it differs; then as read */
  struct discover__digest digest; /* the same, to parse */
  int status;                     /* or 1: it does not differ */
  char message[256];
  char path[];
};

/* Errors: UV_ENOMEM. */
int discover__task_new(struct discover__task **task, const char *path);
int discover__task_start(uv_loop_t *loop, struct discover__task *task);
/* The same here and now, with what takes no time. */
void discover__task_run(struct discover__task *task);
/* If no thread has begun with it, none will, and it is done in the next turn:
 * while all threads hang, as on a disk, nothing piles up. */
void discover__task_cancel(struct discover__task *task);
void discover__task_free(struct discover__task *task);

#endif
