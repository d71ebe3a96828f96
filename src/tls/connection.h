/* Private to src/tls: the TLS of one connection. */
#ifndef TLS_CONNECTION_H
#define TLS_CONNECTION_H

#include "context.h"

/* Sets what OpenSSL calls back. */
void tls__connection_prepare(SSL_CTX *ssl);

/* As open() of struct net__tls_context_type. */
int tls__connection_open(struct net__tls_context *context, int fd,
                         const char *name, const char *key,
                         struct net__tls **tls);

#endif
