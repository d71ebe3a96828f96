#include "front.h"

#include <callosum/front.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernel.h"
#include "memory.h"

/* The front of src/front, as the command `front` runs it, on a virtual machine:
 * all that it does is as in a process of its own, but for the time. */

struct sim__front {
  rover_front_t *front;
  struct sim__machine *machine;
};

static void on_closed(rover_front_t *front) { free(rover_front_data(front)); }

struct sim__front *sim__front_new(struct sim__machine *machine, uint16_t port,
                                  uint16_t backend, double weight) {
  struct sim__front *self = sim__new(sizeof *self);
  rover_front_options_t options = {
      .address = {.host = "0.0.0.0", .port = port},
      .backend = {.host = "127.0.0.1", .port = backend},
      .max_clients = UINT32_MAX,
      .weight = weight,
      .is_public = 1,
      .data = self};

  self->machine = machine;
  sim__enter(machine);
  int err = rover_front_new(&self->front, sim__machine_loop(machine), &options);
  if (err == 0) err = rover_front_listen(self->front);
  sim__leave();
  if (err < 0) { /* only out of memory */
    fprintf(stderr, "callosum-rover simulate: cannot make a front: %s\n",
            uv_strerror(err));
    exit(EXIT_FAILURE);
  }
  return self;
}

void sim__front_close(struct sim__front *self) {
  sim__enter(self->machine);
  rover_front_close(self->front, 0, on_closed);
  sim__leave();
}

void sim__front_weight(struct sim__front *self, double weight) {
  sim__enter(self->machine);
  rover_front_set_weight(self->front, weight);
  sim__leave();
}

void sim__front_drain(struct sim__front *self, uint64_t ms) {
  sim__enter(self->machine);
  rover_front_drain(self->front, ms);
  sim__leave();
}

void sim__front_resume(struct sim__front *self) {
  sim__enter(self->machine);
  rover_front_resume(self->front);
  sim__leave();
}

uint64_t sim__front_open(const struct sim__front *self) {
  rover_front_stats_t stats;
  rover_front_stats_get(self->front, &stats);
  return stats.open;
}

uint64_t sim__front_accepted(const struct sim__front *self) {
  rover_front_stats_t stats;
  rover_front_stats_get(self->front, &stats);
  return stats.accepted;
}
