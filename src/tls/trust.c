#include "trust.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include <uv.h>

#include "fault.h"

static int broken(struct tls__text *why, const char *path, const char *what) {
  if (tls__fault_is_memory()) return UV_ENOMEM;
  tls__text_add(why, "%s %s", path, what);
  return ROVER_ECERT;
}

/* Adds the CAs of a file, and names them to clients. Returns how many. */
static int add_cas(SSL_CTX *ssl, struct tls__files *files, const char *path,
                   bool names_them, struct tls__text *why) {
  BIO *bio;
  int count = 0, ok = 1;
  int err = tls__files_read(files, path, "the CAs", &bio, why);
  if (err < 0) return err;
  while (ok) {
    X509 *ca = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL);
    if (!ca) break;
    count++;
    tls__files_expire(files, X509_get0_notAfter(ca));
    ok = X509_STORE_add_cert(SSL_CTX_get_cert_store(ssl), ca) &&
         (!names_them || SSL_CTX_add_client_CA(ssl, ca));
    X509_free(ca);
  }
  bool was_end = ok && tls__fault_is_end_of_pem();
  BIO_free(bio);
  if (!ok) return UV_ENOMEM;
  if (!was_end) return broken(why, path, "has a CA that cannot be read");
  ERR_clear_error();
  return count;
}

/* As c_rehash(1) names what it finds: 5ed36f99.0. */
static bool is_hash(const char *name) {
  for (int i = 0; i < 8; i++)
    if (!isxdigit((unsigned char)name[i])) return false;
  return name[8] == '.' && isdigit((unsigned char)name[9]);
}

static int add_folder(SSL_CTX *ssl, struct tls__files *files, const char *path,
                      bool names_them, struct tls__text *why) {
  struct dirent **entries;
  char file[PATH_MAX];
  int all = 0, err = 0, count = scandir(path, &entries, NULL, alphasort);
  if (count < 0) {
    err = -errno;
    tls__text_add(why, "cannot read %s, the CAs: %s", path, uv_strerror(err));
    return err;
  }
  for (int i = 0; i < count; i++) {
    if (err == 0 && is_hash(entries[i]->d_name)) {
      snprintf(file, sizeof file, "%s/%s", path, entries[i]->d_name);
      int n = add_cas(ssl, files, file, names_them, why);
      if (n < 0) err = n;
      else all += n;
    }
    free(entries[i]);
  }
  free(entries);
  if (err < 0) return err;
  if (all == 0)
    return broken(why, path,
                  "has no CA under a name as of c_rehash(1): run openssl "
                  "rehash on it");
  return all;
}

/* Adds to the digest when a file or folder has changed. */
static void digest_place(struct tls__files *files, const char *variable,
                         const char *place) {
  char given[PATH_MAX];
  size_t size = sizeof given;
  struct stat status;

  if (uv_os_getenv(variable, given, &size) == 0) place = given;
  tls__files_digest_text(files, place);
  if (stat(place, &status) < 0) return;
  tls__files_digest(files, &status.st_mtim, sizeof status.st_mtim);
  tls__files_digest(files, &status.st_size, sizeof status.st_size);
}

/* OpenSSL looks for the system's CAs when it needs them, so that what they are is
 * not read here. */
static int use_system(SSL_CTX *ssl, struct tls__files *files) {
  digest_place(files, X509_get_default_cert_dir_env(),
               X509_get_default_cert_dir());
  digest_place(files, X509_get_default_cert_file_env(),
               X509_get_default_cert_file());
  return SSL_CTX_set_default_verify_paths(ssl) ? 0 : UV_ENOMEM;
}

/* A certificate whose CA has no list here is refused if it is the peer's, but
 * not if it is a CA's, since few publish lists of these. */
static int heed_lists(int ok, X509_STORE_CTX *store) {
  if (ok || X509_STORE_CTX_get_error(store) != X509_V_ERR_UNABLE_TO_GET_CRL ||
      X509_STORE_CTX_get_error_depth(store) == 0)
    return ok;
  X509_STORE_CTX_set_error(store, X509_V_OK);
  return 1;
}

static int add_lists(SSL_CTX *ssl, struct tls__files *files, const char *path,
                     struct tls__text *why) {
  X509_STORE *store = SSL_CTX_get_cert_store(ssl);
  BIO *bio;
  int count = 0, ok = 1;
  int err =
      tls__files_read_lists(files, path, "the revocation lists", &bio, why);
  if (err < 0) return err;
  while (ok) {
    X509_CRL *list = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL);
    if (!list) break;
    count++;
    if (X509_CRL_get0_nextUpdate(list))
      tls__files_expire(files, X509_CRL_get0_nextUpdate(list));
    ok = X509_STORE_add_crl(store, list);
    X509_CRL_free(list);
  }
  bool was_end = ok && tls__fault_is_end_of_pem();
  BIO_free(bio);
  if (!ok) return UV_ENOMEM;
  if (!was_end)
    return broken(why, path, "has a revocation list that cannot be read");
  ERR_clear_error();
  if (count == 0)
    return broken(why, path,
                  "has no revocation list (-----BEGIN X509 CRL-----): it has "
                  "to be a PEM file");
  X509_STORE_set_verify_cb(store, heed_lists);
  return X509_STORE_set_flags(store,
                              X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL)
             ? 0
             : UV_ENOMEM;
}

int tls__trust_load(SSL_CTX *ssl, struct tls__files *files,
                    const struct tls__options *options, struct tls__text *why) {
  int n = 0;
  if (!options->ca) return options->is_server ? 0 : use_system(ssl, files);
  /* Whatever is in a `ca` is trusted, and not only if it signs itself. */
  X509_STORE_set_flags(SSL_CTX_get_cert_store(ssl), X509_V_FLAG_PARTIAL_CHAIN);
  n = (tls__is_folder(options->ca) ? add_folder : add_cas)(
      ssl, files, options->ca, options->is_server, why);
  if (n == 0)
    return broken(why, options->ca,
                  "has no certificate of a CA (-----BEGIN CERTIFICATE-----): "
                  "it has to be a PEM file");
  if (n > 0 && options->crl) n = add_lists(ssl, files, options->crl, why);
  return n < 0 ? n : 0;
}
