/* Private to src/sim: ends calls into a policy that do not return. */
#ifndef SIM_WATCHDOG_H
#define SIM_WATCHDOG_H

/* After so many seconds of this processor's time a call counts as endless, the
 * first one and further ones; and then a C function that it is in. */
enum {
  SIM__WATCHDOG_FIRST = 3,
  SIM__WATCHDOG_NEXT = 1,
  SIM__WATCHDOG_LAST = 15
};

void sim__watchdog_start(void);

/* How many calls it has ended. */
unsigned sim__watchdog_count(void);

#endif
