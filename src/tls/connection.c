#include "connection.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "certificate.h"
#include "fault.h"
#include "names.h"
#include "socket.h"

/* The TLS of one connection: an SSL, and what happened to it. It goes through a
 * handshake, then data goes both ways, until each side has ended its own. What
 * breaks it is kept, and is the result of all calls from then on.
 *
 * After its handshake it may be in another thread than its context, of which it
 * then uses what does not change, and what has a lock: options, references and
 * sessions, and of OpenSSL's what OpenSSL shares. */

enum {
  /* How many records without data a peer may send in a row, while more are
   * there: a peer that sends nothing else would keep the loop busy. */
  IDLE_RECORDS_MAX = 64,
  HELLO_MAX = 16 << 10, /* bytes of a client's first message */
  DISCARD_MAX = 64 << 10
};

static const unsigned char protocol[] = "\10callosum";

struct connection {
  struct net__tls tls;
  rover_tls_t *context;
  SSL *ssl;
  SSL_CTX *made_by; /* of another one its session is not kept */
  struct tls__socket socket;
  int status;       /* what broke it, or 0 */
  int write_status; /* or only what we send */
  int64_t until;    /* when what was verified is not valid any more, or 0 */
  bool is_secure;   /* the handshake is done */
  bool has_ended;   /* the peer its side */
  bool says_end, has_said_end; /* that ours has */
  bool was_asked;              /* for a certificate */
  char *why;                   /* NULL, or ROVER_TLS_MESSAGE_MAX bytes */
  char server[];               /* whose session it resumes: "HOST KEY" */
};

static struct connection *of(const struct net__tls *tls) {
  return (struct connection *)tls;
}

/* -- What OpenSSL calls back ---------------------------------------------- */

/* Where a sentence goes, or goes on; without memory it is lost, but not the
 * error. */
static void begin_why(struct connection *self, struct tls__text *why) {
  if (!self->why) self->why = calloc(1, ROVER_TLS_MESSAGE_MAX);
  *why = (struct tls__text){.bytes = self->why};
  if (!self->why) return;
  why->size = ROVER_TLS_MESSAGE_MAX;
  why->length = strlen(self->why);
}

static int verify(X509_STORE_CTX *store, void *unused) {
  SSL *ssl =
      X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
  struct connection *self = SSL_get_app_data(ssl);
  char host[TLS__NAME_MAX + 1];
  struct tls__text why;

  (void)unused;
  begin_why(self, &why);
  snprintf(host, sizeof host, "%.*s", (int)strcspn(self->server, " "),
           self->server);
  if (!tls__certificate_verify(store, &self->context->options, host, &why))
    return false;
  self->until = tls__certificate_end(store);
  int64_t due = tls__files_first(&self->context->files, true, NULL);
  if (due < self->until) self->until = due;
  return true;
}

/* It is resumed only as long as all that was verified is valid, so that a
 * handshake verifies it again, which tells the peer what has expired. A peer
 * that resumes it gets no more time by a new ticket. */
static void bound_session(const struct connection *self,
                          SSL_SESSION *session) {
  int64_t left = self->until - 1 - tls__session_time(session);
  if (self->until && left < SSL_SESSION_get_timeout(session))
    SSL_SESSION_set_timeout(session, left > 0 ? (long)left : 0);
}

/* When a session is not resumed any more. */
static int64_t end_of_session(const SSL_SESSION *session) {
  return tls__session_time(session) + SSL_SESSION_get_timeout(session) + 1;
}

