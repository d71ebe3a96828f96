/* Private to src/host: protected calls, within a budget, and their errors. */
#ifndef HOST_CALL_H
#define HOST_CALL_H

#include "base.h"

/* The message handler of all calls. */
int host__note_traceback(lua_State *L);

/* Implements rover__lua_call for policies. */
int host__call(lua_State *L, int nargs, int nresults, int flags);

/* Calls `function` with `argument` as light userdata, within the budget of
 * loading the policy. An error is reported as the reason why the script at
 * `path` cannot be loaded. Returns 0, UV_EINVAL or UV_ENOMEM. */
int host__call_to_load(struct host__policy *policy, const char *path,
                       lua_CFunction function, void *argument);

/* Reports and counts the error on top of the stack of any thread; `status`
 * is Lua's. With `path`, as the reason why that script cannot be loaded. For
 * an error object, reports its type and `why` it has no text. Does not run
 * the policy's code, and does not raise. `traceback`, `path` and `why` may
 * be NULL. */
void host__report(lua_State *L, int status, const char *traceback,
                  const char *path, const char *why);

#endif
