#include "proxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <uv.h>

#include "transport.h"

/* https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt */

enum { V2_FIXED = 16, SIGNATURE_SIZE = 12, TLV_HEADER = 3 };
static const unsigned char signature[SIGNATURE_SIZE + 1] =
    "\r\n\r\n\0\r\nQUIT\n";
static const char v1_start[] = "PROXY ";
enum { V1_START = sizeof v1_start - 1 };

static int bad(const char **why, const char *what) {
  *why = what;
  return UV_EPROTO;
}

bool net__proxy_set_name(union net__proxy_name *name,
                         const struct sockaddr *from) {
  const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)from;

  memset(name, 0, sizeof *name);
  switch (from->sa_family) {
    case AF_INET: memcpy(name, from, sizeof name->v4); return true;
    case AF_UNIX: memcpy(name, from, sizeof name->path); return true;
    case AF_INET6: break;
    default: return false;
  }
  if (!IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
    memcpy(name, v6, sizeof *v6);
    return true;
  }
  name->v4.sin_family = AF_INET;
  name->v4.sin_port = v6->sin6_port;
  memcpy(&name->v4.sin_addr, &v6->sin6_addr.s6_addr[12], 4);
  return true;
}

static bool set_ip(union net__proxy_name *name, int family, const void *address,
                   in_port_t port) {
  struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = port};
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = port};

  memcpy(&v4.sin_addr, address, sizeof v4.sin_addr);
  if (family == AF_INET)
    return net__proxy_set_name(name, (const struct sockaddr *)&v4);
  memcpy(&v6.sin6_addr, address, sizeof v6.sin6_addr);
  return net__proxy_set_name(name, (const struct sockaddr *)&v6);
}

/* -- Version 1: a line ---------------------------------------------------- */

/* The words of a line, which are parted by one blank each. */
struct words {
  char text[NET_PROXY_V1_MAX + 1];
  char *rest; /* NULL behind the last */
};

/* The next word; "" where there is none. */
static const char *next_word(struct words *words) {
  char *word = words->rest;

  if (!word) return "";
  words->rest = strchr(word, ' ');
  if (words->rest) *words->rest++ = '\0';
  return word;
}

/* Of 0 to 65535, without leading zeros; -1 if it is none. */
static int parse_port(const char *text) {
  int port = 0;

  if (!*text || (text[0] == '0' && text[1])) return -1;
  for (; *text >= '0' && *text <= '9' && port <= UINT16_MAX; text++)
    port = port * 10 + (*text - '0');
  return *text || port > UINT16_MAX ? -1 : port;
}

static int parse_line(struct words *words, struct net__proxy *proxy,
                      const char **why) {
  const char *what = next_word(words);
  struct in6_addr from, to; /* or an IPv4 one at the same place */

  if (!strcmp(what, "UNKNOWN")) {
    proxy->is_local = true;
    return 0;
  }
  int family = !strcmp(what, "TCP4")   ? AF_INET
               : !strcmp(what, "TCP6") ? AF_INET6
                                       : AF_UNSPEC;
  if (family == AF_UNSPEC) return bad(why, "neither TCP4, TCP6 nor UNKNOWN");
  if (inet_pton(family, next_word(words), &from) != 1 ||
      inet_pton(family, next_word(words), &to) != 1)
    return bad(why, "an address is wrong");
  int from_port = parse_port(next_word(words));
  int to_port = parse_port(next_word(words));
  if (from_port < 0 || to_port < 0) return bad(why, "a port is wrong");
  if (words->rest) return bad(why, "more than two ports");
  set_ip(&proxy->from, family, &from, htons((uint16_t)from_port));
  set_ip(&proxy->to, family, &to, htons((uint16_t)to_port));
  return 0;
}

static int parse_v1(const unsigned char *bytes, size_t length,
                    struct net__proxy *proxy, const char **why) {
  struct words words;
  const unsigned char *cr = memchr(bytes, '\r', length);
  const unsigned char *lf = memchr(bytes, '\n', length);
  const unsigned char *last = bytes + length - 1;

  if (lf ? lf != last || cr != last - 1 : cr && cr != last)
    return bad(why, "its line does not end with one CR and LF");
  if (!lf) {
    size_t wanted = cr ? 1 : 2;
    if (length < NET_PROXY_FIRST - wanted) wanted = NET_PROXY_FIRST - length;
    if (length + wanted > NET_PROXY_V1_MAX)
      return bad(why, "its line is longer than 107 bytes");
    return (int)wanted;
  }
  size_t rest = length - V1_START - 2;
  memcpy(words.text, bytes + V1_START, rest);
  words.text[rest] = '\0';
  words.rest = words.text;
  if (strlen(words.text) < rest) return bad(why, "its line holds NUL");
  proxy->version = 1;
  return parse_line(&words, proxy, why);
}

