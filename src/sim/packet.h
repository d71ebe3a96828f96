/* Private to src/sim: what is under way from one end to the other.
 * Owner: conn.c. */
#ifndef SIM_PACKET_H
#define SIM_PACKET_H

#include "net.h"

enum sim__kind {
  SIM__SYN,
  SIM__SYN_ACK,
  SIM__ACK, /* of the handshake */
  SIM__REFUSAL,
  SIM__DATA,   /* bytes up to `upto` */
  SIM__END_OF, /* a FIN */
  SIM__RESET
};

/* Sends it to an end, where it arrives after everything sent there before:
 * at once within a machine. sim__arrive() or sim__lost() gets it there. */
void sim__send(struct sim__end *to, enum sim__kind kind, uint64_t upto,
               uint64_t bytes);

void sim__arrive(struct sim__end *to, enum sim__kind kind, uint64_t upto);
void sim__lost(struct sim__end *to, enum sim__kind kind);

/* What is under way arrives now, where nobody is. */
void sim__packets_end(void);

/* The time that something sent now would take, without waiting for others. */
uint64_t sim__delay(const struct sim__end *to);

#endif
