#include "clear.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <uv.h>

#include "../net/descriptor.h"
#include "../net/tls.h"
#include "../tls/functions.h"

/* TLS in simulations: all that is said in clear, at once and by the same rules
 * (see src/net/tls.h). The certificates of a fleet are not where it is
 * simulated, and what they cost is not what a simulation is about. */

struct connection {
  struct net__tls tls;
  struct net__tls_context *context;
  int fd, end; /* 1: not yet; 0 or an errno: what was found behind bytes */
};

static struct connection *of(const struct net__tls *tls) {
  return (struct connection *)tls;
}

static int handshake(struct net__tls *tls) {
  (void)tls;
  return 0;
}

static void describe(const struct net__tls *tls, struct net__tls_facts *facts) {
  *facts = (struct net__tls_facts){.version = "none",
                                   .is_verified = of(tls)->context->demands};
}

static ssize_t receive(struct net__tls *tls, void *bytes, size_t size) {
  struct connection *self = of(tls);
  size_t all = 0;

  tls->holds = false;
  while (self->end == 1 && all < size) {
    ssize_t n = recv(self->fd, (char *)bytes + all, size - all, 0);
    if (n > 0) all += (size_t)n;
    else if (n == 0) self->end = 0;
    else if (errno == EAGAIN) return all > 0 ? (ssize_t)all : -EAGAIN;
    else if (errno != EINTR) self->end = -errno;
  }
  if (all == 0) return self->end;
  /* The end, or what there was no room for. */
  tls->holds = self->end != 1 || net__fd_peek(self->fd) != -EAGAIN;
  return (ssize_t)all;
}

static int peek(struct net__tls *tls) {
  struct connection *self = of(tls);
  int result = self->end == 1 ? net__fd_peek(self->fd) : self->end;
  tls->holds = result != -EAGAIN;
  return result;
}

static ssize_t transmit(struct net__tls *tls, const void *bytes, size_t size) {
  ssize_t n;
  do n = send(of(tls)->fd, bytes, size, MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  return n < 0 ? -errno : n;
}

static int end(struct net__tls *tls) {
  return shutdown(of(tls)->fd, SHUT_WR) < 0 ? -errno : 0;
}

static void finish(struct net__tls *tls) {
  net__tls_context_unref(of(tls)->context);
  free(of(tls));
}

static const char *why(const struct net__tls *tls) {
  (void)tls;
  return NULL;
}

static const struct net__tls_type clear = {.handshake = handshake,
                                           .describe = describe,
                                           .recv = receive,
                                           .peek = peek,
                                           .send = transmit,
                                           .shutdown = end,
                                           .close = finish,
                                           .why = why};

/* -- Contexts ------------------------------------------------------------- */

struct rover_tls_s {
  struct net__tls_context base;
};

static int open_clear(struct net__tls_context *context, int fd,
                      const char *name, const char *key,
                      struct net__tls **tls) {
  struct connection *made = malloc(sizeof *made);
  (void)name, (void)key;
  if (!made) return -ENOMEM;
  *made = (struct connection){
      .tls = {.type = &clear}, .context = context, .fd = fd, .end = 1};
  context->refs++;
  *tls = &made->tls;
  return 0;
}

static void follow(struct net__tls_context *context,
                   struct net__tls_context *other) {
  (void)context, (void)other;
}

/* Nothing is trusted, nothing shown. */
static bool is_same(const struct net__tls_context *context,
                    const struct net__tls_context *other) {
  (void)context, (void)other;
  return true;
}

static void free_context(struct net__tls_context *context) { free(context); }

static const struct net__tls_context_type type = {
    .open = open_clear, .follow = follow, .is_same = is_same,
    .free = free_context};

static int make(rover_tls_t **tls, bool is_server, bool demands) {
  rover_tls_t *made = malloc(sizeof *made);
  if (!made) return UV_ENOMEM;
  made->base = (struct net__tls_context){
      .type = &type,
      .refs = 1,
      .is_server = is_server,
      .demands = demands,
      .is_clear = true};
  *tls = made;
  return 0;
}

static int client_new(rover_tls_t **tls,
                      const rover_tls_client_options_t *options,
                      char *message) {
  (void)options, (void)message;
  return make(tls, false, false);
}

static int server_new(rover_tls_t **tls,
                      const rover_tls_server_options_t *options,
                      char *message) {
  (void)message;
  return make(tls, true,
              options->ca && (options->verify == ROVER_TLS_VERIFY_DEFAULT ||
                              options->verify == ROVER_TLS_VERIFY_REQUIRE));
}

static int reload(rover_tls_t *tls, char *message) {
  (void)tls, (void)message;
  return 0;
}

static rover_tls_t *ref(rover_tls_t *tls) {
  if (tls) tls->base.refs++;
  return tls;
}

static void unref(rover_tls_t *tls) {
  if (tls) net__tls_context_unref(&tls->base);
}

static int64_t expiry(const rover_tls_t *tls, const char **file) {
  (void)tls;
  if (file) *file = NULL;
  return INT64_MAX;
}

static int file(const rover_tls_t *tls, size_t index, const char **path,
                int64_t *expires, bool *is_list) {
  (void)tls, (void)index, (void)path, (void)expires, (void)is_list;
  return UV_ENOENT;
}

const struct tls__functions sim__clear = {.version = ROVER_VERSION_HEX,
                                          .client_new = client_new,
                                          .server_new = server_new,
                                          .reload = reload,
                                          .ref = ref,
                                          .unref = unref,
                                          .expiry = expiry,
                                          .file = file};
