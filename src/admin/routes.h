/* Private to src/admin: what is at which path. */
#ifndef ADMIN_ROUTES_H
#define ADMIN_ROUTES_H

#include <callosum/host.h>

#include "control.h"

struct admin__site {
  rover_host_t *host;
  size_t server_limit; /* of rovers whose servers have metrics each; 0: none */
  unsigned large; /* reports that may have all servers, being read */
  struct admin__control control;
};

/* Answers a request that the door has let in. */
void admin__routes_respond(struct admin__site *site, struct admin__conn *conn,
                           const struct admin__request *request);

#endif
