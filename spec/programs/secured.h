/* What the programs about TLS share: contexts of certificates by name, and the
 * two sides of a connection in this process. */
#ifndef SECURED_H
#define SECURED_H

#include "check.h"

#include <callosum/tls.h>

#include <netinet/tcp.h>

#include "net/tls.h"

#define base_of(tls) ((struct net__tls_context *)(tls))

/* -- Certificates --------------------------------------------------------- */

/* The path of a file among the certificates; a few at a time. */
static const char *file(const char *name) {
  static char paths[16][256];
  static unsigned next;
  const char *folder_of = getenv("CERTIFICATES");
  CHECK(folder_of);
  char *path = paths[next++ % 16];
  snprintf(path, sizeof paths[0], "%s/%s", folder_of, name);
  return path;
}

/* That of a kind of certificate, "" being its end: server.crt, server.key. */
static const char *of_kind(const char *name, const char *end) {
  char both[64];
  snprintf(both, sizeof both, "%s.%s", name, end);
  return file(both);
}

static inline rover_tls_t *
made_client(const rover_tls_client_options_t *options) {
  char message[ROVER_TLS_MESSAGE_MAX];
  rover_tls_t *tls = NULL;
  int err = rover_tls_client_new(&tls, options, message);
  if (err < 0) failed(__FILE__, __LINE__, "%d: %s", err, message);
  return tls;
}

static inline rover_tls_t *
made_server(const rover_tls_server_options_t *options) {
  char message[ROVER_TLS_MESSAGE_MAX];
  rover_tls_t *tls = NULL;
  int err = rover_tls_server_new(&tls, options, message);
  if (err < 0) failed(__FILE__, __LINE__, "%d: %s", err, message);
  return tls;
}

/* One that trusts the CA; `name` is NULL: it shows nothing. */
static inline rover_tls_t *client(const char *name) {
  const rover_tls_client_options_t options = {
      .ca = file("ca.crt"),
      .cert = name ? of_kind(name, "crt") : NULL,
      .key = name ? of_kind(name, "key") : NULL};
  return made_client(&options);
}

/* `ca` is NULL: it asks for no certificate. */
static inline rover_tls_t *server(const char *name, const char *ca) {
  const rover_tls_server_options_t options = {.cert = of_kind(name, "crt"),
                                              .key = of_kind(name, "key"),
                                              .ca = ca ? file(ca) : NULL};
  return made_server(&options);
}

/* Copies a file of certificates to where a context reads it. */
static inline const char *installed(const char *name, const char *as) {
  static char paths[4][300];
  static unsigned next;
  char *path = paths[next++ % 4], command[700];
  snprintf(path, sizeof paths[0], "%s/%s", folder, as);
  snprintf(command, sizeof command, "cp '%s' '%s.new' && mv '%s.new' '%s'",
           file(name), path, path, path);
  CHECK(system(command) == 0);
  return path;
}

static inline void follow(rover_tls_t *tls, rover_tls_t *other) {
  base_of(tls)->type->follow(base_of(tls), base_of(other));
}

/* From here on OpenSSL speaks nothing newer; to be called before it is used. */
static inline void only_tls12(void) {
  char path[300];
  snprintf(path, sizeof path, "%s/openssl.cnf", folder);
  FILE *stream = fopen(path, "w");
  CHECK(stream);
  fputs("openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\n"
        "system_default = here\n[here]\nMaxProtocol = TLSv1.2\n",
        stream);
  CHECK(fclose(stream) == 0);
  setenv("OPENSSL_CONF", path, 1);
}

/* -- The sides of a connection -------------------------------------------- */

struct side {
  int fd;
  struct net__tls *tls;
};

