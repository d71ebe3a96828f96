/* Private to src/front and src/lua: what a reload of a policy needs of fronts.
 *
 * As in src/rover/reload.h, only the bindings call these: they are exported,
 * but are not part of the API. */
#ifndef FRONT_RELOAD_H
#define FRONT_RELOAD_H

#include <callosum/front.h>

/* Exchanges what two fronts of one loop declare, options, callbacks and user
 * pointer, and their listeners. What is under way stays: connections with their
 * slots, counters, drains, and a backend's being set down. The state of a
 * backend with another address, or one that is no longer checked, is unknown. A
 * listener given to a front that closes is closed. Cannot fail. */
ROVER_EXTERN void rover_front_exchange(rover_front_t *front,
                                       rover_front_t *other);

/* Moves what rover_front_set_down() has set from one front to the other. Cannot
 * fail. */
ROVER_EXTERN void rover_front_take_down(rover_front_t *front,
                                        rover_front_t *from);

/* Whether `other` listens where `front` is to listen, however the address is
 * spelled. Not if the path no longer leads to the socket of `other`. */
ROVER_EXTERN int rover_front_listens_for(const rover_front_t *other,
                                         const rover_front_t *front);

/* Whether a socket that listens, whose file is at `path` if that is not NULL,
 * does so where `front` is to. With `any_port`, port 0 stands for its port. */
ROVER_EXTERN int rover_front_is_for_fd(const rover_front_t *front, int fd,
                                       const char *path, int any_port);

/* Gives the listener of `from` to `front`, which has none, unnoticed by whoever
 * connects. Only if rover_front_listens_for(from, front). Errors: UV_EINVAL
 * when `front` is closing; the kernel's, if the permissions of a path could not
 * be changed: the listener is given all the same. */
ROVER_EXTERN int rover_front_take_listener(rover_front_t *front,
                                           rover_front_t *from);

#endif