/* -- Version 2: binary ---------------------------------------------------- */

enum tlv {
  TLV_AUTHORITY = 0x02,
  TLV_CRC32C = 0x03,
  TLV_UNIQUE_ID = 0x05,
  TLV_SSL = 0x20,
  TLV_SSL_VERSION = 0x21,
  TLV_SSL_CN = 0x22
};

enum {
  SSL_FIXED = 5,
  CLIENT_SSL = 1,
  CLIENT_CERT = 2 | 4 /* on this connection, or earlier in its session */
};

static size_t read_16(const unsigned char *at) {
  return (size_t)at[0] << 8 | at[1];
}

static uint32_t read_32(const unsigned char *at) {
  return (uint32_t)(read_16(at) << 16 | read_16(at + 2));
}

struct tlvs {
  const unsigned char *at;
  size_t left;
};

struct one {
  int type;
  const unsigned char *value;
  size_t length;
};

/* Takes the next; returns 0 if there is none, UV_EPROTO if it is cut. */
static int take_tlv(struct tlvs *tlvs, struct one *one) {
  if (tlvs->left == 0) return 0;
  if (tlvs->left < TLV_HEADER) return UV_EPROTO;
  one->type = tlvs->at[0];
  one->value = tlvs->at + TLV_HEADER;
  one->length = read_16(tlvs->at + 1);
  if (one->length > tlvs->left - TLV_HEADER) return UV_EPROTO;
  tlvs->at += TLV_HEADER + one->length;
  tlvs->left -= TLV_HEADER + one->length;
  return 1;
}

static struct net__bytes bytes_of(const struct one *one) {
  return (struct net__bytes){(const char *)one->value, one->length};
}

/* CRC-32C (Castagnoli), of a header whose own 4 bytes for it at `sum` count as
 * zeros. */
static uint32_t checksum(const unsigned char *bytes, size_t length,
                         const unsigned char *sum) {
  uint32_t crc = UINT32_MAX;

  for (size_t i = 0; i < length; i++) {
    const unsigned char *at = bytes + i;
    crc ^= at >= sum && at < sum + 4 ? 0 : *at;
    for (int bit = 0; bit < 8; bit++)
      crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0x82f63b78) : 0);
  }
  return ~crc;
}

/* A certificate was verified if there was one, and nothing was found wrong: some
 * senders say the latter also where there is none. */
static int parse_tls(const struct one *tls, struct net__proxy *proxy,
                     const char **why) {
  struct net__bytes common_name = {0};
  struct one one;
  int more;

  if (tls->length < SSL_FIXED) return bad(why, "its TLS part is cut");
  int client = tls->value[0];
  struct tlvs tlvs = {tls->value + SSL_FIXED, tls->length - SSL_FIXED};
  while ((more = take_tlv(&tlvs, &one)) > 0) {
    if (one.type == TLV_SSL_VERSION) proxy->tls_version = bytes_of(&one);
    if (one.type == TLV_SSL_CN) common_name = bytes_of(&one);
  }
  if (more < 0) return bad(why, "its TLS part is cut");
  proxy->has_tls = client & CLIENT_SSL;
  proxy->has_certificate = proxy->has_tls && client & CLIENT_CERT;
  proxy->is_verified =
      proxy->has_certificate && read_32(tls->value + 1) == 0;
  if (!proxy->has_tls) proxy->tls_version = (struct net__bytes){0};
  if (proxy->is_verified) proxy->common_name = common_name;
  return 0;
}

