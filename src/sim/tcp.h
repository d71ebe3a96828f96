/* Private to src/sim: connections between machines, and within one. */
#ifndef SIM_TCP_H
#define SIM_TCP_H

#include "end.h"
#include "network.h"
#include "route.h"

/* -- Partitions ------------------------------------------------------------- */

/* Cuts or heals the network between two machines, both ways. What is sent
 * meanwhile is sent again later, as TCP does, and arrives if that is in time. */
void sim__partition(struct sim__machine *one, struct sim__machine *other,
                    bool cut);

/* -- Native endpoints ----------------------------------------------------- */

/* For virtual servers, backends and clients: no loop, no descriptor, no copy
 * of the state. All of this is called outside of machines, from events and from
 * these callbacks, which may call anything below on any endpoint. */

struct sim__listener;

/* Listens at a port of all the machine's addresses. At most `backlog` + 1
 * connections wait if the listener is paused, as in listen(2); further ones get
 * no answer. `accepted` gets each connection; set the data and the ops of the
 * end there (without ops, arrived bytes wait; `ended` cannot be noticed). */
struct sim__listener *
sim__listen(struct sim__machine *machine, uint16_t port, unsigned backlog,
            void (*accepted)(struct sim__end *end, void *arg), void *arg);

/* Pausing means not to accept; resuming accepts what waits. */
void sim__listener_pause(struct sim__listener *listener, bool pause);

/* From now on who connects there is refused, and what waits is reset. A stop of
 * the machine does this, too. */
void sim__listener_close(struct sim__listener *listener);

/* Connects from a machine: to another, or to what listens within it, on
 * loopback or (sim__connect_path) on a Unix socket. Never fails at once:
 * `connected` or `ended` follows. */
struct sim__end *sim__connect(struct sim__machine *machine,
                              const struct sim__address *to,
                              const struct sim__end_ops *ops, void *data);
struct sim__end *sim__connect_path(struct sim__machine *machine,
                                   const char *path,
                                   const struct sim__end_ops *ops, void *data);

void sim__end_set(struct sim__end *end, const struct sim__end_ops *ops,
                  void *data);
void *sim__end_data(const struct sim__end *end);

struct sim__machine *sim__end_machine(const struct sim__end *end);

/* The machine at the other side, also if it has vanished. */
struct sim__machine *sim__end_peer(const struct sim__end *end);

/* A number of its own, for the trace; it is the same in each run. */
uint64_t sim__end_id(const struct sim__end *end);

/* Bytes read (into `bytes`, or discarded if that is NULL), 0 at the peer's FIN,
 * -EAGAIN, or the error as of `ended`. */
ssize_t sim__read(struct sim__end *end, void *bytes, size_t size);

/* How many bytes are taken, perhaps less than all or none; -EPIPE after
 * sim__finish(). They are copied. */
ssize_t sim__write(struct sim__end *end, const void *bytes, size_t size);

/* Sends a FIN after what was written. Reading goes on. */
void sim__finish(struct sim__end *end);

/* As close(2): a FIN after what was written, or a reset if bytes are unread. No
 * callback follows. */
void sim__close(struct sim__end *end);

/* A reset, at once. No callback follows. */
void sim__reset(struct sim__end *end);

/* Notices a peer that vanishes: after `idle` seconds without a sign of life, if
 * it does not answer `count` probes `interval` seconds apart. 0: never. */
void sim__end_keepalive(struct sim__end *end, unsigned idle, unsigned interval,
                        unsigned count);

/* Connections of a machine that are established, as it sees it. */
uint32_t sim__machine_ends(const struct sim__machine *machine);

#endif
