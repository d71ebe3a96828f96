/* Private to src/admin: who may ask for what. */
#ifndef ADMIN_DOOR_H
#define ADMIN_DOOR_H

#include <stdbool.h>
#include <sys/socket.h>

#include "request.h"

struct admin__door {
  bool is_unix;
  bool controls;            /* may be asked to change something */
  const char *const *hosts; /* names of this machine, ended by NULL */
};

/* Whether this request may be looked at at all, on a connection whose own
 * address is `local`, NULL on a Unix socket. Returns 0, or the status to answer
 * with, and why. */
int admin__door_check(const struct admin__door *door,
                      const struct sockaddr *local,
                      const struct admin__request *request, const char **why);

/* The same for what changes something. */
int admin__door_check_control(const struct admin__door *door,
                              const struct admin__request *request,
                              const char **why);

#endif
