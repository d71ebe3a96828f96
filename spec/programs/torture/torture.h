/* Private to the torture program, see main.c. */
#ifndef TORTURE_H
#define TORTURE_H

#include <callosum/host.h>

#include <stdbool.h>
#include <stddef.h>

/* -- memory.c: every allocation of libuv, of the libraries, and of Lua ----- */

/* From now on, that many allocations in a row fail, from the one of the number
 * `first` on, which counts from 1. */
void memory_fail(size_t first, size_t in_a_row);

/* No more fail. */
void memory_mend(void);

/* Whether one has failed since either of these, and how many in all. */
bool memory_has_failed(void);
bool memory_has_failed_outside_lua(void);
size_t memory_failures(void);

/* While set, only Lua's fail. */
void memory_spare_others(bool spared);

/* While set, the arenas that Lua's memory comes from get no more chunks. */
void memory_refuse_chunks(bool refused);

/* While set, so does what the system's resolver wants. */
void memory_refuse_resolver(bool refused);

/* How many blocks are in use. */
size_t memory_blocks(void);

void memory_init(void);

/* -- peer.c: the servers, in a process of their own ------------------------ */

/* Each gives all connections slot 0. Of what comes then, each byte `p` is sent
 * back, at `q` this side of the connection ends, and others are nothing. The
 * eager one sends `!` right behind the slot line. */
struct peers {
  int port, eager_port;
};
extern struct peers peers;

void peers_start(void);

/* -- main.c ---------------------------------------------------------------- */

/* Ends the process, and says what was being tried, unless `condition` holds. */
#define CHECK(condition)                                                       \
  ((condition) ? (void)0 : torture_fail(__FILE__, __LINE__, #condition))
_Noreturn void torture_fail(const char *file, int line, const char *what);

struct scenario {
  const char *says; /* what is so, whatever fails */
  void (*run)(void);
  /* What all runs share, or NULL: then a run leaves nothing behind. */
  void (*set_up)(void);
  void (*tear_down)(void);
  size_t most; /* how many allocations matter; 0: all */
};

/* A run calls both, around what is to be tried; the second returns whether an
 * allocation failed. One that does not runs once. */
void torture_begin(void);
bool torture_end(void);

/* The loop of all runs of a scenario. */
extern uv_loop_t loop;
void loop_until(bool (*done)(void));

extern const struct scenario rover_scenarios[], relay_scenarios[],
    front_scenarios[], host_scenarios[];
extern const char *torture_folder; /* that of the policies */

#endif
