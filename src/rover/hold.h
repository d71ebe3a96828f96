/* Private to src/rover, src/discover and src/lua: servers that sources find.
 *
 * A server is there as long as a source holds it, or the program has added it:
 * rover_server_set() drops none that is held, and rover_server_release() none
 * that was added. rover_server_drop() drops it whoever holds it, and no further
 * hold brings it back: it is back once it is added, or held anew after nobody
 * held it. As those of reload.h, these are exported but not part of the API. */
#ifndef ROVER_HOLD_H
#define ROVER_HOLD_H

#include <callosum/rover.h>

/* Returns 1 if the server was added, 0 if it was there already, whatever its
 * address. A weight of 0 leaves the one that it has. Errors: as those of
 * rover_server_add(). */
ROVER_EXTERN int rover_server_hold(rover_t *rover,
                                   const rover_server_entry_t *entry);

/* Undoes one hold. Returns whether the server was dropped. */
ROVER_EXTERN int rover_server_release(rover_t *rover, const char *id);

/* Returns whether there is such a server. */
ROVER_EXTERN int rover_server_set_weight(rover_t *rover, const char *id,
                                         unsigned weight);

/* In a reload: adds a server of another rover to this one, unless it is there,
 * and is held by those who hold it there. `tls` takes the place of its own, if
 * it has one. Errors: UV_ENOMEM. */
ROVER_EXTERN int rover_server_keep(rover_t *rover, const rover_server_t *old,
                                   rover_tls_t *tls);

ROVER_EXTERN int rover_server_is_held(const rover_server_t *server);

/* Whoever holds servers of a rover joins it, to be told when it closes: `gone`
 * is called once, and it has left by then. `rover` is NULL unless it has
 * joined. */
typedef struct rover_holder_s {
  rover_t *rover;
  int pending; /* it has yet to find out which servers there are */
  void (*gone)(struct rover_holder_s *holder);
  struct rover_holder_s *prev, *next;
} rover_holder_t;

ROVER_EXTERN void rover_holder_join(rover_t *rover, rover_holder_t *holder);
ROVER_EXTERN void rover_holder_leave(rover_holder_t *holder);

/* Whether one of them is pending: as long as the rover has no server, it makes
 * no attempt then. */
ROVER_EXTERN int rover_is_awaiting(const rover_t *rover);

/* In a reload: those who have joined the one join the other instead. */
ROVER_EXTERN void rover_holders_pass(rover_t *from, rover_t *to);

/* The rover closes: they leave it, and are told. */
void rover__holders_let_go(rover_t *rover);

#endif
