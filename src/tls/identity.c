#define _GNU_SOURCE /* memmem() */
#include "identity.h"

#include <stdbool.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509err.h>

#include <uv.h>

#include <callosum/rover.h>

#include "fault.h"

static int broken(struct tls__text *why, const char *path, const char *what) {
  if (tls__fault_is_memory()) return UV_ENOMEM;
  tls__text_add(why, "%s %s", path, what);
  return ROVER_ECERT;
}

/* Asks nobody at a terminal. Returning nothing, as if it were empty, would
 * decrypt keys whose passphrase is. */
static int no_passphrase(char *bytes, int size, int is_writing, void *asked) {
  (void)bytes, (void)size, (void)is_writing;
  *(bool *)asked = true;
  return -1;
}

/* OpenSSL accepts no certificate that is weaker than the system's security
 * level demands. */
static int refused(struct tls__text *why, const char *path, X509 *certificate) {
  if (tls__fault_is_memory()) return UV_ENOMEM;
  tls__text_add(why, "the certificate ");
  tls__text_name(why, X509_get_subject_name(certificate));
  tls__text_add(why, " in %s cannot be used: %s", path, tls__fault_reason());
  if (tls__fault_is_weakness())
    tls__text_add(why,
                  ", for the security level of this system's OpenSSL: make one "
                  "with a P-256 or RSA key of 2048 bits, and SHA-256");
  return ROVER_ECERT;
}

/* *leaf is the first, which is ours, and to be freed. */
static int load_certificates(SSL_CTX *ssl, struct tls__files *files, BIO *bio,
                             const char *path, X509 **leaf,
                             struct tls__text *why) {
  for (;;) {
    X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    if (!certificate) break;
    tls__files_expire(files, X509_get0_notAfter(certificate));
    bool ok = *leaf ? SSL_CTX_add1_chain_cert(ssl, certificate) > 0
                    : SSL_CTX_use_certificate(ssl, certificate) > 0;
    int err = ok ? 0 : refused(why, path, certificate);
    if (*leaf) X509_free(certificate);
    else *leaf = certificate;
    if (err < 0) return err;
  }
  if (!tls__fault_is_end_of_pem())
    return broken(why, path, "has a certificate that cannot be read");
  ERR_clear_error();
  if (!*leaf)
    return broken(why, path,
                  "has no certificate (-----BEGIN CERTIFICATE-----): it has to "
                  "be a PEM file");
  return 0;
}

static int use_key(SSL_CTX *ssl, EVP_PKEY *key, const char *path, X509 *leaf,
                   const char *cert, struct tls__text *why) {
  if (X509_check_private_key(leaf, key) == 1 &&
      SSL_CTX_use_PrivateKey(ssl, key) > 0)
    return 0;
  if (tls__fault_is_memory()) return UV_ENOMEM;
  if (X509_check_private_key(leaf, key) != 1) {
    tls__text_add(why, "the key in %s does not belong to the certificate ",
                  path);
    tls__text_name(why, X509_get_subject_name(leaf));
    tls__text_add(why, ", the first in %s", cert);
  } else {
    tls__text_add(why, "the key in %s cannot be used: %s", path,
                  tls__fault_reason());
  }
  return ROVER_ECERT;
}

/* OpenSSL does not tell a key that is broken from none. */
static bool mentions_key(BIO *bio) {
  static const char line[] = "PRIVATE KEY-----";
  char *bytes;
  if (BIO_reset(bio) != 1) return false;
  long length = BIO_get_mem_data(bio, &bytes);
  return length > 0 && memmem(bytes, (size_t)length, line, sizeof line - 1);
}

static int load_key(SSL_CTX *ssl, BIO *bio, const char *path, X509 *leaf,
                    const char *cert, struct tls__text *why) {
  bool asked = false;
  EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, &asked);
  if (key) {
    int err = use_key(ssl, key, path, leaf, cert, why);
    EVP_PKEY_free(key);
    return err;
  }
  if (asked)
    return broken(why, path,
                  "has a key with a passphrase, which nobody can enter here: "
                  "remove it with openssl pkey");
  if (mentions_key(bio))
    return broken(why, path, "has a key that cannot be read");
  return broken(why, path,
                "has no key (-----BEGIN PRIVATE KEY-----): give its file as "
                "key, in PEM");
}

int tls__identity_load(SSL_CTX *ssl, struct tls__files *files, const char *cert,
                       const char *key, struct tls__text *why) {
  BIO *bio = NULL, *other = NULL;
  X509 *leaf = NULL;
  int err = tls__files_read(files, cert, "the certificate", &bio, why);
  if (err < 0) return err;
  err = load_certificates(ssl, files, bio, cert, &leaf, why);
  if (err == 0 && key)
    err = tls__files_read(files, key, "the key", &other, why);
  else if (err == 0 && BIO_reset(bio) != 1) err = UV_ENOMEM;
  if (err == 0)
    err = load_key(ssl, other ? other : bio, key ? key : cert, leaf, cert, why);
  ERR_clear_error();
  X509_free(leaf);
  BIO_free(bio);
  BIO_free(other);
  return err;
}
