/* Private to src/host: one policy, in a Lua state of its own. */
#ifndef HOST_POLICY_H
#define HOST_POLICY_H

#include "base.h"

/* Loads the script, staged; `old` is the policy that it will replace, or NULL.
 * On failure returns a negative code, which has been reported. */
int host__policy_open(struct host__policy **policy, rover_host_t *host,
                      const struct host__script *script,
                      struct host__policy *old);

/* Makes its relays listen. If one cannot, returns a negative code, which has
 * been reported, and closes the policy. */
int host__policy_listen(struct host__policy *policy, const char *path);

/* Starts what the policy has declared. */
void host__policy_commit(struct host__policy *policy);

/* Passes everything that `old` has to `policy`, which becomes the host's policy
 * and is committed; its sockets are still to be adopted. On failure returns a
 * negative code, which has been reported, and nothing has changed. */
int host__policy_take_over(struct host__policy *policy,
                           struct host__policy *old);

/* Runs the handlers of `unload`. */
void host__policy_unload(struct host__policy *policy);

/* None of its code runs after this. Its memory is freed when its requests to
 * luv have ended; the host waits for that. */
void host__policy_close(struct host__policy *policy);

#endif
