/* Ranges of addresses, which say who may connect and who is trusted. */
#include "check.h"

#include "net/cidr.h"

#include <arpa/inet.h>
#include <sys/un.h>

static struct net__cidr parsed(const char *text) {
  struct net__cidr cidr;
  const char *why = net__cidr_parse(text, &cidr);
  if (why) failed(__FILE__, __LINE__, "%s: %s", text, why);
  return cidr;
}

static bool holds(const char *range, const char *text) {
  struct net__cidr cidr = parsed(range);
  struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(80)};
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(80)};
  if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
    return net__cidrs_contain(&cidr, 1, (struct sockaddr *)&v4);
  CHECK(inet_pton(AF_INET6, text, &v6.sin6_addr) == 1);
  return net__cidrs_contain(&cidr, 1, (struct sockaddr *)&v6);
}

static void holding(void) {
  static const struct {
    const char *range, *in[4], *out[4];
  } cases[] = {
      {"10.0.0.0/8", {"10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"},
       {"11.0.0.0", "9.255.255.255", "a00::", "::10.0.0.1"}},
      {"192.0.2.7", {"192.0.2.7", "::ffff:192.0.2.7"},
       {"192.0.2.6", "192.0.2.8", "::192.0.2.7"}},
      {"192.0.2.8/29", {"192.0.2.8", "192.0.2.15"},
       {"192.0.2.7", "192.0.2.16"}},
      {"0.0.0.0/0", {"0.0.0.0", "255.255.255.255", "::ffff:1.2.3.4"},
       {"::", "::1", "2001:db8::1"}},
      {"128.0.0.0/1", {"128.0.0.0", "255.0.0.1"}, {"127.255.255.255"}},
      {"::1", {"::1"}, {"::", "::2", "127.0.0.1", "::ffff:127.0.0.1"}},
      {"::/0", {"::", "2001:db8::1", "::1"}, {"127.0.0.1", "::ffff:1.2.3.4"}},
      {"2001:db8::/33", {"2001:db8::", "2001:db8:7fff::ffff"},
       {"2001:db8:8000::", "2001:db9::"}},
      {"fe80::/10", {"fe80::1", "febf::1"}, {"fec0::1", "fe7f::1"}},
      {"::ffff:10.0.0.0/104", {"10.1.2.3", "::ffff:10.1.2.3"},
       {"11.0.0.0", "::1"}},
      {"::ffff:0:0/96", {"1.2.3.4", "::ffff:1.2.3.4"}, {"::1"}},
      {"::ffff:192.0.2.7", {"192.0.2.7"}, {"192.0.2.6"}},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    for (size_t j = 0; j < 4; j++) {
      const char *in = cases[i].in[j], *out = cases[i].out[j];
      snprintf(doing, sizeof doing, "%s, %s and %s", cases[i].range, in, out);
      if (in) CHECK(holds(cases[i].range, in));
      if (out) CHECK(!holds(cases[i].range, out));
    }
}

/* Of all prefixes, those that have as many bits as the addresses share. */
static void sharing(void) {
  for (int bits = 0; bits <= 32; bits++) {
    char range[32];
    uint32_t net = bits ? UINT32_C(0xc0a85a3c) & ~UINT32_C(0) << (32 - bits) : 0;
    snprintf(range, sizeof range, "%d.%d.%d.%d/%d", net >> 24, net >> 16 & 255,
             net >> 8 & 255, net & 255, bits);
    snprintf(doing, sizeof doing, "%s", range);
    struct net__cidr cidr = parsed(range);
    for (int bit = -1; bit < 32; bit++) {
      struct sockaddr_in name = {.sin_family = AF_INET};
      name.sin_addr.s_addr =
          htonl(net ^ (bit < 0 ? 0 : UINT32_C(0x80000000) >> bit));
      EQUAL(bit < 0 || bit >= bits,
            net__cidrs_contain(&cidr, 1, (struct sockaddr *)&name));
    }
  }
}

static void several(void) {
  struct net__cidr cidrs[] = {parsed("10.0.0.0/8"), parsed("::1")};
  struct sockaddr_in name = loopback(1);
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6,
                            .sin6_addr = in6addr_loopback};
  struct sockaddr_un path = {.sun_family = AF_UNIX, .sun_path = "/x"};
  struct net__cidr all = parsed("0.0.0.0/0");
  CHECK(!net__cidrs_contain(cidrs, 2, (struct sockaddr *)&name));
  CHECK(net__cidrs_contain(cidrs, 2, (struct sockaddr *)&v6));
  CHECK(!net__cidrs_contain(cidrs, 1, (struct sockaddr *)&v6));
  CHECK(!net__cidrs_contain(cidrs, 0, (struct sockaddr *)&v6));
  CHECK(!net__cidrs_contain(&all, 1, (struct sockaddr *)&path));
}

