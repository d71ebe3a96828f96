/* Private to src/admin: what changes something. */
#ifndef ADMIN_CONTROL_H
#define ADMIN_CONTROL_H

#include <callosum/host.h>

#include <stdbool.h>

#include "conn.h"

struct admin__control {
  rover_host_t *host;
  struct admin__conns *conns;
  /* Sets the level of the log; false if that is none. */
  bool (*set_level)(void *data, const char *level);
  void *data;
  bool reloads;    /* a reload is under way */
  char *traceback; /* of the last error in it, or NULL */
  char held[128];  /* why nothing may be changed; "" if it may */
};

typedef void admin__control_fn(struct admin__control *control,
                               struct admin__conn *conn,
                               const struct admin__request *request);

admin__control_fn admin__control_reload, admin__control_log, admin__control_add,
    admin__control_steer, admin__control_drain, admin__control_resume;

/* What admin__control_steer() has for a path: "/servers/ID/VERB". */
#define ADMIN_CONTROL_SERVERS "/servers/"

/* A reload begins, an error is raised, a reload is over. */
void admin__control_reloading(struct admin__control *control);
void admin__control_failed(struct admin__control *control,
                           const char *traceback);
void admin__control_reloaded(struct admin__control *control,
                             const rover_host_reload_t *result);

void admin__control_clear(struct admin__control *control);

#endif