/* A client that offers protocols has to offer ours. */
static int select_protocol(SSL *ssl, const unsigned char **selected,
                           unsigned char *length, const unsigned char *offered,
                           unsigned int size, void *unused) {
  (void)ssl, (void)unused;
  for (unsigned i = 0; i < size; i += offered[i] + 1u) {
    if (offered[i] != *protocol || size - i <= *protocol ||
        memcmp(&offered[i + 1], &protocol[1], *protocol) != 0)
      continue;
    *selected = &offered[i + 1];
    *length = offered[i];
    return SSL_TLSEXT_ERR_OK;
  }
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* A server wants a certificate; if we have one, OpenSSL knows. */
static int note_request(SSL *ssl, void *unused) {
  struct connection *self = SSL_get_app_data(ssl);
  (void)unused;
  self->was_asked = true;
  return 1;
}

static int keep_session(SSL *ssl, SSL_SESSION *session) {
  struct connection *self = SSL_get_app_data(ssl);
  bound_session(self, session);
  if (self->context->options.is_server) return 0; /* OpenSSL has it */
  tls__sessions_keep(&self->context->sessions, self->made_by, self->server,
                     session);
  return 1;
}

void tls__connection_prepare(SSL_CTX *ssl) {
  SSL_CTX_set_cert_verify_callback(ssl, verify, NULL);
  SSL_CTX_sess_set_new_cb(ssl, keep_session);
  if (SSL_CTX_get_session_cache_mode(ssl) & SSL_SESS_CACHE_CLIENT) {
    SSL_CTX_set_cert_cb(ssl, note_request, NULL);
  } else {
    SSL_CTX_set_alpn_select_cb(ssl, select_protocol, NULL);
  }
}

/* -- What goes wrong ------------------------------------------------------ */

static int broken(struct connection *self, int status) {
  self->status = status;
  ERR_clear_error();
  return status;
}

/* Its first byte is that of no record of a handshake. */
static bool speaks_no_tls(const struct connection *self) {
  const unsigned char *first = self->socket.beginning;
  return !self->is_secure && self->socket.seen > 0 &&
         *first != 22 /* handshake */ && *first != 21 /* alert */;
}

/* A client's first message may be very long by its own account, and OpenSSL makes
 * room for it at once. */
static bool is_endless(const struct connection *self) {
  const unsigned char *first = self->socket.beginning;
  return self->context->options.is_server && !self->is_secure &&
         self->socket.seen == sizeof self->socket.beginning && *first == 22 &&
         (first[6] << 16 | first[7] << 8 | first[8]) > HELLO_MAX;
}

static int quote_beginning(struct connection *self) {
  const char *peer = self->context->options.is_server ? "client" : "server";
  unsigned char bytes[64];
  size_t seen = self->socket.seen;
  struct tls__text why;

  memcpy(bytes, self->socket.beginning, seen);
  ssize_t more = recv((int)SSL_get_fd(self->ssl), bytes + seen,
                      sizeof bytes - seen, MSG_PEEK | MSG_DONTWAIT);
  begin_why(self, &why);
  tls__text_add(&why, "the %s speaks no TLS: it began with ", peer);
  tls__text_quote(&why, bytes, seen + (more > 0 ? (size_t)more : 0), 40);
  return broken(self, -EPROTO);
}

static int refuse_hello(struct connection *self) {
  struct tls__text why;
  begin_why(self, &why);
  tls__text_add(&why,
                "the client's first message of TLS is longer than %d bytes",
                HELLO_MAX);
  return broken(self, -EPROTO);
}

/* A peer that has sent more than we read gets a reset once the descriptor is
 * closed, which may overtake the alert that says why. */
static void discard(struct connection *self) {
  char bytes[4096];
  for (int all = 0; all < DISCARD_MAX; all += (int)sizeof bytes)
    if (recv((int)SSL_get_fd(self->ssl), bytes, sizeof bytes, MSG_DONTWAIT) <=
        0)
      return;
}

/* What OpenSSL has made of `n`, which was no success. */
static int fail(struct connection *self, int error) {
  const struct tls__options *options = &self->context->options;
  struct tls__parties parties = {.is_server = options->is_server,
                                 .shows = options->cert != NULL,
                                 .was_asked = self->was_asked,
                                 .cert = options->cert};
  struct tls__text why;

  if (error == SSL_ERROR_SYSCALL)
    return broken(self, self->socket.error ? -self->socket.error : -ECONNRESET);
  if (error != SSL_ERROR_SSL) return broken(self, -ECONNRESET);
  begin_why(self, &why);
  return broken(self, tls__fault(&parties, &why));
}

/* A peer that resets the connection may have sent something before, such as an
 * answer or an alert, which can still be read. */
static int fail_to_write(struct connection *self, int error) {
  if (error != SSL_ERROR_SYSCALL) return fail(self, error);
  ERR_clear_error();
  self->write_status = self->socket.error ? -self->socket.error : -ECONNRESET;
  self->socket.error = 0;
  return self->write_status;
}

/* -- The handshake -------------------------------------------------------- */

/* Of a server that has answered with protocols, ours has to be the one. */
static bool has_protocol(const struct connection *self) {
  const unsigned char *selected;
  unsigned length;
  SSL_get0_alpn_selected(self->ssl, &selected, &length);
  return length == 0 ||
         (length == *protocol && memcmp(selected, &protocol[1], length) == 0);
}

static int secure(struct connection *self) {
  struct tls__text why;
  if (!has_protocol(self)) {
    begin_why(self, &why);
    tls__text_add(&why, "the server has chosen another protocol than "
                        "\"callosum\" (ALPN)");
    return broken(self, -EPROTO);
  }
  self->is_secure = true;
  free(self->why); /* which verify() began, and has not needed */
  self->why = NULL;
  self->tls.splices_in = BIO_get_ktls_recv(SSL_get_rbio(self->ssl));
  self->tls.splices_out = BIO_get_ktls_send(SSL_get_wbio(self->ssl));
  return 0;
}

/* A client of ours goes on resuming the session that it has resumed, so it needs
 * no ticket of another; others use each once. */
static bool resumes_again(const struct connection *self) {
  const unsigned char *selected;
  unsigned length;
  if (!self->context->options.is_server || !SSL_session_reused(self->ssl))
    return false;
  SSL_get0_alpn_selected(self->ssl, &selected, &length);
  return length > 0;
}

/* A server knows the session of a client's first message. */
static void note_session(struct connection *self) {
  if (self->context->options.is_server && SSL_session_reused(self->ssl))
    self->until = end_of_session(SSL_get_session(self->ssl));
  if (resumes_again(self)) SSL_set_num_tickets(self->ssl, 0);
}

static int handshake(struct net__tls *tls) {
  struct connection *self = of(tls);
  if (self->status || self->is_secure) return self->status;
  int error, idle = 0;
  do {
    ERR_clear_error();
    self->socket.is_dry = false;
    int n = SSL_do_handshake(self->ssl);
    if (n == 1) return secure(self);
    error = SSL_get_error(self->ssl, n);
    /* What was interrupted has left bytes that no event comes for. */
  } while (error == SSL_ERROR_WANT_READ && !self->socket.is_dry &&
           ++idle < IDLE_RECORDS_MAX);
  if (speaks_no_tls(self)) return quote_beginning(self);
  if (is_endless(self)) return refuse_hello(self);
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
    note_session(self);
    return -EAGAIN;
  }
  int status = fail(self, error);
  if (self->context->options.is_server) discard(self);
  else tls__sessions_forget(&self->context->sessions, self->server);
  return status;
}

