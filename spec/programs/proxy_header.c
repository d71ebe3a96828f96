/* Reads PROXY headers for spec/proxy_header_spec.lua, and writes them.
 *
 * Each line of standard input is one request, answered by one line:
 *
 *   read HEX     the bytes that came, which are fed as a reader would ask for
 *                them: "more", "bad WHY", or "ok LENGTH FIELDS" where each field
 *                is a name, "=" and a value, texts in hex
 *   write V FROM TO UNIQUE_ID AUTHORITY [CERTIFICATE TLS_VERSION COMMON_NAME]
 *                the header of that version in hex. Addresses are HOST,PORT or
 *                "local"; texts are in hex, or "-"; CERTIFICATE is "none",
 *                "wrong" or "right" */
#include "net/proxy.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <uv.h>

static unsigned char bytes[1 << 18];

static size_t from_hex(const char *hex) {
  size_t length = 0;
  unsigned byte;
  for (; sscanf(hex, "%2x", &byte) == 1; hex += 2)
    bytes[length++] = (unsigned char)byte;
  return length;
}

static void put_hex(const void *from, size_t length) {
  for (size_t i = 0; i < length; i++)
    printf("%02x", ((const unsigned char *)from)[i]);
}

static void put_bytes(const char *name, struct net__bytes value) {
  if (!value.bytes) return;
  printf(" %s=", name);
  put_hex(value.bytes, value.length);
}

static void put_name(const char *name, const union net__proxy_name *value) {
  char text[INET6_ADDRSTRLEN];

  printf(" %s=", name);
  switch (value->any.sa_family) {
    case AF_UNIX:
      printf("unix,");
      put_hex(value->path.sun_path, sizeof value->path.sun_path);
      break;
    case AF_INET:
      inet_ntop(AF_INET, &value->v4.sin_addr, text, sizeof text);
      printf("%s,%d", text, ntohs(value->v4.sin_port));
      break;
    default:
      inet_ntop(AF_INET6, &value->v6.sin6_addr, text, sizeof text);
      printf("%s,%d", text, ntohs(value->v6.sin6_port));
  }
}

static void put_header(size_t length, const struct net__proxy *proxy) {
  printf("ok %zu version=%d", length, proxy->version);
  if (proxy->is_local) printf(" local=1");
  else {
    put_name("from", &proxy->from);
    put_name("to", &proxy->to);
  }
  put_bytes("uniqueId", proxy->unique_id);
  put_bytes("authority", proxy->authority);
  if (proxy->has_tls) printf(" tls=1");
  put_bytes("tlsVersion", proxy->tls_version);
  if (proxy->is_verified) printf(" verified=1");
  put_bytes("commonName", proxy->common_name);
  puts("");
}

/* Of a copy that ends where its memory does, so that reading on is noticed. */
static int parse(size_t length, struct net__proxy *proxy, const char **why) {
  unsigned char *copy = malloc(length ? length : 1);
  memcpy(copy, bytes, length);
  int result = net__proxy_parse(copy, length, proxy, why);
  free(copy);
  return result;
}

/* However few bytes come at once: after each, too, the rest belongs to it. */
static void read_header(size_t size) {
  const char *why = "";
  struct net__proxy proxy;
  size_t length = 0;

  for (;;) {
    int wanted = parse(length, &proxy, &why);
    if (wanted == UV_EPROTO) {
      printf("bad %s\n", why);
      return;
    }
    if (wanted == 0) break;
    size_t upto = length + (size_t)wanted;
    if (length == size) {
      puts("more");
      return;
    }
    /* Of long ones not each: that would take too long. */
    for (size_t step = 1 + wanted / 1000; length + step < upto; length += step) {
      size_t now = length + step < size ? length + step : size;
      int less = parse(now, &proxy, &why);
      if (less == 0 || (less > 0 && now + (size_t)less < upto)) {
        printf("read past the end at %zu\n", now);
        return;
      }
      if (less < 0 || now == size) break;
    }
    length = upto < size ? upto : size;
  }
  net__proxy_parse(bytes, length, &proxy, &why);
  put_header(length, &proxy);
}

static bool set_name(union net__proxy_name *name, char *text) {
  char *comma = strchr(text, ',');
  if (!comma) return false;
  *comma = '\0';
  memset(name, 0, sizeof *name);
  if (!strcmp(text, "unix")) {
    name->path.sun_family = AF_UNIX;
    strcpy(name->path.sun_path, comma + 1);
  } else if (inet_pton(AF_INET, text, &name->v4.sin_addr) == 1) {
    name->v4.sin_family = AF_INET;
    name->v4.sin_port = htons((uint16_t)atoi(comma + 1));
  } else {
    if (inet_pton(AF_INET6, text, &name->v6.sin6_addr) != 1) return false;
    name->v6.sin6_family = AF_INET6;
    name->v6.sin6_port = htons((uint16_t)atoi(comma + 1));
  }
  return true;
}

static struct net__bytes copied(const char *hex) {
  if (!strcmp(hex, "-")) return (struct net__bytes){0};
  size_t length = from_hex(hex);
  char *copy = malloc(length + 1);
  memcpy(copy, bytes, length);
  return (struct net__bytes){copy, length};
}

static void write_header(char *line) {
  static char word[8][2048];
  struct net__proxy proxy = {0};

  int count = sscanf(line, "%2047s %2047s %2047s %2047s %2047s %2047s %2047s "
                     "%2047s", word[0], word[1], word[2], word[3], word[4],
                     word[5], word[6], word[7]);
  if (count != 5 && count != 8) exit(2);
  proxy.is_local = !set_name(&proxy.from, word[1]) ||
                   !set_name(&proxy.to, word[2]);
  proxy.unique_id = copied(word[3]);
  proxy.authority = copied(word[4]);
  if (count == 8) {
    proxy.has_tls = true;
    proxy.has_certificate = strcmp(word[5], "none") != 0;
    proxy.is_verified = !strcmp(word[5], "right");
    proxy.tls_version = copied(word[6]);
    proxy.common_name = copied(word[7]);
  }
  unsigned char *out = malloc(NET_PROXY_WRITE_MAX);
  put_hex(out, net__proxy_write(&proxy, atoi(word[0]), out));
  puts("");
  free(out);
  free((char *)proxy.unique_id.bytes);
  free((char *)proxy.authority.bytes);
  free((char *)proxy.tls_version.bytes);
  free((char *)proxy.common_name.bytes);
}

int main(void) {
  static char line[1 << 19];
  while (fgets(line, sizeof line, stdin)) {
    if (!strncmp(line, "read ", 5)) read_header(from_hex(line + 5));
    else if (!strncmp(line, "write ", 6)) write_header(line + 6);
    else return 2;
  }
  return 0;
}
