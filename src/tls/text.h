/* Private to src/tls: sentences about certificates, in a buffer that bounds
 * them. What comes from a peer or a file is quoted. */
#ifndef TLS_TEXT_H
#define TLS_TEXT_H

#include <stddef.h>

#include <openssl/x509.h>

struct tls__text {
  char *bytes;
  size_t size, length;
};

/* Begins in `bytes`, which may be NULL: then nothing is written. */
void tls__text_begin(struct tls__text *text, char *bytes, size_t size);

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void tls__text_add(struct tls__text *text, const char *format, ...);

/* In double quotes, escaped, and cut to about `most` bytes. */
void tls__text_quote(struct tls__text *text, const void *bytes, size_t length,
                     size_t most);
/* "CN=front,O=Fleet" */
void tls__text_name(struct tls__text *text, const X509_NAME *name);
/* 2026-11-30 12:00:00 UTC */
void tls__text_date(struct tls__text *text, const ASN1_TIME *date);

/* Seconds since 1970; INT64_MAX if it is NULL or no date. */
int64_t tls__date(const ASN1_TIME *date);

#endif
