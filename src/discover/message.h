/* Private to src/discover: from a DNS message to records. */
#ifndef DISCOVER_MESSAGE_H
#define DISCOVER_MESSAGE_H

#include <ares.h>

#include "records.h"

/* c-ares has its own records since 1.28. What it has before that knows no TTL of
 * SRV records, so the message is read here. */
#if ARES_VERSION >= 0x011c00
#define DISCOVER_HAS_DNSREC 1
#else
#define DISCOVER_HAS_DNSREC 0
#endif

/* Adds the records of that type in the section of answers; there may be none.
 * Errors: UV_EPROTO, UV_ENOMEM. */
#if DISCOVER_HAS_DNSREC
int discover__message_take(const ares_dns_record_t *message,
                           enum discover__record_type type,
                           struct discover__records *records);
#else
int discover__message_take(const unsigned char *bytes, size_t length,
                           enum discover__record_type type,
                           struct discover__records *records);
#endif

#endif
