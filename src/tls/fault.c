#include "fault.h"

#include <errno.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "../net/tls.h"

/* What a peer means by an alert, and what to do. A certificate of ours is meant
 * by the first ones. */
struct alert {
  int number;
  bool is_of_certificate;
  const char *name, *advice;
};

static const struct alert alerts[] = {
    {SSL_AD_BAD_CERTIFICATE, true, "bad certificate",
     "it is broken, or has a name that may not come"},
    {SSL_AD_UNSUPPORTED_CERTIFICATE, true, "unsupported certificate",
     "it is not for this purpose, or of a kind that the peer does not take"},
    {SSL_AD_CERTIFICATE_REVOKED, true, "certificate revoked",
     "get a new one from its CA"},
    {SSL_AD_CERTIFICATE_EXPIRED, true, "certificate expired",
     "it has expired, or the peer's clock is wrong"},
    {SSL_AD_CERTIFICATE_UNKNOWN, true, "certificate unknown",
     "the peer could not check it; its log says more"},
    {SSL_AD_UNKNOWN_CA, true, "unknown CA",
     "the peer does not trust its CA, or was not sent what leads to it"},
    {SSL_AD_ACCESS_DENIED, true, "access denied", "it may not come"},
    {SSL_AD_NO_CERTIFICATE, true, "no certificate", "it wants one"},
#ifdef SSL_AD_CERTIFICATE_REQUIRED
    {SSL_AD_CERTIFICATE_REQUIRED, true, "certificate required", "it wants one"},
#endif
    {SSL_AD_HANDSHAKE_FAILURE, false, "handshake failure",
     "it has no cipher, curve or signature in common with us"},
    {SSL_AD_PROTOCOL_VERSION, false, "protocol version",
     "it speaks another version of TLS; we speak 1.2 and 1.3"},
    {SSL_AD_INSUFFICIENT_SECURITY, false, "insufficient security",
     "it wants stronger ciphers or keys"},
    {SSL_AD_UNRECOGNIZED_NAME, false, "unrecognized name",
     "it has no certificate for the name that it was asked for"},
    {SSL_AD_NO_APPLICATION_PROTOCOL, false, "no application protocol",
     "it does not offer \"callosum\" (ALPN)"},
    {SSL_AD_NO_RENEGOTIATION, false, "no renegotiation",
     "it refuses to renegotiate"},
    {SSL_AD_INTERNAL_ERROR, false, "internal error", "its log may say more"},
    {SSL_AD_DECRYPT_ERROR, false, "decrypt error",
     "a signature of the handshake was wrong for it"},
    {SSL_AD_USER_CANCELLED, false, "user canceled", "it gave up"},
};

static bool has(int library, int reason) {
  unsigned long first = ERR_peek_error(), last = ERR_peek_last_error();
  return (ERR_GET_LIB(first) == library && ERR_GET_REASON(first) == reason) ||
         (ERR_GET_LIB(last) == library && ERR_GET_REASON(last) == reason);
}

bool tls__fault_is_memory(void) {
  return ERR_GET_REASON(ERR_peek_error()) == ERR_R_MALLOC_FAILURE ||
         ERR_GET_REASON(ERR_peek_last_error()) == ERR_R_MALLOC_FAILURE;
}

bool tls__fault_is_end_of_pem(void) {
  unsigned long last = ERR_peek_last_error();
  return ERR_GET_LIB(last) == ERR_LIB_PEM &&
         ERR_GET_REASON(last) == PEM_R_NO_START_LINE;
}

bool tls__fault_is_weakness(void) {
  return has(ERR_LIB_SSL, SSL_R_EE_KEY_TOO_SMALL) ||
         has(ERR_LIB_SSL, SSL_R_CA_KEY_TOO_SMALL) ||
         has(ERR_LIB_SSL, SSL_R_CA_MD_TOO_WEAK);
}

