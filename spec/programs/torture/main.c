#include "torture.h"

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* torture: lists the scenarios.
 * torture FOLDER [SCENARIO [STEP]]: runs them all, or that one, with the
 * policies in that folder.
 *
 * In the first run of a scenario its first allocation fails, in the second run
 * the second, and so on, until one ends before it has asked for so many. That
 * goes three times: with one failing, with two in a row (Lua asks again, once
 * it has collected garbage), and with that one and all after it. Whatever
 * fails, no run crashes, hangs, leaks, or hides that something failed.
 *
 * With a STEP, from the hundredth allocation on only two in a row fail at each,
 * the others at every STEP-th: that is for sanitizers, which are slow. */

enum { RUN_SECONDS = 30, STEPS_FROM = 100 };
static const size_t widths[] = {1, 2, SIZE_MAX};
static size_t others_step = 1;

const char *torture_folder;

static struct {
  const char *scenario;
  size_t width, nth;
  bool tried, reached; /* the allocation that is to fail */
} now;

/* on_alarm() calls what no signal handler should, since it is the end anyway.
 * NOLINTBEGIN(bugprone-signal-handler) */
static void describe(char *text, size_t size) {
  snprintf(text, size, "%s, allocation %zu failing%s", now.scenario, now.nth,
           now.width == 1 ? "" : now.width == 2 ? " and the next"
                                                : " and all after it");
}

void torture_fail(const char *file, int line, const char *what) {
  char text[128];
  describe(text, sizeof text);
  fprintf(stderr, "%s:%d: %s\nin %s\n", file, line, what, text);
  abort();
}
/* NOLINTEND(bugprone-signal-handler) */

static void on_alarm(int signum) {
  (void)signum;
  torture_fail(__FILE__, __LINE__, "it hangs");
}

void torture_begin(void) {
  now.tried = true;
  memory_fail(now.nth, now.width);
}

bool torture_end(void) {
  now.reached = memory_has_failed();
  memory_mend();
  return now.reached;
}

/* -- The loop ------------------------------------------------------------- */

uv_loop_t loop;
static uv_timer_t guard; /* has the loop turn though nothing happens */

static void on_guard(uv_timer_t *timer) { (void)timer; }

static void on_poll(uv_poll_t *poll, int status, int events) {
  (void)poll;
  (void)status;
  (void)events;
}

/* Has libuv's table of descriptors be large enough from now on: it ends the
 * process where that cannot grow. */
static void enlarge(void) {
  uv_poll_t poll;
  int ends[2];
  CHECK(pipe(ends) == 0);
  int high = dup2(ends[0], 250);
  CHECK(uv_poll_init(&loop, &poll, high) == 0);
  CHECK(uv_poll_start(&poll, UV_READABLE, on_poll) == 0);
  uv_close((uv_handle_t *)&poll, NULL);
  uv_run(&loop, UV_RUN_DEFAULT);
  close(high);
  close(ends[0]);
  close(ends[1]);
}

static void loop_open(void) {
  CHECK(uv_loop_init(&loop) == 0);
  enlarge();
  uv_timer_init(&loop, &guard);
  uv_timer_start(&guard, on_guard, 1, 1);
}

static void loop_close(void) {
  uv_close((uv_handle_t *)&guard, NULL);
  uv_run(&loop, UV_RUN_DEFAULT);
  CHECK(uv_loop_close(&loop) == 0);
}

void loop_until(bool (*done)(void)) {
  while (!done()) uv_run(&loop, UV_RUN_ONCE);
}

static void check_handle(uv_handle_t *handle, void *arg) {
  (void)arg;
  CHECK(handle == (uv_handle_t *)&guard);
}

/* -- Scenarios ------------------------------------------------------------ */

static int lowest_free_fd(void) {
  int fd = dup(STDERR_FILENO);
  close(fd);
  return fd;
}

static void run(const struct scenario *s) {
  alarm(RUN_SECONDS);
  s->run();
  alarm(0);
}

static void run_and_look(const struct scenario *s) {
  size_t blocks = memory_blocks();
  int fd = lowest_free_fd();
  run(s);
  if (s->set_up) return; /* what there is now may be other than before */
  uv_walk(&loop, check_handle, NULL);
  CHECK(memory_blocks() == blocks);
  CHECK(lowest_free_fd() == fd);
}

static void torture(const struct scenario *s) {
  size_t allocations = 0, runs = 0, failures = memory_failures();

  for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
    now.width = widths[i];
    for (now.nth = 1; !s->most || now.nth <= s->most;) {
      run_and_look(s);
      if (!now.reached) break;
      runs++;
      now.nth += now.nth < STEPS_FROM || now.width == 2 ? 1 : others_step;
    }
    if (now.nth > allocations) allocations = now.nth - 1;
  }
  CHECK(!now.tried || runs > 0);
  printf("%s: %zu allocations, %zu runs, %zu failures\n", s->says, allocations,
         runs, memory_failures() - failures);
}

/* Undisturbed, it must work. What libuv has then, it keeps. */
static void set_up(const struct scenario *s) {
  loop_open();
  now.nth = SIZE_MAX;
  now.width = 1;
  now.tried = now.reached = false;
  if (s->set_up) s->set_up();
  run(s);
}

static void tear_down(const struct scenario *s) {
  if (s->tear_down) s->tear_down();
  loop_close();
}

static void try(const struct scenario *s) {
  now.scenario = s->says;
  set_up(s);
  tear_down(s);
  size_t blocks = memory_blocks();
  int fd = lowest_free_fd();
  set_up(s);
  torture(s);
  tear_down(s);
  CHECK(memory_blocks() == blocks);
  CHECK(lowest_free_fd() == fd);
}

int main(int argc, char **argv) {
  const struct scenario *const lists[] = {rover_scenarios, relay_scenarios,
                                          front_scenarios, host_scenarios};

  torture_folder = argc > 1 ? argv[1] : NULL;
  if (argc > 3) others_step = strtoul(argv[3], NULL, 10);
  CHECK(others_step > 0);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGALRM, on_alarm);
  memory_init();
  if (torture_folder) peers_start();
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
    for (const struct scenario *s = lists[i]; s->says; s++) {
      if (!torture_folder) printf("%s\n", s->says);
      else if (argc < 3 || !strcmp(argv[2], s->says)) try(s);
    }
  }
  return 0;
}

/* luv does not give back all that it has when Lua has no memory. */
ROVER_EXTERN const char *__lsan_default_suppressions(void);
ROVER_EXTERN const char *__lsan_default_options(void);
const char *__lsan_default_suppressions(void) { return "leak:luv.so\n"; }
const char *__lsan_default_options(void) { return "print_suppressions=0"; }
