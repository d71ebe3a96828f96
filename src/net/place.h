/* Private to src/net, src/relay, src/front and src/admin: where somebody is to
 * listen, and what listens there. */
#ifndef NET_PLACE_H
#define NET_PLACE_H

#include "endpoint.h"
#include "listener.h"
#include "reserve.h"

struct net__place {
  uv_loop_t *loop;
  void *data;                          /* for the listener's owner */
  struct net__address_fields declared; /* among the owner's options */
  union net__endpoint name;            /* of that: its port may be 0 */
  struct net__listener *listener;      /* or NULL */
};

/* Ownership and errors: as of net__endpoint_keep(); either way
 * net__place_clear() frees the texts. */
int net__place_init(struct net__place *place, uv_loop_t *loop,
                    const struct net__address_fields *declared, void *data);
void net__place_clear(struct net__place *place);

/* Listens there. Errors: UV_EINVAL (it has an fd_name), UV_EALREADY, and those of
 * net__listener_open(). */
int net__place_listen(struct net__place *place,
                      const struct net__listener_owner *owner);

/* Listens on a socket that does already; with an fd_name, that has the address.
 * Errors: UV_EALREADY, and those of net__endpoint_of() and
 * net__listener_adopt(). */
int net__place_listen_fd(struct net__place *place, int fd,
                         const struct net__listener_owner *owner);

/* Returns whether it listened, so that its owner's closed() is to come. */
bool net__place_close(struct net__place *place);

/* As of the listener; or UV_EBADF without one. */
int net__place_fd(const struct net__place *place);
int net__place_leave(struct net__place *place);
int net__place_stay(struct net__place *place, bool owns_file);

/* Whether `other` listens where `place` is, however the address is spelled. Not
 * if the path no longer leads to its socket. */
bool net__place_listens_for(const struct net__place *other,
                            const struct net__place *place);

/* Whether a socket that listens, whose file is at `path` if that is not NULL,
 * does so there. With `any_port`, port 0 stands for its port. */
bool net__place_is_for_fd(const struct net__place *place, int fd,
                          const char *path, bool any_port);

/* Moves the listener of `from`, if net__place_listens_for(from, place). Errors:
 * the kernel's, if the permissions of a path could not be changed; it has moved
 * all the same. */
int net__place_take(struct net__place *place, struct net__place *from);

/* Exchanges names and listeners, after the owners have exchanged their options;
 * net__place_follow() has to follow for each. */
void net__place_exchange(struct net__place *place, struct net__place *other);
void net__place_follow(struct net__place *place);

/* When there are no descriptors left: accepts some connections by spending the
 * reserve, and gives each to `refuse`, which closes it. */
void net__place_turn_away(struct net__place *place,
                          struct net__reserve *reserve,
                          void (*refuse)(void *data, int fd));

/* Why it cannot accept. */
const char *net__place_explain(int status);

#endif
