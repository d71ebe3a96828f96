#include "kernel.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "conn.h"
#include "memory.h"
#include "listener.h"
#include "name.h"
#include "packet.h"
#include "path.h"
#include "poll.h"
#include "tcp.h"
#include "thread.h"

/* The scheduler. Everything that is due at a time happens; then each machine to
 * which something happened runs its loop, until that has nothing to do at this
 * time; then time goes on to the next event. A machine's timers are one event:
 * the time at which its loop wants to run again. */

enum {
  TURNS = 32, /* then its clock goes on */
  TURN_TIME = 50 * SIM__US
};

static struct {
  struct sim__machine **machines; /* all of them, also those that are freed */
  uint32_t count, room;
  uint64_t runs, turns;
  volatile sig_atomic_t stopping;
  struct sim__machine *waiting; /* see sim__wait() */
} kernel;

uint64_t sim__runs(void) { return kernel.runs; }
uint64_t sim__turns(void) { return kernel.turns; }

/* -- Running -------------------------------------------------------------- */

/* Whether the loop would do something in a further turn. Handles that a handler
 * has started are polled from the next one on. */
static bool is_busy(const uv_loop_t *loop) {
  const void *watchers = *(void *const *)&loop->watcher_queue;
  return uv_backend_timeout(loop) == 0 || watchers != &loop->watcher_queue ||
         sim__has_events(uv_backend_fd(loop));
}

static void set_wake(struct sim__machine *machine, bool busy) {
  uv_loop_t *loop = machine->loop;
  int timeout = uv_backend_timeout(loop);
  uint64_t at = SIM__NEVER;

  if (busy && machine->busy < sim__now() + TURN_TIME)
    machine->busy = sim__now() + TURN_TIME;
  if (timeout > 0)
    at = (uv_now(loop) + (uint64_t)timeout) * SIM__MS - SIM__EPOCH;
  if (busy || (at < machine->busy && machine->busy > sim__now()))
    at = machine->busy;
  if (at == machine->wakes && sim__event_waits(&machine->wake)) return;
  machine->wakes = at;
  if (at == SIM__NEVER) sim__event_cancel(&machine->wake);
  else sim__event_set(&machine->wake, at);
}

static void run(struct sim__machine *machine) {
  uv_loop_t *loop = machine->loop;
  int turns = 0;
  bool busy;

  if (machine->busy > sim__now()) { /* it is still at something else */
    machine->wakes = machine->busy;
    sim__event_set(&machine->wake, machine->busy);
    return;
  }
  kernel.runs++;
  sim__current = machine;
  do {
    uv_run(loop, UV_RUN_NOWAIT);
    sim__work_run();
    busy = uv_loop_alive(loop) && is_busy(loop);
  } while (busy && ++turns < TURNS && machine->busy <= sim__now());
  kernel.turns += (uint64_t)turns + 1;
  set_wake(machine, busy);
  sim__current = NULL;
}

void sim__leave(void) {
  struct sim__machine *machine = sim__current;
  sim__work_run();
  sim__current = NULL;
  sim__machine_kick(machine);
}

void sim__run(uint64_t until) {
  kernel.stopping = 0;
  while (!kernel.stopping) {
    struct sim__machine *machine;
    while ((machine = sim__machine_next())) run(machine);
    uint64_t next = sim__event_next();
    if (next > until) {
      sim__clock_go(until);
      return;
    }
    sim__clock_go(next);
  }
}

static bool is_over_now(struct sim__machine *machine,
                        bool (*is_over)(void *arg), void *arg) {
  sim__current = machine;
  sim__work_run();
  bool over = is_over(arg);
  sim__current = NULL;
  return over;
}

/* Lets everything happen until then. */
static void wait_until(uint64_t until, struct sim__machine *machine,
                       bool (*is_over)(void *arg), void *arg) {
  while (!is_over_now(machine, is_over, arg) && !kernel.stopping) {
    struct sim__machine *other;
    while ((other = sim__machine_next())) run(other);
    if (is_over_now(machine, is_over, arg)) return;
    uint64_t next = sim__event_next();
    if (next == SIM__NEVER && until == SIM__NEVER) return;
    sim__clock_go(next < until ? next : until);
    if (next > until) return;
  }
}

void sim__wait(uint64_t ns, bool (*is_over)(void *arg), void *arg) {
  struct sim__machine *machine = sim__current;
  uint64_t now = sim__machine_now();

  if (kernel.waiting || sim__in_thread()) {
    sim__machine_busy(ns < SIM__NEVER ? ns : SIM__MS);
    return;
  }
  kernel.waiting = machine;
  machine->waits = true;
  sim__current = NULL;
  wait_until(ns < SIM__NEVER - now ? now + ns : SIM__NEVER, machine, is_over,
             arg);
  sim__current = machine;
  machine->waits = false;
  kernel.waiting = NULL;
}

void sim__stop(void) { kernel.stopping = 1; }