static void describe(const struct net__tls *tls, struct net__tls_facts *facts) {
  const struct connection *self = of(tls);
  X509 *certificate = SSL_get0_peer_certificate(self->ssl);
  *facts = (struct net__tls_facts){
      .resumed = SSL_session_reused(self->ssl),
      .is_verified = certificate && SSL_get_verify_mode(self->ssl) &&
                     SSL_get_verify_result(self->ssl) == X509_V_OK,
      .version = SSL_get_version(self->ssl)};
  if (!facts->is_verified) return;
  X509_NAME *name = X509_get_subject_name(certificate);
  int place = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
  if (place < 0) return;
  const ASN1_STRING *text =
      X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, place));
  int kind = ASN1_STRING_type(text);
  if (kind != V_ASN1_UTF8STRING && kind != V_ASN1_PRINTABLESTRING &&
      kind != V_ASN1_IA5STRING)
    return;
  facts->common_name = (const char *)ASN1_STRING_get0_data(text);
  facts->common_name_length = (size_t)ASN1_STRING_length(text);
}

/* -- Data ----------------------------------------------------------------- */

static bool has_read_all(const struct connection *self) {
  return self->socket.is_dry && self->socket.ahead_size == 0;
}

/* After a read that gave nothing: 1 to try again, else what to return. */
static int read_none(struct connection *self, int error, int *idle) {
  struct tls__text why;

  if (error == SSL_ERROR_ZERO_RETURN) {
    self->has_ended = true;
    return 0;
  }
  if (error == SSL_ERROR_WANT_WRITE) return -EAGAIN;
  if (error != SSL_ERROR_WANT_READ) return fail(self, error);
  if (has_read_all(self)) return -EAGAIN;
  if (++*idle < IDLE_RECORDS_MAX) return 1;
  begin_why(self, &why);
  tls__text_add(&why, "the %s sends records without data, one after another",
                self->context->options.is_server ? "client" : "server");
  return broken(self, -EPROTO);
}

