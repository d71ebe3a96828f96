#include "cidr.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <uv.h>

enum { V4_BITS = 32, V6_BITS = 128, MAPPED_BITS = 96 };
static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};

/* Of an IPv4 or IPv6 address; what is mapped becomes IPv4. */
static void set_address(struct net__cidr *cidr, const unsigned char *address,
                        bool is_v4) {
  cidr->is_v4 = is_v4 || !memcmp(address, mapped, sizeof mapped);
  if (cidr->is_v4 && !is_v4) address += sizeof mapped;
  memset(cidr->address, 0, sizeof cidr->address);
  memcpy(cidr->address, address, cidr->is_v4 ? 4 : 16);
}

/* Digits without a leading zero, at most `most`; -1: it is no such number. */
static int parse_bits(const char *text, int most) {
  int bits = 0;

  if (!*text || (text[0] == '0' && text[1])) return -1;
  for (; *text >= '0' && *text <= '9' && bits <= most; text++)
    bits = bits * 10 + (*text - '0');
  return *text || bits > most ? -1 : bits;
}

static bool has_host_bits(const struct net__cidr *cidr) {
  for (int bit = cidr->bits; bit < V6_BITS; bit++)
    if (cidr->address[bit / 8] & 0x80 >> bit % 8) return true;
  return false;
}

const char *net__cidr_parse(const char *text, struct net__cidr *cidr) {
  char host[INET6_ADDRSTRLEN];
  unsigned char address[16];
  const char *slash = strchr(text, '/');
  size_t length = slash ? (size_t)(slash - text) : strlen(text);

  if (memchr(text, '%', length)) return "an address with a zone is no range";
  if (length >= sizeof host) return "it is no IP address";
  memcpy(host, text, length);
  host[length] = '\0';
  bool is_v4 = inet_pton(AF_INET, host, address) == 1;
  if (!is_v4 && inet_pton(AF_INET6, host, address) != 1)
    return "it is no IP address";
  set_address(cidr, address, is_v4);
  int most = is_v4 ? V4_BITS : V6_BITS;
  int bits = slash ? parse_bits(slash + 1, most) : most;
  if (bits < 0)
    return is_v4 ? "the prefix has 0 to 32 bits"
                 : "the prefix has 0 to 128 bits";
  if (cidr->is_v4 && !is_v4) bits -= MAPPED_BITS;
  cidr->bits = bits < 0 ? 0 : (unsigned char)bits;
  return bits < 0 || has_host_bits(cidr) ? "bits behind the prefix are set"
                                         : NULL;
}

int net__cidrs_keep(const char *const **list, struct net__cidr **ranges,
                    size_t *count) {
  const char *const *from = *list;
  size_t length = 0, size = 0;

  *list = NULL;
  *ranges = NULL;
  *count = 0;
  for (; from && from[length]; length++) size += strlen(from[length]) + 1;
  if (length == 0) return 0;
  const char **copy = malloc((length + 1) * sizeof *copy + size);
  if (!copy) return UV_ENOMEM;
  *list = copy;
  *ranges = malloc(length * sizeof **ranges);
  if (!*ranges) return UV_ENOMEM;
  char *text = (char *)(copy + length + 1);
  for (size_t i = 0; i < length; i++) {
    if (net__cidr_parse(from[i], &(*ranges)[i])) return UV_EINVAL;
    copy[i] = strcpy(text, from[i]);
    text += strlen(text) + 1;
  }
  copy[length] = NULL;
  *count = length;
  return 0;
}

static bool contains(const struct net__cidr *cidr,
                     const struct net__cidr *one) {
  int whole = cidr->bits / 8, rest = cidr->bits % 8;

  return cidr->is_v4 == one->is_v4 &&
         !memcmp(cidr->address, one->address, (size_t)whole) &&
         (rest == 0 ||
          (cidr->address[whole] ^ one->address[whole]) >> (8 - rest) == 0);
}

bool net__cidrs_contain(const struct net__cidr *cidrs, size_t count,
                        const struct sockaddr *name) {
  const struct sockaddr_in *v4 = (const struct sockaddr_in *)name;
  const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)name;
  struct net__cidr one;

  if (name->sa_family == AF_INET)
    set_address(&one, (const unsigned char *)&v4->sin_addr, true);
  else if (name->sa_family == AF_INET6)
    set_address(&one, v6->sin6_addr.s6_addr, false);
  else return false;
  for (size_t i = 0; i < count; i++)
    if (contains(&cidrs[i], &one)) return true;
  return false;
}
