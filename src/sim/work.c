#include "work.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "memory.h"
#include "thread.h"

/* A thread is a coroutine, which runs from where it is made, or goes on, until
 * it would wait: for a condition, a semaphore, or its end. The pool that libuv
 * makes for the whole process is made of these, too: while one machine is
 * current, the work is that machine's alone, as all of it is done before another
 * one is. */

uint64_t sim__lookup_time = UINT64_C(200) * SIM__US,
         sim__work_time = UINT64_C(50) * SIM__US;

enum { STACK = 256 * 1024 };

struct sim__thread {
  struct sim__thread *next;
  ucontext_t context;
  void *(*fn)(void *arg);
  void *arg, *result;
  void *stack;
  void *fake; /* AddressSanitizer's */
  bool over;
};

static struct {
  struct sim__thread *threads;
  struct sim__thread *running; /* NULL: the process's own */
  ucontext_t main;
  uint64_t count;
  bool signalled; /* a condition that one may wait for */
  bool looked_up; /* in the work that is done now */
} work;

bool sim__in_thread(void) { return work.running != NULL; }

/* -- Switching ------------------------------------------------------------ */

#ifdef __SANITIZE_ADDRESS__
#include <dlfcn.h>
#include <sanitizer/common_interface_defs.h>

/* AddressSanitizer has to know which stack is in use. Its own swapcontext()
 * warns that it might not. */
static struct {
  void *fake;
  const void *bottom;
  size_t size;
} main_stack;

static void swap(ucontext_t *from, ucontext_t *to) {
  static int (*libcs)(ucontext_t * from, const ucontext_t *to);
  if (!libcs)
    *(void **)&libcs =
        dlsym(dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD), "swapcontext");
  libcs(from, to);
}

static void enter(struct sim__thread *thread) {
  __sanitizer_start_switch_fiber(&main_stack.fake, thread->stack, STACK);
  swap(&work.main, &thread->context);
  __sanitizer_finish_switch_fiber(main_stack.fake, NULL, NULL);
}

static void entered(struct sim__thread *thread) {
  __sanitizer_finish_switch_fiber(thread->fake, &main_stack.bottom,
                                  &main_stack.size);
}

static void leave(struct sim__thread *thread) {
  __sanitizer_start_switch_fiber(thread->over ? NULL : &thread->fake,
                                 main_stack.bottom, main_stack.size);
  swap(&thread->context, &work.main);
  entered(thread);
}
#else
static void enter(struct sim__thread *thread) {
  swapcontext(&work.main, &thread->context);
}

static void entered(struct sim__thread *thread) { (void)thread; }

static void leave(struct sim__thread *thread) {
  swapcontext(&thread->context, &work.main);
}
#endif

static void begin(void) {
  struct sim__thread *thread = work.running;
  entered(thread);
  thread->result = thread->fn(thread->arg);
  thread->over = true;
  leave(thread);
}

static void go_on(struct sim__thread *thread) {
  if (thread->over || work.running) return;
  work.running = thread;
  enter(thread);
  work.running = NULL;
}

void sim__thread_yield(void) {
  if (work.running) leave(work.running);
  else sim__threads_go_on();
}

void sim__threads_go_on(void) {
  struct sim__thread *next;
  for (struct sim__thread *thread = work.threads; thread; thread = next) {
    next = thread->next;
    go_on(thread);
  }
}

static void thread_free(struct sim__thread *thread) {
  struct sim__thread **at = &work.threads;
  while (*at != thread) at = &(*at)->next;
  *at = thread->next;
  munmap(thread->stack, STACK);
  free(thread);
}

struct sim__thread *sim__thread_new(void *(*fn)(void *arg), void *arg) {
  struct sim__thread *thread = sim__new(sizeof *thread);
  struct sim__thread **last = &work.threads;

  thread->fn = fn;
  thread->arg = arg;
  thread->stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (thread->stack == MAP_FAILED) {
    free(thread);
    return NULL;
  }
  getcontext(&thread->context);
  thread->context.uc_stack.ss_sp = thread->stack;
  thread->context.uc_stack.ss_size = STACK;
  makecontext(&thread->context, begin, 0);
  while (*last) last = &(*last)->next;
  *last = thread;
  go_on(thread);
  return thread;
}

bool sim__thread_is_one(const struct sim__thread *thread) {
  const struct sim__thread *known = work.threads;
  while (known && known != thread) known = known->next;
  return known != NULL;
}

void *sim__thread_join(struct sim__thread *thread) {
  while (!thread->over) sim__threads_go_on();
  void *result = thread->result;
  thread_free(thread);
  return result;
}

/* -- Work ----------------------------------------------------------------- */

void sim__thread_signal(void) { work.signalled = true; }

void sim__thread_looks_up(void) { work.looked_up = true; }

void sim__work_run(void) {
  while (work.signalled) {
    work.signalled = false;
    sim__threads_go_on();
  }
}

/* What a thread writes to a loop's eventfd wakes that later. */
struct answer {
  struct sim__event event;
  struct sim__file *file;
};

static void on_answer(struct sim__event *event) {
  static const uint64_t one = 1;
  struct sim__file *file = ((struct answer *)event)->file;

  free(event);
  if (file->descriptors > 1) file->type->write(file, &one, sizeof one);
  sim__file_drop(file);
}

void sim__work_answer(struct sim__file *file) {
  struct answer *answer = sim__new(sizeof *answer);

  answer->event.happen = on_answer;
  answer->file = file;
  file->descriptors++;
  sim__event_set(&answer->event,
                 sim__machine_now() +
                     (work.looked_up ? sim__lookup_time : sim__work_time));
  work.looked_up = false;
}
