/* What TLS of libcallosum-tls refuses, and what it says then: certificates of
 * either side, peers that speak something else, files that are broken. */
#include "secured.h"

/* -- Handshakes ----------------------------------------------------------- */

/* How it ends: by the handshake, or in TLS 1.3, where a client is done first, by
 * what is read next. */
static int end_of(struct side *side, int result) {
  return result == 0 ? ended(side) : result;
}

static void says(const struct side *side, const char *text) {
  if (!strstr(why(side), text))
    failed(__FILE__, __LINE__, "no \"%s\" in: %s", text, why(side));
}

struct refusal {
  const char *what;
  const char *server, *client; /* their certificates; NULL: none */
  const char *ca, *crl;        /* of the server */
  const char *const *names;
  const char *at_near, *at_far; /* what each says */
};

static rover_tls_t *serving(const struct refusal *row) {
  const rover_tls_server_options_t options = {
      .cert = of_kind(row->server, "crt"),
      .key = of_kind(row->server, "key"),
      .ca = row->ca ? file(row->ca) : NULL,
      .crl = row->crl ? file(row->crl) : NULL,
      .names = row->names};
  return made_server(&options);
}

static void refused(const struct refusal *row) {
  rover_tls_t *ours = client(row->client), *theirs = serving(row);
  struct side near, far;
  int at_near, at_far;
  snprintf(doing, sizeof doing, "%s", row->what);
  opened(&near, ours, "localhost", &far, theirs);
  both_results(&near, &at_near, &far, &at_far);
  EQUAL(NET_ECERT, at_far);
  says(&far, row->at_far);
  at_near = end_of(&near, at_near);
  EQUAL(NET_ECERT, at_near);
  says(&near, row->at_near);
  EQUAL(NET_ECERT, ended(&near)); /* again */
  close_side(&near);
  close_side(&far);
  rover_tls_unref(ours);
  rover_tls_unref(theirs);
}

static const struct refusal of_servers[] = {
    {.what = "expired",
     .server = "expired",
     .at_near = "the server's certificate \"CN=expired\" expired on 20",
     .at_far = "by the alert \"certificate expired\""},
    {.what = "not yet valid",
     .server = "notYet",
     .at_near = "the server's certificate \"CN=notYet\" is not valid before 20",
     .at_far = "the client refused our certificate ("},
    {.what = "another name",
     .server = "wrongName",
     .at_near = "the server's certificate \"CN=wrongName\" is not for "
                "\"localhost\": it has \"other.fleet.example\", 192.0.2.1",
     .at_far = "by the alert \"bad certificate\": it is broken, or lacks the "
               "name under which the client connects: see its subjectAltName"},
    {.what = "a common name only",
     .server = "commonNameOnly",
     .at_near = "it has no alternative name (subjectAltName)",
     .at_far = "by the alert \"bad certificate\""},
    {.what = "another CA",
     .server = "strange",
     .at_near = "the server's certificate \"CN=strange\" is from the CA "
                "\"CN=Other CA\", which is neither in ",
     .at_far = "by the alert \"unknown CA\": the peer does not trust its CA"},
    {.what = "another purpose",
     .server = "wrongPurpose",
     .at_near = "is not for servers (its extended key usage)",
     .at_far = "by the alert \"unsupported certificate\""},
};

static const char *const may_come[] = {"*.fleet.example", "spiffe://fleet/*",
                                       NULL};

