#include "names.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <openssl/x509v3.h>

/* How many bytes an IP address has, or 0. */
static int parse_address(const char *text, unsigned char address[16]) {
  if (inet_pton(AF_INET, text, address) == 1) return 4;
  return inet_pton(AF_INET6, text, address) == 1 ? 16 : 0;
}

static bool is_uri(const char *text) {
  const char *end = strstr(text, "://");
  if (!end || !isalpha((unsigned char)*text)) return false;
  for (; text < end; text++)
    if (!isalnum((unsigned char)*text) && !strchr("+-.", *text)) return false;
  return end[3] && end[3] != '/';
}

static bool is_dns(const char *text, size_t length) {
  if (length == 0 || length > TLS__NAME_MAX || *text == '.' ||
      text[length - 1] == '.')
    return false;
  for (size_t i = 0; i < length; i++) {
    if (text[i] == '.' && text[i + 1] == '.') return false;
    if (!isalnum((unsigned char)text[i]) && !strchr("-_.", text[i]))
      return false;
    if (!text[i]) return false;
  }
  return true;
}

bool tls__name_is_pattern(const char *pattern) {
  unsigned char address[16];
  size_t length = strlen(pattern);

  if (parse_address(pattern, address)) return true;
  if (is_uri(pattern)) {
    const char *star = strchr(pattern, '*');
    return !star || (star[-1] == '/' && !star[1]);
  }
  if (strncmp(pattern, "*.", 2) == 0) return is_dns(pattern + 2, length - 2);
  return is_dns(pattern, length);
}

static bool match_dns(const char *name, size_t length, const char *pattern) {
  if (!is_dns(name, length)) return false;
  if (strncmp(pattern, "*.", 2) == 0) {
    const char *dot = memchr(name, '.', length);
    if (!dot) return false;
    length -= (size_t)(dot - name);
    name = dot;
    pattern++;
  }
  return strlen(pattern) == length && strncasecmp(name, pattern, length) == 0;
}

static bool match_uri(const char *uri, size_t length, const char *pattern) {
  size_t wanted = strlen(pattern);
  if (memchr(uri, '\0', length)) return false;
  if (pattern[wanted - 1] == '*')
    return length >= wanted - 1 && memcmp(uri, pattern, wanted - 1) == 0;
  return length == wanted && memcmp(uri, pattern, length) == 0;
}

/* The bytes of a name, and how many. */
static const char *bytes_of(const ASN1_STRING *string, size_t *length) {
  *length = (size_t)ASN1_STRING_length(string);
  return (const char *)ASN1_STRING_get0_data(string);
}

static bool match(const GENERAL_NAME *name, const char *pattern) {
  unsigned char address[16];
  int size = parse_address(pattern, address);
  size_t length;
  const char *bytes;

  if (name->type == GEN_IPADD) {
    bytes = bytes_of(name->d.iPAddress, &length);
    return size > 0 && (size_t)size == length &&
           memcmp(bytes, address, length) == 0;
  }
  if (size > 0) return false;
  if (name->type == GEN_URI) {
    bytes = bytes_of(name->d.uniformResourceIdentifier, &length);
    return is_uri(pattern) && match_uri(bytes, length, pattern);
  }
  if (name->type != GEN_DNS || is_uri(pattern)) return false;
  bytes = bytes_of(name->d.dNSName, &length);
  return match_dns(bytes, length, pattern);
}

bool tls__names_match(const X509 *certificate, char *const *patterns) {
  GENERAL_NAMES *names =
      X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
  bool found = false;

  for (int i = 0; !found && i < sk_GENERAL_NAME_num(names); i++)
    for (size_t each = 0; !found && patterns[each]; each++)
      found = match(sk_GENERAL_NAME_value(names, i), patterns[each]);
  GENERAL_NAMES_free(names);
  return found;
}

bool tls__name_of_host(const char *host, char name[TLS__NAME_MAX + 1]) {
  unsigned char address[16];
  snprintf(name, TLS__NAME_MAX + 1, "%s", host);
  char *zone = strchr(name, '%');
  if (zone && strchr(name, ':')) *zone = '\0';
  size_t length = strlen(name);
  if (length > 1 && name[length - 1] == '.') name[length - 1] = '\0';
  return parse_address(name, address) > 0;
}

static void add_address(struct tls__text *text, const char *bytes,
                        size_t length) {
  char address[INET6_ADDRSTRLEN];
  if ((length == 4 || length == 16) &&
      inet_ntop(length == 4 ? AF_INET : AF_INET6, bytes, address,
                sizeof address))
    tls__text_add(text, "%s", address);
  else tls__text_add(text, "an address of %zu bytes", length);
}

static void add_name(struct tls__text *text, const GENERAL_NAME *name) {
  size_t length;
  const char *bytes =
      bytes_of(name->type == GEN_IPADD ? name->d.iPAddress
               : name->type == GEN_DNS ? name->d.dNSName
                                       : name->d.uniformResourceIdentifier,
               &length);
  if (name->type == GEN_IPADD) add_address(text, bytes, length);
  else tls__text_quote(text, bytes, length, 60);
}

void tls__text_names(struct tls__text *text, const X509 *certificate) {
  GENERAL_NAMES *names =
      X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
  int shown = 0, more = 0;

  for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
    const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
    if (name->type != GEN_DNS && name->type != GEN_IPADD &&
        name->type != GEN_URI)
      continue;
    if (shown == 3) {
      more++;
      continue;
    }
    if (shown++ > 0) tls__text_add(text, ", ");
    add_name(text, name);
  }
  if (more > 0) tls__text_add(text, " and %d more", more);
  if (shown == 0) tls__text_add(text, "no alternative name (subjectAltName)");
  GENERAL_NAMES_free(names);
}