static int parse_tlvs(struct tlvs tlvs, const unsigned char *bytes,
                      size_t length, struct net__proxy *proxy,
                      const char **why) {
  unsigned char seen[256] = {0};
  struct one one;
  int more, err = 0;

  while (err == 0 && (more = take_tlv(&tlvs, &one)) != 0) {
    if (more < 0) return bad(why, "a part of it is cut");
    bool is_ours = one.type == TLV_AUTHORITY || one.type == TLV_CRC32C ||
                   one.type == TLV_UNIQUE_ID || one.type == TLV_SSL;
    if (is_ours && seen[one.type]++)
      return bad(why, "a part of it is there twice");
    switch (one.type) {
      case TLV_AUTHORITY: proxy->authority = bytes_of(&one); break;
      case TLV_UNIQUE_ID:
        if (one.length > NET_PROXY_UNIQUE_ID_MAX)
          return bad(why, "its unique id is longer than 128 bytes");
        proxy->unique_id = bytes_of(&one);
        break;
      case TLV_CRC32C:
        if (one.length != 4 ||
            checksum(bytes, length, one.value) != read_32(one.value))
          return bad(why, "its checksum is wrong");
        break;
      case TLV_SSL: err = parse_tls(&one, proxy, why); break;
      default: break; /* TLV_NOOP, and what others may have to tell */
    }
  }
  return err;
}

static void set_path(union net__proxy_name *name, const unsigned char *path) {
  name->path.sun_family = AF_UNIX;
  memcpy(name->path.sun_path, path, sizeof name->path.sun_path);
}

/* Returns how many bytes the addresses take, 0 if it is no family that tells
 * any, or UV_EPROTO. Those of datagrams are as good: what a proxy got by QUIC,
 * it passes on by TCP. */
static int parse_names(int family, const unsigned char *at, size_t length,
                       struct net__proxy *proxy) {
  enum { UNIX_SIZE = sizeof proxy->from.path.sun_path };
  int ip = family >> 4 == 1 ? AF_INET : AF_INET6;
  size_t size = family >> 4 == 3 ? UNIX_SIZE : ip == AF_INET ? 4 : 16;
  size_t whole = family >> 4 == 3 ? 2 * size : 2 * size + 4;
  in_port_t ports[2];

  if (family == 0) return 0;
  if (family >> 4 < 1 || family >> 4 > 3 || (family & 15) < 1 ||
      (family & 15) > 2 || length < whole)
    return UV_EPROTO;
  if (family >> 4 == 3) {
    set_path(&proxy->from, at);
    set_path(&proxy->to, at + size);
    return (int)whole;
  }
  memcpy(ports, at + 2 * size, sizeof ports);
  set_ip(&proxy->from, ip, at, ports[0]);
  set_ip(&proxy->to, ip, at + size, ports[1]);
  return (int)whole;
}

static int parse_v2(const unsigned char *bytes, size_t length,
                    struct net__proxy *proxy, const char **why) {
  if (length < V2_FIXED) return (int)(V2_FIXED - length);
  size_t whole = V2_FIXED + read_16(bytes + 14);
  int command = bytes[12];

  if (command >> 4 != 2) return bad(why, "it is of no version that is known");
  if (command != 0x20 && command != 0x21)
    return bad(why, "its command is neither LOCAL nor PROXY");
  if (length < whole) return (int)(whole - length);
  if (length > whole) return bad(why, "it is followed by other bytes");
  proxy->version = 2;
  proxy->is_local = true; /* whatever follows is skipped */
  if (command == 0x20) return 0;
  int used = parse_names(bytes[13], bytes + V2_FIXED, whole - V2_FIXED, proxy);
  if (used < 0) return bad(why, "its addresses are of no known kind, or cut");
  if (used == 0) return 0;
  proxy->is_local = false;
  struct tlvs tlvs = {bytes + V2_FIXED + used, whole - V2_FIXED - (size_t)used};
  return parse_tlvs(tlvs, bytes, length, proxy, why);
}

/* -- Either --------------------------------------------------------------- */

static size_t least(size_t one, size_t other) {
  return one < other ? one : other;
}

int net__proxy_parse(const unsigned char *bytes, size_t length,
                     struct net__proxy *out, const char **why) {
  struct net__proxy proxy = {0};
  int result;

  if (length == 0) return NET_PROXY_FIRST;
  if (!memcmp(bytes, signature, least(length, SIGNATURE_SIZE)))
    result = parse_v2(bytes, length, &proxy, why);
  else if (!memcmp(bytes, v1_start, least(length, V1_START)))
    result = parse_v1(bytes, length, &proxy, why);
  else return bad(why, "it begins like none");
  if (result == 0) *out = proxy;
  return result;
}

