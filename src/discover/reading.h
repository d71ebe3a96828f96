/* Private to src/discover: what a server has sent, read in a thread of libuv's
 * pool, which also makes the list of it: for 10,000 servers in JSON that takes
 * 30 ms. Owner: feed.c. */
#ifndef DISCOVER_READING_H
#define DISCOVER_READING_H

#include "buffer.h"
#include "groups.h"

struct discover__found {
  struct discover__groups groups;
  char version[128]; /* from which on to ask for more; empty: there is none */
  uint64_t hash;     /* of the list that was made last, or 0 */
};

/* An answer, or a line of a watch, with a NUL behind it. */
struct discover__part {
  const char *bytes;
  size_t length;
  const char *index; /* Consul's, of an answer; or NULL */
};

/* Called in the thread. Returns 0, or 1 if it says that nothing has changed.
 * Errors: UV_ECANCELED (the version is gone), UV_EPROTO, UV_E2BIG (more JSON than
 * is read), UV_ENOBUFS, UV_ENOMEM; it may write a message, otherwise there is one.
 * What was found until then does not matter. */
typedef int (*discover__read_cb)(const struct discover__config *config,
                                 const struct discover__part *part,
                                 struct discover__found *found, char *message,
                                 size_t size);

struct discover__reading {
  uv_work_t work;
  /* Set these up, in memory of calloc(), and start it. */
  struct discover__config *config; /* a reference */
  discover__read_cb read;
  bool is_whole; /* an answer; otherwise lines */
  bool keeps;    /* what was found, for more to come */
  struct discover__buffer bytes;
  char index[32];               /* or empty */
  char place[301];              /* for messages */
  struct discover__found found; /* what was known; then what is */
  void *data;
  void (*done)(struct discover__reading *reading);
  /* The outcome. */
  int status;                  /* 1: the list is the same as before */
  struct discover__list *list; /* with status 0 */
  char message[512];           /* perhaps, with an error */
};

/* Errors: libuv's. It is to be freed once it is done, or if it was not started. */
int discover__reading_start(struct discover__reading *reading, uv_loop_t *loop);
/* If no thread has begun with it, none will, and it is done in the next turn:
 * while all threads hang, as on a disk, no answers pile up. */
void discover__reading_cancel(struct discover__reading *reading);
void discover__reading_free(struct discover__reading *reading);

#endif