/* -- Machines ------------------------------------------------------------- */

struct sim__machine *sim__machine_new(uint32_t id) {
  struct sim__machine *machine = sim__machine_make(id);

  machine->net = sim__new(sizeof *machine->net);
  sim__route_add(machine);
  if (kernel.count == kernel.room) {
    kernel.room = kernel.room ? kernel.room * 2 : 64;
    kernel.machines = sim__grow(kernel.machines, kernel.room * sizeof machine);
  }
  return kernel.machines[kernel.count++] = machine;
}

/* Ends of connections that may refer to each other: they stay until all are
 * held. */
struct held {
  struct sim__end **ends;
  uint32_t count;
};

static struct held hold_all(struct sim__machine *machine) {
  struct held held = {NULL, 0};

  for (struct sim__end *end = machine->net->ends; end; end = end->next)
    held.count++;
  if (held.count == 0) return held;
  held.ends = sim__grow(NULL, held.count * sizeof *held.ends);
  held.count = 0;
  for (struct sim__end *end = machine->net->ends; end; end = end->next) {
    sim__conn_of(end)->packets++;
    held.ends[held.count++] = end;
  }
  return held;
}

static void let_go(struct held *held) {
  for (uint32_t i = 0; i < held->count; i++) {
    sim__conn_of(held->ends[i])->packets--;
    sim__conn_free_if_over(sim__conn_of(held->ends[i]));
  }
  free(held->ends);
}

static void end_one(struct sim__end *end, enum sim__manner manner) {
  if (manner == SIM__SILENT) {
    sim__end_vanish(end);
    sim__end_cut(sim__peer(end), true);
    return;
  }
  if (end->gone) return; /* the kernel still sends what is left */
  if (end->ops && end->ops->ended) end->ops->ended(end, ECANCELED);
  sim__end_close(end, manner == SIM__RST);
}

static void end_listener(struct sim__listener *listener,
                         enum sim__manner manner) {
  struct sim__end *end;

  while ((end = sim__conn_accept(listener)))
    sim__end_close(end, manner != SIM__FIN);
  if (listener->accepted) {
    sim__listener_close(listener);
    return;
  }
  sim__listener_remove(listener);
  listener->machine = NULL; /* its socket frees it */
}

/* The processes of the machine still have their descriptors, so that they can be
 * cleaned up, but nothing is behind these. */
void sim__machine_stop(struct sim__machine *machine, enum sim__manner manner) {
  struct sim__net *net = machine->net;

  machine->stopped = true;
  sim__event_cancel(&machine->wake);
  if (manner == SIM__SILENT) sim__down_set(machine, true);
  struct held held = hold_all(machine);
  for (uint32_t i = 0; i < held.count; i++) end_one(held.ends[i], manner);
  while (net->listeners) end_listener(net->listeners, manner);
  let_go(&held);
}

void sim__machine_start(struct sim__machine *machine) {
  machine->stopped = false;
  if (!machine->net->down) return;
  sim__down_set(machine, false);
  for (uint32_t i = 0; i < kernel.count; i++) {
    struct sim__end *end = kernel.machines[i]->net->ends, *next;
    for (; end; end = next) {
      next = end->next;
      if (sim__peer(end)->machine == machine) sim__end_cut(end, false);
    }
  }
}

void sim__machine_free(struct sim__machine *machine) {
  struct sim__machine *outer = sim__current;

  sim__current = machine;
  if (machine->loop && uv_loop_close(machine->loop) == 0) {
    free(machine->loop);
    machine->loop = NULL;
  }
  sim__current = outer;
  sim__machine_stop(machine, SIM__FIN);
  sim__machine_clear(machine);
  sim__path_clear(machine);
  sim__route_remove(machine);
}

/* -- Life ----------------------------------------------------------------- */

/* libuv makes a pipe for signals with the first loop of a process. */
static void make_first_loop(void) {
  uv_loop_t loop;
  if (uv_loop_init(&loop) == 0) uv_loop_close(&loop);
}

/* The process needs more descriptors than each machine, for files. */
static void raise_limit(void) {
  struct rlimit limit;

  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur / 2 < sim__fd_limit)
    sim__fd_limit = (uint32_t)(limit.rlim_cur / 2);
}

void sim__start(uint64_t seed) {
  make_first_loop();
  raise_limit();
  sim__clock_start(seed);
}

void sim__end(void) {
  for (uint32_t i = 0; i < kernel.count; i++) {
    sim__machine_free(kernel.machines[i]);
    sim__down_set(kernel.machines[i], true);
  }
  sim__packets_end();
  sim__conns_end();
  sim__polls_end();
  for (uint32_t i = 0; i < kernel.count; i++) {
    sim__down_set(kernel.machines[i], false);
    free(kernel.machines[i]->net);
    free(kernel.machines[i]);
  }
  free(kernel.machines);
  sim__names_clear();
  memset(&kernel, 0, sizeof kernel);
}