const char *tls__fault_reason(void) {
  const char *reason = ERR_reason_error_string(ERR_peek_error());
  return reason ? reason : "for a reason that OpenSSL does not say";
}

static const struct alert *find_alert(int reason) {
  for (size_t i = 0; i < sizeof alerts / sizeof *alerts; i++)
    if (alerts[i].number + SSL_AD_REASON_OFFSET == reason) return &alerts[i];
  return NULL;
}

static int was_alerted(const struct tls__parties *parties, int reason,
                       struct tls__text *why) {
  const char *peer = parties->is_server ? "client" : "server";
  const struct alert *alert = find_alert(reason);
  int number = reason - SSL_AD_REASON_OFFSET;

  if (!alert) {
    tls__text_add(why,
                  "the %s ended the handshake or the connection by the "
                  "TLS alert %d",
                  peer, number);
    return -EPROTO;
  }
  /* TLS 1.2 has no alert for a certificate that is missing. */
  bool lacks = !parties->is_server && !parties->shows &&
               (alert->is_of_certificate ||
                (parties->was_asked && number == SSL_AD_HANDSHAKE_FAILURE));
  if (lacks) {
    tls__text_add(why,
                  "the server wants a certificate (alert \"%s\"), and "
                  "none is given here: set cert and key of tls",
                  alert->name);
    return NET_ECERT;
  }
  if (alert->is_of_certificate) {
    tls__text_add(why,
                  "the %s refused our certificate (%s) by the alert "
                  "\"%s\": %s",
                  peer, parties->cert ? parties->cert : "none", alert->name,
                  parties->is_server && number == SSL_AD_BAD_CERTIFICATE
                      ? "it is broken, or lacks the name under which the "
                        "client connects: see its subjectAltName"
                      : alert->advice);
    return NET_ECERT;
  }
  tls__text_add(why, "the %s refused TLS by the alert \"%s\": %s", peer,
                alert->name, alert->advice);
  return -EPROTO;
}

int tls__fault(const struct tls__parties *parties, struct tls__text *why) {
  unsigned long first = ERR_peek_error();
  int reason = ERR_GET_REASON(first);
  const char *peer = parties->is_server ? "client" : "server";

  if (tls__fault_is_memory()) return -ENOMEM;
  if (has(ERR_LIB_SSL, SSL_R_UNEXPECTED_EOF_WHILE_READING)) return -ECONNRESET;
  if (has(ERR_LIB_SSL, SSL_R_CERTIFICATE_VERIFY_FAILED)) {
    if (why->length == 0)
      tls__text_add(why, "the %s's certificate was refused", peer);
    return NET_ECERT;
  }
  if (ERR_GET_LIB(first) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET)
    return was_alerted(parties, reason, why);
  if (has(ERR_LIB_SSL, SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)) {
    tls__text_add(why, "the client has shown no certificate, and needs one");
    return NET_ECERT;
  }
  if (tls__fault_is_weakness() || ERR_GET_LIB(first) == ERR_LIB_X509 ||
      ERR_GET_LIB(first) == ERR_LIB_ASN1) {
    tls__text_add(why, "the %s's certificate cannot be used: %s", peer,
                  tls__fault_reason());
    return NET_ECERT;
  }
  if (has(ERR_LIB_SSL, SSL_R_NO_APPLICATION_PROTOCOL)) {
    tls__text_add(why, "the %s offers other protocols than \"callosum\" (ALPN)",
                  peer);
    return -EPROTO;
  }
  if (has(ERR_LIB_SSL, SSL_R_UNSUPPORTED_PROTOCOL) ||
      has(ERR_LIB_SSL, SSL_R_WRONG_SSL_VERSION)) {
    tls__text_add(why, "the %s speaks no version of TLS that is allowed here",
                  peer);
    return -EPROTO;
  }
  tls__text_add(why, "TLS with the %s failed: %s", peer, tls__fault_reason());
  return -EPROTO;
}
