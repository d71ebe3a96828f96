#define _GNU_SOURCE /* ppoll */
#include "screen.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

/* While it is taken, the terminal shows its other screen, without a cursor, cuts
 * lines that are too long (as with wide characters they may be), and gives keys as they come, without showing them. It is given back on every way
 * out: at exit, by signals that end the process, which then do, and while it is
 * stopped. All of it is ANSI, that any terminal of today understands. */

#define ENTER "\33[?1049h\33[?25l\33[?7l"
#define LEAVE "\33[0m\33[?7h\33[?25h\33[?1049l"

static const int ending[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGTERM, SIGUSR1,
                             SIGUSR2, SIGALRM, SIGPIPE, SIGXCPU};

/* There is one terminal. */
static struct {
  struct termios before;
  bool has_keys; /* standard input is a terminal, too */
  volatile sig_atomic_t taken, changed;
} screen;

/* From signal handlers, too. */
static void put(const char *text, size_t length) {
  while (length > 0) {
    ssize_t n = write(STDOUT_FILENO, text, length);
    if (n < 0 && errno != EINTR) return;
    if (n > 0) {
      text += n;
      length -= (size_t)n;
    }
  }
}

static void enter(void) {
  struct termios raw = screen.before;

  raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
  raw.c_cc[VMIN] = 1;
  raw.c_cc[VTIME] = 0;
  if (screen.has_keys) tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
  put(ENTER, sizeof ENTER - 1);
  screen.taken = 1;
  screen.changed = 1;
}

static void leave(void) {
  if (!screen.taken) return;
  screen.taken = 0;
  put(LEAVE, sizeof LEAVE - 1);
  if (screen.has_keys) tcsetattr(STDIN_FILENO, TCSADRAIN, &screen.before);
}

/* -- Signals --------------------------------------------------------------- */

static void on_ending(int signum) {
  leave();
  signal(signum, SIG_DFL);
  kill(getpid(), signum); /* once this has returned */
}

static void on_stop(int signum) {
  int saved = errno;
  (void)signum;
  leave();
  kill(getpid(), SIGSTOP);
  errno = saved;
}

static void on_continue(int signum) {
  int saved = errno;
  (void)signum;
  if (!screen.taken) enter();
  errno = saved;
}

static void on_window(int signum) {
  (void)signum;
  screen.changed = 1;
}

static void handle(int signum, void (*handler)(int)) {
  struct sigaction action = {.sa_handler = handler}, before;

  sigfillset(&action.sa_mask);
  if (sigaction(signum, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
    sigaction(signum, &action, NULL);
}

/* -- Life ------------------------------------------------------------------ */

bool cli_screen_open(void) {
  const char *term = getenv("TERM");

  if (!isatty(STDOUT_FILENO) || !term || !*term || !strcmp(term, "dumb"))
    return false;
  screen.has_keys = tcgetattr(STDIN_FILENO, &screen.before) == 0;
  for (size_t i = 0; i < sizeof ending / sizeof *ending; i++)
    handle(ending[i], on_ending);
  handle(SIGTSTP, on_stop);
  handle(SIGCONT, on_continue);
  handle(SIGWINCH, on_window);
  atexit(leave);
  fflush(stdout);
  enter();
  screen.changed = 0;
  return true;
}

void cli_screen_close(void) {
  sigset_t all, before;

  sigfillset(&all);
  sigprocmask(SIG_BLOCK, &all, &before);
  leave();
  sigprocmask(SIG_SETMASK, &before, NULL);
}

void cli_screen_size(int *columns, int *rows) {
  struct winsize window = {0};

  ioctl(STDOUT_FILENO, TIOCGWINSZ, &window);
  *columns = window.ws_col > 0 ? window.ws_col : 80;
  *rows = window.ws_row > 0 ? window.ws_row : 24;
}

/* -- Drawing --------------------------------------------------------------- */

/* How many bytes of the line fit: a character of UTF-8 takes one column. */
static size_t fitting(const char *line, size_t length, int columns) {
  size_t at = 0;

  while (at < length && columns-- > 0) {
    at++;
    while (at < length && ((unsigned char)line[at] & 0xc0) == 0x80) at++;
  }
  return at;
}

static const char *draw_line(FILE *out, const char *line, int columns) {
  size_t length = strcspn(line, "\n");
  const char *next = line + length + (line[length] == '\n');
  const char *style = *line == *CLI_SCREEN_BOLD      ? "\33[1m"
                      : *line == *CLI_SCREEN_REVERSE ? "\33[7m"
                                                     : "";

  if (*style) {
    line++;
    length--;
  }
  /* Erased first: what is in the last column would be, after it. */
  fprintf(out, "\33[K%s%.*s%s", style, (int)fitting(line, length, columns),
          line, *style ? "\33[0m" : "");
  return next;
}

/* In one piece, so that nothing of it flickers. */
void cli_screen_draw(const char *lines) {
  int columns, rows;
  char *text = NULL;
  size_t length;
  FILE *out = open_memstream(&text, &length);

  if (!out) return;
  cli_screen_size(&columns, &rows);
  fputs("\33[H", out);
  for (int row = 0; row < rows && *lines; row++) {
    if (row > 0) fputs("\r\n", out);
    lines = draw_line(out, lines, columns);
  }
  fputs("\33[J", out);
  if (fclose(out) == 0 && screen.taken) put(text, length);
  free(text);
}

/* -- Keys ------------------------------------------------------------------ */

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int cli_screen_key(double seconds) {
  double until = now() + seconds;
  struct pollfd keys = {.fd = screen.has_keys ? STDIN_FILENO : -1,
                        .events = POLLIN};
  sigset_t window, before;
  unsigned char key;
  int found = CLI_SCREEN_CHANGED;

  sigemptyset(&window);
  sigaddset(&window, SIGWINCH);
  sigaddset(&window, SIGCONT);
  sigprocmask(SIG_BLOCK, &window, &before);
  while (!screen.changed) {
    double left = until - now();
    if (left < 0) left = 0;
    struct timespec time = {.tv_sec = (time_t)left};
    time.tv_nsec = (long)((left - (double)time.tv_sec) * 1e9);
    int ready = ppoll(&keys, 1, &time, &before);
    if (ready == 0) found = CLI_SCREEN_TIME;
    else if (ready > 0)
      found = read(STDIN_FILENO, &key, 1) == 1 ? key : CLI_SCREEN_GONE;
    else if (errno == EINTR) continue;
    if (ready >= 0 || errno != EINTR) break;
  }
  if (found == CLI_SCREEN_CHANGED) screen.changed = 0;
  sigprocmask(SIG_SETMASK, &before, NULL);
  return found;
}
