/* Private to src/tls: what OpenSSL's queue of errors says. None of these clears
 * it. */
#ifndef TLS_FAULT_H
#define TLS_FAULT_H

#include <stdbool.h>

#include "text.h"

/* Who is told about, in sentences. */
struct tls__parties {
  bool is_server;   /* it is we who serve */
  bool shows;       /* we have a certificate to show */
  bool was_asked;   /* for one */
  const char *cert; /* its file */
};

bool tls__fault_is_memory(void);
bool tls__fault_is_end_of_pem(void); /* nothing more of that kind */
bool tls__fault_is_weakness(void);   /* below the security level */
const char *tls__fault_reason(void);

/* What broke TLS with a peer: a negative errno or NET_ECERT, and a sentence in
 * `why`, which is kept if it has one: why we refused a certificate. */
int tls__fault(const struct tls__parties *parties, struct tls__text *why);

#endif
