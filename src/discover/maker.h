/* Private to src/discover: makes lists of texts and of what a look-up has found,
 * in threads, so that a long one does not hold up the loop. Owner: source.c.
 *
 * Of what is under way only the latest is awaited. A text that is the same as the
 * one that was last believed is not read. */
#ifndef DISCOVER_MAKER_H
#define DISCOVER_MAKER_H

#include "read.h"

struct discover__maker_events {
  /* `list`, which is the owner's; or NULL: the text is the same as before, or with
   * `status` below 0, why there is none. `note` may be NULL. */
  void (*made)(void *owner, struct discover__list *list, int status,
               const char *why, const char *note);
  /* The owner has to live from each hold() to its release(). */
  void (*hold)(void *owner);
  void (*release)(void *owner);
};

struct discover__maker {
  const struct discover__maker_events *events;
  void *owner;
  uv_loop_t *loop;
  struct discover__task *awaited; /* or NULL */
  struct discover__digest digest,
      believed; /* of the text made last; believed */
};

void discover__maker_init(struct discover__maker *maker, uv_loop_t *loop,
                          void *owner,
                          const struct discover__maker_events *events);

/* Both give away what they are given, and call made(), perhaps before they
 * return. `port` is that of servers without one, or 0. */
void discover__maker_read(struct discover__maker *maker, char *bytes,
                          size_t length, int port);
void discover__maker_make(struct discover__maker *maker,
                          const struct discover__answer *answer);

/* Whoever comes late is not heard. */
void discover__maker_cancel(struct discover__maker *maker);

/* The text that was made last is believed; or none is. */
void discover__maker_believe(struct discover__maker *maker);
void discover__maker_forget(struct discover__maker *maker);

#endif
