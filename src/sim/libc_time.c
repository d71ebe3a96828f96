#undef _FORTIFY_SOURCE
#define _GNU_SOURCE

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "kernel.h"
#include "real.h"
#include "thread.h"

/* libc's clocks and random numbers, and system calls that libuv makes by their
 * number. While a run lasts, these are virtual for the whole process. */

#define REAL_TIME UINT64_C(1700000000) /* s: November 2023, when a run begins */

#pragma GCC visibility push(default)

/* -- Clocks --------------------------------------------------------------- */

static uint64_t read_clock(clockid_t clock) {
  uint64_t now = sim__machine_now() + SIM__EPOCH;
  if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
    now += REAL_TIME * SIM__S;
  return now;
}

int clock_gettime(clockid_t clock, struct timespec *out) {
  if (!sim__is_virtual) return REAL(clock_gettime)(clock, out);
  uint64_t now = read_clock(clock);
  out->tv_sec = (time_t)(now / SIM__S);
  out->tv_nsec = (long)(now % SIM__S);
  return 0;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone) {
  struct timespec now;

  if (!sim__is_virtual) return REAL(gettimeofday)(out, zone);
  clock_gettime(CLOCK_REALTIME, &now);
  *out = (struct timeval){now.tv_sec, (suseconds_t)(now.tv_nsec / 1000)};
  return 0;
}

int timespec_get(struct timespec *out, int base) {
  return clock_gettime(CLOCK_REALTIME, out) < 0 ? 0 : base;
}

time_t time(time_t *out) {
  struct timespec now;

  clock_gettime(CLOCK_REALTIME, &now);
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}

/* Of CPU time, as if nothing took any. */
clock_t clock(void) {
  if (!sim__is_virtual) return REAL(clock)();
  return (clock_t)(sim__machine_now() / (SIM__S / CLOCKS_PER_SEC));
}

int getrusage(__rusage_who_t who, struct rusage *out) {
  if (!sim__current) return REAL(getrusage)(who, out);
  uint64_t us = sim__machine_now() / SIM__US;
  *out = (struct rusage){
      .ru_utime = {(time_t)(us / 1000000), (suseconds_t)(us % 1000000)}};
  return 0;
}

/* The machine sleeps, and does nothing else meanwhile. */
int nanosleep(const struct timespec *wanted, struct timespec *left) {
  if (!sim__current) return REAL(nanosleep)(wanted, left);
  sim__machine_busy((uint64_t)wanted->tv_sec * SIM__S +
                    (uint64_t)wanted->tv_nsec);
  return 0;
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *wanted,
                    struct timespec *left) {
  if (!sim__current) return REAL(clock_nanosleep)(clock, flags, wanted, left);
  uint64_t ns = (uint64_t)wanted->tv_sec * SIM__S + (uint64_t)wanted->tv_nsec;
  uint64_t now = (flags & TIMER_ABSTIME) ? read_clock(clock) : 0;
  if (ns > now) sim__machine_busy(ns - now);
  return 0;
}

int usleep(useconds_t us) {
  if (!sim__current) return REAL(usleep)(us);
  sim__machine_busy((uint64_t)us * SIM__US);
  return 0;
}

unsigned sleep(unsigned seconds) {
  if (!sim__current) return REAL(sleep)(seconds);
  sim__machine_busy((uint64_t)seconds * SIM__S);
  return 0;
}

uint64_t sim__real_clock(int clock) {
  struct timespec now;
  REAL(clock_gettime)(clock, &now);
  return (uint64_t)now.tv_sec * SIM__S + (uint64_t)now.tv_nsec;
}

/* -- Random numbers ------------------------------------------------------- */

/* A machine's depend on what it is, and on how many it has drawn. */
static void fill(char *bytes, size_t size) {
  struct sim__machine *machine = sim__current;

  while (size > 0) {
    uint64_t some = sim__random_hash(machine->id, machine->drawn++, 0);
    size_t n = size < sizeof some ? size : sizeof some;
    memcpy(bytes, &some, n);
    bytes += n;
    size -= n;
  }
}

ssize_t getrandom(void *bytes, size_t size, unsigned flags) {
  if (!sim__current) return REAL(getrandom)(bytes, size, flags);
  fill(bytes, size);
  return (ssize_t)size;
}

int getentropy(void *bytes, size_t size) {
  if (!sim__current) return REAL(getentropy)(bytes, size);
  fill(bytes, size);
  return 0;
}

/* -- System calls --------------------------------------------------------- */

static int refuse(int err) {
  errno = err;
  return -1;
}

/* What libuv and the engine call in this way. A thread of ours has a number that
 * no real one has, and is gone when it is joined. */
long syscall(long number, ...) {
  enum { THREAD = 0x40000000 };
  long a[6];
  va_list rest;

  va_start(rest, number);
  for (int i = 0; i < 6; i++) a[i] = va_arg(rest, long);
  va_end(rest);
  if (sim__current) {
    switch (number) {
      case SYS_close: return close((int)a[0]);
      case SYS_getrandom:
        return getrandom((void *)a[0], (size_t)a[1], (unsigned)a[2]);
#ifdef SYS_io_uring_setup
      case SYS_io_uring_setup: return refuse(ENOSYS);
#endif
      case SYS_gettid:
        if (sim__in_thread()) return THREAD;
        break;
      case SYS_tgkill:
        if (a[1] >= THREAD) return refuse(ESRCH);
        break;
      default: break;
    }
  }
  return REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

#pragma GCC visibility pop
