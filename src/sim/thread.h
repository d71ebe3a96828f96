/* Private to src/sim: threads that are coroutines, for libc's functions. */
#ifndef SIM_THREAD_H
#define SIM_THREAD_H

#include "machine.h"

struct sim__thread;

/* Runs until it waits for something. NULL without memory. */
struct sim__thread *sim__thread_new(void *(*fn)(void *arg), void *arg);

bool sim__thread_is_one(const struct sim__thread *thread);

/* Has the others go on until it is over, and frees it. */
void *sim__thread_join(struct sim__thread *thread);

/* Has others go on before this one. */
void sim__thread_yield(void);
void sim__threads_go_on(void);

bool sim__in_thread(void);

/* A condition was signalled: whoever waits looks again. */
void sim__thread_signal(void);

/* The running thread looks up a name. */
void sim__thread_looks_up(void);

/* Whatever the machine that runs has asked of threads is done. */
void sim__work_run(void);

/* A thread has written to an eventfd: its count rises later. */
void sim__work_answer(struct sim__file *file);

#endif
