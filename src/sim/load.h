/* Private to src/sim: the requests that virtual hosts make, through what the
 * user's policy has: the relays that it listens with, or else the pools that it
 * has made. They arrive at random times, independently of each other and of
 * whether earlier ones have been answered. */
#ifndef SIM_LOAD_H
#define SIM_LOAD_H

#include "host.h"

struct sim__load;

/* Each host makes that many requests per second, from that second of virtual
 * time on. The run is to take `seconds`: figures over time are as fine as suits
 * that. */
struct sim__load *sim__load_new(double rate, double from, double seconds);

/* All hosts have to be closed. */
void sim__load_free(struct sim__load *load);

/* From now on the host makes requests whenever it runs. */
void sim__load_add(struct sim__load *load, struct sim__host *host);

/* To be called with each state of its policies, before the script: see
 * rover_host_open_cb. May raise Lua errors. Does nothing for a host that makes
 * no requests. */
void sim__load_open(struct sim__host *host, struct lua_State *L);

/* From now on there are that many times as many requests as at first. Returns 0,
 * or, if a host had to make more than can be, how many per second: then nothing
 * has changed. */
enum { SIM__LOAD_MOST = 1000000 };
double sim__load_surge(struct sim__load *load, double factor);

/* Why requests could not be made, or NULL. It lives until the next call. */
const char *sim__load_complaint(struct sim__load *load);

/* Pushes a table: count, answered, lost, waited; p50, p99, p999 (ms); busiest =
 * { at (s), count, p99 }, the second in which most requests were made; latency,
 * an array of { at, count, lost, p50, p99, p999 } over time. */
void sim__load_push(const struct sim__load *load, struct lua_State *L);

#endif
