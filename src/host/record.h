/* Private to src/host: what has happened to a host, for who looks at it. */
#ifndef HOST_RECORD_H
#define HOST_RECORD_H

#include "base.h"

/* A warning or an error, as often as it was logged. */
struct host__trouble {
  struct host__trouble *prev, *next;
  double at; /* the last time */
  uint64_t count;
  rover_host_level_t level;
  char message[128]; /* cut, like all text here */
  char detail[384];  /* the fields of the line: key=value */
};

double host__wall_time(void); /* seconds since 1970 */

void host__record_open(struct host__record *record);
void host__record_free(struct host__record *record);

/* A line was logged. */
void host__record_log(struct host__record *record, const rover_host_log_t *log);

/* A policy was loaded, or a reload has ended. */
void host__record_load(struct host__record *record);
void host__record_reload(struct host__record *record, uint64_t generation,
                         bool ok);

/* A reload has failed. `traceback` may be NULL. */
void host__record_failure(struct host__record *record, const char *error,
                          const char *traceback);

#endif