/* -- Reading -------------------------------------------------------------- */

static int make_room(struct net__proxy_reader *reader, size_t size) {
  if (reader->size >= size) return 0;
  if (size < NET_PROXY_V1_MAX) size = NET_PROXY_V1_MAX;
  unsigned char *bytes = realloc(reader->bytes, size);
  if (!bytes) return UV_ENOMEM;
  reader->bytes = bytes;
  reader->size = size;
  return 0;
}

static ssize_t receive(struct net__proxy_reader *reader,
                       const struct net__poll *poll, size_t size) {
  return net__recv(poll, reader->bytes + reader->length, size);
}

/* A line could be read two bytes at a time, and is under TLS, which has no look
 * ahead but has taken the bytes from the kernel. But all that is there up to its
 * LF belongs to it, so look how much that is. */
static ssize_t look_ahead(struct net__proxy_reader *reader,
                          const struct net__poll *poll, size_t wanted) {
  size_t room = NET_PROXY_V1_MAX - reader->length;
  unsigned char *from = reader->bytes + reader->length;
  ssize_t n;

  if (poll->tls) return (ssize_t)wanted;
  do n = recv(poll->fd, from, room, MSG_PEEK | MSG_DONTWAIT);
  while (n < 0 && errno == EINTR);
  if (n < 0) return uv_translate_sys_error(errno);
  const unsigned char *lf = n > 0 ? memchr(from, '\n', (size_t)n) : NULL;
  return lf ? lf - from + 1 : n;
}

int net__proxy_read(struct net__proxy_reader *reader,
                    const struct net__poll *poll, struct net__proxy *proxy,
                    const char **why) {
  for (;;) {
    int wanted = net__proxy_parse(reader->bytes, reader->length, proxy, why);
    if (wanted <= 0) return wanted;
    int err = make_room(reader, reader->length + (size_t)wanted);
    if (err < 0) return err;
    ssize_t n = wanted;
    if (reader->length >= NET_PROXY_FIRST && !memcmp(reader->bytes, v1_start, 1))
      n = look_ahead(reader, poll, (size_t)wanted);
    if (n > 0) n = receive(reader, poll, (size_t)n);
    if (n == 0 && reader->length == 0) return UV_EOF;
    if (n == 0) return bad(why, "it ends before it is whole");
    if (n < 0) return (int)n;
    reader->length += (size_t)n;
  }
}

void net__proxy_reader_clear(struct net__proxy_reader *reader) {
  free(reader->bytes);
  *reader = (struct net__proxy_reader){0};
}

/* -- Writing -------------------------------------------------------------- */

static union net__proxy_name mapped(const union net__proxy_name *name) {
  union net__proxy_name v6 = *name;

  if (name->any.sa_family == AF_INET6) return v6;
  memset(&v6, 0, sizeof v6);
  v6.v6.sin6_family = AF_INET6;
  v6.v6.sin6_port = name->v4.sin_port;
  memset(&v6.v6.sin6_addr.s6_addr[10], 0xff, 2);
  memcpy(&v6.v6.sin6_addr.s6_addr[12], &name->v4.sin_addr, 4);
  return v6;
}

/* Makes both of one family; returns that, or AF_UNSPEC if there is none. */
static int agree(union net__proxy_name *from, union net__proxy_name *to) {
  const union net__proxy_name own_from = *from, own_to = *to;

  if (!net__proxy_set_name(from, &own_from.any) ||
      !net__proxy_set_name(to, &own_to.any))
    return AF_UNSPEC;
  if (from->any.sa_family == to->any.sa_family) return from->any.sa_family;
  if (from->any.sa_family == AF_UNIX || to->any.sa_family == AF_UNIX)
    return AF_UNSPEC;
  *from = mapped(from);
  *to = mapped(to);
  return AF_INET6;
}

static const void *address_of(const union net__proxy_name *name) {
  return name->any.sa_family == AF_INET ? (const void *)&name->v4.sin_addr
                                        : (const void *)&name->v6.sin6_addr;
}

static in_port_t port_of(const union net__proxy_name *name) {
  return name->any.sa_family == AF_INET ? name->v4.sin_port
                                        : name->v6.sin6_port;
}

