/* Private to src/relay and src/lua: what a reload of a policy needs of relays,
 * and offer().
 *
 * As in src/rover/reload.h, only the bindings call these: they are exported,
 * but are not part of the API. */
#ifndef RELAY_RELOAD_H
#define RELAY_RELOAD_H

#include <callosum/relay.h>

/* Exchanges what two relays of one loop declare, options, callbacks and user
 * pointer, and their listeners. What is under way stays: clients, pairs and
 * counters. A listener given to a relay that closes is closed. Cannot fail. */
ROVER_EXTERN void rover_relay_exchange(rover_relay_t *relay,
                                       rover_relay_t *other);

/* Whether `other` listens where `relay` is to listen, however the address is
 * spelled. Not if the path no longer leads to the socket of `other`. */
ROVER_EXTERN int rover_relay_listens_for(const rover_relay_t *other,
                                         const rover_relay_t *relay);

/* Whether a socket that listens, whose file is at `path` if that is not NULL,
 * does so where `relay` is to. With `any_port`, port 0 stands for its port. */
ROVER_EXTERN int rover_relay_is_for_fd(const rover_relay_t *relay, int fd,
                                       const char *path, int any_port);

/* Gives the listener of `from` to `relay`, which has none, unnoticed by
 * clients. Only if rover_relay_listens_for(from, relay). Errors: UV_EINVAL when
 * `relay` is closing; the kernel's, if the permissions of a path could not be
 * changed: the listener is given all the same. */
ROVER_EXTERN int rover_relay_take_listener(rover_relay_t *relay,
                                           rover_relay_t *from);

/* Calls back once in the next turn of the loop, if the relay has not closed by
 * then. */
ROVER_EXTERN void rover_relay_wake(rover_relay_t *relay,
                                   void (*wake)(rover_relay_t *relay));

#endif
