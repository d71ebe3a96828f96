/* Private to src/rover and src/lua: what a reload of a policy needs.
 *
 * A reload sets up a second rover beside the one that runs, then exchanges what
 * the two declare. Only the bindings call these. They are exported, since
 * libcallosum-host.so links libcallosum-rover.so, but are not part of the API:
 * they may change with any version. */
#ifndef ROVER_RELOAD_H
#define ROVER_RELOAD_H

#include <callosum/rover.h>

/* While a rover is held, new connections wait: an attempt that has its slot line
 * stays in flight, whatever its server does meanwhile, and the connection
 * callback comes in the order in which these began once the rover is not held any
 * more. All else goes on. */
ROVER_EXTERN void rover_hold(rover_t *rover, int hold);

/* Exchanges all that is declared of two rovers of one loop: options, callbacks,
 * user pointer and servers. What is under way stays where it is: clock (with
 * its last tick), attempts, sockets and counters; attempts in flight to a
 * server that the rover no longer has at that address are cancelled. Cannot
 * fail, so it is the last step of replacing a rover by one that was set up
 * beside it. Both count their `memory` in one place, and share one turn, or
 * neither does. */
ROVER_EXTERN void rover_exchange(rover_t *rover, rover_t *other);

/* Marks a server, or with 0 takes the mark from it, for whatever use you have;
 * one that is added or replaced has none. The mark is 1, or 0 for none. */
ROVER_EXTERN void rover_server_set_mark(const rover_server_t *server, int mark);
ROVER_EXTERN int rover_server_mark(const rover_server_t *server);

#endif
