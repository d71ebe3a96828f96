#include "machine.h"

#include <errno.h>
#include <stdlib.h>

#include "memory.h"

/* The life of a machine: made, it may be given a loop, and code is run in it.
 * Whenever something happens to one of its descriptors, it is queued, and the
 * scheduler in kernel.c runs its loop. */

struct sim__machine *sim__current;

static struct {
  struct sim__machine *first, **last;
} queue = {NULL, &queue.first};

uint32_t sim__fd_limit = 1024;

enum { FIRST_PORT = 32768 };

/* -- Running -------------------------------------------------------------- */

void sim__machine_kick(struct sim__machine *machine) {
  if (machine->queued || machine->stopped || machine->waits || !machine->loop)
    return;
  machine->queued = true;
  machine->next = NULL;
  *queue.last = machine;
  queue.last = &machine->next;
}

struct sim__machine *sim__machine_next(void) {
  struct sim__machine *machine = queue.first;

  if (!machine) return NULL;
  queue.first = machine->next;
  if (!queue.first) queue.last = &queue.first;
  machine->queued = false;
  return machine;
}

static void unqueue(struct sim__machine *machine) {
  struct sim__machine **at = &queue.first;

  if (!machine->queued) return;
  while (*at != machine) at = &(*at)->next;
  *at = machine->next;
  if (!*at) queue.last = at;
  machine->queued = false;
}

static void on_wake(struct sim__event *event) {
  sim__machine_kick(
      (struct sim__machine *)((char *)event -
                              offsetof(struct sim__machine, wake)));
}

void sim__enter(struct sim__machine *machine) { sim__current = machine; }

void sim__machine_busy(uint64_t ns) {
  struct sim__machine *machine = sim__current;
  if (machine) machine->busy = sim__machine_now() + ns;
}

uint64_t sim__machine_now(void) {
  uint64_t now = sim__now();
  return sim__current && sim__current->busy > now ? sim__current->busy : now;
}

uv_loop_t *sim__machine_loop(struct sim__machine *machine) {
  if (machine->loop) return machine->loop;
  machine->loop = sim__new(sizeof *machine->loop);
  int err = uv_loop_init(machine->loop);
  if (err == 0) return machine->loop;
  free(machine->loop);
  machine->loop = NULL;
  return NULL;
}

/* -- Descriptors ---------------------------------------------------------- */

static void make_room(struct sim__machine *machine, uint32_t place) {
  uint32_t size = machine->size;

  if (place < size) return;
  while (size <= place) size = size ? size * 2 : 16;
  machine->files = sim__grow(machine->files, size * sizeof(void *));
  for (uint32_t i = machine->size; i < size; i++) machine->files[i] = NULL;
  machine->size = size;
}

static int install(struct sim__file *file, uint32_t place) {
  struct sim__machine *machine = sim__current;

  make_room(machine, place);
  machine->files[place] = file;
  file->machine = machine;
  file->descriptors++;
  return (int)place + SIM__FIRST_FD;
}

int sim__fd_new(struct sim__file *file, int least) {
  struct sim__machine *machine = sim__current;
  if (!machine) return -EBADF;
  bool any = least <= SIM__FIRST_FD;
  uint32_t i = any ? machine->lowest : (uint32_t)least - SIM__FIRST_FD;

  if (!any && i < machine->lowest) i = machine->lowest, any = true;
  while (i < machine->size && machine->files[i]) i++;
  if (any) machine->lowest = i;
  if (i + SIM__FIRST_FD >= machine->limit) {
    if (file->descriptors == 0) file->type->close(file);
    return -EMFILE;
  }
  return install(file, i);
}

void sim__file_drop(struct sim__file *file) {
  if (--file->descriptors == 0) file->type->close(file);
}

int sim__fd_replace(struct sim__file *file, int fd) {
  struct sim__file *old = sim__file_get(fd);

  if (old == file || !sim__current) return fd;
  install(file, (uint32_t)fd - SIM__FIRST_FD);
  if (old) sim__file_drop(old);
  return fd;
}

int sim__fd_close(int fd) {
  struct sim__file *file = sim__file_get(fd);
  uint32_t place = (uint32_t)fd - SIM__FIRST_FD;

  if (!file) return -EBADF;
  sim__current->files[place] = NULL;
  if (place < sim__current->lowest) sim__current->lowest = place;
  sim__file_drop(file);
  return 0;
}

/* -- Life ----------------------------------------------------------------- */

struct sim__machine *sim__machine_make(uint32_t id) {
  struct sim__machine *machine = sim__new(sizeof *machine);
  *machine = (struct sim__machine){.id = id,
                                   .limit = sim__fd_limit,
                                   .next_port = FIRST_PORT,
                                   .wake.happen = on_wake};
  return machine;
}

void sim__machine_clear(struct sim__machine *machine) {
  struct sim__machine *outer = sim__current;

  machine->stopped = true;
  unqueue(machine);
  sim__event_cancel(&machine->wake);
  sim__current = machine;
  for (uint32_t i = 0; i < machine->size; i++)
    sim__fd_close((int)i + SIM__FIRST_FD);
  sim__current = outer;
  free(machine->files);
  machine->files = NULL;
  machine->size = machine->lowest = 0;
}