static const struct refusal of_clients[] = {
    {.what = "none",
     .server = "server",
     .ca = "ca.crt",
     .at_near = "none is given here: set cert and key of tls",
     .at_far = "the client has shown no certificate, and needs one"},
    {.what = "expired",
     .server = "server",
     .client = "expiredClient",
     .ca = "ca.crt",
     .at_near = "expiredClient.crt) by the alert \"certificate expired\"",
     .at_far = "the client's certificate \"CN=expiredClient\" expired on 20"},
    {.what = "another CA",
     .server = "server",
     .client = "strangeClient",
     .ca = "ca.crt",
     .at_near = "strangeClient.crt) by the alert \"unknown CA\"",
     .at_far = "is from the CA \"CN=Other CA\", which is neither in "},
    {.what = "another purpose",
     .server = "server",
     .client = "serverAsClient",
     .ca = "ca.crt",
     .at_near = "by the alert \"unsupported certificate\"",
     .at_far = "is not for clients (its extended key usage)"},
    {.what = "another name",
     .server = "server",
     .client = "wrongClient",
     .ca = "ca.crt",
     .names = may_come,
     .at_near = "it is broken, or has a name that may not come",
     .at_far = "the client's certificate \"CN=wrongClient\" has none of the "
               "names that may come (*.fleet.example, spiffe://fleet/*): it "
               "has \"stranger.example\""},
    {.what = "no name",
     .server = "server",
     .client = "namelessClient",
     .ca = "ca.crt",
     .names = may_come,
     .at_near = "by the alert \"bad certificate\"",
     .at_far = "it has no alternative name"},
    {.what = "a longer URI",
     .server = "server",
     .client = "uriClient",
     .ca = "ca.crt",
     .names = may_come,
     .at_near = "by the alert \"bad certificate\"",
     .at_far = "it has \"spiffe://fleet.example/client\""},
    {.what = "revoked",
     .server = "server",
     .client = "revokedClient",
     .ca = "ca.crt",
     .crl = "crl.crl",
     .at_near = "by the alert \"certificate revoked\"",
     .at_far = "the client's certificate \"CN=revokedClient\" was revoked by "
               "its CA, says "},
    {.what = "a list that has expired",
     .server = "server",
     .client = "client",
     .ca = "ca.crt",
     .crl = "expiredCrl.crl",
     .at_near = "by the alert \"certificate expired\"",
     .at_far = "cannot be checked: the revocation list of its CA "
               "\"CN=Fleet CA\" in "},
    {.what = "no list of an intermediate CA",
     .server = "server",
     .client = "chainedClient",
     .ca = "ca.crt",
     .crl = "crl.crl",
     .at_near = "by the alert \"unknown CA\"",
     .at_far = "has no revocation list of its CA \"CN=Fleet issuing CA\""},
};

#define EACH(table)                                                            \
  for (size_t i = 0; i < sizeof(table) / sizeof *(table); i++)                 \
  refused(&(table)[i])

static void servers(void) { EACH(of_servers); }

static void clients(void) { EACH(of_clients); }

static void servers_12(void) {
  only_tls12();
  servers();
}

static void clients_12(void) {
  only_tls12();
  clients();
}

static void accepted_with(const char *cert, const char *crl,
                          const char *const *names) {
  const struct refusal row = {
      .server = "chained", .ca = "ca.crt", .crl = crl, .names = names};
  rover_tls_t *ours = client(cert), *theirs = serving(&row);
  struct side near, far;
  snprintf(doing, sizeof doing, "%s", cert);
  joined(&near, ours, "127.0.0.1", &far, theirs);
  CHECK(facts_of(&far).is_verified);
  close_side(&near);
  close_side(&far);
  rover_tls_unref(ours);
  rover_tls_unref(theirs);
}

static void may(void) {
  static const char *const wildcard[] = {"other.example", "*.fleet.example",
                                         NULL};
  static const char *const whole[] = {"CLIENT.fleet.example", NULL};
  static const char *const paths[] = {"spiffe://fleet.example/*", NULL};
  static const char *const address[] = {"127.0.0.1", NULL};
  accepted_with("client", NULL, NULL);
  accepted_with("client", NULL, wildcard);
  accepted_with("client", NULL, whole);
  accepted_with("uriClient", NULL, paths);
  accepted_with("addressClient", NULL, address);
  accepted_with("client", "crl.crl", NULL);
  accepted_with("chainedClient", NULL, NULL);
  accepted_with("chainedClient", "intermediateCrl.crl", NULL);
}

/* -- Peers that speak something else -------------------------------------- */

