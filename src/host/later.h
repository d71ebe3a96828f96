/* Private to src/host: what is deferred until no Lua code runs. */
#ifndef HOST_LATER_H
#define HOST_LATER_H

#include "base.h"

/* `turn` is called in each turn of the loop while a reload is wanted or under
 * way; `closed` once host__later_close() was called and nothing is left of the
 * host but its memory. */
void host__later_open(rover_host_t *host, void (*turn)(rover_host_t *host),
                      void (*closed)(rover_host_t *host));
void host__later_close(rover_host_t *host);

/* Reloads in the next turn of the loop. Asking again before that makes no
 * second reload. */
void host__reload_soon(rover_host_t *host, const char *trigger);

/* Calls the program's stop callback in the next turn of the loop. */
void host__stop_soon(rover_host_t *host, int status);

/* Calls `begin` in the next turn of the loop, in place of the stop callback. */
void host__close_soon(rover_host_t *host, uv_timer_cb begin);

/* One of the handles counted in host->handles has closed. */
void host__unref(rover_host_t *host);

#endif
