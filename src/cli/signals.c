#include "signals.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

/* The signals of the process, from the first line of main() on. Signals that
 * the parent process blocked are unblocked, since nothing could stop the
 * process otherwise. Those that it ignored stay ignored, except the ones that
 * run relies on.
 *
 * A handler of ours is called before libuv's and counts: the first signal to
 * stop goes to the loop, which may be blocked for long; the second ends the
 * process from within the handler. Other watchers of a signal, such as a policy
 * that uses luv, share libuv's handler, and still see it.
 *
 * Empty handlers are used in place of SIG_IGN where a write should fail rather
 * than end the process: unlike SIG_IGN, exec() resets them in children. */

enum { SIGNALS = 4 };
static const int signums[SIGNALS] = {SIGHUP, SIGINT, SIGTERM, SIGUSR2};

/* Signals from several senders within this time count as one. */
#define SAME_NS UINT64_C(100000000)

/* Signals belong to the process, hence this global. */
static struct {
  sigset_t ignored;               /* at the start */
  struct sigaction next[SIGNALS]; /* libuv's */
  atomic_bool forwarded[SIGNALS]; /* `next` is set */
  atomic_bool plain;              /* any signal ends the process */
  atomic_bool hangup_stops;
  atomic_int sender; /* of the first signal to stop */
  atomic_ullong since;
} signals;

/* `signum` is one of them. */
static int index_of(int signum) {
  int i = 0;
  while (i < SIGNALS - 1 && signums[i] != signum) i++;
  return i;
}

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Ends the process by the signal; or with a shell's status for it, if this is
 * the first process of its namespace, which unhandled signals do not end. */
_Noreturn static void die(int signum) {
  sigset_t only;

  sigemptyset(&only);
  sigaddset(&only, signum);
  signal(signum, SIG_DFL);
  pthread_sigmask(SIG_UNBLOCK, &only, NULL);
  pthread_kill(pthread_self(), signum);
  _exit(128 + signum);
}

/* Whether this is the second signal to stop, and not a copy of the first:
 * timeout(1) signals its child and then its whole group; service managers
 * signal each process of a service, and one of these may pass it on. */
static bool is_second(const siginfo_t *info) {
  uint64_t now = now_ns(), since = atomic_load(&signals.since);

  if (since == 0) {
    atomic_store(&signals.since, now);
    atomic_store(&signals.sender, info->si_pid);
    return false;
  }
  if (now - since > SAME_NS) return true;
  /* 0 stands for the kernel, or a process outside of our namespace. */
  return info->si_pid == atomic_load(&signals.sender) &&
         (info->si_pid == 0 || info->si_pid != getpgrp());
}

static void on_signal(int signum, siginfo_t *info, void *context) {
  int i = index_of(signum), saved = errno;
  bool stops = signum == SIGINT || signum == SIGTERM ||
               (signum == SIGHUP && atomic_load(&signals.hangup_stops));
  if (atomic_load(&signals.plain)) die(signum);
  if (!atomic_load(&signals.forwarded[i])) {
    if (stops) die(signum); /* nothing is running yet */
  } else if (stops && is_second(info)) {
    die(signum);
  } else if (signals.next[i].sa_flags & SA_SIGINFO) {
    signals.next[i].sa_sigaction(signum, info, context);
  } else {
    signals.next[i].sa_handler(signum);
  }
  errno = saved;
}

static void handle(int signum) {
  struct sigaction action = {.sa_sigaction = on_signal,
                             .sa_flags = SA_SIGINFO | SA_RESTART};
  sigfillset(&action.sa_mask);
  sigaction(signum, &action, NULL);
}

static void on_nothing(int signum) { (void)signum; }

static void no_end(int signum) {
  struct sigaction action = {.sa_handler = on_nothing, .sa_flags = SA_RESTART};
  sigemptyset(&action.sa_mask);
  if (!sigismember(&signals.ignored, signum)) sigaction(signum, &action, NULL);
}

void cli_signals_open(void) {
  struct sigaction action;
  sigset_t none;

  sigemptyset(&signals.ignored);
  for (int signum = 1; signum < NSIG; signum++)
    if (sigaction(signum, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
      sigaddset(&signals.ignored, signum);
  for (int i = 0; i < SIGNALS; i++)
    if (!sigismember(&signals.ignored, signums[i])) handle(signums[i]);
  no_end(SIGXFSZ);           /* a write beyond the limit fails instead */
#ifdef SIGRTMIN
  signal(SIGRTMIN, SIG_IGN); /* until alarm.c uses it */
#endif
  signal(SIGCHLD, SIG_DFL); /* if ignored, exit statuses of children are lost */
  sigemptyset(&none);
  pthread_sigmask(SIG_SETMASK, &none, NULL);
}

void cli_signals_plain(void) { atomic_store(&signals.plain, true); }

void cli_signals_running(bool hangup_stops) {
  atomic_store(&signals.hangup_stops, hangup_stops);
  no_end(SIGPIPE);
}

void cli_signals_unblock(void) {
  sigset_t ours;

  sigemptyset(&ours);
  for (int i = 0; i < SIGNALS; i++) sigaddset(&ours, signums[i]);
  pthread_sigmask(SIG_UNBLOCK, &ours, NULL);
}

bool cli_signals_ignored(int signum) {
  return sigismember(&signals.ignored, signum) == 1;
}

const char *cli_signals_list(char *text, size_t size) {
  size_t length = 0;

  *text = '\0';
  for (int signum = 1; signum < 32; signum++)
    if (cli_signals_ignored(signum) && length + 4 < size)
      length += (size_t)snprintf(text + length, size - length, "%s%d",
                                 length > 0 ? " " : "", signum);
  return text;
}

int cli_signals_forward(uv_signal_t *to, uv_signal_cb cb, int signum) {
  int i = index_of(signum), err = uv_signal_start(to, cb, signum);
  if (err < 0) return err;
  sigaction(signum, NULL, &signals.next[i]);
  atomic_store(&signals.forwarded[i], true);
  handle(signum);
  return 0;
}

/* libuv restores the default action, by which even a SIGHUP would end a process
 * that is about to exit with a status of its own. */
void cli_signals_close(uv_signal_t *watcher, int signum) {
  int i = index_of(signum);
  sigset_t all, before;

  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  uv_close((uv_handle_t *)watcher, NULL);
  if (atomic_exchange(&signals.forwarded[i], false)) handle(signum);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
}
