/* Private to src/discover: the records in an answer to a DNS query. */
#ifndef DISCOVER_RECORDS_H
#define DISCOVER_RECORDS_H

#include <stddef.h>
#include <stdint.h>

/* As DNS numbers them. DISCOVER_HOST stands for A and AAAA. */
enum discover__record_type {
  DISCOVER_HOST = 0,
  DISCOVER_A = 1,
  DISCOVER_AAAA = 28,
  DISCOVER_SRV = 33
};

struct discover__record {
  char *host; /* an IP address, or the target of an SRV record */
  uint16_t port, priority, weight; /* SRV */
};

struct discover__records {
  struct discover__record *list;
  size_t count;
  uint32_t ttl; /* in s, the least of all of them and of a chain of CNAMEs */
};

/* Adds a copy. Errors: UV_ENOMEM. */
int discover__records_add(struct discover__records *records,
                          const struct discover__record *record, uint32_t ttl);
void discover__records_free(struct discover__records *records);

#endif
