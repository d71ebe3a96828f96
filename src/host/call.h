/* Private to src/host: protected calls, within a budget, and their errors. */
#ifndef HOST_CALL_H
#define HOST_CALL_H

#include "base.h"

/* The rover__lua_call of policies. */
int host__call(lua_State *L, int nargs, int nresults, int flags);

/* Calls `function` with `argument` as light userdata, within the budget of
 * loading the policy. What it raises is the reason why the script at `path`
 * cannot be loaded. Returns 0, UV_EINVAL or UV_ENOMEM. */
int host__call_to_load(struct host__policy *policy, const char *path,
                       lua_CFunction function, void *argument);

/* Reports and counts the error on top of the stack of any thread; `status` is
 * Lua's. With `path`, the script cannot be loaded because of it. An error
 * object is only named, with the reason `why` it has no text: runs nothing of
 * the policy's, and raises nothing. `traceback`, `path` and `why` may be
 * NULL. */
void host__report(lua_State *L, int status, const char *traceback,
                  const char *path, const char *why);

#endif
