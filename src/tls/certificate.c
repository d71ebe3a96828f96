#include "certificate.h"

#include <string.h>

#include <openssl/err.h>

#include "names.h"

/* "the server's certificate "CN=front"", or a CA on the way to it. */
static void add_subject(struct tls__text *why, const X509 *certificate,
                        int depth, const char *peer) {
  tls__text_add(why,
                depth == 0 ? "the %s's certificate "
                           : "a CA of the %s's certificate, ",
                peer);
  if (certificate) tls__text_name(why, X509_get_subject_name(certificate));
  if (depth > 0) tls__text_add(why, ",");
  tls__text_add(why, " ");
}

static const char *cas(const struct tls__options *options) {
  return options->ca ? options->ca : "the system's list";
}

static void add_issuer(struct tls__text *why, const X509 *certificate) {
  tls__text_name(why, certificate ? X509_get_issuer_name(certificate) : NULL);
}

/* Who has signed it is not known. */
static void explain_issuer(struct tls__text *why, const X509 *certificate,
                           int error, const struct tls__options *options) {
  const char *peer = options->is_server ? "client" : "server";
  if (error == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT) {
    tls__text_add(why, "is signed by itself, and is not in %s", cas(options));
  } else if (error == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN) {
    tls__text_add(why, "is not in %s, so it is not trusted", cas(options));
  } else {
    tls__text_add(why, "is from the CA ");
    add_issuer(why, certificate);
    tls__text_add(why,
                  ", which is neither in %s nor sent along: add the CA there, "
                  "or what is between to the %s's certificate file",
                  cas(options), peer);
  }
}

static void explain_list(struct tls__text *why, const X509 *certificate,
                         X509_CRL *list, int error,
                         const struct tls__options *options) {
  if (error == X509_V_ERR_UNABLE_TO_GET_CRL) {
    tls__text_add(why,
                  "cannot be checked: %s has no revocation list of its CA ",
                  options->crl);
    add_issuer(why, certificate);
    return;
  }
  tls__text_add(why, "cannot be checked: the revocation list of its CA ");
  add_issuer(why, certificate);
  tls__text_add(why, " in %s ", options->crl);
  if (error == X509_V_ERR_CRL_HAS_EXPIRED && list) {
    tls__text_add(why, "was to be replaced by ");
    tls__text_date(why, X509_CRL_get0_nextUpdate(list));
    tls__text_add(why, ": get a new one");
  } else {
    tls__text_add(why, "cannot be used: %s",
                  X509_verify_cert_error_string(error));
  }
}

static void explain_names(struct tls__text *why, const X509 *certificate,
                          const char *host) {
  tls__text_add(why, "is not for ");
  tls__text_quote(why, host, strlen(host), 100);
  tls__text_add(why, ": it has ");
  tls__text_names(why, certificate);
}

static void explain(struct tls__text *why, X509_STORE_CTX *store,
                    const struct tls__options *options, const char *host) {
  const char *peer = options->is_server ? "client" : "server";
  int error = X509_STORE_CTX_get_error(store);
  X509 *certificate = X509_STORE_CTX_get_current_cert(store);
  int depth = X509_STORE_CTX_get_error_depth(store);

  if (!certificate) certificate = X509_STORE_CTX_get0_cert(store), depth = 0;
  add_subject(why, certificate, depth, peer);
  switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      tls__text_add(why, "expired on ");
      tls__text_date(why, X509_get0_notAfter(certificate));
      return;
    case X509_V_ERR_CERT_NOT_YET_VALID:
      tls__text_add(why, "is not valid before ");
      tls__text_date(why, X509_get0_notBefore(certificate));
      tls__text_add(why, ", by the clock of this machine");
      return;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
      explain_issuer(why, certificate, error, options);
      return;
    case X509_V_ERR_CERT_REVOKED:
      tls__text_add(why, "was revoked by its CA, says %s", options->crl);
      return;
    case X509_V_ERR_UNABLE_TO_GET_CRL:
    case X509_V_ERR_CRL_HAS_EXPIRED:
    case X509_V_ERR_CRL_NOT_YET_VALID:
    case X509_V_ERR_CRL_SIGNATURE_FAILURE:
    case X509_V_ERR_UNABLE_TO_GET_CRL_ISSUER:
    case X509_V_ERR_DIFFERENT_CRL_SCOPE:
    case X509_V_ERR_UNHANDLED_CRITICAL_CRL_EXTENSION:
      explain_list(why, certificate, X509_STORE_CTX_get0_current_crl(store),
                   error, options);
      return;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
      explain_names(why, certificate, host);
      return;
    case X509_V_ERR_INVALID_PURPOSE:
      tls__text_add(why, "is not for %ss (its extended key usage)", peer);
      return;
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
      tls__text_add(why, "is not signed by the CA ");
      add_issuer(why, certificate);
      tls__text_add(why, " that is in %s: another one has that name",
                    cas(options));
      return;
    case X509_V_ERR_EE_KEY_TOO_SMALL:
    case X509_V_ERR_CA_KEY_TOO_SMALL:
    case X509_V_ERR_CA_MD_TOO_WEAK:
      tls__text_add(why,
                    "is too weak for the security level of this system's "
                    "OpenSSL: %s",
                    X509_verify_cert_error_string(error));
      return;
    default:
      tls__text_add(why, "was refused: %s",
                    X509_verify_cert_error_string(error));
  }
}

/* Not among those that may come. */
static void explain_stranger(struct tls__text *why, const X509 *certificate,
                             const struct tls__options *options) {
  add_subject(why, certificate, 0, "client");
  tls__text_add(why, "has none of the names that may come (");
  for (size_t i = 0; i < 3 && options->names[i]; i++)
    tls__text_add(why, "%s%s", i > 0 ? ", " : "", options->names[i]);
  tls__text_add(why, "): it has ");
  tls__text_names(why, certificate);
}

bool tls__certificate_verify(X509_STORE_CTX *store,
                             const struct tls__options *options,
                             const char *host, struct tls__text *why) {
  if (X509_verify_cert(store) <= 0) {
    int error = X509_STORE_CTX_get_error(store);
    if (error == X509_V_OK)
      X509_STORE_CTX_set_error(store, X509_V_ERR_UNSPECIFIED);
    if (error != X509_V_ERR_OUT_OF_MEM) explain(why, store, options, host);
    return false;
  }
  X509 *certificate = X509_STORE_CTX_get0_cert(store);
  if (!options->names || tls__names_match(certificate, options->names))
    return true;
  X509_STORE_CTX_set_error(store, X509_V_ERR_HOSTNAME_MISMATCH);
  explain_stranger(why, certificate, options);
  return false;
}

int64_t tls__certificate_end(X509_STORE_CTX *store) {
  STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(store);
  int64_t end = INT64_MAX;
  for (int i = 0; i < sk_X509_num(chain); i++) {
    int64_t own = tls__date(X509_get0_notAfter(sk_X509_value(chain, i)));
    if (own < end) end = own;
  }
  return end;
}
