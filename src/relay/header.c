#include "header.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* -- A client's ----------------------------------------------------------- */

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

int relay__header_new(struct relay__header **out, int fd) {
  struct relay__header *header = calloc(1, sizeof *header);
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

void relay__header_free(struct relay__header *header) {
  if (!header) return;
  net__proxy_reader_clear(&header->reader);
  free(header);
}

int relay__header_read(struct relay__header *header, int fd, const char **why) {
  return net__proxy_read(&header->reader, fd, &header->proxy, why);
}

const union net__proxy_name *relay__header_name(const struct relay__header *h) {
  return h->proxy.is_local ? &h->peer : &h->proxy.from;
}

/* -- A server's ----------------------------------------------------------- */

/* What is known of the connection of a client that has told nothing. A Unix
 * socket's address would tell its server nothing. */
static struct net__proxy proxy_of(int fd) {
  struct net__proxy proxy = {0};

  proxy.is_local = get_name(fd, &proxy.from, getpeername) < 0 ||
                   get_name(fd, &proxy.to, getsockname) < 0 ||
                   proxy.from.any.sa_family == AF_UNIX;
  return proxy;
}

char *relay__header_make(const struct relay__header *own, int fd, int version,
                         size_t *length) {
  unsigned char bytes[NET_PROXY_WRITE_MAX];
  struct net__proxy proxy =
      own && !own->proxy.is_local ? own->proxy : proxy_of(fd);

  *length = net__proxy_write(&proxy, version, bytes);
  char *made = malloc(*length);
  return made ? memcpy(made, bytes, *length) : NULL;
}
