#include "header.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <uv.h>

#include "transport.h"

/* -- Received ------------------------------------------------------------- */

int net__header_new(struct net__header **out, const struct sockaddr *peer) {
  struct net__header *header = calloc(1, sizeof *header);

  if (!header) return UV_ENOMEM;
  if (peer) net__proxy_set_name(&header->peer, peer);
  else header->peer.any.sa_family = AF_UNIX;
  header->proxy.is_local = true;
  *out = header;
  return 0;
}

void net__header_free(struct net__header *header) {
  if (!header) return;
  net__proxy_reader_clear(&header->reader);
  free(header);
}

int net__header_read(struct net__header *header, const struct net__poll *poll,
                     const char **why) {
  return net__proxy_read(&header->reader, poll, &header->proxy, why);
}

const union net__proxy_name *net__header_name(const struct net__header *h) {
  return h->proxy.is_local ? &h->peer : &h->proxy.from;
}

/* -- Sent ----------------------------------------------------------------- */

union any_name {
  struct sockaddr any;
  struct sockaddr_storage room;
};

static void set_tls(struct net__proxy *proxy, const struct net__tls *tls) {
  struct net__tls_facts facts = {0};

  tls->type->describe(tls, &facts);
  proxy->has_tls = true;
  if (facts.version)
    proxy->tls_version =
        (struct net__bytes){facts.version, strlen(facts.version)};
  proxy->has_certificate = proxy->is_verified = facts.is_verified;
  if (facts.is_verified)
    proxy->common_name =
        (struct net__bytes){facts.common_name, facts.common_name_length};
}

/* What is known of a connection that came without a header. The address of a
 * Unix socket would mean nothing to the receiver. */
static struct net__proxy proxy_of(const struct net__poll *poll,
                                  const struct sockaddr *peer) {
  struct net__proxy proxy = {.is_local = true};
  union any_name own = {0};
  socklen_t size = sizeof own;

  if (!peer || getsockname(poll->fd, &own.any, &size) < 0) return proxy;
  net__proxy_set_name(&proxy.from, peer);
  net__proxy_set_name(&proxy.to, &own.any);
  proxy.is_local = false;
  if (poll->tls) set_tls(&proxy, poll->tls);
  return proxy;
}

char *net__header_make(const struct net__header *own,
                       const struct net__poll *poll,
                       const struct sockaddr *peer, int version,
                       size_t *length) {
  unsigned char bytes[NET_PROXY_WRITE_MAX];
  struct net__proxy proxy =
      own && !own->proxy.is_local ? own->proxy : proxy_of(poll, peer);

  *length = net__proxy_write(&proxy, version, bytes);
  char *made = malloc(*length);
  return made ? memcpy(made, bytes, *length) : NULL;
}
