#include "message.h"

#include <stdbool.h>
#include <string.h>

#include <uv.h>

enum { CNAME = 5 };

/* Takes one record; "." as the target of SRV says that there is no service. */
static int take_address(int family, const void *address, uint32_t ttl,
                        struct discover__records *records) {
  char text[INET6_ADDRSTRLEN];
  struct discover__record record = {.host = text};

  if (uv_inet_ntop(family, address, text, sizeof text) < 0) return UV_EPROTO;
  return discover__records_add(records, &record, ttl);
}

static int take_service(const struct discover__record *record, uint32_t ttl,
                        struct discover__records *records) {
  if (!*record->host || !strcmp(record->host, ".") || record->port == 0)
    return 0;
  return discover__records_add(records, record, ttl);
}

/* The least TTL of a chain counts for what is at its end. */
static void bound(struct discover__records *records, uint32_t least) {
  if (records->count > 0 && least < records->ttl) records->ttl = least;
}

#if DISCOVER_HAS_DNSREC

static int take_record(const ares_dns_rr_t *rr, uint32_t ttl,
                       struct discover__records *records) {
  if (ares_dns_rr_get_type(rr) == ARES_REC_TYPE_A)
    return take_address(AF_INET, ares_dns_rr_get_addr(rr, ARES_RR_A_ADDR), ttl,
                        records);
  if (ares_dns_rr_get_type(rr) == ARES_REC_TYPE_AAAA)
    return take_address(AF_INET6, ares_dns_rr_get_addr6(rr, ARES_RR_AAAA_ADDR),
                        ttl, records);
  struct discover__record record = {
      .host = (char *)ares_dns_rr_get_str(rr, ARES_RR_SRV_TARGET),
      .port = ares_dns_rr_get_u16(rr, ARES_RR_SRV_PORT),
      .priority = ares_dns_rr_get_u16(rr, ARES_RR_SRV_PRIORITY),
      .weight = ares_dns_rr_get_u16(rr, ARES_RR_SRV_WEIGHT),
  };
  return record.host ? take_service(&record, ttl, records) : UV_EPROTO;
}

int discover__message_take(const ares_dns_record_t *message,
                           enum discover__record_type type,
                           struct discover__records *records) {
  size_t count = ares_dns_record_rr_cnt(message, ARES_SECTION_ANSWER);
  uint32_t least = UINT32_MAX;
  int err = 0;

  for (size_t i = 0; err == 0 && i < count; i++) {
    const ares_dns_rr_t *rr =
        ares_dns_record_rr_get_const(message, ARES_SECTION_ANSWER, i);
    uint32_t ttl = ares_dns_rr_get_ttl(rr);
    int is = (int)ares_dns_rr_get_type(rr);
    if (is == CNAME && ttl < least) least = ttl;
    if (is == (int)type) err = take_record(rr, ttl, records);
  }
  bound(records, least);
  return err;
}

#else

/* What is left of a message. */
struct reader {
  const unsigned char *start, *at, *end;
};

static bool has(const struct reader *reader, size_t size) {
  return (size_t)(reader->end - reader->at) >= size;
}

static uint16_t get16(const unsigned char *at) {
  return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t get32(const unsigned char *at) {
  return (uint32_t)get16(at) << 16 | get16(at + 2);
}

/* Its labels, up to the empty one or to a pointer, which ends it. */
static bool skip_name(struct reader *reader) {
  while (has(reader, 1)) {
    unsigned length = *reader->at++;
    if (length == 0) return true;
    if (length >= 0xc0) {
      if (!has(reader, 1)) return false;
      reader->at++;
      return true;
    }
    if (length > 63 || !has(reader, length)) return false;
    reader->at += length;
  }
  return false;
}

static int take_srv(const struct reader *message, const unsigned char *data,
                    size_t size, uint32_t ttl,
                    struct discover__records *records) {
  char *target;
  long length;

  if (size < 7) return UV_EPROTO;
  if (ares_expand_name(data + 6, message->start,
                       (int)(message->end - message->start), &target,
                       &length) != ARES_SUCCESS)
    return UV_EPROTO;
  struct discover__record record = {.host = target,
                                    .priority = get16(data),
                                    .weight = get16(data + 2),
                                    .port = get16(data + 4)};
  int err = (size_t)length + 6 != size ? UV_EPROTO
                                       : take_service(&record, ttl, records);
  ares_free_string(target);
  return err;
}

static int take_record(const struct reader *message, unsigned type,
                       const unsigned char *data, size_t size, uint32_t ttl,
                       struct discover__records *records) {
  if (type == DISCOVER_SRV) return take_srv(message, data, size, ttl, records);
  if (size != (type == DISCOVER_A ? 4 : 16)) return UV_EPROTO;
  return take_address(type == DISCOVER_A ? AF_INET : AF_INET6, data, ttl,
                      records);
}

int discover__message_take(const unsigned char *bytes, size_t length,
                           enum discover__record_type type,
                           struct discover__records *records) {
  struct reader reader = {bytes, bytes, bytes + length};
  uint32_t least = UINT32_MAX;
  int err = 0;

  if (length < 12) return UV_EPROTO;
  unsigned questions = get16(bytes + 4), answers = get16(bytes + 6);
  reader.at += 12;
  for (; questions > 0; questions--) {
    if (!skip_name(&reader) || !has(&reader, 4)) return UV_EPROTO;
    reader.at += 4;
  }
  for (; err == 0 && answers > 0; answers--) {
    if (!skip_name(&reader) || !has(&reader, 10)) return UV_EPROTO;
    unsigned is = get16(reader.at);
    uint32_t ttl = get32(reader.at + 4);
    size_t size = get16(reader.at + 8);
    reader.at += 10;
    if (!has(&reader, size)) return UV_EPROTO;
    if (ttl > INT32_MAX) ttl = 0; /* RFC 2181, 8 */
    if (is == CNAME && ttl < least) least = ttl;
    if (is == (unsigned)type)
      err = take_record(&reader, is, reader.at, size, ttl, records);
    reader.at += size;
  }
  bound(records, least);
  return err;
}

#endif
