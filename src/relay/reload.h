/* Private to src/relay and src/lua: what a reload of a policy needs of relays.
 *
 * As in src/rover/reload.h, only the bindings call these: they are exported, but
 * are not part of the API. */
#ifndef RELAY_RELOAD_H
#define RELAY_RELOAD_H

#include <callosum/relay.h>

/* Exchanges all that is declared of two relays of one loop, options, callbacks
 * and user pointer, and with it the listeners. What is under way stays where it
 * is: clients and counters. What a relay that closes gets listens no more.
 * Cannot fail. */
ROVER_EXTERN void rover_relay_exchange(rover_relay_t *relay,
                                       rover_relay_t *other);

/* Whether `other` listens where `relay` is to listen, however the address is
 * spelled. A path that no longer leads to the socket of `other` does not
 * count. */
ROVER_EXTERN int rover_relay_listens_for(const rover_relay_t *other,
                                         const rover_relay_t *relay);

/* Gives the listener of `from` to `relay`, which has none; nobody who connects
 * notices. Only if rover_relay_listens_for(from, relay). Errors: UV_EINVAL when
 * `relay` closes; the kernel's, if the permissions of a path could not be
 * changed: it is given all the same. */
ROVER_EXTERN int rover_relay_take_listener(rover_relay_t *relay,
                                           rover_relay_t *from);

#endif
