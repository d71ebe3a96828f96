/* Private to src/sim: a connection, its two ends, and what is under way between
 * them. */
#ifndef SIM_CONN_H
#define SIM_CONN_H

#include "net.h"

/* A connection from a machine to another, or within one. `local` has an address
 * or a port if it was bound to one. Returns the client's end. */
struct sim__end *sim__conn_open(struct sim__machine *from,
                                const struct sim__address *local,
                                struct sim__machine *machine,
                                const struct sim__address *remote,
                                const struct sim__options *options);

/* Begins to connect: within a machine the end is open or dead at once. */
void sim__conn_begin(struct sim__end *client);

/* Two ends that are connected already, of Unix sockets: a pair, or a client and
 * the end that now waits at `listener`. Returns the first. */
struct sim__end *sim__conn_pair(struct sim__machine *machine,
                                struct sim__listener *listener);

/* A client's end that is dead already, as it could not connect. */
struct sim__end *sim__conn_failed(struct sim__machine *machine, int err);

/* Tells a native end what it is: connected, or dead. */
void sim__end_tell_begun(struct sim__end *end);

/* Frees a connection that nobody has any more. */
void sim__conn_free_if_over(struct sim__conn *conn);

/* Frees what is kept for further ones. */
void sim__conns_end(void);

/* The first one that waits at a listener, or NULL. */
struct sim__end *sim__conn_accept(struct sim__listener *listener);

/* Resets what waits at a listener. */
void sim__conn_refuse_all(struct sim__listener *listener);

/* As of shutdown() for writing. */
void sim__end_shut(struct sim__end *end);

/* As of close(): with `resets`, or unread bytes, by a reset. */
void sim__end_close(struct sim__end *end, bool resets);

/* Its kernel has forgotten it, and tells nobody. */
void sim__end_vanish(struct sim__end *end);

/* The network between it and its peer was cut, or healed. */
void sim__end_cut(struct sim__end *end, bool cut);

/* The options of an end have changed. */
void sim__end_tune(struct sim__end *end);

/* -- For silence.c -------------------------------------------------------- */

void sim__end_die(struct sim__end *end, int err);
int sim__end_reset_error(const struct sim__end *end);
void sim__end_connect_again(struct sim__end *end);
void sim__end_enter_queue(struct sim__end *end);
void sim__end_send_again(struct sim__end *end);

#endif
