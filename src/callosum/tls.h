/* callosum/tls.h - TLS between rovers and fronts.
 *
 * A rover with TLS secures each connection before its slot line, which
 * therefore comes inside; so does a front. TLS 1.2 and 1.3, by OpenSSL (3.0 or
 * later), in a library of its own, libcallosum-tls: programs without TLS need
 * neither.
 *
 *   rover_tls_client_options_t options = {.ca = "/etc/fleet/ca.pem"};
 *   rover_tls_t *tls;
 *   char message[ROVER_TLS_MESSAGE_MAX];
 *   int err = rover_tls_client_new(&tls, &options, message);
 *   if (err < 0) fprintf(stderr, "%s\n", message);
 *
 *   rover_options_t rover_options = {.tls = tls, ...};
 *   ... rover_new(&rover, loop, &rover_options) ...
 *   rover_tls_unref(tls);
 *
 * Clients always verify: the server's certificate has to lead to one of the
 * CAs, be valid today, and have the server's host among its alternative names,
 * DNS names or IP addresses (RFC 9525; a common name does not count). The host
 * is sent along (SNI) unless it is an address. Whoever offers protocols (ALPN)
 * but not "callosum" is refused; whoever offers none is accepted.
 *
 * Sessions are resumed: a client keeps one for each server, a server those of
 * its own clients in memory. Nothing is renegotiated.
 *
 * The words and rules of <callosum/rover.h> hold here, too.
 */
#ifndef CALLOSUM_TLS_H
#define CALLOSUM_TLS_H

#include <stddef.h>
#include <stdint.h>

#include <callosum/rover.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Room for a message, with its end. */
enum { ROVER_TLS_MESSAGE_MAX = 512 };

/* Files are PEM, keys without a passphrase. */
typedef struct rover_tls_client_options_s {
  /* A file of CAs, or a folder of c_rehash(1); NULL: those of the system. */
  const char *ca;
  /* NULL, or our certificate, and those that lead from it to a CA. */
  const char *cert;
  const char *key;         /* NULL: in `cert` */
  const char *server_name; /* NULL: the host of each server */
  uint64_t reserved[8];
} rover_tls_client_options_t;

/* What a server asks of its clients: a certificate or none. */
enum {
  ROVER_TLS_VERIFY_DEFAULT, /* required if there is a `ca`, else none */
  ROVER_TLS_VERIFY_NONE,
  ROVER_TLS_VERIFY_OPTIONAL, /* one that is shown has to be valid */
  ROVER_TLS_VERIFY_REQUIRE
};

typedef struct rover_tls_server_options_s {
  const char *cert; /* needed; as a client's */
  const char *key;  /* likewise */
  const char *ca;   /* of clients; as a client's, but NULL: of none */
  int verify;       /* ROVER_TLS_VERIFY_REQUIRE, ... */
  /* NULL, or ended by NULL: a client's certificate has to have one of these
   * among its alternative names. A DNS name, where "*.fleet.example" stands for
   * one label; an IP address; or a URI such as a SPIFFE ID, where a star at the
   * end stands for any path. */
  const char *const *names;
  const char *crl;  /* NULL, or revocation lists of the CAs */
  int min_version;  /* 0x0303: TLS 1.2, the default; 0x0304: TLS 1.3 */
  int64_t sessions; /* how many are kept, each some 6 KB if the client has a
                       certificate; 0: 20,000; negative: none */
  uint64_t reserved[8];
} rover_tls_server_options_t;

/* Makes a context, which any number of rovers, servers of theirs and fronts of
 * one thread may use. `options` is copied, and its files are read. Ownership:
 * one reference is the caller's. Errors: UV_EINVAL (an option, `reserved`, a
 * NULL), the error of a file that cannot be read, ROVER_ECERT (a file is no
 * PEM, has no certificate or key, the two do not match, ...), UV_ENOMEM;
 * `message`, which has ROVER_TLS_MESSAGE_MAX bytes or is NULL, then says which
 * file, what is wrong, and what to do. */
ROVER_EXTERN int rover_tls_client_new(rover_tls_t **tls,
                                      const rover_tls_client_options_t *options,
                                      char *message);
ROVER_EXTERN int rover_tls_server_new(rover_tls_t **tls,
                                      const rover_tls_server_options_t *options,
                                      char *message);

/* Reads the files anew, for connections from now on. If one is broken, all
 * stays as it was. If what any of them has differs, sessions that were kept are
 * forgotten; connections go on. Errors: as above, but UV_EINVAL. */
ROVER_EXTERN int rover_tls_reload(rover_tls_t *tls, char *message);

ROVER_EXTERN rover_tls_t *rover_tls_ref(rover_tls_t *tls);
ROVER_EXTERN void rover_tls_unref(rover_tls_t *tls); /* NULL is ignored */

/* When the first of the certificates that it shows, or of the CAs that were
 * given, expires: seconds since 1970, INT64_MAX if there are none. *file lives
 * until the next call about `tls`, and is the file that has it. */
ROVER_EXTERN int64_t rover_tls_expiry(const rover_tls_t *tls,
                                      const char **file);

#ifdef __cplusplus
}
#endif

#endif
