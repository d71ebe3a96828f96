/* Private to src/sim: hosts, servers, and what a scenario does to them. */
#ifndef SIM_FLEET_H
#define SIM_FLEET_H

#include "host.h"
#include "server.h"

struct sim__fleet_server {
  const char *name; /* "s1" */
  const char *host; /* its address, as policies know it, ... */
  int port;         /* ... and its port */
};

struct sim__fleet_options {
  struct sim__hosts hosts;
  uint32_t host_count;
  size_t server_count;
  const struct sim__fleet_server *servers;
  bool fronts;      /* servers have real fronts */
  double delay;     /* ns, one way, of packets */
  uint64_t spread;  /* ns, in which the hosts boot */
  unsigned workers; /* of a server */
  double service;   /* ns, of a request, on average */
};

struct sim__fleet {
  struct sim__hosts hosts; /* what they have in common; the first field */
  struct sim__host *host;
  uint32_t host_count;
  struct sim__server **server;
  struct sim__fleet_server *names; /* of the servers */
  uint32_t server_count, server_room;
  bool fronts;
  unsigned workers;
  double service;
  uint32_t machines; /* of hosts, so far */
  struct sim__cut *cuts;
  size_t cut_count;
  struct sim__random random;
};

/* Starts a run: virtual time begins at 0. Strings are borrowed, as is
 * everything that `hosts` points to. Servers are up; hosts boot within the
 * spread. Returns false with a message, if a server's address is none or is
 * another's. */
bool sim__fleet_start(struct sim__fleet *fleet,
                      const struct sim__fleet_options *options, char why[256]);

/* What can be done to it, now: hosts and servers are their indices, from 0. */

void sim__fleet_stop(struct sim__fleet *fleet, uint32_t server,
                     enum sim__manner manner);
void sim__fleet_begin(struct sim__fleet *fleet, uint32_t server);

/* Its clients keep connections of which it does not know: it has lost power, and
 * is up again at once. */
void sim__fleet_ghost(struct sim__fleet *fleet, uint32_t server);

/* Starts a server, of which each host is told at some time within `ns`. Errors:
 * as sim__fleet_start(). */
bool sim__fleet_add(struct sim__fleet *fleet,
                    const struct sim__fleet_server *server, uint64_t ns,
                    char why[256]);

/* Cuts the network between them; and heals all that was cut. */
void sim__fleet_cut(struct sim__fleet *fleet, uint32_t host, uint32_t server);
void sim__fleet_heal(struct sim__fleet *fleet);

/* A host vanishes; and boots, if it does not run. */
void sim__fleet_lose(struct sim__fleet *fleet, uint32_t host);
void sim__fleet_boot(struct sim__fleet *fleet, uint32_t host);

/* -- What there is to see -------------------------------------------------- */

/* The connections of the host that has fewest, and most, of those that run. */
void sim__fleet_fill(struct sim__fleet *fleet, uint32_t *least, uint32_t *most);

/* How many servers a host is connected with, on average. */
double sim__fleet_distinct(struct sim__fleet *fleet);

/* Calls `fn` with the slot of each connection. */
void sim__fleet_slots(struct sim__fleet *fleet,
                      void (*fn)(void *arg, uint32_t slot), void *arg);

#endif
