/* Private to src/lua: the sockets that a keeper keeps, by slot. */
#ifndef LUA_KEPT_H
#define LUA_KEPT_H

#include "state.h"

struct rover__lua_kept {
  rover_socket_t *socket;
  uint64_t since; /* uv_hrtime() */
  int slot;
  int strikes; /* of its server, when it was reached */
};

struct rover__lua_kept_list {
  size_t count, capacity;
  struct rover__lua_kept *all;    /* by slot, the younger ones last */
  struct rover__lua_owner *owner; /* to whose memory it counts; or NULL */
};

/* Makes room for one more; returns false if there is no memory, or `lua` may not
 * have it. */
bool rover__lua_kept_reserve(struct rover__lua_kept_list *list,
                             const rover__lua_t *lua);

/* There is room. */
void rover__lua_kept_add(struct rover__lua_kept_list *list,
                         rover_socket_t *socket);
void rover__lua_kept_remove(struct rover__lua_kept_list *list, size_t at);

/* Its place, or list->count. */
size_t rover__lua_kept_find(const struct rover__lua_kept_list *list,
                            const rover_socket_t *socket);

/* The one of the highest slot, and of these the latest; or NULL. */
struct rover__lua_kept *
rover__lua_kept_highest(const struct rover__lua_kept_list *list);

/* The one that was added last, or NULL. */
struct rover__lua_kept *
rover__lua_kept_latest(const struct rover__lua_kept_list *list);

void rover__lua_kept_free(struct rover__lua_kept_list *list);

#endif
