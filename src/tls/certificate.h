/* Private to src/tls: whether the certificate of a peer is accepted, and if not
 * why, in words for whoever has to mend it. */
#ifndef TLS_CERTIFICATE_H
#define TLS_CERTIFICATE_H

#include <stdbool.h>
#include <stdint.h>

#include <openssl/x509_vfy.h>

#include "options.h"
#include "text.h"

/* Verifies the chain of a peer, and the names of a client. `host` is what a
 * server has to be for, or NULL. */
bool tls__certificate_verify(X509_STORE_CTX *store,
                             const struct tls__options *options,
                             const char *host, struct tls__text *why);

/* When the first of the chain that was verified expires: seconds since 1970. */
int64_t tls__certificate_end(X509_STORE_CTX *store);

#endif
