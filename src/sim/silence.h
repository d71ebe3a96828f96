/* Private to src/sim: what TCP does when nothing comes back. Owner: conn.c. */
#ifndef SIM_SILENCE_H
#define SIM_SILENCE_H

#include "net.h"

/* Sets the timer of an end, after anything that it depends on has changed: its
 * options, what was lost, whether the network is cut. */
void sim__silence_watch(struct sim__end *end);

/* The network to the peer was cut just now. */
void sim__silence_begins(struct sim__end *end);

void sim__silence_init(struct sim__end *end);

/* When bytes were last sent, also again, and when the peer last gave a sign of
 * life. */
uint64_t sim__silence_last_sent(const struct sim__end *end);
uint64_t sim__silence_heard(const struct sim__end *end);

/* What TCP_INFO tells: how often bytes were sent again, and the window probed,
 * without an answer. */
unsigned sim__silence_retransmits(const struct sim__end *end);
unsigned sim__silence_probes(const struct sim__end *end);

#endif
