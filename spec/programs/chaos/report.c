#include "chaos.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What happened last in a run, for whoever wants to know why it failed. */

enum { LINES = 40, WIDTH = 160 };

static struct {
  uint64_t seed, count;
  bool verbose;
  char lines[LINES][WIDTH];
} report;

void report_start(uint64_t seed, bool verbose) {
  report.seed = seed;
  report.verbose = verbose;
}

void note(const char *format, ...) {
  char *line = report.lines[report.count++ % LINES];
  va_list args;

  int n = snprintf(line, WIDTH, "%12.6f ", (double)sim__now() / SIM__S);
  va_start(args, format);
  vsnprintf(line + n, WIDTH - (size_t)n, format, args);
  va_end(args);
  uint64_t hash = 0;
  for (const char *at = line; *at; at++) hash = hash * 31 + (unsigned char)*at;
  sim__trace(hash, report.count, 0);
  if (report.verbose) fprintf(stderr, "%s\n", line);
}

/* In one piece, since other runs fail at the same time. */
void chaos_fail(const char *file, int line, const char *format, ...) {
  static char text[LINES * WIDTH + 1024];
  const char *name = strrchr(file, '/');
  va_list args;
  size_t n = 0;
  uint64_t from = report.count > LINES ? report.count - LINES : 0;

  if (report.verbose) from = report.count;
  for (uint64_t i = from; i < report.count; i++)
    n += (size_t)snprintf(text + n, sizeof text - n, "%s\n",
                          report.lines[i % LINES]);
  n += (size_t)snprintf(
      text + n, sizeof text - n,
      "seed %llu, after %.6f s: %s:%d: ", (unsigned long long)report.seed,
      (double)sim__now() / SIM__S, name ? name + 1 : file, line);
  va_start(args, format);
  n += (size_t)vsnprintf(text + n, sizeof text - n - 1, format, args);
  va_end(args);
  if (n > sizeof text - 2) n = sizeof text - 2;
  text[n++] = '\n';
  fwrite(text, 1, n, stderr);
  fflush(stderr);
  sim__current = NULL;
  _exit(EXIT_FAILURE);
}
