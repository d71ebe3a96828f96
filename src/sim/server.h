/* Private to src/sim: a virtual server. */
#ifndef SIM_SERVER_H
#define SIM_SERVER_H

#include "kernel.h"
#include "tcp.h"

/* Where each server listens on its machine, whatever its address is. */
enum { SIM__SERVER_PORT = 4040 };

struct sim__server_options {
  uint32_t id;      /* of its machine */
  unsigned workers; /* how many requests it works on at a time */
  double service;   /* ns that one takes, on average */
  bool front;       /* it has no slots of its own: a real front gives them */
  /* It has accepted a connection of that machine (1), or lost it (-1). Not
   * called if there is a front, which does not tell. */
  void (*changed)(struct sim__machine *client, int by);
};

struct sim__server_stats {
  uint64_t accepted; /* connections, with probes */
  uint64_t requests; /* that it has answered */
};

struct sim__server;

/* Creates a server, which is not started. */
struct sim__server *sim__server_new(const struct sim__server_options *options);

struct sim__machine *sim__server_machine(const struct sim__server *server);

/* Starts it as a new process; and ends it, with its connections. Nothing
 * happens if it is up, or down, already. With a front, connections are reset,
 * whatever the manner. */
void sim__server_start(struct sim__server *server);
void sim__server_stop(struct sim__server *server, enum sim__manner manner);
bool sim__server_is_up(const struct sim__server *server);

/* Requests that begin from now on take that many times as long. */
void sim__server_slow(struct sim__server *server, double factor);

/* Its share of connections, relative to others: index i has the slot
 * ceil((i + 1) / weight) - 1. If it is lowered, a front ends the surplus. */
void sim__server_weight(struct sim__server *server, double weight);

/* With a front: refuses new connections, and ends the others within that time;
 * and stops doing so. False without. */
bool sim__server_drain(struct sim__server *server, uint64_t ms);
bool sim__server_resume(struct sim__server *server);

/* How many connections it has. */
uint32_t sim__server_connections(const struct sim__server *server);

/* Calls `fn` for each of these; for none if there is a front. */
void sim__server_each(const struct sim__server *server,
                      void (*fn)(void *arg, struct sim__machine *client,
                                 uint32_t slot),
                      void *arg);

struct sim__server_stats sim__server_stats(const struct sim__server *server);

#endif
