/* Private to src/sim: virtual machines, and the descriptors of each. */
#ifndef SIM_MACHINE_H
#define SIM_MACHINE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <uv.h>

#include "clock.h"

/* Descriptors below this are real ones, which the machines share, such as
 * standard output. */
enum { SIM__FIRST_FD = 32 };

/* Those from here on are real, too: files that a policy opens. 1,024, or half of
 * what the process may have, if that is less. */
extern uint32_t sim__fd_limit;

struct sim__file;

/* What a machine's code can hold a descriptor of. */
struct sim__file_type {
  /* The present EPOLL* events. */
  uint32_t (*poll)(struct sim__file *file);
  /* The last descriptor is closed. Frees the file. */
  void (*close)(struct sim__file *file);
  /* These return a negative errno; NULL: -EINVAL. */
  ssize_t (*read)(struct sim__file *file, void *bytes, size_t size);
  ssize_t (*write)(struct sim__file *file, const void *bytes, size_t size);
};

struct sim__watch; /* see poll.h */

/* The first field of a struct of its type. */
struct sim__file {
  const struct sim__file_type *type;
  struct sim__machine *machine;
  struct sim__watch *watches;
  uint32_t descriptors; /* how many it has */
  bool blocks;          /* no O_NONBLOCK, which only F_GETFL tells */
};

/* A virtual machine: a loop, its descriptors, an address, and what listens
 * there and connects from there. A machine of native endpoints only (see tcp.h)
 * has no loop, and costs little. Its code runs between sim__enter() and
 * sim__leave(): all that it asks of libc is answered by this machine. */
struct sim__machine {
  uv_loop_t *loop; /* NULL: none, or not yet */
  uint32_t id;
  bool queued;
  bool stopped;           /* its loop does not run, see kernel.h */
  bool waits;             /* within a call, which goes on when that is over */
  uint64_t busy;          /* until this time it runs nothing else */
  struct sim__event wake; /* at `wakes` */
  uint64_t wakes;
  struct sim__machine *next; /* that is to run */
  struct sim__file **files;  /* from SIM__FIRST_FD on */
  uint32_t size, lowest;     /* no free one is below `lowest` */
  uint32_t limit;     /* of descriptors, as RLIMIT_NOFILE: see sim__fd_limit */
  uint32_t serial;    /* of its connections */
  uint64_t drawn;     /* random numbers, by libc */
  uint16_t next_port; /* of those that it begins */
  struct sim__net *net; /* see tcp.h */
  void *data;           /* yours */
};

/* Without a network: see sim__machine_new() of kernel.h. */
struct sim__machine *sim__machine_make(uint32_t id);

/* Has it do nothing any more, and closes its descriptors. */
void sim__machine_clear(struct sim__machine *machine);

/* The loop of a machine, which is made at the first call (within the machine).
 * Close it with sim__machine_free(). */
uv_loop_t *sim__machine_loop(struct sim__machine *machine);

/* From here on, libc's functions are those of this machine, until sim__leave()
 * of kernel.h; it must not be within another. */
void sim__enter(struct sim__machine *machine);

/* The machine whose code runs, or NULL. */
extern struct sim__machine *sim__current;

/* Its loop runs soon, at the present time. */
void sim__machine_kick(struct sim__machine *machine);

/* The next one that is to run, in the order of kicks, or NULL. */
struct sim__machine *sim__machine_next(void);

/* The running machine has worked, or slept, for that long. Its clock is ahead
 * of sim__now() from now on, and it runs again once time has caught up. Safe in
 * signal handlers. */
void sim__machine_busy(uint64_t ns);

/* The present time of the machine that runs, or of nobody's. */
uint64_t sim__machine_now(void);

/* -- Descriptors ---------------------------------------------------------- */

/* The file of a descriptor of the running machine, or NULL: it is a real one,
 * or none. */
static inline struct sim__file *sim__file_get(int fd) {
  const struct sim__machine *machine = sim__current;
  uint32_t i = (uint32_t)fd - SIM__FIRST_FD;
  return machine && i < machine->size ? machine->files[i] : NULL;
}

/* Gives a file of the running machine its lowest free descriptor that is not
 * below `least`; or -EMFILE, and the file is closed if it has no other. */
int sim__fd_new(struct sim__file *file, int least);

/* As dup2(); `fd` is any virtual number. */
int sim__fd_replace(struct sim__file *file, int fd);

/* Returns 0 or -EBADF. */
int sim__fd_close(int fd);

/* One descriptor less, or something else that held it. */
void sim__file_drop(struct sim__file *file);

#endif