/* A client of ours, and a raw peer. */
static void opened_to_raw(struct side *near, rover_tls_t *ours, int *raw) {
  int listener = listening();
  open_client(near, ours, connected(port_of(listener)), "localhost", "s");
  SPIN((*raw = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >=
       0);
  close(listener);
}

/* A server of ours, and a raw peer. */
static void opened_by_raw(struct side *far, rover_tls_t *theirs, int *raw) {
  int listener = listening(), fd;
  *raw = connected(port_of(listener));
  SPIN((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0);
  open_server(far, theirs, fd);
  close(listener);
}

static void in_clear(void) {
  rover_tls_t *ours = client(NULL), *theirs = server("server", NULL);
  static const char *const lines[] = {"13\r\n", "HTTP/1.1 400 Bad Request\r\n"};
  struct side side;
  int raw;
  for (size_t i = 0; i < 2; i++) {
    opened_to_raw(&side, ours, &raw);
    say(raw, lines[i]);
    EQUAL(-EPROTO, result_of(&side));
    says(&side, i == 0 ? "the server speaks no TLS: it began with \"13\\r\\n\""
                       : "began with \"HTTP/1.1 400 Bad Request\\r\\n\"");
    close_side(&side);
    close(raw);
  }
  opened_by_raw(&side, theirs, &raw);
  say(raw, "GET / HTTP/1.1\r\n\r\n");
  EQUAL(-EPROTO, result_of(&side));
  says(&side, "the client speaks no TLS: it began with \"GET / HTTP/1.1\\r");
  close_side(&side);
  close(raw);
  rover_tls_unref(ours);
  rover_tls_unref(theirs);
}

static void nothing(void) {
  rover_tls_t *ours = client(NULL), *theirs = server("server", NULL);
  struct side side;
  int raw;
  opened_to_raw(&side, ours, &raw);
  close(raw);
  EQUAL(-ECONNRESET, result_of(&side));
  close_side(&side);
  opened_by_raw(&side, theirs, &raw);
  reset(raw);
  EQUAL(-ECONNRESET, result_of(&side));
  close_side(&side);
  opened_by_raw(&side, theirs, &raw);
  say(raw, "\x16\x03\x01"); /* the beginning of a record */
  EQUAL(-EAGAIN, side.tls->type->handshake(side.tls));
  close(raw);
  EQUAL(-ECONNRESET, result_of(&side));
  close_side(&side);
  rover_tls_unref(ours);
  rover_tls_unref(theirs);
}

/* It says that its first message is 128 KiB long. */
static void endless(void) {
  static const char hello[] = "\x16\x03\x01\x40\x00\x01\x02\x00\x00\x03\x03";
  rover_tls_t *theirs = server("server", NULL);
  struct side side;
  int raw;
  opened_by_raw(&side, theirs, &raw);
  CHECK(send(raw, hello, sizeof hello - 1, 0) == sizeof hello - 1);
  for (int i = 0; i < 1024; i++) say(raw, "0123456789abcdef");
  EQUAL(-EPROTO, result_of(&side));
  says(&side, "first message of TLS is longer than");
  close_side(&side);
  close(raw);
  rover_tls_unref(theirs);
}

static void versions(void) {
  const rover_tls_server_options_t options = {.cert = file("server.crt"),
                                              .key = file("server.key"),
                                              .min_version = 0x0304};
  only_tls12();
  rover_tls_t *ours = client(NULL);
  char message[ROVER_TLS_MESSAGE_MAX] = "";
  rover_tls_t *theirs = made_server(&options);
  struct side near, far;
  int at_near, at_far;
  opened(&near, ours, "localhost", &far, theirs);
  both_results(&near, &at_near, &far, &at_far);
  EQUAL(-EPROTO, at_near);
  EQUAL(-EPROTO, at_far);
  (void)message;
  close_side(&near);
  close_side(&far);
  rover_tls_unref(ours);
  rover_tls_unref(theirs);
}

/* -- Files ---------------------------------------------------------------- */

/* A context is not made, and the message says why. */
static void no_server(const rover_tls_server_options_t *options, int expected,
                      const char *text) {
  char message[ROVER_TLS_MESSAGE_MAX] = "";
  rover_tls_t *tls = NULL;
  EQUAL(expected, rover_tls_server_new(&tls, options, message));
  CHECK(!tls);
  if (!strstr(message, text))
    failed(__FILE__, __LINE__, "no \"%s\" in: %s", text, message);
  EQUAL(expected, rover_tls_server_new(&tls, options, NULL));
}

static void other_key(void) {
  rover_tls_server_options_t options = {.cert = file("server.crt"),
                                        .key = file("client.key")};
  no_server(&options, ROVER_ECERT,
            "client.key does not belong to the "
            "certificate \"CN=server\", the first in ");
  options.key = file("rsaServer.key"); /* as half-way from one to the other */
  no_server(&options, ROVER_ECERT,
            "rsaServer.key does not belong to the "
            "certificate \"CN=server\", the first in ");
}

static const char *written(const char *name, const char *text) {
  static char path[300];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *stream = fopen(path, "w");
  CHECK(stream && fputs(text, stream) >= 0 && fclose(stream) == 0);
  return path;
}

static void broken_files(void) {
  rover_tls_server_options_t options = {.cert = "/nowhere/at.crt"};
  no_server(&options, UV_ENOENT,
            "cannot read /nowhere/at.crt, the certificate: no such file");
  options.cert = folder;
  no_server(&options, UV_EISDIR, "illegal operation on a directory");
  options.cert = written("empty", "");
  no_server(&options, ROVER_ECERT, "empty has no certificate (-----BEGIN");
  options.cert = written("bad", "-----BEGIN CERTIFICATE-----\nAAAA\n"
                                "-----END CERTIFICATE-----\n");
  no_server(&options, ROVER_ECERT, "bad has a certificate that cannot be read");
  options.cert = file("server.crt");
  no_server(&options, ROVER_ECERT, "server.crt has no key (-----BEGIN PRIVATE");
  options.key = file("locked.key");
  no_server(&options, ROVER_ECERT,
            "has a key with a passphrase, which nobody "
            "can enter here");
  options.key = file("server.key");
  options.ca = file("server.key");
  no_server(&options, ROVER_ECERT, "server.key has no certificate of a CA");
  options.ca = folder;
  no_server(&options, ROVER_ECERT, "run openssl rehash on it");
  options.ca = file("ca.crt");
  options.crl = file("ca.crt");
  no_server(&options, ROVER_ECERT, "ca.crt has no revocation list");
}

static void odd_files(void) {
  rover_tls_server_options_t options = {0};
  char path[300];
  snprintf(path, sizeof path, "%s/fifo", folder);
  CHECK(mkfifo(path, 0600) == 0);
  options.cert = path;
  no_server(&options, UV_EINVAL, "it is no regular file");
  options.cert = "/dev/zero";
  no_server(&options, UV_EINVAL, "it is no regular file");
  options.cert = written("huge", "");
  CHECK(truncate(options.cert, 1 << 30) == 0);
  no_server(&options, UV_EFBIG, "file too large");
}

static void wrong_options(void) {
  static const char *const none[] = {NULL}, *const star[] = {"*", NULL},
                           *const inside[] = {"a.*.example", NULL},
                           *const open[] = {"spiffe://fleet*", NULL};
  rover_tls_server_options_t options = {0};
  no_server(&options, UV_EINVAL, "tls needs a certificate to show");
  no_server(NULL, UV_EINVAL, "tls has no options");
  options.cert = file("server.pem");
  options.names = may_come;
  no_server(&options, UV_EINVAL, "names of tls need a ca");
  options.ca = file("ca.crt");
  options.names = none;
  no_server(&options, UV_EINVAL, "so that nobody may come");
  options.names = star;
  no_server(&options, UV_EINVAL, "names of tls has \"*\", which is neither");
  options.names = inside;
  no_server(&options, UV_EINVAL, "names of tls has \"a.*.example\", which");
  options.names = open;
  no_server(&options, UV_EINVAL, "names of tls has \"spiffe://fleet*\", which");
  options.names = NULL;
  options.min_version = 0x0302;
  no_server(&options, UV_EINVAL, "min_version of tls is 0x0303");
  options.min_version = 0;
  options.verify = 9;
  no_server(&options, UV_EINVAL, "verify of tls is none of");
  options.verify = ROVER_TLS_VERIFY_REQUIRE;
  options.ca = NULL;
  no_server(&options, UV_EINVAL, "has no ca to verify them by");
  options.verify = 0;
  options.reserved[3] = 1;
  no_server(&options, UV_EINVAL, "reserved fields of the options");
}

const struct check checks[] = {
    {"a client", "refuses certificates of servers, and says why", servers},
    {"a client", "refuses them in TLS 1.2, too", servers_12},
    {"a server", "refuses certificates of clients, and says why", clients},
    {"a server", "refuses them in TLS 1.2, too", clients_12},
    {"a server", "accepts clients by their CA, names and lists", may},
    {"a handshake", "with a peer that speaks no TLS quotes what it said",
     in_clear},
    {"a handshake", "that the peer ends is a reset", nothing},
    {"a handshake", "makes no room for a message without end", endless},
    {"a handshake", "needs a version that both speak", versions},
    {"a context", "refuses a key that belongs to another certificate",
     other_key},
    {"a context", "says which file is broken, and how", broken_files},
    {"a context", "reads regular files, of a sensible size", odd_files},
    {"a context", "refuses options that make no sense", wrong_options},
    {NULL, NULL, NULL}};