/* The end, or the error, that was found. */
static int end_of(struct connection *self) {
  self->tls.holds = false;
  return self->status;
}

/* A large buffer takes no part of a record, the rest of which would be held. */
static bool has_room(size_t size, size_t all) {
  return size < NET_RECORD_MAX ? all < size : size - all >= NET_RECORD_MAX;
}

/* Records are read from the kernel into the same buffer as their data goes to,
 * many at once: OpenSSL copies each before it decrypts it, to where what came
 * before it was. In front of them is room for a first one that OpenSSL has the
 * beginning of, and behind them that for which has_room() asks, so that all of
 * them are taken. */
static void read_ahead(struct connection *self, char *bytes, size_t size) {
  struct tls__socket *socket = &self->socket;
  const size_t record = NET_RECORD_MAX;
  bool may = self->is_secure && !self->tls.splices_in && size > 2 * record;
  socket->room = bytes + record;
  socket->room_size = may ? size - 2 * record : 0;
}

static ssize_t receive(struct net__tls *tls, void *bytes, size_t size) {
  struct connection *self = of(tls);
  size_t all = 0, n;
  int idle = 0, result = 0;

  if (self->status || self->has_ended) return end_of(self);
  self->socket.is_dry = false;
  /* The kernel's TLS stops at the end of a record, whatever is behind it. */
  self->socket.short_is_last = tls->short_is_last && !tls->splices_in;
  ERR_clear_error();
  while (has_room(size, all)) {
    read_ahead(self, (char *)bytes + all, size - all);
    if (SSL_read_ex(self->ssl, (char *)bytes + all, size - all, &n)) {
      all += n;
      idle = 0;
      if (has_read_all(self) && SSL_pending(self->ssl) == 0) break;
      continue;
    }
    result = read_none(self, SSL_get_error(self->ssl, 0), &idle);
    if (result <= 0) break;
    ERR_clear_error();
  }
  self->socket.room_size = self->socket.ahead_size = 0;
  bool has_stopped = self->status || self->has_ended;
  tls->holds = all > 0 && (has_stopped || SSL_pending(self->ssl) > 0);
  return all > 0 ? (ssize_t)all : result;
}

static int peek(struct net__tls *tls) {
  struct connection *self = of(tls);
  int idle = 0;

  if (!self->status && !self->has_ended) {
    int result;
    self->socket.short_is_last = false;
    do {
      char byte;
      size_t n;
      ERR_clear_error();
      self->socket.is_dry = false;
      result = SSL_peek_ex(self->ssl, &byte, 1, &n)
                   ? 2
                   : read_none(self, SSL_get_error(self->ssl, 0), &idle);
    } while (result == 1);
    if (result == -EAGAIN) return result;
    tls->holds = true;
    if (result == 2) return 1;
  }
  return self->status;
}

/* The kernel makes records of it (kTLS). OpenSSL would not copy what the kernel
 * has no room for, and go on with the old buffer, though that may have moved. */
