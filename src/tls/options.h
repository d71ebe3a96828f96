/* Private to src/tls: the options of a context, copied from those of
 * <callosum/tls.h> and checked. */
#ifndef TLS_OPTIONS_H
#define TLS_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include <callosum/tls.h>

#include "text.h"

struct tls__options {
  bool is_server;
  char *ca, *cert, *key, *server_name, *crl;
  char **names; /* NULL, or ended by NULL */
  int verify;   /* never ROVER_TLS_VERIFY_DEFAULT */
  int min_version;
  int64_t sessions;
};

/* What is in *options afterwards has to be freed, also on failure. Errors:
 * UV_EINVAL, UV_ENOMEM; `why` says what and why. */
int tls__options_of_client(struct tls__options *options,
                           const rover_tls_client_options_t *given,
                           struct tls__text *why);
int tls__options_of_server(struct tls__options *options,
                           const rover_tls_server_options_t *given,
                           struct tls__text *why);
void tls__options_free(struct tls__options *options);

#endif
