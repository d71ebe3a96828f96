/* Private to src/discover: an answer of HTTP that is read in a thread of libuv's
 * pool, since that takes 0.2 s for 10,000 servers in JSON. */
#ifndef DISCOVER_READING_H
#define DISCOVER_READING_H

#include "client.h"
#include "groups.h"

struct discover__found {
  struct discover__groups groups;
  char version[128]; /* from which on to watch */
};

/* Called in the thread. Errors: UV_EPROTO (not what was asked for), UV_E2BIG
 * (more JSON than is read), UV_ENOMEM; what was found until then does not
 * matter. */
typedef int (*discover__read_cb)(const struct discover__config *config,
                                 const char *bytes, size_t length,
                                 struct discover__found *found);

struct discover__reading {
  uv_work_t work;
  void (*done)(struct discover__reading *reading);
  void *data;
  struct discover__config *config; /* its own reference: the provider may close
                                      before the thread is done */
  discover__read_cb read;
  int status;
  struct discover__found found;
  struct discover__reply answer; /* with texts of its own */
  char *texts;
};

/* Copies what of an answer is needed. It is to be freed once it is done. Errors:
 * UV_ENOMEM. */
int discover__reading_start(struct discover__reading **reading, uv_loop_t *loop,
                            struct discover__config *config,
                            const struct discover__reply *answer,
                            discover__read_cb read, void *data,
                            void (*done)(struct discover__reading *reading));
void discover__reading_free(struct discover__reading *reading);

#endif
