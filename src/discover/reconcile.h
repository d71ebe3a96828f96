/* Private to src/discover: the servers of a source, and the rovers that have
 * them. Owner: source.c.
 *
 * An answer is held against the table in pieces, each of less than a
 * millisecond and at most 1,000 changes, one a turn of the loop: new servers
 * are added at once; those that are not listed any more are marked, if the
 * owner believes that, and dropped once their time has come, unless they are
 * listed again before. A loss that the owner doubts is compared with the one that
 * it doubted last. A rover that is attached, or detached, comes first and
 * gets, or loses, all of the servers in the same way. */
#ifndef DISCOVER_RECONCILE_H
#define DISCOVER_RECONCILE_H

#include "../net/hash.h"
#include "../rover/hold.h"
#include "list.h"

struct discover__table;
struct discover__server;

/* A rover that the servers of a table are given to. */
struct discover__target {
  rover_holder_t holder; /* first */
  struct discover__table *table;
  struct discover__server *cursor; /* the next to be given to it, or taken from
                                      it; ... */
  struct discover__server *end;    /* ... up to this one; NULL: to the last */
  bool leaving;
  struct discover__target *next;
};

/* What the owner does. */
struct discover__table_events {
  /* The ids of servers that came and went, in a piece. May close the table. */
  void (*changed)(struct discover__table *table, const char *const added[],
                  size_t added_count, const char *const dropped[],
                  size_t dropped_count);
  /* Whether it is to be doubted that `gone` of the `before` servers are; not
   * asked of a partial answer. Must call nothing here. */
  bool (*doubts)(struct discover__table *table);
  /* Then: whether it is believed, now that `alike` of them were also gone in the
   * answer that was doubted last. Must call nothing here. */
  bool (*believes)(struct discover__table *table);
  /* The answer is dealt with. Ownership: the list is the owner's. May close the
   * table. */
  void (*done)(struct discover__table *table, struct discover__list *list,
               bool different);
  /* There is no memory; it goes on in a second. */
  void (*starved)(struct discover__table *table);
  /* It is closed, and its memory is the owner's again. */
  void (*closed)(struct discover__table *table);
};

struct discover__table {
  const struct discover__table_events *events;
  uv_idle_t work;
  uv_timer_t later;
  struct net__hash_key key;         /* of by_id */
  struct discover__server *by_id;   /* in the order in which they came */
  struct discover__server *leaving; /* the next to be dropped first, ... */
  struct discover__server *last;    /* ... to this one */
  struct discover__target *targets;
  size_t listed, leaving_count;
  uint64_t removal_delay; /* the owner's */
  struct discover__list *list; /* the answer that is being dealt with, ... */
  struct discover__list *next; /* ... and the one after it */
  size_t index;                /* in the list */
  size_t seen;                 /* of those listed */
  size_t before, gone; /* of those listed before; if some are taken, of those and
                          all that are listed */
  size_t alike;        /* of those that are gone; see above */
  size_t taken;   /* of what the last answer that was asked for, and believed,
                     lists: what others have taken since, so that a loss that a
                     watch brings bit by bit is doubted, too */
  uint32_t asked; /* the round of that answer */
  enum {
    DISCOVER__COMPARING,
    DISCOVER__WEIGHING,
    DISCOVER__SWEEPING
  } phase;
  struct discover__server *cursor; /* when weighing or sweeping */
  bool different;
  uint32_t round;
  size_t *memory; /* or NULL: where what it holds is counted */
  unsigned handles;
  bool known; /* what there is; until then its rovers wait */
  bool closing;
};

/* `memory` may be NULL. Errors: those of uv_random(). */
int discover__table_init(struct discover__table *table, uv_loop_t *loop,
                         const struct discover__table_events *events,
                         size_t *memory);

/* Deals with an answer. Ownership: the list is the table's. A later one takes
 * the place of one that was not begun with. */
void discover__table_take(struct discover__table *table,
                          struct discover__list *list);
bool discover__table_is_busy(const struct discover__table *table);

/* It is known by now whether there are servers. */
void discover__table_know(struct discover__table *table);

/* Forgets the answers. */
void discover__table_forget(struct discover__table *table);

/* Errors: UV_ENOMEM. Attaching a rover again changes nothing. */
int discover__table_attach(struct discover__table *table, rover_t *rover);

/* In a reload: the rovers of `from` are now those of the table. */
void discover__table_follow(struct discover__table *table,
                            struct discover__table *from);

/* Takes the servers from all rovers, and calls closed(). */
void discover__table_close(struct discover__table *table);

#endif