/* What both sides in this process do is quick: no loop waits for it. */
#define SPIN(condition)                                                        \
  while (!(condition)) in_time(__FILE__, __LINE__, #condition)

static void in_time(const char *where, int line, const char *condition) {
  if (uv_hrtime() > deadline)
    failed(where, line, "waited in vain for: %s", condition);
}

static inline int connected(int port) {
  struct sockaddr_in name = loopback(port);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  CHECK(fd >= 0);
  CHECK(connect(fd, (struct sockaddr *)&name, sizeof name) == 0 ||
        errno == EINPROGRESS);
  return fd;
}

static inline void open_client(struct side *side, rover_tls_t *tls, int fd,
                               const char *name, const char *key) {
  side->fd = fd;
  EQUAL(0, base_of(tls)->type->open(base_of(tls), fd, name, key, &side->tls));
}

static inline void open_server(struct side *side, rover_tls_t *tls, int fd) {
  side->fd = fd;
  EQUAL(0, base_of(tls)->type->open(base_of(tls), fd, NULL, NULL, &side->tls));
}

static inline void close_side(struct side *side) {
  side->tls->type->close(side->tls);
  close(side->fd);
}

static inline const char *why(const struct side *side) {
  const char *text = side->tls->type->why(side->tls);
  return text ? text : "";
}

/* Takes the handshake to its end. */
static inline int result_of(struct side *side) {
  int result;
  SPIN((result = side->tls->type->handshake(side->tls)) != -EAGAIN);
  return result;
}

static inline void secured(struct side *side) {
  int result = result_of(side);
  if (result < 0)
    failed(__FILE__, __LINE__, "handshake: %d: %s", result, why(side));
}

static inline void step(struct side *side, int *result) {
  if (*result == -EAGAIN) *result = side->tls->type->handshake(side->tls);
}

/* How a handshake ends for both. */
static inline void both_results(struct side *near, int *at_near,
                                struct side *far, int *at_far) {
  *at_near = *at_far = -EAGAIN;
  while (*at_near == -EAGAIN || *at_far == -EAGAIN) {
    step(near, at_near);
    step(far, at_far);
    in_time(__FILE__, __LINE__, "the handshake");
  }
}

static inline void no_delay(int fd) {
  int on = 1;
  CHECK(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0);
}

/* A connection between two contexts, before its handshake. */
static inline void opened(struct side *near, rover_tls_t *ours,
                          const char *name, struct side *far,
                          rover_tls_t *theirs) {
  int listener = listening(), fd;
  open_client(near, ours, connected(port_of(listener)), name, "server");
  SPIN((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0);
  no_delay(near->fd);
  no_delay(fd);
  open_server(far, theirs, fd);
  close(listener);
}

/* And after it. */
static inline void joined(struct side *near, rover_tls_t *ours,
                          const char *name, struct side *far,
                          rover_tls_t *theirs) {
  int at_near, at_far;
  opened(near, ours, name, far, theirs);
  both_results(near, &at_near, far, &at_far);
  if (at_near < 0)
    failed(__FILE__, __LINE__, "client: %d: %s", at_near, why(near));
  if (at_far < 0)
    failed(__FILE__, __LINE__, "server: %d: %s", at_far, why(far));
}

static inline struct net__tls_facts facts_of(const struct side *side) {
  struct net__tls_facts facts;
  side->tls->type->describe(side->tls, &facts);
  return facts;
}

/* -- Data ----------------------------------------------------------------- */

static inline void sent(struct side *side, const char *text) {
  ssize_t n;
  while (*text) {
    SPIN((n = side->tls->type->send(side->tls, text, strlen(text))) != -EAGAIN);
    if (n < 0) failed(__FILE__, __LINE__, "send: %zd: %s", n, why(side));
    text += n;
  }
}

/* Exactly these bytes come next. */
static inline void received(struct side *side, const char *text) {
  char bytes[4096];
  size_t length = strlen(text), all = 0;
  ssize_t n;
  CHECK(length < sizeof bytes);
  while (all < length) {
    SPIN((n = side->tls->type->recv(side->tls, bytes + all, length - all)) !=
         -EAGAIN);
    if (n <= 0) failed(__FILE__, __LINE__, "recv: %zd: %s", n, why(side));
    all += (size_t)n;
  }
  bytes[all] = '\0';
  SAME(text, bytes);
}

/* How it ends: 0 or an error, after no more bytes. */
static inline int ended(struct side *side) {
  char byte;
  ssize_t n;
  SPIN((n = side->tls->type->recv(side->tls, &byte, 1)) != -EAGAIN);
  return (int)n;
}

#endif