static ssize_t transmit_plainly(struct connection *self, const void *bytes,
                                size_t size) {
  ssize_t n;
  do n = send((int)SSL_get_fd(self->ssl), bytes, size, MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  if (n >= 0) return n;
  if (errno == EAGAIN || errno == EWOULDBLOCK) return -EAGAIN;
  return self->write_status = -errno;
}

static ssize_t transmit(struct net__tls *tls, const void *bytes, size_t size) {
  struct connection *self = of(tls);
  size_t all = 0, n;

  if (self->status) return self->status;
  if (self->write_status) return self->write_status;
  if (self->says_end) return -EPIPE;
  if (tls->splices_out) return transmit_plainly(self, bytes, size);
  ERR_clear_error();
  while (all < size) {
    self->socket.has_more = size - all > NET_RECORD_MAX;
    if (SSL_write_ex(self->ssl, (const char *)bytes + all, size - all, &n)) {
      all += n;
      continue;
    }
    int status = -EAGAIN, error = SSL_get_error(self->ssl, 0);
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
      status = fail_to_write(self, error);
    self->socket.has_more = false;
    return all > 0 ? (ssize_t)all : status;
  }
  return (ssize_t)all;
}

/* -- Ends ----------------------------------------------------------------- */

/* Says that our side ends; goes on saying it, if the last try could not. */
static int say_end(struct connection *self) {
  int n = 0;
  ERR_clear_error();
  if (!self->has_said_end) n = SSL_shutdown(self->ssl);
  self->says_end = true;
  if (n >= 0) {
    self->has_said_end = true;
    return 0;
  }
  int error = SSL_get_error(self->ssl, n);
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
    return -EAGAIN;
  return fail_to_write(self, error);
}

static int end(struct net__tls *tls) {
  struct connection *self = of(tls);
  if (self->status) return self->status;
  if (self->write_status) return self->write_status;
  int err = self->is_secure ? say_end(self) : 0;
  if (err < 0) return err;
  return shutdown((int)SSL_get_fd(self->ssl), SHUT_WR) < 0 ? -errno : 0;
}

static void finish(struct net__tls *tls) {
  struct connection *self = of(tls);
  if (self->is_secure && !self->status) {
    if (!tls->resets && !self->write_status) say_end(self);
    /* Unless both sides have ended, OpenSSL does not resume the session. */
    SSL_set_shutdown(self->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  }
  SSL_free(self->ssl);
  ERR_clear_error();
  net__tls_context_unref(&self->context->base);
  free(self->why);
  free(self);
}

static const char *why_of(const struct net__tls *tls) {
  const struct connection *self = of(tls);
  return self->why && *self->why ? self->why : NULL;
}

/* -- Its beginning -------------------------------------------------------- */

static const struct net__tls_type type = {.handshake = handshake,
                                          .describe = describe,
                                          .recv = receive,
                                          .peek = peek,
                                          .send = transmit,
                                          .shutdown = end,
                                          .close = finish,
                                          .why = why_of};

/* As a client: whom the server has to be, and whose session it may resume. */
static bool expect(struct connection *self, const char *host, bool is_address) {
  X509_VERIFY_PARAM *param = SSL_get0_param(self->ssl);
  SSL_SESSION *session;

  X509_VERIFY_PARAM_set_hostflags(param,
                                  X509_CHECK_FLAG_NEVER_CHECK_SUBJECT |
                                      X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  if (is_address ? !X509_VERIFY_PARAM_set1_ip_asc(param, host)
                 : !X509_VERIFY_PARAM_set1_host(param, host, 0))
    return false;
  if (!is_address && !SSL_set_tlsext_host_name(self->ssl, host)) return false;
  /* This one returns 0 on success. */
  if (SSL_set_alpn_protos(self->ssl, protocol, sizeof protocol - 1))
    return false;
  session = tls__sessions_copy(&self->context->sessions, self->server);
  if (!session) return true;
  bool is_set = SSL_set_session(self->ssl, session);
  if (is_set) self->until = end_of_session(session);
  SSL_SESSION_free(session);
  return is_set;
}

static bool start(struct connection *self, int fd, const char *host,
                  bool is_address) {
  self->made_by = self->context->ssl;
  self->ssl = SSL_new(self->made_by);
  BIO *bio = self->ssl
                 ? tls__socket_new(self->context->socket, fd, &self->socket)
                 : NULL;
  if (!bio) return false;
  SSL_set_bio(self->ssl, bio, bio);
  SSL_set_app_data(self->ssl, self);
  if (self->context->options.is_server) {
    SSL_set_accept_state(self->ssl);
    return true;
  }
  SSL_set_connect_state(self->ssl);
  return expect(self, host, is_address);
}

int tls__connection_open(struct net__tls_context *context, int fd,
                         const char *name, const char *key,
                         struct net__tls **tls) {
  rover_tls_t *owner = (rover_tls_t *)context;
  char host[TLS__NAME_MAX + 1] = "";
  bool is_address = false;

  if (owner->options.server_name) name = owner->options.server_name;
  if (name) is_address = tls__name_of_host(name, host);
  size_t room = strlen(host) + 1 + (key ? strlen(key) : 0) + 1;
  struct connection *self = calloc(1, sizeof *self + room);
  if (!self) return -ENOMEM;
  snprintf(self->server, room, "%s %s", host, key ? key : "");
  self->tls.type = &type;
  self->context = owner;
  ERR_clear_error();
  if (!start(self, fd, host, is_address)) {
    SSL_free(self->ssl);
    free(self);
    ERR_clear_error();
    return -ENOMEM;
  }
  owner->base.refs++;
  *tls = &self->tls;
  return 0;
}
