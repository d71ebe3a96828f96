/* TLS while there is no memory: each allocation in turn fails, ours or one of
 * OpenSSL's, while contexts are made, a connection is secured, resumed, and data
 * goes both ways. Whatever fails, that says so, or all is well; nothing crashes,
 * hangs or leaks, and no certificate is accepted that is not to be. The linker
 * leads our own allocations here, see the Makefile. */
#include "secured.h"

#include <openssl/crypto.h>
#include <openssl/err.h>

static struct {
  size_t asked, fails_at; /* 0: none */
  size_t width;           /* so many in a row */
  bool has_failed;
  long blocks; /* of ours */
} memory;

static bool fails(void) {
  memory.asked++;
  bool does = memory.fails_at > 0 && memory.asked >= memory.fails_at &&
              memory.asked - memory.fails_at < memory.width;
  memory.has_failed |= does;
  return does;
}

/* NOLINTBEGIN(bugprone-reserved-identifier): the linker's names */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__wrap_strdup(const char *text);

void *__wrap_malloc(size_t size) {
  return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
  return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size) {
  return fails() ? NULL : __real_realloc(old, size);
}

char *__wrap_strdup(const char *text) {
  return fails() ? NULL : __real_strdup(text);
}
/* NOLINTEND(bugprone-reserved-identifier) */

static void *own_malloc(size_t size, const char *where, int line) {
  (void)where, (void)line;
  if (size == 0 || fails()) return NULL;
  memory.blocks++;
  return __real_malloc(size);
}

static void own_free(void *block, const char *where, int line) {
  (void)where, (void)line;
  if (block) memory.blocks--;
  free(block);
}

static void *own_realloc(void *block, size_t size, const char *where,
                         int line) {
  if (!block) return own_malloc(size, where, line);
  if (size == 0) {
    own_free(block, where, line);
    return NULL;
  }
  return fails() ? NULL : __real_realloc(block, size);
}

/* -- What is tried -------------------------------------------------------- */

/* A step that memory was short for is one that failed. */
static bool well(int result) {
  CHECK(result >= 0 || memory.has_failed);
  return result >= 0;
}

static bool open_both(struct side *near, rover_tls_t *ours, struct side *far,
                      rover_tls_t *theirs) {
  int fds[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
                   fds) == 0);
  *near = (struct side){.fd = fds[0]};
  *far = (struct side){.fd = fds[1]};
  return well(base_of(ours)->type->open(base_of(ours), fds[0], "localhost", "s",
                                        &near->tls)) &&
         well(base_of(theirs)->type->open(base_of(theirs), fds[1], NULL, NULL,
                                          &far->tls));
}

static void close_if(struct side *side) {
  if (side->tls) side->tls->type->close(side->tls);
  close(side->fd);
}

/* One side may have failed and gone silent. */
static bool shake(struct side *near, struct side *far) {
  int at_near = -EAGAIN, at_far = -EAGAIN;
  for (int i = 0; i < 20 && (at_near == -EAGAIN || at_far == -EAGAIN); i++) {
    if (at_near == -EAGAIN) at_near = near->tls->type->handshake(near->tls);
    if (at_far == -EAGAIN) at_far = far->tls->type->handshake(far->tls);
    if (at_near < 0 && at_near != -EAGAIN) shutdown(near->fd, SHUT_RDWR);
    if (at_far < 0 && at_far != -EAGAIN) shutdown(far->fd, SHUT_RDWR);
  }
  if (at_near == 0 && at_far == 0) return true;
  CHECK(memory.has_failed);
  return false;
}

static void talk(struct side *near, struct side *far) {
  char bytes[8];
  ssize_t n = far->tls->type->send(far->tls, "0\r\n", 3);
  if (n == 3) n = near->tls->type->recv(near->tls, bytes, sizeof bytes);
  CHECK(n == 3 || memory.has_failed);
  if (n != 3) return;
  CHECK(memcmp(bytes, "0\r\n", 3) == 0);
  well(near->tls->type->shutdown(near->tls));
  n = far->tls->type->recv(far->tls, bytes, sizeof bytes);
  CHECK(n == 0 || memory.has_failed);
}

static void try_connection(rover_tls_t *ours, rover_tls_t *theirs,
                           bool is_accepted) {
  struct side near, far;
  if (open_both(&near, ours, &far, theirs) && shake(&near, &far)) {
    CHECK(is_accepted);
    talk(&near, &far);
  }
  close_if(&near);
  close_if(&far);
  EQUAL(0, ERR_peek_error());
}

static const char *client_kind; /* of the certificate */

static void all(void) {
  static const char *const names[] = {"*.fleet.example", NULL};
  const rover_tls_client_options_t of_client = {
      .ca = file("ca.crt"),
      .cert = of_kind(client_kind, "crt"),
      .key = of_kind(client_kind, "key")};
  const rover_tls_server_options_t of_server = {.cert = file("server.crt"),
                                                .key = file("server.key"),
                                                .ca = file("ca.crt"),
                                                .crl = file("crl.crl"),
                                                .names = names};
  bool is_accepted = strcmp(client_kind, "client") == 0;
  char message[ROVER_TLS_MESSAGE_MAX];
  rover_tls_t *ours = NULL, *theirs = NULL;
  if (well(rover_tls_client_new(&ours, &of_client, message)) &&
      well(rover_tls_server_new(&theirs, &of_server, message))) {
    try_connection(ours, theirs, is_accepted);
    if (is_accepted) {
      try_connection(ours, theirs, true); /* resumed */
      well(rover_tls_reload(theirs, message));
    }
  }
  rover_tls_unref(ours);
  rover_tls_unref(theirs);
}

static void torture(void) {
  const char *given = getenv("STEP");
  size_t step = given ? (size_t)atoi(given) : 211;
  CHECK(CRYPTO_set_mem_functions(own_malloc, own_realloc, own_free) == 1);
  client_kind = "client";
  all();
  all();
  for (size_t width = 1; width; width = width == 1 ? SIZE_MAX : 0) {
    memory.width = width;
    for (size_t nth = 1;; nth += nth < 100 ? 1 : step) {
      snprintf(doing, sizeof doing, "allocation %zu failing", nth);
      memory.asked = 0;
      memory.has_failed = false;
      memory.fails_at = nth;
      all();
      memory.fails_at = 0;
      if (!memory.has_failed) break;
    }
  }
}

const struct check checks[] = {
    {"TLS", "fails softly where there is no memory", torture},
    {NULL, NULL, NULL}};
