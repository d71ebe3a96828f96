/* Private to src/discover: what a source that watches knows: entries by the key
 * under which the other side may change or delete them. */
#ifndef DISCOVER_GROUPS_H
#define DISCOVER_GROUPS_H

#include "provider.h"

struct discover__groups {
  struct discover__group *by_key; /* uthash head */
  size_t count;                   /* of entries in all */
};

/* Replaces those of the key by copies. Errors: UV_ENOMEM. */
int discover__groups_set(struct discover__groups *groups, const char *key,
                         const struct discover__entry entries[], size_t count);
void discover__groups_drop(struct discover__groups *groups, const char *key);
void discover__groups_clear(struct discover__groups *groups);

/* Tells the source all of them, or that there is no memory. `note` is for when
 * there are none. Returns false after a failure. */
bool discover__groups_tell(const struct discover__groups *groups,
                           rover_source_t *source, const char *note);

#endif
