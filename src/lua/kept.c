#include "kept.h"

#include <stdlib.h>
#include <string.h>

/* Where the first of a higher slot is. */
static size_t above(const struct rover__lua_kept_list *list, int slot) {
  size_t least = 0, most = list->count;
  while (least < most) {
    size_t middle = (least + most) / 2;
    if (list->all[middle].slot > slot) most = middle;
    else least = middle + 1;
  }
  return least;
}

size_t rover__lua_kept_find(const struct rover__lua_kept_list *list,
                            const rover_socket_t *socket) {
  int slot = rover_socket_slot(socket);
  size_t i = above(list, slot);
  for (; i > 0 && list->all[i - 1].slot == slot; i--)
    if (list->all[i - 1].socket == socket) return i - 1;
  return list->count;
}

struct rover__lua_kept *
rover__lua_kept_highest(const struct rover__lua_kept_list *list) {
  return list->count > 0 ? &list->all[list->count - 1] : NULL;
}

struct rover__lua_kept *
rover__lua_kept_latest(const struct rover__lua_kept_list *list) {
  struct rover__lua_kept *latest = NULL;
  for (size_t i = 0; i < list->count; i++)
    if (!latest || list->all[i].since >= latest->since) latest = &list->all[i];
  return latest;
}

bool rover__lua_kept_reserve(struct rover__lua_kept_list *list,
                             const rover__lua_t *lua) {
  if (list->count < list->capacity) return true;
  size_t capacity = list->capacity * 2 + 4;
  size_t more = (capacity - list->capacity) * sizeof *list->all;
  if (!rover__lua_may_have(lua, more)) return false;
  struct rover__lua_kept *all =
      realloc(list->all, capacity * sizeof *list->all);
  if (!all) return false;
  if (list->owner) list->owner->memory += more;
  list->all = all;
  list->capacity = capacity;
  return true;
}

void rover__lua_kept_add(struct rover__lua_kept_list *list,
                         rover_socket_t *socket) {
  int slot = rover_socket_slot(socket);
  size_t at = above(list, slot);

  memmove(&list->all[at + 1], &list->all[at],
          (list->count - at) * sizeof *list->all);
  list->all[at] = (struct rover__lua_kept){
      .socket = socket, .since = uv_hrtime(), .slot = slot};
  list->count++;
}

void rover__lua_kept_remove(struct rover__lua_kept_list *list, size_t at) {
  list->count--;
  memmove(&list->all[at], &list->all[at + 1],
          (list->count - at) * sizeof *list->all);
}

void rover__lua_kept_free(struct rover__lua_kept_list *list) {
  if (list->owner) list->owner->memory -= list->capacity * sizeof *list->all;
  free(list->all);
  list->all = NULL;
  list->count = list->capacity = 0;
}
