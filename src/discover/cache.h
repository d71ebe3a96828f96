/* Private to src/discover: the file in which a source keeps its list, so that it
 * can start without the network. Owner: source.c.
 *
 * It is read and written in threads, once at a time: the latest list waits until
 * the one before is written. */
#ifndef DISCOVER_CACHE_H
#define DISCOVER_CACHE_H

#include "list.h"

struct discover__cache_events {
  /* What was loaded. Ownership: the list is the owner's; NULL: there is none, or
   * with `status` below 0, this is why. Not called once it is cancelled. */
  void (*loaded)(void *owner, struct discover__list *list, int status,
                 const char *why);
  /* A list could not be written, though the one before could, or for another
   * reason. */
  void (*failed)(void *owner, int status, const char *why);
  /* The owner has to live from each hold() to its release(). */
  void (*hold)(void *owner);
  void (*release)(void *owner);
};

struct discover__cache {
  const struct discover__cache_events *events;
  void *owner;
  uv_loop_t *loop;
  const char *path; /* the owner's; NULL: there is none */
  bool loading;     /* the outcome of that is awaited */
  bool storing;
  bool stored; /* the list that was stored last is there, or will be */
  int failure; /* why the last one could not be; 0: it could */
  struct discover__list *next; /* to be written after the one under way */
};

void discover__cache_init(struct discover__cache *cache, uv_loop_t *loop,
                          void *owner,
                          const struct discover__cache_events *events,
                          const char *path);

/* In a reload, in which the path before still exists. Returns whether the file
 * has to be written anew. */
bool discover__cache_move(struct discover__cache *cache, const char *path);

/* Returns false if nothing is to be awaited. */
bool discover__cache_load(struct discover__cache *cache);
void discover__cache_cancel(struct discover__cache *cache);

/* Whether it needs a list, though that be the same as the last: that could not be
 * written, or was written to another file. */
bool discover__cache_lacks(const struct discover__cache *cache);

/* Ownership: the list is the cache's. If there is no memory, the next one is
 * written. */
void discover__cache_store(struct discover__cache *cache,
                           struct discover__list *list);

#endif
