/* Private to src/sim: runs the machines, in virtual time. */
#ifndef SIM_KERNEL_H
#define SIM_KERNEL_H

#include "clock.h"
#include "machine.h"

/* From here on, time is virtual, and libc is this kernel's for whatever runs
 * within a machine. */
void sim__start(uint64_t seed);

/* Time is real again. All machines are freed. */
void sim__end(void);

/* Creates a machine with a number of its own, which also determines its
 * address, 10.x.x.x. Never fails: without memory this program ends, with a
 * message, as everything here does. */
struct sim__machine *sim__machine_new(uint32_t id);

/* Its loop, if any, has no handles any more. Whatever it still has open is
 * closed, as by SIM__FIN. The struct stays until sim__end(). */
void sim__machine_free(struct sim__machine *machine);

/* The code of a machine, begun by sim__enter(), ends. What it has asked of
 * threads is done, since it is this machine's; and its loop runs soon, as if it
 * had got an event. */
void sim__leave(void);

/* Runs the machines until that time, in ns since the start, or until
 * sim__stop(). */
void sim__run(uint64_t until);

/* The running machine waits until `is_over` says so, or for that many ns; the
 * others run meanwhile. One machine at a time can do so, as it is on the stack:
 * for others, this is sim__machine_busy(). */
void sim__wait(uint64_t ns, bool (*is_over)(void *arg), void *arg);

/* Has sim__run() return soon; safe in signal handlers. */
void sim__stop(void);

/* How the machine's connections end, as its peers see it. */
enum sim__manner {
  SIM__FIN,   /* its processes end, the kernel stays: each sends a FIN, or a
                  reset if it had unread bytes */
  SIM__RST,   /* the same, by resets */
  SIM__SILENT /* it vanishes, as without power or cable: nobody is told */
};

/* All connections and listeners of a machine end, now. Its native endpoints get
 * `ended` with ECANCELED. A machine with a loop does not run any more, and its
 * descriptors are closed; free what it has in the process with
 * sim__machine_free(). Whoever connects is refused, or gets no answer. */
void sim__machine_stop(struct sim__machine *machine, enum sim__manner manner);

/* A machine without a loop that was stopped can be started again: peers that
 * still think they are connected get a reset when they next ask. */
void sim__machine_start(struct sim__machine *machine);

/* Machines that ran, and turns of loops, so far: to see what costs time. */
uint64_t sim__runs(void);
uint64_t sim__turns(void);

/* Real time and real CPU time, in ns, from any clock: CLOCK_MONOTONIC,
 * CLOCK_PROCESS_CPUTIME_ID. */
uint64_t sim__real_clock(int clock);

#endif
