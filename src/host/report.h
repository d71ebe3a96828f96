/* Private to src/host: texts that are made in pieces. */
#ifndef HOST_REPORT_H
#define HOST_REPORT_H

#include <callosum/host.h>

#include "../lua/text.h"

/* The first member of each report. It does not refer to the host, which may be
 * closed before it. */
struct rover_host_report_s {
  /* Appends the next piece of the text, some KiB at most. Returns whether there
   * is more. */
  bool (*write)(rover_host_report_t *report, struct rover__text *text);
  void (*free)(rover_host_report_t *report);
  struct rover__text text; /* not read yet, ... */
  size_t taken;            /* ... after so many bytes */
  bool ended;
};

#endif
