/* Private to src/sim: names and addresses, as getaddrinfo() has them. */
#ifndef SIM_NAME_H
#define SIM_NAME_H

#include <netdb.h>

#include "route.h"

/* As getaddrinfo(), for the running machine; the answer is freed by
 * sim__name_free(). */
int sim__name_find(const char *node, const char *service,
                   const struct addrinfo *hints, struct addrinfo **found);

void sim__name_free(struct addrinfo *found);

/* Forgets all names. */
void sim__names_clear(void);

#endif
