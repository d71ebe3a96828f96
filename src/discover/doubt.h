/* Private to src/discover: whether it is believed that many servers are gone.
 * Owner: source.c.
 *
 * It takes `confirm` like answers in succession: nine in ten of the servers that
 * one of two answers lacks are lacking in both. So a list of which each time
 * another part is missing takes nobody away, however often. */
#ifndef DISCOVER_DOUBT_H
#define DISCOVER_DOUBT_H

#include <callosum/discover.h>

#include <stdbool.h>
#include <stddef.h>

struct discover__doubt {
  unsigned count;  /* of answers so far; 0: there is none */
  size_t gone, of; /* what the last of them lacked, of how many */
  bool is_open;    /* the answer that is dealt with is not believed */
};

/* Whether a loss is to be weighed against the last. */
bool discover__doubt_begins(struct discover__doubt *doubt,
                            const rover_source_options_t *options, size_t gone,
                            size_t of);

/* Then: whether it is believed, if `alike` of the servers that are gone were also
 * gone then. What was not asked for, such as the events of a watch, may be a part
 * of the same loss, and settles nothing. */
bool discover__doubt_ends(struct discover__doubt *doubt,
                          const rover_source_options_t *options, size_t gone,
                          size_t of, size_t alike, bool is_asked);

/* One more answer was not believed. If that is new, writes what is to be said of
 * it, and returns true. */
bool discover__doubt_count(struct discover__doubt *doubt,
                           const rover_source_options_t *options, bool is_asked,
                           char *what, size_t size);

/* Whatever comes next begins anew. */
void discover__doubt_settle(struct discover__doubt *doubt);

#endif
