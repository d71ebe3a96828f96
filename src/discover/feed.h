/* Private to src/discover: what a source hears from a server that tells it of
 * changes. A kind says what to ask, and how that is read. */
#ifndef DISCOVER_FEED_H
#define DISCOVER_FEED_H

#include "reading.h"
#include "text.h"

/* As discover__web_request. What was added is freed after it was sent. */
struct discover__feed_request {
  struct discover__text base, target, body;
  const char *scheme, *token_file, *ca;
  uint64_t wait;
};

struct discover__feed_kind {
  /* What lists all, or, with a version, goes on from it. */
  void (*ask)(const struct discover__config *config, const char *version,
              struct discover__feed_request *request);
  discover__read_cb read;
  /* A line of the watch that goes on from a version. NULL: it is a query that
   * waits for a change, and is answered as a list. */
  discover__read_cb read_line;
  uint64_t gap;      /* ms, at least, from one of these to the next */
  const char *empty; /* why a list may be empty */
  const char *ended; /* that a watch has ended, if that is a failure */
  const char *hasty; /* that they end at once, or are answered without a change,
                        and why that may be */
};

/* Errors: UV_ENOMEM. */
int discover__feed_open(void **feed, rover_source_t *source,
                        const struct discover__feed_kind *kind);

/* These are as in discover__kind. */
void discover__feed_poll(void *feed, bool is_fresh);
void discover__feed_stop(void *feed);
void discover__feed_close(void *feed);

#endif
