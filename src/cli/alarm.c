#include "alarm.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

/* The timer behind the host's alarms. Its signal interrupts the one thread that
 * runs the loop, at most once in the time of a budget: an alarm is not
 * cancelled when a call ends early, as the next call can use it. */

#ifdef SIGEV_THREAD_ID

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid /* glibc lacks the public name */
#endif

/* Signals belong to the process, so there is one alarm. */
static rover_host_t *whose; /* the host that asked, or NULL */
static timer_t timer;
static bool is_open;

static void set(uint64_t ms) {
  struct itimerspec when = {.it_value.tv_sec = (time_t)(ms / 1000),
                            .it_value.tv_nsec = (long)(ms % 1000) * 1000000};
  timer_settime(timer, 0, &when, NULL);
}

/* Another process may send the signal, too. That is ignored, and may interrupt
 * a thread that does not run the loop. */
static void on_signal(int signum, siginfo_t *info, void *context) {
  int saved = errno;
  (void)signum;
  (void)context;
  if (info->si_code != SI_TIMER || !whose) return;
  uint64_t again = rover_host_interrupt(whose);
  if (again > 0) set(again);
  errno = saved;
}

static void on_alarm(rover_host_t *host, uint64_t ms) {
  whose = host;
  set(ms);
}

rover_host_alarm_cb cli_alarm_open(void) {
  struct sigaction action = {.sa_sigaction = on_signal,
                             .sa_flags = SA_SIGINFO | SA_RESTART};
  struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID,
                           .sigev_signo = SIGRTMIN};
  event.sigev_notify_thread_id = getpid(); /* the id of the first thread */
  if (timer_create(CLOCK_MONOTONIC, &event, &timer) < 0) return NULL;
  sigaction(SIGRTMIN, &action, NULL);
  is_open = true;
  return on_alarm;
}

void cli_alarm_close(void) {
  if (!is_open) return;
  timer_delete(timer);
  signal(SIGRTMIN, SIG_IGN); /* including a pending one */
  is_open = false;
}

#else

rover_host_alarm_cb cli_alarm_open(void) { return NULL; }

void cli_alarm_close(void) {}

#endif
