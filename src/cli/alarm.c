#include "cli.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

/* The timer behind the host's alarms. Its signal interrupts the one thread that
 * runs the loop, and comes once in a budget's time at most: no alarm is
 * cancelled when a call ends early, the next call makes use of it. */

#ifdef SIGEV_THREAD_ID

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid /* glibc has only this */
#endif

/* A signal is the process's, so there is one alarm. */
static struct cli_alarm *current;

static void set(struct cli_alarm *alarm, uint64_t ms) {
  struct itimerspec when = {.it_value.tv_sec = (time_t)(ms / 1000),
                            .it_value.tv_nsec = (long)(ms % 1000) * 1000000};
  timer_settime(alarm->timer, 0, &when, NULL);
}

/* Others may send the signal too: from them it means nothing, and may come to a
 * thread that is not the loop's. */
static void on_signal(int signum, siginfo_t *info, void *context) {
  int saved = errno;
  (void)signum;
  (void)context;
  if (info->si_code != SI_TIMER || !current->host) return;
  uint64_t again = rover_host_interrupt(current->host);
  if (again > 0) set(current, again);
  errno = saved;
}

static void on_alarm(rover_host_t *host, uint64_t ms) {
  struct cli_options *options = rover_host_data(host);
  options->alarm.host = host;
  set(&options->alarm, ms);
}

rover_host_alarm_cb cli_alarm_open(struct cli_alarm *alarm) {
  struct sigaction action = {.sa_sigaction = on_signal,
                             .sa_flags = SA_SIGINFO | SA_RESTART};
  struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID,
                           .sigev_signo = SIGRTMIN};
  event.sigev_notify_thread_id = getpid(); /* the id of the first thread */
  if (timer_create(CLOCK_MONOTONIC, &event, &alarm->timer) < 0) return NULL;
  current = alarm;
  sigaction(SIGRTMIN, &action, NULL);
  alarm->open = true;
  return on_alarm;
}

void cli_alarm_close(struct cli_alarm *alarm) {
  if (!alarm->open) return;
  timer_delete(alarm->timer);
  signal(SIGRTMIN, SIG_IGN); /* one that is on its way included */
  alarm->open = false;
}

#else

rover_host_alarm_cb cli_alarm_open(struct cli_alarm *alarm) {
  (void)alarm;
  return NULL;
}

void cli_alarm_close(struct cli_alarm *alarm) { (void)alarm; }

#endif