/* The list is a copy, in which an error leaves nothing to be lost. */
static void keeping(void) {
  char text[] = "10.0.0.0/8";
  const char *const own[] = {text, "::1", NULL}, *const *list = own;
  const char *const wrong[] = {"::1", "10.0.0.1/8", NULL};
  struct net__cidr *ranges;
  size_t count;
  EQUAL(0, net__cidrs_keep(&list, &ranges, &count));
  CHECK(list != own && list[0] != text && !list[2]);
  *text = 'x';
  SAME("10.0.0.0/8", list[0]);
  SAME("::1", list[1]);
  EQUAL(2, count);
  CHECK(ranges[0].is_v4 && ranges[0].bits == 8 && ranges[1].bits == 128);
  free((void *)list);
  free(ranges);

  list = wrong;
  EQUAL(UV_EINVAL, net__cidrs_keep(&list, &ranges, &count));
  CHECK(list != wrong);
  EQUAL(0, count);
  free((void *)list);
  free(ranges);

  list = NULL;
  EQUAL(0, net__cidrs_keep(&list, &ranges, &count));
  CHECK(!list && !ranges && !count);
}

static void refusing(void) {
  static const char address[] = "it is no IP address",
                    v4[] = "the prefix has 0 to 32 bits",
                    v6[] = "the prefix has 0 to 128 bits",
                    host[] = "bits behind the prefix are set",
                    zone[] = "an address with a zone is no range";
  static const struct {
    const char *text, *why;
  } cases[] = {
      {"", address},
      {"/8", address},
      {"10", address},
      {"10.0.0/8", address},
      {"10.0.0.0.0", address},
      {"010.0.0.0/8", address},
      {"256.0.0.0/8", address},
      {" 10.0.0.0/8", address},
      {"localhost", address},
      {"2001:db8:::/32", address},
      {"[::1]", address},
      {"1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111", address},
      {"10.0.0.0/", v4},
      {"10.0.0.0/33", v4},
      {"10.0.0.0/08", v4},
      {"10.0.0.0/-1", v4},
      {"10.0.0.0/+8", v4},
      {"10.0.0.0/8 ", v4},
      {"10.0.0.0/8/8", v4},
      {"10.0.0.0/255.0.0.0", v4},
      {"10.0.0.0/99999999999999999999", v4},
      {"::/129", v6},
      {"::1/x", v6},
      {"10.0.0.1/8", host},
      {"0.0.0.1/0", host},
      {"192.0.2.7/31", host},
      {"::1/127", host},
      {"2001:db8::1/32", host},
      {"::ffff:10.0.0.1/104", host},
      {"::ffff:0:0/95", host},
      {"fe80::1%lo", zone},
      {"fe80::%1/64", zone},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct net__cidr cidr;
    snprintf(doing, sizeof doing, "'%s'", cases[i].text);
    SAME(cases[i].why, net__cidr_parse(cases[i].text, &cidr));
    SAME(cases[i].why, rover_cidr_check(cases[i].text));
  }
  SAME("it is NULL", rover_cidr_check(NULL));
  CHECK(!rover_cidr_check("10.0.0.0/8") && !rover_cidr_check("::1"));
}

const struct check checks[] = {
    {"a range", "holds the addresses that begin like it, mapped ones as IPv4",
     holding},
    {"a range", "of any prefix looks at the bits of that alone", sharing},
    {"a list of ranges", "holds what one of them does, and no Unix socket",
     several},
    {"net__cidrs_keep", "keeps a list of its own, or tells that one is wrong",
     keeping},
    {"net__cidr_parse", "tells what is wrong, bits behind the prefix too",
     refusing},
    {NULL, NULL, NULL},
};
