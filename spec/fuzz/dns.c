/* Answers of DNS: never read too far, and what is found of them are addresses, or
 * services with a port.
 *
 * Input: a byte that says what was asked for; then the message. */
#include "discover/message.h"
#include "fuzz.h"

#include <uv.h>

static int take_records(const uint8_t *bytes, size_t length,
                        enum discover__record_type type,
                        struct discover__records *records) {
#if DISCOVER_HAS_DNSREC
  ares_dns_record_t *message = NULL;
  if (ares_dns_parse(bytes, length, 0, &message) != ARES_SUCCESS)
    return UV_EPROTO;
  int err = discover__message_take(message, type, records);
  ares_dns_record_destroy(message);
  return err;
#else
  return discover__message_take(bytes, length, type, records);
#endif
}

static void judge_record(const struct discover__record *record,
                         enum discover__record_type type) {
  unsigned char ip[16];

  if (type == DISCOVER_A) check(uv_inet_pton(AF_INET, record->host, ip) == 0);
  if (type == DISCOVER_AAAA)
    check(uv_inet_pton(AF_INET6, record->host, ip) == 0);
  if (type == DISCOVER_SRV) check(*record->host && record->port > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  static const enum discover__record_type types[] = {DISCOVER_A, DISCOVER_AAAA,
                                                     DISCOVER_SRV};
  struct input in = {bytes, size};
  enum discover__record_type type = types[take_byte(&in) % 3];
  struct discover__records records = {0};
  /* A copy that ends where its memory does, so that reading on is noticed. */
  uint8_t *copy = malloc(in.left ? in.left : 1);

  check(copy);
  memcpy(copy, in.bytes, in.left);
  int err = take_records(copy, in.left, type, &records);
  check(err == 0 || err == UV_EPROTO);
  check(records.count == 0 || records.ttl <= INT32_MAX);
  for (size_t i = 0; i < records.count; i++)
    judge_record(&records.list[i], type);
  discover__records_free(&records);
  free(copy);
  return 0;
}
