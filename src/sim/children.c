#include "children.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#ifdef __linux__
#include <sys/prctl.h>
#endif

/* Child processes, each with a pipe to us. All are forked from the same state,
 * so that what one of them does cannot depend on the others: each has the same
 * memory to begin with, at the same addresses. A pipe carries frames: how far
 * the work is, and last its result. */

enum { PROGRESS = 'P', RESULT = 'R' };

/* How often to look whether a signal has come, and how long a child that it was
 * passed to may take to its end: a timeline may not return. */
enum { POLL_MS = 1000, END_S = 20 };

struct frame {
  char kind;
  size_t length; /* of what follows: a RESULT's text */
  double part;
};

/* Signals belong to the process, and so does the pipe of a child. */
static volatile sig_atomic_t signalled;
static int own_pipe = -1;
static int last_part; /* that was told, in thousandths */

struct work {
  pid_t pid; /* 0: not started, or ended */
  int pipe;
  double part;
  char *bytes; /* what has come and is no whole frame yet */
  size_t used, room;
};

static void on_signal(int signum) {
  (void)signum;
  signalled++;
}

static void watch_signals(void) {
  struct sigaction action = {.sa_handler = on_signal}; /* interrupts poll() */
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
}

/* -- A child -------------------------------------------------------------- */

bool sim__children_interrupted(void) { return signalled > 0; }

static void put(const void *bytes, size_t length) {
  const char *at = bytes;

  while (length > 0) {
    ssize_t n = write(own_pipe, at, length);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) _exit(EXIT_FAILURE); /* nobody to work for */
    at += n;
    length -= (size_t)n;
  }
}

void sim__children_return(const char *text, size_t length) {
  struct frame frame = {.kind = RESULT, .length = length};

  if (own_pipe < 0) return;
  put(&frame, sizeof frame);
  put(text, length);
}

void sim__children_progress(double part) {
  struct frame frame = {.kind = PROGRESS, .part = part};
  int now = (int)(part * 1000);

  if (own_pipe < 0 || now == last_part) return;
  last_part = now;
  put(&frame, sizeof frame);
}

_Noreturn static void be_child(size_t index, int out, sim__children_work work,
                               void *arg) {
#ifdef __linux__
  prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
  /* A policy that reads would wait, and get what others do not. */
  int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (nothing > 0) {
    dup2(nothing, STDIN_FILENO);
    close(nothing);
  }
  own_pipe = out;
  work(arg, index);
  fflush(NULL);
  _exit(EXIT_SUCCESS);
}

/* -- Their parent ---------------------------------------------------------- */

static int begin(struct work *w, size_t index, sim__children_work work,
                 void *arg) {
  int ends[2];

  if (pipe(ends) < 0) return -errno;
  fflush(NULL);
  w->pid = fork();
  if (w->pid == 0) {
    close(ends[0]);
    be_child(index, ends[1], work, arg);
  }
  int err = -errno;
  close(ends[1]);
  if (w->pid < 0) {
    w->pid = 0;
    close(ends[0]);
    return err;
  }
  w->pipe = ends[0];
  return 0;
}

/* Takes the whole frames out of what has come. */
static void take(struct work *w, struct sim__child *child) {
  size_t from = 0;

  if (!w->bytes) return;
  for (;;) {
    struct frame frame;
    if (w->used - from < sizeof frame) break;
    memcpy(&frame, w->bytes + from, sizeof frame);
    if (w->used - from - sizeof frame < frame.length) break;
    from += sizeof frame;
    if (frame.kind == PROGRESS) w->part = frame.part;
    else if ((child->text = malloc(frame.length + 1))) {
      memcpy(child->text, w->bytes + from, frame.length);
      child->text[frame.length] = '\0';
      child->length = frame.length;
    }
    from += frame.length;
  }
  memmove(w->bytes, w->bytes + from, w->used - from);
  w->used -= from;
}

/* The child has written, or ended. Returns whether it goes on. */
static bool hear(struct work *w, struct sim__child *child) {
  if (w->room - w->used < 65536) {
    char *more = realloc(w->bytes, 2 * w->room + 65536);
    if (!more) kill(w->pid, SIGKILL); /* the result is not there, then */
    else {
      w->bytes = more;
      w->room = 2 * w->room + 65536;
    }
  }
  ssize_t n = read(w->pipe, w->bytes + w->used, w->room - w->used);
  if (n < 0 && errno == EINTR) return true;
  if (n > 0) {
    w->used += (size_t)n;
    take(w, child);
    return true;
  }
  close(w->pipe);
  free(w->bytes);
  w->bytes = NULL;
  pid_t ended;
  do ended = waitpid(w->pid, &child->status, 0);
  while (ended < 0 && errno == EINTR);
  w->pid = 0;
  w->part = 1;
  return false;
}

static void show(const struct work *works, size_t count) {
  enum { WIDTH = 40 };
  static const char full[] = "########################################";
  double sum = 0;

  for (size_t i = 0; i < count; i++) sum += works[i].part;
  int percent = (int)floor(sum * 100 / (double)count);
  int done = (int)(sum * WIDTH / (double)count);
  fprintf(stderr, "\r[%.*s%*s] %3d%%", done, full, WIDTH - done, "", percent);
  fflush(stderr);
}

static void pass_on(const struct work *works, size_t count, int signum) {
  for (size_t i = 0; i < count; i++)
    if (works[i].pid > 0) kill(works[i].pid, signum);
}

/* Waits until something comes from a child, but not for long. Returns how many
 * of those that run have ended. */
static size_t wait_for(struct work *works, size_t count,
                       struct sim__child *children) {
  struct pollfd *polled = calloc(count + 1, sizeof *polled);
  size_t ended = 0;

  if (!polled) abort();
  for (size_t i = 0; i < count; i++)
    polled[i] =
        (struct pollfd){works[i].pid > 0 ? works[i].pipe : -1, POLLIN, 0};
  if (poll(polled, (nfds_t)count, POLL_MS) > 0)
    for (size_t i = 0; i < count; i++)
      if (polled[i].revents && !hear(&works[i], &children[i])) ended++;
  free(polled);
  return ended;
}

int sim__children_run(size_t count, struct sim__child *children,
                      sim__children_work work, void *arg, bool bar) {
  struct work *works = calloc(count, sizeof *works);
  long processors = sysconf(_SC_NPROCESSORS_ONLN);
  size_t most = processors > 0 ? (size_t)processors : 1;
  size_t begun = 0, running = 0;
  sig_atomic_t told = 0;
  uint64_t since = 0; /* the signal was passed on */
  int err = 0;

  if (!works) return UV_ENOMEM;
  memset(children, 0, count * sizeof *children);
  watch_signals();
  while (running > 0 || (begun < count && err == 0 && !signalled)) {
    while (begun < count && running < most && err == 0 && !signalled) {
      err = begin(&works[begun], begun, work, arg);
      if (err < 0) break;
      begun++;
      running++;
    }
    if (bar) show(works, count);
    running -= wait_for(works, begun, children);
    bool late = told && uv_hrtime() - since > END_S * UINT64_C(1000000000);
    if (told == signalled && !late) continue;
    pass_on(works, begun, signalled > 1 || late ? SIGKILL : SIGINT);
    told = signalled;
    since = uv_hrtime();
  }
  if (bar) fprintf(stderr, "\r%60s\r", "");
  free(works);
  return err;
}
