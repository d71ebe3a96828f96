/* PROXY headers: never read too far, and what is understood can be said again.
 *
 * Input: four bytes that say where to cut, two bits a piece; then what a proxy
 * sends. */
#include "fuzz.h"
#include "net/proxy.h"

#include <uv.h>

/* Of a copy that ends where its memory does, so that reading on is noticed.
 * Returns the copy, to which *proxy points, or NULL. */
static uint8_t *parse(const uint8_t *bytes, size_t length, int *result,
                      struct net__proxy *proxy) {
  uint8_t *copy = malloc(length ? length : 1);
  const char *why = NULL;
  check(copy);
  memcpy(copy, bytes, length);
  *result = net__proxy_parse(copy, length, proxy, &why);
  check(*result >= 0 || (*result == UV_EPROTO && why && *why));
  if (*result == 0) return copy;
  free(copy);
  return NULL;
}

/* All of what it points to is within the copy, and is read. */
static void visit(const struct net__bytes *bytes) {
  volatile char sum = 0;
  check(bytes->bytes || bytes->length == 0);
  for (size_t i = 0; i < bytes->length; i++) sum ^= bytes->bytes[i];
  (void)sum;
}

static bool is_same(const struct net__bytes *one,
                    const struct net__bytes *other) {
  return one->length == other->length &&
         (one->length == 0 || !memcmp(one->bytes, other->bytes, one->length));
}

/* What is written of it tells the same. */
static void write_again(const struct net__proxy *proxy, int version) {
  uint8_t out[NET_PROXY_WRITE_MAX];
  struct net__proxy again = {0};
  int result;
  size_t length = net__proxy_write(proxy, version, out);
  check(length >= NET_PROXY_FIRST && length <= sizeof out);
  uint8_t *copy = parse(out, length, &result, &again);
  check(result == 0 && again.version == version);
  bool is_path = proxy->from.any.sa_family == AF_UNIX;
  check(again.is_local == (proxy->is_local || (version == 1 && is_path)));
  if (!again.is_local) {
    check(!memcmp(&again.from, &proxy->from, sizeof again.from));
    check(!memcmp(&again.to, &proxy->to, sizeof again.to));
  }
  if (version == 2 && !again.is_local) {
    check(is_same(&again.unique_id, &proxy->unique_id));
    if (proxy->authority.length <= NET_PROXY_AUTHORITY_MAX)
      check(is_same(&again.authority, &proxy->authority));
    check(again.has_tls == proxy->has_tls);
    check(again.has_certificate == proxy->has_certificate);
    check(again.is_verified == proxy->is_verified);
    if (proxy->tls_version.length <= NET_PROXY_TLS_VERSION_MAX)
      check(is_same(&again.tls_version, &proxy->tls_version));
    if (proxy->common_name.length <= NET_PROXY_COMMON_NAME_MAX)
      check(is_same(&again.common_name, &proxy->common_name));
  }
  free(copy);
}

static void see(const struct net__proxy *proxy) {
  visit(&proxy->unique_id);
  visit(&proxy->authority);
  visit(&proxy->tls_version);
  visit(&proxy->common_name);
  check(proxy->version == 1 || proxy->version == 2);
  check(!proxy->is_verified || proxy->has_tls);
  check(proxy->is_verified || !proxy->common_name.bytes);
  check(proxy->unique_id.length <= NET_PROXY_UNIQUE_ID_MAX);
  /* Mapped ones and others are told as one family. */
  if (!proxy->is_local &&
      proxy->from.any.sa_family != proxy->to.any.sa_family)
    return;
  write_again(proxy, 1);
  write_again(proxy, 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  struct input in = {bytes, size};
  uint32_t cuts;
  size_t length = 0, upto = 0; /* where it may be read to, as was said before */

  take(&in, &cuts, sizeof cuts);
  for (;;) {
    struct net__proxy proxy;
    int wanted;
    uint8_t *copy = parse(in.bytes, length, &wanted, &proxy);
    if (wanted == 0) {
      check(length >= upto); /* nobody was told to read too far */
      see(&proxy);
      free(copy);
    }
    if (wanted <= 0) return 0;
    check(length + (size_t)wanted >= upto);
    upto = length + (size_t)wanted;
    size_t piece = 1 + (cuts & 3) * (cuts & 3) * 5;
    if (piece > (size_t)wanted) piece = (size_t)wanted;
    if (piece > in.left - length) piece = in.left - length;
    if (piece == 0) return 0;
    length += piece;
    cuts = cuts >> 2 | cuts << 30;
  }
}
