/* Private to src/host: the loop that luv makes in a policy's state. */
#ifndef HOST_LUV_H
#define HOST_LUV_H

#include "base.h"

/* The preloader of luv: opens it so that it reports its callbacks' errors to
 * the host, and so that the host runs its loop. */
int host__luv_open(lua_State *L);

/* Runs luv's loop from now on. `luv` may be NULL in each of these. */
void host__luv_start(struct host__luv *luv);

/* Nothing of it runs until it is ended. */
void host__luv_stop(struct host__luv *luv);

/* Closes luv's handles and waits for its requests to end; calls nothing of the
 * policy's any more. Returns true if all is done; else `done` comes when it is.
 * The state must not be closed before: luv's requests use it. */
bool host__luv_end(struct host__luv *luv, void (*done)(struct host__policy *));

/* The host closes: policies that have ended no longer wait for processes that
 * they started. */
void host__luv_hurry(rover_host_t *host);

/* Right before the state closes. */
void host__luv_close(struct host__luv *luv);

/* The descriptor of one of its handles that fits, or -1. L is the running
 * thread of its state, or the main one. */
int host__luv_find(struct host__luv *luv, lua_State *L,
                   bool (*fits)(int fd, const void *arg), const void *arg);

#endif
