#include "watchdog.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "host.h"

/* A call into a policy has a budget, of virtual time, and that does not pass in
 * a call. So a timer of real processor time looks whether the same turn of the
 * same machine is still under way: then the machine's clock is set forward, and
 * the host finds that the budget is spent. */

enum { TICKS = 10 }; /* a second */

/* Signals belong to the process. */
static struct {
  const struct sim__machine *machine;
  uint64_t turns;
  unsigned ticks; /* for which this turn goes on */
  volatile sig_atomic_t count;
} watched;

/* A C function, such as string.find() with a hostile pattern, cannot be
 * interrupted. */
static void give_up(const struct sim__host *host) {
  char text[160];
  int length =
      snprintf(text, sizeof text,
               "callosum-rover simulate: host %u: a call has been in one C "
               "function for %d s of this processor's time, and cannot be "
               "ended\n",
               host->index + 1, SIM__WATCHDOG_LAST);

  if (write(STDERR_FILENO, text, (size_t)length) < 0) _exit(EXIT_FAILURE);
  _exit(EXIT_FAILURE);
}

static void on_tick(int signum) {
  const struct sim__machine *machine = sim__current;
  struct sim__host *host = machine ? machine->data : NULL;
  unsigned limit = watched.count ? SIM__WATCHDOG_NEXT : SIM__WATCHDOG_FIRST;
  (void)signum;

  if (!host || !host->host || machine != watched.machine ||
      sim__turns() != watched.turns) {
    watched.machine = machine;
    watched.turns = sim__turns();
    watched.ticks = 0;
    return;
  }
  watched.ticks++;
  if (watched.ticks == SIM__WATCHDOG_LAST * TICKS) give_up(host);
  if (watched.ticks % (limit * TICKS) != 0) return;
  if (watched.ticks == limit * TICKS) watched.count++;
  for (int i = 0; i < 3; i++) { /* it says how much is left */
    uint64_t ms = rover_host_interrupt(host->host);
    if (ms == 0) return;
    sim__machine_busy(ms * SIM__MS);
  }
}

void sim__watchdog_start(void) {
  struct sigaction action = {.sa_handler = on_tick, .sa_flags = SA_RESTART};
  struct itimerval tick = {{0, 1000000 / TICKS}, {0, 1000000 / TICKS}};

  sigemptyset(&action.sa_mask);
  sigaction(SIGPROF, &action, NULL);
  setitimer(ITIMER_PROF, &tick, NULL);
}

unsigned sim__watchdog_count(void) { return (unsigned)watched.count; }
