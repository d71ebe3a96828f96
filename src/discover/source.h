/* Private to src/discover, src/lua and src/host: a source of servers.
 *
 * It is declared with its settings and the rovers that it is attached to. Once
 * it is started, it polls its provider, and gives what it learns to its table
 * (see reconcile.h). In a reload, it goes on with the settings of the source
 * that was declared in its place. Closing takes its servers from all rovers. */
#ifndef DISCOVER_SOURCE_H
#define DISCOVER_SOURCE_H

#include "provider.h"

/* Any may be NULL. They may close the source. */
typedef struct discover__source_events_s {
  void (*update)(rover_source_t *source, const char *const added[],
                 size_t added_count, const char *const dropped[],
                 size_t dropped_count);
  void (*error)(rover_source_t *source, int status, const char *message);
} discover__source_events_t;

typedef void (*discover__source_close_cb)(rover_source_t *source);

/* `memory` is as in rover_options_t. Ownership: the reference to `config` is
 * the source's, if this succeeds. Errors: UV_ENOMEM, and those of
 * uv_random(). */
int discover__source_new(rover_source_t **source, uv_loop_t *loop,
                         struct discover__config *config,
                         const discover__source_events_t *events, void *data,
                         size_t *memory);

/* Gives the rover all servers, from the next turn of the loop on, until the
 * source or the rover closes. Errors: UV_ENOMEM. */
int discover__source_attach(rover_source_t *source, rover_t *rover);

/* Nothing is asked before the next turn of the loop. Starting again changes
 * nothing. */
void discover__source_start(rover_source_t *source);

/* Exchanges what two sources declare: settings, callbacks, user pointer; the
 * rovers of `other`, which was never started, take the place of those of
 * `source`. What it has learned, and what is under way, stays unless its
 * settings say to ask something else. Cannot fail. */
void discover__source_exchange(rover_source_t *source, rover_source_t *other);

void discover__source_set_events(rover_source_t *source,
                                 const discover__source_events_t *events,
                                 void *data);
void *discover__source_data(const rover_source_t *source);

/* From now on only `cb` is called; the memory is freed right after that. */
void discover__source_close(rover_source_t *source,
                            discover__source_close_cb cb);

#endif
