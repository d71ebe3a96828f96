/* Private to src/sim: who is behind an address, and where the network is cut. */
#ifndef SIM_ROUTE_H
#define SIM_ROUTE_H

#include "address.h"

/* Whoever connects to that address and port (0: any) reaches `machine`, as if
 * it had that address, at `to` (0: the same port). A loopback address stands
 * for all loopback addresses of all machines; it matters only where nothing of
 * the connecting machine's own listens. */
void sim__route(const struct sim__address *address,
                struct sim__machine *machine, uint16_t to);

/* What the code of a machine does that may surprise its author. */
enum sim__surprise {
  SIM__NOBODY,  /* it looks up a name that does not exist, or connects to an
                   address without a machine: `what` is the name, or HOST:PORT */
  SIM__PROCESS, /* it is to start a process, by that function: there are none */
  SIM__WRITTEN, /* it opens a file at that path to write, which is a real one */
  SIM__SOURCE,  /* a source of servers needs that ("the resolver") to ask the
                   network: nobody there answers */
  SIM__CLEAR    /* it has connections secured by TLS: they go in clear */
};
extern void (*sim__on_surprise)(struct sim__machine *machine,
                                enum sim__surprise kind, const char *what);

/* -- Within the kernel ---------------------------------------------------- */

/* The machine behind an address as `from` sees it, and its port in `port`; NULL
 * if there is none. */
struct sim__machine *sim__route_find(struct sim__machine *from,
                                     const struct sim__address *to,
                                     uint16_t *port);

/* Cuts or heals the network between two machines. Returns whether that has
 * changed anything; their connections are to be told. */
bool sim__cut_set(struct sim__machine *one, struct sim__machine *other,
                  bool cut);

/* A machine is silent, as far as the network goes, or no longer. */
void sim__down_set(struct sim__machine *machine, bool down);

/* Whether nothing gets from one to the other. */
bool sim__is_cut(const struct sim__machine *one,
                 const struct sim__machine *other);

/* Adds a machine at its address, and takes it and all that leads to it away. */
void sim__route_add(struct sim__machine *machine);
void sim__route_remove(struct sim__machine *machine);

#endif
