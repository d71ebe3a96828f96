/* Private to src/host: a policy's limits of memory and time. */
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

/* Replaces Lua's out-of-memory error on top by one that says whether the cap of
 * the policy was reached, or the system is out of memory. Allocates nothing. */
void host__state_out_of_memory(lua_State *L);

/* If the state has almost reached its cap, collects garbage, and raises an
 * out-of-memory error if that does not help. */
void host__check_room(lua_State *L);

/* The same if the state exceeds its cap by an eighth, as luv may make it do. */
void host__check_cap(lua_State *L);

/* Whether the state exceeds its cap by an eighth, including garbage. */
bool host__is_beyond_cap(lua_State *L);

/* The same, but without most of the garbage. Cheap enough to be called
 * often. */
bool host__is_out_of_room(lua_State *L);

/* A Lua function: calls its first argument with the others, unless
 * host__check_cap() raises. */
int host__call_within_cap(lua_State *L);

/* Between these calls the running C function, but no function that it calls,
 * gets as much memory as it asks for. The first returns the argument for the
 * second. */
const void *host__exempt(lua_State *L);
void host__exempt_end(lua_State *L, const void *outer);

/* -- Time ----------------------------------------------------------------- */

/* To be called around code that runs the policy's code in the thread L and does
 * not raise: in between the memory cap applies, and the budget runs, which
 * begins unless this is nested in such a call. host__enter() returns the
 * argument for host__leave(). */
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
