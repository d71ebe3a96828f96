#include "groups.h"

#include "list.h"

#include <stdlib.h>
#include <string.h>

/* If there is no memory to hash a key, the call fails instead of aborting the
 * process. */
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(element) ((element)->is_lost = true)
#include <uthash.h>

/* Of keys and names as they are, 100,000 take half of it. */
enum { MEMORY_MAX = 32 << 20 };

/* A group is one block of memory: its entries, then their hosts, then its key. */
struct discover__group {
  UT_hash_handle hh;
  bool is_lost; /* it could not be hashed */
  size_t size;  /* of the block */
  size_t count;
  struct discover__entry entries[];
};

static struct discover__group *
make(const char *key, const struct discover__entry entries[], size_t count) {
  struct discover__group *group;
  size_t size = sizeof *group + count * sizeof *entries + strlen(key) + 1;

  for (size_t i = 0; i < count; i++) size += strlen(entries[i].host) + 1;
  group = malloc(size);
  if (!group) return NULL;
  char *text = (char *)&group->entries[count];
  group->size = size;
  group->count = count;
  for (size_t i = 0; i < count; i++) {
    group->entries[i] = entries[i];
    group->entries[i].host = strcpy(text, entries[i].host);
    text += strlen(text) + 1;
  }
  strcpy(text, key);
  group->is_lost = false;
  return group;
}

static const char *key_of(const struct discover__group *group) {
  const struct discover__entry *last = &group->entries[group->count];
  if (group->count == 0) return (const char *)last;
  return last[-1].host + strlen(last[-1].host) + 1;
}

static void take_out(struct discover__groups *groups,
                     struct discover__group *group) {
  /* What went before is in no bucket.
   * NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
  HASH_DEL(groups->by_key, group);
  groups->count -= group->count;
  groups->memory -= group->size;
  free(group);
}

int discover__groups_set(struct discover__groups *groups, const char *key,
                         const struct discover__entry entries[], size_t count) {
  struct discover__group *group = make(key, entries, count);

  if (!group) return UV_ENOMEM;
  const char *own = key_of(group);
  discover__groups_drop(groups, key);
  if (group->size > MEMORY_MAX - groups->memory) {
    free(group);
    return UV_ENOBUFS;
  }
  int err = groups->by_key ? 0 : net__hash_key_draw(&groups->hash_key);
  if (err < 0) {
    free(group);
    return err;
  }
  size_t length = strlen(own);
  uint32_t hash = net__hash(&groups->hash_key, own, length);
  HASH_ADD_KEYPTR_BYHASHVALUE(hh, groups->by_key, own, length, hash, group);
  if (group->is_lost) {
    free(group);
    return UV_ENOMEM;
  }
  groups->count += count;
  groups->memory += group->size;
  return 0;
}

void discover__groups_drop(struct discover__groups *groups, const char *key) {
  struct discover__group *group;

  size_t length = strlen(key);
  uint32_t hash = net__hash(&groups->hash_key, key, length);
  HASH_FIND_BYHASHVALUE(hh, groups->by_key, key, length, hash, group);
  if (group) take_out(groups, group);
}

void discover__groups_clear(struct discover__groups *groups) {
  struct discover__group *group = groups->by_key, *next;

  HASH_CLEAR(hh, groups->by_key); /* the table; its items go on */
  groups->count = groups->memory = 0;
  for (; group; group = next) {
    next = group->hh.next;
    free(group);
  }
}

int discover__groups_list(const struct discover__groups *groups,
                          struct discover__list **list) {
  struct discover__entry *entries = calloc(groups->count + 1, sizeof *entries);
  size_t count = 0;

  if (!entries) return UV_ENOMEM;
  for (const struct discover__group *group = groups->by_key; group;
       group = group->hh.next) {
    memcpy(entries + count, group->entries, group->count * sizeof *entries);
    count += group->count;
  }
  int err = discover__list_new(list, entries, count);
  free(entries);
  return err;
}
