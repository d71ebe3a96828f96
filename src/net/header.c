#include "header.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <uv.h>

/* -- Received ------------------------------------------------------------- */

union any_name {
  struct sockaddr any;
  struct sockaddr_storage room;
};

static int get_name(int fd, union net__proxy_name *out,
                    int (*get)(int, struct sockaddr *, socklen_t *)) {
  union any_name name = {0};
  socklen_t size = sizeof name;

  if (get(fd, &name.any, &size) < 0) return uv_translate_sys_error(errno);
  net__proxy_set_name(out, &name.any);
  return 0;
}

int net__header_new(struct net__header **out, int fd) {
  struct net__header *header = calloc(1, sizeof *header);
  if (!header) return UV_ENOMEM;
  int err = get_name(fd, &header->peer, getpeername);
  if (err < 0) {
    free(header);
    return err;
  }
  header->proxy.is_local = true;
  *out = header;
  return 0;
}

void net__header_free(struct net__header *header) {
  if (!header) return;
  net__proxy_reader_clear(&header->reader);
  free(header);
}

int net__header_read(struct net__header *header, int fd, const char **why) {
  return net__proxy_read(&header->reader, fd, &header->proxy, why);
}

const union net__proxy_name *net__header_name(const struct net__header *h) {
  return h->proxy.is_local ? &h->peer : &h->proxy.from;
}

/* -- Sent ----------------------------------------------------------------- */

/* What is known of a connection that came without a header. The address of a
 * Unix socket would mean nothing to the receiver. */
static struct net__proxy proxy_of(int fd) {
  struct net__proxy proxy = {0};

  proxy.is_local = get_name(fd, &proxy.from, getpeername) < 0 ||
                   get_name(fd, &proxy.to, getsockname) < 0 ||
                   proxy.from.any.sa_family == AF_UNIX;
  return proxy;
}

char *net__header_make(const struct net__header *own, int fd, int version,
                         size_t *length) {
  unsigned char bytes[NET_PROXY_WRITE_MAX];
  struct net__proxy proxy =
      own && !own->proxy.is_local ? own->proxy : proxy_of(fd);

  *length = net__proxy_write(&proxy, version, bytes);
  char *made = malloc(*length);
  return made ? memcpy(made, bytes, *length) : NULL;
}
