/* Private to src/host: what a policy takes of memory and time. */
#ifndef HOST_LIMITS_H
#define HOST_LIMITS_H

#include "base.h"

/* A new state for the policy; NULL if there is no memory. */
lua_State *host__state_new(struct host__policy *policy);

/* Closes it; its finalizers share one budget. */
void host__state_close(lua_State *L);

/* -- Memory --------------------------------------------------------------- */

/* Prepares for the function below. May raise. */
void host__open_limits(lua_State *L);

/* Replaces Lua's out-of-memory error on top by one that says whether the
 * policy's cap was reached, or the system has no more. Allocates nothing. */
void host__state_out_of_memory(lua_State *L);

/* Collects garbage, and then raises the error of memory, if the state has next
 * to nothing left of its cap. */
void host__check_room(lua_State *L);

/* The same if it has an eighth more than its cap, as luv may make it have. */
void host__check_cap(lua_State *L);

/* Whether it has, garbage included. */
bool host__is_beyond_cap(lua_State *L);

/* Whether it has, without garbage or nearly so. Cheap enough to be asked
 * often. */
bool host__is_out_of_room(lua_State *L);

/* For Lua: calls the first argument with the others, if host__check_cap() does
 * not raise. */
int host__call_within_cap(lua_State *L);

/* Between these the running C function, and no function that it calls, gets
 * what memory it wants. The first returns what to pass to the second. */
const void *host__exempt(lua_State *L);
void host__exempt_end(lua_State *L, const void *outer);

/* -- Time ----------------------------------------------------------------- */

/* To be called around whatever runs the policy's code in the thread L, and
 * does not raise: from here on the memory cap holds, and the budget begins
 * unless this is within such a call already. host__enter() returns what to
 * pass to host__leave(). */
lua_State *host__enter(lua_State *L, enum host__budget_kind kind);
void host__leave(lua_State *L, lua_State *outer);

/* Whether code of a policy runs. */
bool host__is_running(const rover_host_t *host);

/* Whether the running call is over its budget. */
bool host__is_over(lua_State *L);

/* Whether luv's loop runs, but no call of the policy's does, and the budget
 * that these share in this turn of the host's loop is spent. */
bool host__is_late(lua_State *L);

/* Whether the coroutine was ended by its budget. */
bool host__was_stopped(lua_State *co);

#endif
