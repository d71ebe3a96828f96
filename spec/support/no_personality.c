/* A system that allows no change of the personality, as some containers are, to
 * be preloaded. */
#include <errno.h>
#include <sys/personality.h>

int personality(unsigned long persona) {
  if (persona == 0xffffffff) return 0;
  errno = EPERM;
  return -1;
}
