/* TLS with a hostile peer, or with somebody on the way who changes what is said:
 * a context of ours then says what is wrong, or waits for more, and what comes out
 * of it is what was put in.
 *
 * Input: a byte of flags; then, for a peer, what it sends: a byte for how much
 * at once, and that many bytes. For somebody on the way: pairs of how many bytes
 * pass, and by what the last of them is changed. */
#include "fuzz.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include <callosum/tls.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "net/tls.h"

enum { AS_SERVER = 1, BETWEEN = 2, ANEW = 4, AHEAD = 8 };

static struct net__tls_context *client, *server;

/* -- One certificate for both --------------------------------------------- */

static X509 *certificate(EVP_PKEY *key) {
  X509 *made = X509_new();
  X509_NAME *name = X509_get_subject_name(made);
  X509_EXTENSION *names =
      X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "DNS:localhost");
  check(made && names);
  ASN1_INTEGER_set(X509_get_serialNumber(made), 1);
  X509_gmtime_adj(X509_getm_notBefore(made), -3600);
  X509_gmtime_adj(X509_getm_notAfter(made), 86400L * 365);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             (const unsigned char *)"fuzz", -1, -1, 0);
  X509_set_version(made, 2);
  X509_set_issuer_name(made, name);
  X509_set_pubkey(made, key);
  X509_add_ext(made, names, -1);
  check(X509_sign(made, key, EVP_sha256()) > 0);
  X509_EXTENSION_free(names);
  return made;
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  char path[] = "/tmp/fuzz-tls.XXXXXX", message[ROVER_TLS_MESSAGE_MAX];
  int fd = mkstemp(path);
  FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
  EVP_PKEY *key = EVP_EC_gen("P-256");
  (void)argc, (void)argv;
  check(file && key);
  X509 *own = certificate(key);
  check(PEM_write_X509(file, own));
  check(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL));
  check(fclose(file) == 0);
  const rover_tls_client_options_t of_client = {.ca = path, .cert = path};
  const rover_tls_server_options_t of_server = {.ca = path, .cert = path};
  rover_tls_t *ours = NULL, *theirs = NULL;
  check(rover_tls_client_new(&ours, &of_client, message) == 0);
  check(rover_tls_server_new(&theirs, &of_server, message) == 0);
  client = (struct net__tls_context *)ours;
  server = (struct net__tls_context *)theirs;
  unlink(path);
  X509_free(own);
  EVP_PKEY_free(key);
  return 0;
}

/* -- The sides ------------------------------------------------------------ */

struct side {
  int fd, peer; /* the other end */
  struct net__tls *tls;
  int result;   /* of the handshake */
  size_t heard; /* bytes of `said` */
};

static const char said[] = "0123456789";
static bool reads_ahead; /* by a buffer for many records, without a look */

static void begin(struct side *side, struct net__tls_context *context,
                  const char *key) {
  int fds[2];
  check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
  *side = (struct side){.fd = fds[0], .peer = fds[1], .result = -EAGAIN};
  check(context->type->open(context, side->fd,
                            context->is_server ? NULL : "localhost", key,
                            &side->tls) == 0);
}

static void is_error(const struct side *side, int result) {
  const char *why = side->tls->type->why(side->tls);
  check(result == -EPROTO || result == -ECONNRESET || result == NET_ECERT ||
        result == -EPIPE);
  check(result != -EPROTO || (why && *why));
  check(result != NET_ECERT || (why && *why));
}

/* Goes on with whatever is under way. */
static void go_on(struct side *side) {
  static char bytes[100000];
  if (side->result < 0 && side->result != -EAGAIN) return;
  if (side->result == -EAGAIN) {
    side->result = side->tls->type->handshake(side->tls);
    if (side->result == 0) side->tls->type->send(side->tls, said, 10);
    else if (side->result != -EAGAIN) is_error(side, side->result);
    return;
  }
  int seen = reads_ahead ? -EAGAIN : side->tls->type->peek(side->tls);
  side->tls->short_is_last = reads_ahead; /* nobody else writes meanwhile */
  ssize_t n =
      side->tls->type->recv(side->tls, bytes, reads_ahead ? sizeof bytes : 4);
  check(seen != 1 || n > 0);
  check(!(seen == 0 || seen < 0) || n == seen || seen == -EAGAIN);
  if (n < 0 && n != -EAGAIN) is_error(side, (int)n);
  for (ssize_t i = 0; i < n; i++) {
    check(side->heard < 10 && bytes[i] == said[side->heard]);
    side->heard++;
  }
  check(ERR_peek_error() == 0);
}

static void end(struct side *side) {
  side->tls->type->close(side->tls);
  close(side->fd);
  close(side->peer);
}

/* -- A peer --------------------------------------------------------------- */

static void drain(int fd) {
  char bytes[4096];
  while (recv(fd, bytes, sizeof bytes, 0) > 0) continue;
}

static void with_peer(struct side *side, struct input *in) {
  while (in->left > 0) {
    uint8_t bytes[255];
    size_t size = take_byte(in);
    if (size > in->left) size = in->left;
    take(in, bytes, size);
    check(size == 0 ||
          send(side->peer, bytes, size, MSG_NOSIGNAL) == (ssize_t)size);
    go_on(side);
    drain(side->peer);
  }
  check(side->result != 0); /* it would have to know the key */
  shutdown(side->peer, SHUT_WR);
  for (int i = 0; side->result == -EAGAIN; i++) {
    go_on(side);
    check(i < 1000);
  }
}

/* -- Somebody on the way -------------------------------------------------- */

/* Passes on what `from` has sent to `to`; returns how many bytes. */
static size_t pass(struct side *from, struct side *to, struct input *in) {
  uint8_t bytes[4096];
  size_t most = in->left > 0 ? take_byte(in) * 16u + 1 : sizeof bytes;
  uint8_t change = take_byte(in);
  ssize_t n =
      recv(from->peer, bytes, most < sizeof bytes ? most : sizeof bytes, 0);
  if (n <= 0) return 0;
  bytes[n - 1] ^= change;
  if (send(to->peer, bytes, (size_t)n, MSG_NOSIGNAL) < 0) return 0;
  return (size_t)n;
}

static void between(struct side *near, struct side *far, struct input *in) {
  for (int still = 0; still < 4;) {
    go_on(near);
    size_t n = pass(near, far, in);
    go_on(far);
    n += pass(far, near, in);
    still = n == 0 ? still + 1 : 0;
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  struct input in = {bytes, size};
  uint8_t flags = take_byte(&in);
  struct side near, far;

  reads_ahead = flags & AHEAD;
  if (!(flags & BETWEEN)) {
    begin(&near, flags & AS_SERVER ? server : client, "peer");
    with_peer(&near, &in);
    end(&near);
    return 0;
  }
  begin(&near, client, flags & ANEW ? "" : "far");
  begin(&far, server, NULL);
  between(&near, &far, &in);
  if (size == 1) check(near.heard == 10 && far.heard == 10);
  end(&near);
  end(&far);
  return 0;
}
