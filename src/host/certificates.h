/* Private to src/host: the certificates that a policy's `tls` has read, and
 * warnings before they expire. */
#ifndef HOST_CERTIFICATES_H
#define HOST_CERTIFICATES_H

#include "base.h"

/* Calls back for each file with certificates, by its path; for each once, with
 * the first to expire. Without memory, for none: returns UV_ENOMEM. */
int host__certificates_each(rover_host_t *host,
                            const struct host__policy *policy,
                            rover_host_certificate_cb certificate, void *arg);

void host__certificates_open(rover_host_t *host);
void host__certificates_close(rover_host_t *host);

/* A policy has become the host's: warns, now and each day, of those of its
 * certificates that expire soon, or have. */
void host__certificates_follow(rover_host_t *host);

#endif
