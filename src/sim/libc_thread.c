#undef _FORTIFY_SOURCE
#define _GNU_SOURCE

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>

#include "name.h"
#include "real.h"
#include "thread.h"

/* libc's threads, which are coroutines here, and its names. */

#pragma GCC visibility push(default)

/* -- Threads -------------------------------------------------------------- */

int pthread_create(pthread_t *restrict thread,
                   const pthread_attr_t *restrict attributes,
                   void *(*fn)(void *), void *restrict arg) {
  if (!sim__current) return REAL(pthread_create)(thread, attributes, fn, arg);
  struct sim__thread *own = sim__thread_new(fn, arg);
  if (!own) return EAGAIN;
  *thread = (pthread_t)own;
  return 0;
}

int pthread_join(pthread_t thread, void **result) {
  struct sim__thread *own = (struct sim__thread *)thread;

  if (!sim__thread_is_one(own)) return REAL(pthread_join)(thread, result);
  void *value = sim__thread_join(own);
  if (result) *result = value;
  return 0;
}

int pthread_detach(pthread_t thread) {
  return sim__thread_is_one((struct sim__thread *)thread)
             ? 0
             : REAL(pthread_detach)(thread);
}

int pthread_setname_np(pthread_t thread, const char *name) {
  return sim__in_thread() ? 0 : REAL(pthread_setname_np)(thread, name);
}

/* Whether this is a wait that others have to end: a spurious wake-up, as POSIX
 * allows. */
static bool yield(pthread_mutex_t *mutex) {
  if (!sim__in_thread() && !sim__current) return false;
  pthread_mutex_unlock(mutex);
  sim__thread_yield();
  pthread_mutex_lock(mutex);
  return true;
}

int pthread_cond_wait(pthread_cond_t *restrict cond,
                      pthread_mutex_t *restrict mutex) {
  return yield(mutex) ? 0 : REAL(pthread_cond_wait)(cond, mutex);
}

int pthread_cond_timedwait(pthread_cond_t *restrict cond,
                           pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
  return yield(mutex) ? 0 : REAL(pthread_cond_timedwait)(cond, mutex, until);
}

int pthread_cond_signal(pthread_cond_t *cond) {
  sim__thread_signal();
  return REAL(pthread_cond_signal)(cond);
}

int pthread_cond_broadcast(pthread_cond_t *cond) {
  sim__thread_signal();
  return REAL(pthread_cond_broadcast)(cond);
}

int sem_wait(sem_t *semaphore) {
  if (!sim__in_thread() && !sim__current) return REAL(sem_wait)(semaphore);
  while (sem_trywait(semaphore) < 0) sim__thread_yield();
  return 0;
}

/* -- Names ---------------------------------------------------------------- */

int getaddrinfo(const char *restrict node, const char *restrict service,
                const struct addrinfo *restrict hints,
                struct addrinfo **restrict found) {
  if (!sim__current) return REAL(getaddrinfo)(node, service, hints, found);
  if (sim__in_thread()) sim__thread_looks_up();
  return sim__name_find(node, service, hints, found);
}

void freeaddrinfo(struct addrinfo *found) {
  if (sim__current) sim__name_free(found);
  else REAL(freeaddrinfo)(found);
}

/* Addresses have no names. */
int getnameinfo(const struct sockaddr *restrict name, socklen_t size,
                char *restrict host, socklen_t host_size,
                char *restrict service, socklen_t service_size, int flags) {
  if (sim__current && flags & NI_NAMEREQD) return EAI_NONAME;
  if (sim__current) flags |= NI_NUMERICHOST | NI_NUMERICSERV;
  return REAL(getnameinfo)(name, size, host, host_size, service, service_size,
                           flags);
}

int gethostname(char *name, size_t size) {
  if (!sim__current) return REAL(gethostname)(name, size);
  snprintf(name, size, "host%u", sim__current->id);
  return 0;
}

#pragma GCC visibility pop
