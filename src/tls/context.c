#include "context.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>

#include <uv.h>

#include "fault.h"
#include "identity.h"
#include "trust.h"

/* What files become. */
struct loaded {
  SSL_CTX *ssl;
  struct tls__files files;
  unsigned char digest[32];
};

enum {
  SESSION_S = 2 * 3600, /* how long one is resumed */
  CHAIN_MAX = 32 << 10  /* bytes of a client's certificates */
};

static void unload(struct loaded *loaded) {
  SSL_CTX_free(loaded->ssl);
  tls__files_free(&loaded->files);
}

/* Of what matters to a session, beside what files have. */
static void digest_options(struct tls__files *files,
                           const struct tls__options *options) {
  tls__files_digest(files, &options->verify, sizeof options->verify);
  tls__files_digest(files, &options->min_version, sizeof options->min_version);
  tls__files_digest(files, &options->sessions, sizeof options->sessions);
  tls__files_digest_text(files, options->ca);
  tls__files_digest_text(files, options->crl);
  tls__files_digest_text(files, options->server_name);
  for (size_t i = 0; options->names && options->names[i]; i++)
    tls__files_digest_text(files, options->names[i]);
}

/* Sessions are kept by the server, not sent to the client in tickets, which
 * would have the client's certificate: to decrypt and decode that takes longer
 * than the rest of the handshake. */
static void keep_sessions(SSL_CTX *ssl, const struct tls__options *options,
                          const unsigned char digest[32]) {
  SSL_CTX_set_session_id_context(ssl, digest, 32);
  SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET);
  SSL_CTX_set_timeout(ssl, SESSION_S);
  if (options->sessions < 0) {
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(ssl, 0);
    return;
  }
  SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_SERVER);
  SSL_CTX_set_num_tickets(ssl, 1);
  SSL_CTX_sess_set_cache_size(
      ssl, options->sessions < LONG_MAX ? (long)options->sessions : LONG_MAX);
}

static int verify_mode(const struct tls__options *options) {
  if (options->verify == ROVER_TLS_VERIFY_NONE) return SSL_VERIFY_NONE;
  if (options->verify == ROVER_TLS_VERIFY_OPTIONAL) return SSL_VERIFY_PEER;
  return SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
}

static SSL_CTX *make(const struct tls__options *options) {
  SSL_CTX *ssl = SSL_CTX_new(options->is_server ? TLS_server_method()
                                                : TLS_client_method());
  if (!ssl) return NULL;
  SSL_CTX_set_options(ssl, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                               SSL_OP_ENABLE_KTLS);
  /* The system's configuration may demand more, or permit less. */
  if (SSL_CTX_get_min_proto_version(ssl) < options->min_version)
    SSL_CTX_set_min_proto_version(ssl, options->min_version);
  /* Without AUTO_RETRY a call ends at a record that is no data, so that a peer
   * cannot keep one busy by sending these. */
  SSL_CTX_clear_mode(ssl, SSL_MODE_AUTO_RETRY);
  SSL_CTX_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE |
                            SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                            SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
  SSL_CTX_set_verify(ssl, verify_mode(options), NULL);
  if (options->is_server) {
    SSL_CTX_set_max_cert_list(ssl, CHAIN_MAX);
  } else {
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_CLIENT |
                                            SSL_SESS_CACHE_NO_INTERNAL);
  }
  return ssl;
}

static int load(struct loaded *loaded, const struct tls__options *options,
                struct tls__text *why) {
  *loaded = (struct loaded){.ssl = make(options)};
  int err = tls__files_new(&loaded->files);
  if (err < 0 || !loaded->ssl) return UV_ENOMEM;
  digest_options(&loaded->files, options);
  if (options->cert)
    err = tls__identity_load(loaded->ssl, &loaded->files, options->cert,
                             options->key, why);
  if (err == 0)
    err = tls__trust_load(loaded->ssl, &loaded->files, options, why);
  if (err < 0) return err;
  tls__files_digested(&loaded->files, loaded->digest);
  if (options->is_server) keep_sessions(loaded->ssl, options, loaded->digest);
  return 0;
}

static bool has_same(const rover_tls_t *tls, const unsigned char digest[32]) {
  return memcmp(tls->digest, digest, sizeof tls->digest) == 0;
}

int tls__context_load(rover_tls_t *tls, void (*prepare)(SSL_CTX *ssl),
                      struct tls__text *why) {
  struct loaded loaded;

  ERR_clear_error();
  int err = load(&loaded, &tls->options, why);
  ERR_clear_error();
  if (err == UV_ENOMEM && why->length == 0)
    tls__text_add(why, "not enough memory");
  if (err < 0 || (tls->ssl && has_same(tls, loaded.digest))) {
    unload(&loaded);
    return err;
  }
  prepare(loaded.ssl);
  SSL_CTX_free(tls->ssl);
  tls__files_free(&tls->files);
  tls->ssl = loaded.ssl;
  tls__sessions_restart(&tls->sessions, tls->ssl);
  tls->files = loaded.files;
  memcpy(tls->digest, loaded.digest, sizeof tls->digest);
  return 0;
}

bool tls__context_is_same(const rover_tls_t *tls, const rover_tls_t *other) {
  return tls->options.is_server == other->options.is_server &&
         has_same(tls, other->digest);
}

void tls__context_follow(rover_tls_t *tls, rover_tls_t *other) {
  if (tls == other || !tls__context_is_same(tls, other)) return;
  if (tls->ssl != other->ssl) {
    if (!SSL_CTX_up_ref(other->ssl)) return;
    SSL_CTX_free(tls->ssl);
    tls->ssl = other->ssl;
    if (tls->options.is_server)
      keep_sessions(tls->ssl, &tls->options, tls->digest);
  }
  tls__sessions_move(&tls->sessions, &other->sessions);
}

void tls__context_free(rover_tls_t *tls) {
  tls__sessions_free(&tls->sessions);
  SSL_CTX_free(tls->ssl);
  tls__files_free(&tls->files);
  BIO_meth_free(tls->socket);
  tls__options_free(&tls->options);
  free(tls);
}
