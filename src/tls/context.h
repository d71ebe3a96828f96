/* Private to src/tls: a context: options, and what was made of their files. */
#ifndef TLS_CONTEXT_H
#define TLS_CONTEXT_H

#include <openssl/ssl.h>

#include "../net/tls.h"
#include "file.h"
#include "options.h"
#include "session.h"
#include "text.h"

struct rover_tls_s {
  struct net__tls_context base;
  struct tls__options options;
  BIO_METHOD *socket; /* the kind */
  SSL_CTX *ssl;
  struct tls__files files;
  /* Of what is trusted and shown: sessions are resumed only by the same. */
  unsigned char digest[32];
  struct tls__sessions sessions; /* a client's */
};

/* Reads the files anew. On failure nothing has changed. `prepare` sets what a new
 * SSL_CTX calls back. Errors: see rover_tls_reload(). */
int tls__context_load(rover_tls_t *tls, void (*prepare)(SSL_CTX *ssl),
                      struct tls__text *why);

/* Whether both trust and show the same, in the same role. */
bool tls__context_is_same(const rover_tls_t *tls, const rover_tls_t *other);

/* Goes on with what `other` has, if both trust and show the same. */
void tls__context_follow(rover_tls_t *tls, rover_tls_t *other);

/* Frees what it has, and itself. */
void tls__context_free(rover_tls_t *tls);

#endif
