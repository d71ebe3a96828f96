#include "chaos.h"

#include <stdlib.h>

/* Whatever is still on the loop, or open, was left there. */

static void tell(uv_handle_t *handle, void *arg) {
  struct sim__machine *machine = arg;
  chaos_fail(__FILE__, __LINE__, "machine %u: a %s is left on the loop",
             machine->id, uv_handle_type_name(uv_handle_get_type(handle)));
}

void machine_check_closed(struct sim__machine *machine) {
  sim__enter(machine);
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
