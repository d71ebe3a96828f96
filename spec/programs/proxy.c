/* PROXY headers as they are read from sockets; what they say is checked by
 * spec/proxy_header_spec.lua. */
#include "check.h"

#include "net/proxy.h"

static const char signature[] = "\r\n\r\n\0\r\nQUIT\n";

static struct {
  const char *bytes;
  size_t length;
} headers[] = {
#define HEADER(text) {text, sizeof text - 1}
    HEADER("PROXY UNKNOWN\r\n"),
    HEADER("PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n"),
    HEADER("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
           "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
    HEADER("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
           "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
    HEADER("\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"),
    HEADER("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x14\xc0\0\2\7\xc0\0\2\1\x12\x67\1\xbb"
           "\5\0\5id-13"),
#undef HEADER
};
enum { HEADERS = sizeof headers / sizeof *headers };

static void pair_of_ends(int ends[2]) {
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
}

static void send_all(int fd, const char *bytes, size_t length) {
  EQUAL(length, send(fd, bytes, length, MSG_NOSIGNAL));
}

/* What is behind the header is all still there, and nothing before it. */
static void see_payload(int fd, const char *payload) {
  char bytes[64];
  ssize_t n = recv(fd, bytes, sizeof bytes, 0);
  EQUAL(strlen(payload), n);
  CHECK(!memcmp(bytes, payload, (size_t)n));
}

static void each(void (*function)(int ends[2], const char *bytes,
                                  size_t length)) {
  for (int i = 0; i < HEADERS; i++) {
    int ends[2];
    snprintf(doing, sizeof doing, "header %d", i);
    pair_of_ends(ends);
    function(ends, headers[i].bytes, headers[i].length);
    close(ends[0]);
    close(ends[1]);
  }
}

static int read_from(struct net__proxy_reader *reader, int fd,
                     struct net__proxy *proxy, const char **why) {
  const struct net__poll poll = {.fd = fd};
  return net__proxy_read(reader, &poll, proxy, why);
}

static void by_byte(int ends[2], const char *bytes, size_t length) {
  struct net__proxy_reader reader = {0};
  struct net__proxy proxy;
  const char *why;
  for (size_t i = 0; i < length; i++) {
    EQUAL(UV_EAGAIN, read_from(&reader, ends[1], &proxy, &why));
    send_all(ends[0], bytes + i, 1);
  }
  send_all(ends[0], "PROXY\r\n", 7);
  EQUAL(0, read_from(&reader, ends[1], &proxy, &why));
  see_payload(ends[1], "PROXY\r\n");
  net__proxy_reader_clear(&reader);
}

static void bytewise(void) { each(by_byte); }

/* The second piece has the payload as well. */
static void in_two(int ends[2], const char *bytes, size_t length) {
  for (size_t cut = 0; cut <= length; cut++) {
    struct net__proxy_reader reader = {0};
    struct net__proxy proxy;
    const char *why;
    char piece[256];
    memcpy(piece, bytes + cut, length - cut);
    memcpy(piece + length - cut, "\nhello\r\n", 8);
    if (cut > 0) {
      send_all(ends[0], bytes, cut);
      int err = read_from(&reader, ends[1], &proxy, &why);
      EQUAL(cut == length ? 0 : UV_EAGAIN, err);
    }
    send_all(ends[0], piece, length - cut + 8);
    if (cut < length)
      EQUAL(0, read_from(&reader, ends[1], &proxy, &why));
    see_payload(ends[1], "\nhello\r\n");
    net__proxy_reader_clear(&reader);
  }
}

static void halves(void) { each(in_two); }

static void ended(int ends[2], const char *bytes, size_t length) {
  (void)ends;
  for (size_t cut = 0; cut < length; cut++) {
    struct net__proxy_reader reader = {0};
    struct net__proxy proxy;
    const char *why = NULL;
    int own[2];
    pair_of_ends(own);
    if (cut > 0) send_all(own[0], bytes, cut);
    shutdown(own[0], SHUT_WR);
    EQUAL(cut > 0 ? UV_EPROTO : UV_EOF,
          read_from(&reader, own[1], &proxy, &why));
    if (cut > 0) SAME("it ends before it is whole", why);
    net__proxy_reader_clear(&reader);
    close(own[0]);
    close(own[1]);
  }
}

static void endings(void) { each(ended); }

/* 64 KiB of parts take the memory for them, and are read as they come. */
static void long_one(void) {
  enum { LENGTH = 16 + 65535 };
  static char bytes[LENGTH + 4];
  struct net__proxy_reader reader = {0};
  struct net__proxy proxy;
  const char *why;
  int ends[2], err;
  size_t sent = 0;
  memcpy(bytes, signature, 12);
  memcpy(bytes + 12, "\x20\0\xff\xff", 4);
  memcpy(bytes + LENGTH, "data", 4);
  pair_of_ends(ends);
  do {
    ssize_t n = send(ends[0], bytes + sent, LENGTH + 4 - sent, MSG_NOSIGNAL);
    if (n > 0) sent += (size_t)n;
    err = read_from(&reader, ends[1], &proxy, &why);
  } while (err == UV_EAGAIN);
  EQUAL(0, err);
  EQUAL(LENGTH + 4, sent);
  EQUAL(LENGTH, reader.size);
  CHECK(proxy.is_local);
  see_payload(ends[1], "data");
  net__proxy_reader_clear(&reader);
  close(ends[0]);
  close(ends[1]);
}

/* Whoever is no proxy is known by the first bytes. */
static void strangers(void) {
  static const char *const says[] = {"G", "GET / HTTP/1.1\r\n", "PROXZ",
                                     "\r\n\r\n\r\n", "13\r\n"};
  for (size_t i = 0; i < sizeof says / sizeof *says; i++) {
    struct net__proxy_reader reader = {0};
    struct net__proxy proxy;
    const char *why = NULL;
    int ends[2];
    pair_of_ends(ends);
    send_all(ends[0], says[i], strlen(says[i]));
    EQUAL(UV_EPROTO, read_from(&reader, ends[1], &proxy, &why));
    SAME("it begins like none", why);
    net__proxy_reader_clear(&reader);
    close(ends[0]);
    close(ends[1]);
  }
}

const struct check checks[] = {
    {"net__proxy_read", "takes a header that comes byte by byte, and no more",
     bytewise},
    {"net__proxy_read", "leaves what comes with a header in the kernel", halves},
    {"net__proxy_read", "tells an end within a header from one before it",
     endings},
    {"net__proxy_read", "takes headers as long as can be", long_one},
    {"net__proxy_read", "knows at once who is no proxy", strangers},
    {NULL, NULL, NULL},
};