static size_t write_v1(int family, const union net__proxy_name *from,
                       const union net__proxy_name *to, unsigned char *out) {
  char text[2][INET6_ADDRSTRLEN];

  if (family != AF_INET && family != AF_INET6)
    return (size_t)snprintf((char *)out, NET_PROXY_WRITE_MAX,
                            "PROXY UNKNOWN\r\n");
  inet_ntop(family, address_of(from), text[0], sizeof text[0]);
  inet_ntop(family, address_of(to), text[1], sizeof text[1]);
  return (size_t)snprintf((char *)out, NET_PROXY_WRITE_MAX,
                          "PROXY TCP%c %s %s %d %d\r\n",
                          family == AF_INET ? '4' : '6', text[0], text[1],
                          ntohs(port_of(from)), ntohs(port_of(to)));
}

static unsigned char *put(unsigned char *at, const void *bytes, size_t length) {
  if (length > 0) memcpy(at, bytes, length);
  return at + length;
}

static unsigned char *put_16(unsigned char *at, size_t value) {
  *at++ = (unsigned char)(value >> 8);
  *at++ = (unsigned char)value;
  return at;
}

/* What is too long for its kind is left out. */
static unsigned char *put_tlv(unsigned char *at, int type,
                              const struct net__bytes *value, size_t most) {
  if (!value->bytes || value->length > most) return at;
  *at++ = (unsigned char)type;
  return put(put_16(at, value->length), value->bytes, value->length);
}

/* What is zero in `verify` is only a certificate that was verified. */
static unsigned char *put_tls(unsigned char *at,
                              const struct net__proxy *proxy) {
  unsigned char *value = at + TLV_HEADER, *end = value;

  if (!proxy->has_tls) return at;
  *end++ = CLIENT_SSL | (proxy->has_certificate ? CLIENT_CERT : 0);
  end = put(end, proxy->is_verified ? "\0\0\0\0" : "\0\0\0\1", 4);
  end = put_tlv(end, TLV_SSL_VERSION, &proxy->tls_version,
                NET_PROXY_TLS_VERSION_MAX);
  end = put_tlv(end, TLV_SSL_CN, &proxy->common_name,
                NET_PROXY_COMMON_NAME_MAX);
  *at++ = TLV_SSL;
  put_16(at, (size_t)(end - value));
  return end;
}

static unsigned char *put_names(unsigned char *at, int family,
                                const union net__proxy_name *from,
                                const union net__proxy_name *to) {
  size_t size = family == AF_INET ? 4 : 16;
  in_port_t ports[] = {port_of(from), port_of(to)};

  if (family == AF_UNIX) {
    at = put(at, from->path.sun_path, sizeof from->path.sun_path);
    return put(at, to->path.sun_path, sizeof to->path.sun_path);
  }
  at = put(at, address_of(from), size);
  at = put(at, address_of(to), size);
  return put(at, ports, sizeof ports);
}

static size_t write_v2(const struct net__proxy *proxy, int family,
                       const union net__proxy_name *from,
                       const union net__proxy_name *to, unsigned char *out) {
  unsigned char *at = put(out, signature, SIGNATURE_SIZE);

  *at++ = family == AF_UNSPEC ? 0x20 : 0x21;
  *at++ = family == AF_INET    ? 0x11
          : family == AF_INET6 ? 0x21
          : family == AF_UNIX  ? 0x31
                               : 0;
  at += 2;
  if (family != AF_UNSPEC) {
    at = put_names(at, family, from, to);
    at = put_tlv(at, TLV_AUTHORITY, &proxy->authority, NET_PROXY_AUTHORITY_MAX);
    at = put_tlv(at, TLV_UNIQUE_ID, &proxy->unique_id, NET_PROXY_UNIQUE_ID_MAX);
    at = put_tls(at, proxy);
  }
  put_16(out + 14, (size_t)(at - out) - V2_FIXED);
  return (size_t)(at - out);
}

size_t net__proxy_write(const struct net__proxy *proxy, int version,
                        unsigned char *out) {
  union net__proxy_name from = proxy->from, to = proxy->to;
  int family = proxy->is_local ? AF_UNSPEC : agree(&from, &to);

  return version == 1 ? write_v1(family, &from, &to, out)
                      : write_v2(proxy, family, &from, &to, out);
}
