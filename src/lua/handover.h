/* Private to src/lua and src/host: from the rovers and relays of one
 * state to those of the next. */
#ifndef LUA_HANDOVER_H
#define LUA_HANDOVER_H

#include "state.h"

struct rover__handover;

/* Ownership: to be given to free(). */
int rover__handover_new(struct rover__handover **handover, rover__lua_t *from,
                        rover__lua_t *to);

/* To be called in the new state, which is staged, with the handover as light
 * userdata, while garbage collection is stopped in both states, so that no
 * finalizer of a script comes in between. Raises if it cannot be done; nothing
 * has changed then. */
int rover__handover_prepare(lua_State *L);

/* Makes the new state the owner, and retires the old one. Cannot fail.
 * rover__lua_commit() is next. */
void rover__handover_commit(struct rover__handover *handover);

/* Calls `connection` for sockets that were taken over, the lowest slot first,
 * and pick for the clients that wait, until that is all, when it returns true, or
 * `until` (of uv_hrtime()), but for one of each at least; then it is to be called
 * again. In between, a socket tells nothing
 * before its `connection`, new ones wait, and what ends is not adopted. */
bool rover__lua_adopt(rover__lua_t *lua, uint64_t until);

/* After that, or instead: what has waited comes. Counts the sockets that were
 * adopted, and those of them that are closed by now. */
void rover__lua_adopt_end(rover__lua_t *lua, size_t *adopted, size_t *closed);

#endif
