/* Preloaded, this has a program of spec/programs run on the virtual kernel of
 * src/sim instead of Linux, not a byte of it changed: in a machine of its own,
 * with a Callosum server that echoes, on another one, at the port that it is
 * given. A program that is only to list its cases is left alone. */
#define _GNU_SOURCE

#include "../../../src/sim/kernel.h"
#include "../../../src/sim/tcp.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

enum { SLOTS = 1024 };

static bool taken[SLOTS];

/* -- The server ----------------------------------------------------------- */

static bool *slot_of(const struct sim__end *end) { return sim__end_data(end); }

static void on_readable(struct sim__end *end) {
  char bytes[4096];
  ssize_t n;

  while ((n = sim__read(end, bytes, sizeof bytes)) > 0)
    sim__write(end, bytes, (size_t)n);
  if (n < 0) return;
  *slot_of(end) = false;
  sim__close(end);
}

static void on_ended(struct sim__end *end, int err) {
  (void)err;
  *slot_of(end) = false;
}

static void on_accepted(struct sim__end *end, void *arg) {
  static const struct sim__end_ops ops = {.readable = on_readable,
                                          .ended = on_ended};
  char line[16];
  int slot = 0;
  (void)arg;

  while (taken[slot]) slot++;
  taken[slot] = true;
  sim__end_set(end, &ops, &taken[slot]);
  sim__write(end, line, (size_t)snprintf(line, sizeof line, "%d\r\n", slot));
}

static void serve(uint16_t port) {
  struct sim__machine *machine = sim__machine_new(2);
  struct sim__address address = sim__address_of_v4(INADDR_LOOPBACK, port);

  sim__listen(machine, port, 511, on_accepted, NULL);
  sim__route(&address, machine, 0);
}

/* -- The program ---------------------------------------------------------- */

typedef int main_t(int argc, char *argv[], char *envp[]);

static main_t *real_main;

static int run(int argc, char *argv[], char *envp[]) {
  if (argc < 3) return real_main(argc, argv, envp);
  sim__start(1);
  serve((uint16_t)atoi(argv[2]));
  sim__enter(sim__machine_new(1));
  int status = real_main(argc, argv, envp);
  sim__leave();
  sim__end();
  return status;
}

/* The first that a program calls. */
__attribute__((visibility("default"))) int
__libc_start_main(main_t *main, int argc, char *argv[], void (*init)(void),
                  void (*fini)(void), void (*loader_fini)(void), void *stack);

int __libc_start_main(main_t *main, int argc, char *argv[], void (*init)(void),
                      void (*fini)(void), void (*loader_fini)(void),
                      void *stack) {
  __typeof__(&__libc_start_main) real;
  *(void **)&real = dlsym(RTLD_NEXT, "__libc_start_main");
  real_main = main;
  return real(run, argc, argv, init, fini, loader_fini, stack);
}
