/* Private to src/tls: what a context shows: its certificate, what leads from it
 * to a CA, and its key. */
#ifndef TLS_IDENTITY_H
#define TLS_IDENTITY_H

#include <openssl/ssl.h>

#include "file.h"
#include "text.h"

/* `key` is NULL if it is in `cert`. Errors: of the system, UV_ENOMEM,
 * ROVER_ECERT. */
int tls__identity_load(SSL_CTX *ssl, struct tls__files *files, const char *cert,
                       const char *key, struct tls__text *why);

#endif
