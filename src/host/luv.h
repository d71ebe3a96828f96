/* Private to src/host: luv, and its loop in a policy's state. */
#ifndef HOST_LUV_H
#define HOST_LUV_H

#include "base.h"

/* The preloader of luv: opens it so that it reports its callbacks' errors to
 * the host, and so that the host runs its loop. */
int host__luv_open(lua_State *L);

/* Runs luv's loop from now on. `luv` may be NULL in each of these. */
void host__luv_start(struct host__luv *luv);

/* Nothing of luv's runs from here until host__luv_end(). */
void host__luv_stop(struct host__luv *luv);

/* Closes luv's handles and waits for its requests to end, without calling the
 * policy. Returns true if that is done already; otherwise `done` is called
 * later. The state must not be closed before that: luv's requests use it. */
bool host__luv_end(struct host__luv *luv, void (*done)(struct host__policy *));

/* The host closes: policies that have ended no longer wait for processes that
 * they started. */
void host__luv_hurry(rover_host_t *host);

/* To be called right before the state is closed. */
void host__luv_close(struct host__luv *luv);

/* Returns the descriptor of one of its handles that `fits`, or -1. L is the
 * running thread of its state, or the main one. */
int host__luv_find(struct host__luv *luv, lua_State *L,
                   bool (*fits)(int fd, const void *arg), const void *arg);

#endif
