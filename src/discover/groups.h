/* Private to src/discover: what a source that watches knows: entries by the key
 * under which the other side may change or delete them. */
#ifndef DISCOVER_GROUPS_H
#define DISCOVER_GROUPS_H

#include "../net/hash.h"
#include "list.h"

struct discover__groups {
  struct discover__group *by_key; /* uthash head, ... */
  struct net__hash_key hash_key;  /* ... by this, drawn for the first */
  size_t count;                   /* of entries in all */
  size_t memory;                  /* in bytes */
};

/* Replaces those of the key by copies. Errors: UV_ENOMEM; UV_ENOBUFS: all of them
 * would take too much; those of uv_random(). */
int discover__groups_set(struct discover__groups *groups, const char *key,
                         const struct discover__entry entries[], size_t count);
void discover__groups_drop(struct discover__groups *groups, const char *key);
void discover__groups_clear(struct discover__groups *groups);

/* Makes a list of all of them. Errors: UV_ENOMEM; UV_E2BIG: more than
 * ROVER_SOURCE_SERVERS_MAX. */
int discover__groups_list(const struct discover__groups *groups,
                          struct discover__list **list);

#endif
