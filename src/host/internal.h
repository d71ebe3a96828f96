/* Private to src/host: what its files share. */
#ifndef HOST_INTERNAL_H
#define HOST_INTERNAL_H

#include <callosum/host.h>

#include "../lua/internal.h"

struct rover_host_s {
  uv_loop_t *loop;
  rover_host_options_t options; /* lua_path is the host's own copy */
  struct host__policy *policy;  /* the one loaded, or NULL */
  rover_host_stats_t stats;
  struct rover__lua_owner rovers; /* of all its policies */
  uv_timer_t stopper; /* fires once the call that asked to stop is over */
  int stop_status;
  unsigned handles; /* of libuv, not yet closed */
  bool closing;
  bool closed; /* close_cb has been called */
  rover_host_close_cb close_cb;
};

/* -- host.c --------------------------------------------------------------- */

/* Says something, with fields as pairs of strings, ended by NULL. */
void host__log(rover_host_t *host, rover_host_level_t level,
               const char *message, ...);

/* A libuv handle of the host has closed. */
void host__unref(rover_host_t *host);

/* -- policy.c: one policy, in a Lua state of its own ---------------------- */

struct host__policy {
  rover_host_t *host;
  lua_State *L;
  rover__lua_t *lua;
  struct host__luv *luv; /* NULL until it is required */
  int unload;            /* reference of the array of unload handlers */
};

/* Loads the script, staged. Returns NULL when it failed, and has said why. */
struct host__policy *host__policy_open(rover_host_t *host, const char *path,
                                       int argc, char *const argv[]);

/* Starts what it has asked for. */
void host__policy_commit(struct host__policy *policy);

void host__policy_unload(struct host__policy *policy);
void host__policy_close(struct host__policy *policy);

/* The policy that a state belongs to. */
struct host__policy *host__policy_of(lua_State *L);

/* The rover__lua_call of policies. */
int host__policy_call(lua_State *L, int nargs, int nresults, int flags);

/* -- bind_host.c: the module callosum.host -------------------------------- */

/* Pushes its table. The policy's arguments are `argv`. May raise. */
void host__open_module(lua_State *L, int argc, char *const argv[]);

/* -- luv.c: the loop that luv makes in a policy's state ------------------- */

/* The preloader of luv: opens it so that it reports its callbacks' errors to
 * the host, and so that the host runs its loop. */
int host__luv_open(lua_State *L);

/* Lets luv's loop run from now on. `luv` may be NULL in each of these. */
void host__luv_start(struct host__luv *luv);

/* Before Lua code runs that may use luv. */
void host__luv_enter(struct host__luv *luv);

/* Before the state closes. */
void host__luv_close(struct host__luv *luv);

#endif
