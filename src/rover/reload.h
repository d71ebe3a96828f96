/* Private to src/rover and src/lua: what a reload of a policy needs.
 *
 * A reload sets up a second rover beside the one that runs, then exchanges what
 * the two declare. Only the bindings call these. They are exported, since
 * libcallosum-host.so links libcallosum-rover.so, but are not part of the API:
 * they may change with any version. */
#ifndef ROVER_RELOAD_H
#define ROVER_RELOAD_H

#include <callosum/rover.h>

/* While a rover is held, new connections wait: an attempt that has its slot
 * line stays in flight, whatever its server does meanwhile. Once the rover is
 * no longer held, connection callbacks come in the order in which the attempts
 * started. All else goes on. */
ROVER_EXTERN void rover_hold(rover_t *rover, int hold);

/* While a socket is held, it stays open at its peer's end if bytes before that are
 * unread. Its callbacks are told of that end once it is no longer held. */
ROVER_EXTERN void rover_socket_hold(rover_socket_t *socket, int hold);

/* Exchanges what two rovers of one loop declare: options, callbacks, user
 * pointer and servers. Everything under way stays: the clock (with its last
 * tick), attempts, sockets and counters. Attempts to a server that the rover no
 * longer has at that address are cancelled. Cannot fail, so it is the last step
 * of replacing a rover by one that was set up beside it. Both must share one
 * `memory` and one turn, or have none. */
ROVER_EXTERN void rover_exchange(rover_t *rover, rover_t *other);

/* As rover_server_at(), with those that were dropped by hand behind the
 * others. */
ROVER_EXTERN rover_server_t *rover_server_any_at(const rover_t *rover,
                                                 size_t index);

/* A mark, 1 or 0, for the caller's own use. Adding a server, even one that is
 * there already, clears it. */
ROVER_EXTERN void rover_server_set_mark(rover_server_t *server, int mark);
ROVER_EXTERN int rover_server_mark(const rover_server_t *server);

#endif
