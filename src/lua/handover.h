/* Private to src/lua and src/host: a reload's handover, from the rovers,
 * relays, fronts and sources of one state to those of the next. */
#ifndef LUA_HANDOVER_H
#define LUA_HANDOVER_H

#include "state.h"

struct rover__handover;

/* Ownership: to be given to free(). */
int rover__handover_new(struct rover__handover **handover, rover__lua_t *from,
                        rover__lua_t *to);

/* To be called in the new state, which is staged, with the handover as light
 * userdata, while garbage collection is stopped in both states, so that no
 * finalizer of a script can interfere. Raises if the handover cannot be made;
 * nothing has changed then. */
int rover__handover_prepare(lua_State *L);

/* Makes the new state the owner, and retires the old one. Cannot fail.
 * rover__lua_commit() is next. */
void rover__handover_commit(struct rover__handover *handover);

/* Calls `connection` for the sockets that were taken over, by ascending slot,
 * and then pick for the clients that wait, one of each at least, for about
 * `slice` ns. Returns true when it is through; false if it is to be called
 * again. Meanwhile a socket has no other event before its `connection`, new
 * ones are held back, and one that ends with no byte unread is not adopted. */
bool rover__lua_adopt(rover__lua_t *lua, uint64_t slice);

/* After that, or instead: releases what was held back. Counts the sockets that
 * were adopted, and those of them that are closed by now. */
void rover__lua_adopt_end(rover__lua_t *lua, size_t *adopted, size_t *closed);

#endif
