/* Private to src/tls: whom a context trusts: CAs, and lists of what they have
 * revoked. */
#ifndef TLS_TRUST_H
#define TLS_TRUST_H

#include <openssl/ssl.h>

#include "file.h"
#include "options.h"
#include "text.h"

/* Errors: of the system, UV_ENOMEM, ROVER_ECERT. */
int tls__trust_load(SSL_CTX *ssl, struct tls__files *files,
                    const struct tls__options *options, struct tls__text *why);

#endif
