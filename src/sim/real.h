/* Private to src/sim: libc's own functions, behind those of ours. */
#ifndef SIM_REAL_H
#define SIM_REAL_H

#include <dlfcn.h>
#include <errno.h>

/* The function of that name that this program would have called. */
#define REAL(name)                                                             \
  (*({                                                                         \
    static __typeof__(&name) real_fn;                                          \
    if (!real_fn) *(void **)&real_fn = dlsym(RTLD_NEXT, #name);                \
    real_fn;                                                                   \
  }))

/* A result as libc returns it. */
static inline int sim__result(int result) {
  if (result >= 0) return result;
  errno = -result;
  return -1;
}

static inline ssize_t sim__result_long(ssize_t result) {
  if (result >= 0) return result;
  errno = (int)-result;
  return -1;
}

#endif
