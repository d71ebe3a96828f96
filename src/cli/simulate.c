#include "simulate.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/personality.h>
#endif

#include "signals.h"

/* simulate: a program of its own, which defines functions of the C library, and
 * so must not be part of the command. It lies in libexec/callosum, beside the
 * command in the build folder, and beside its folder where it is installed. */

static const char *const places[] = {"libexec/callosum/simulate",
                                     "../libexec/callosum/simulate"};

/* A policy may depend on the order of pairs(), and that on the addresses of
 * what is in the table: a run can be repeated only if these are the same. */
static void fix_addresses(void) {
#ifdef __linux__
  int now = personality(0xffffffff); /* asks */
  if (now >= 0 && (now & ADDR_NO_RANDOMIZE)) return;
  if (now >= 0 && personality((unsigned long)now | ADDR_NO_RANDOMIZE) >= 0)
    return;
  fprintf(stderr,
          "callosum-rover: cannot switch off address randomization (%s): with "
          "a policy that depends on the order of pairs(), the same seed may "
          "give other results\n",
          strerror(errno));
#endif
}

int cli_simulate(const char *exe, char **argv) {
  char path[PATH_MAX + 32];
  const char *end = exe ? strrchr(exe, '/') : NULL;

  cli_signals_plain();
  if (end) {
    fix_addresses();
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
      snprintf(path, sizeof path, "%.*s/%s", (int)(end - exe), exe, places[i]);
      execv(path, argv);
      if (errno != ENOENT && errno != ENOTDIR) break;
    }
  }
  if (!end || errno == ENOENT || errno == ENOTDIR)
    fputs("callosum-rover: cannot simulate: its program "
          "libexec/callosum/simulate is neither beside the command nor beside "
          "its folder; install it anew\n",
          stderr);
  else
    fprintf(stderr, "callosum-rover: cannot simulate: %s: %s\n", path,
            strerror(errno));
  return EXIT_FAILURE;
}
