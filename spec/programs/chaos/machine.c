#include "chaos.h"

#include <stdlib.h>

#include <utlist.h>

/* -- Workers ---------------------------------------------------------------- */

/* A machine's loop turns after something has happened to one of its
 * descriptors, be that its own or a worker's, and after a call. What its workers
 * have to do then they do a moment later, as threads might. */
struct stepped {
  rover_workers_t *workers;
  uv_check_t turned;
  uv_timer_t timer;
  uv_idle_t again; /* there is another turn */
  struct stepped *prev, *next;
};

/* Those of machines that vanish stay: nobody is there to free them. */
static struct stepped *all;

static void on_again(uv_idle_t *again) { (void)again; }

/* The timers of this turn may come before or, since libuv 1.45, behind this
 * one. */
static void on_time(uv_timer_t *timer) {
  struct stepped *stepped = timer->data;
  uv_idle_start(&stepped->again, on_again);
}

static void step(struct stepped *stepped) {
  uint64_t ms = rover_workers_step(stepped->workers);

  if (ms == ROVER_NEVER) uv_timer_stop(&stepped->timer);
  else uv_timer_start(&stepped->timer, on_time, ms, 0);
}

/* What is still to come in this turn is not left to the next, which may never
 * come. */
static void on_turned(uv_check_t *turned) {
  struct stepped *stepped = turned->data;
  uint64_t ms = draw(3);

  if (uv_is_active((uv_handle_t *)&stepped->again)) {
    uv_idle_stop(&stepped->again);
    step(stepped);
    if (uv_loop_alive(turned->loop) && uv_backend_timeout(turned->loop) == 0)
      uv_idle_start(&stepped->again, on_again);
  } else if (!uv_is_active((uv_handle_t *)&stepped->timer) ||
             uv_timer_get_due_in(&stepped->timer) > ms) {
    uv_timer_start(&stepped->timer, on_time, ms, 0);
  }
}

rover_workers_t *machine_workers(struct sim__machine *machine) {
  const rover_workers_options_t options = {.threads = (unsigned)draw_in(1, 3),
                                           .is_stepped = 1};
  struct stepped *stepped = machine->data;
  uv_loop_t *loop = sim__machine_loop(machine);

  if (stepped) return stepped->workers;
  if (one_in(2)) return NULL;
  stepped = calloc(1, sizeof *stepped);
  CHECK(stepped);
  int err = rover_workers_new(&stepped->workers, &options);
  if (err < 0) {
    EQUAL(UV_EMFILE, err);
    free(stepped);
    return NULL;
  }
  machine->data = stepped;
  DL_APPEND(all, stepped);
  uv_check_init(loop, &stepped->turned);
  uv_timer_init(loop, &stepped->timer);
  uv_idle_init(loop, &stepped->again);
  stepped->turned.data = stepped->timer.data = stepped;
  uv_check_start(&stepped->turned, on_turned);
  uv_unref((uv_handle_t *)&stepped->turned);
  uv_unref((uv_handle_t *)&stepped->timer);
  uv_unref((uv_handle_t *)&stepped->again);
  note("machine %u has %u workers", machine->id, options.threads);
  return stepped->workers;
}

static void free_workers(struct sim__machine *machine) {
  struct stepped *stepped = machine->data;

  if (!stepped) return;
  rover_workers_free(stepped->workers);
  uv_close((uv_handle_t *)&stepped->turned, NULL);
  uv_close((uv_handle_t *)&stepped->timer, NULL);
  uv_close((uv_handle_t *)&stepped->again, NULL);
  uv_run(machine->loop, UV_RUN_NOWAIT);
  DL_DELETE(all, stepped);
  free(stepped);
  machine->data = NULL;
}

/* -- Its end ---------------------------------------------------------------- */

/* Whatever is still on the loop, or open, was left there. */

static void tell(uv_handle_t *handle, void *arg) {
  struct sim__machine *machine = arg;
  chaos_fail(__FILE__, __LINE__, "machine %u: a %s is left on the loop",
             machine->id, uv_handle_type_name(uv_handle_get_type(handle)));
}

void machine_check_closed(struct sim__machine *machine) {
  sim__enter(machine);
  free_workers(machine);
  uv_walk(machine->loop, tell, machine);
  EQUAL(0, uv_loop_close(machine->loop));
  sim__leave();
  free(machine->loop);
  machine->loop = NULL;
  for (uint32_t i = 0; i < machine->size; i++)
    if (machine->files[i])
      chaos_fail(__FILE__, __LINE__, "machine %u: descriptor %u is left",
                 machine->id, i + SIM__FIRST_FD);
}
