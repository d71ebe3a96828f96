/* Private to src/tls: names in certificates. Only alternative names count. */
#ifndef TLS_NAMES_H
#define TLS_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include <openssl/x509.h>

#include "text.h"

enum { TLS__NAME_MAX = 255 }; /* bytes */

/* Whether it can be one of the names that may come: a DNS name, whose first
 * label may be "*"; an IP address; a URI, which may end with a star that stands
 * for any path. */
bool tls__name_is_pattern(const char *pattern);

/* Whether a certificate has one of these names (ended by NULL). */
bool tls__names_match(const X509 *certificate, char *const *patterns);

/* Writes a host as certificates have it: without a zone (fe80::1%eth0) and a
 * dot at the end. Returns whether it is an IP address. */
bool tls__name_of_host(const char *host, char name[TLS__NAME_MAX + 1]);

/* Lists the names that a certificate has, some of them if there are many. */
void tls__text_names(struct tls__text *text, const X509 *certificate);

#endif
