#include "options.h"

#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include "names.h"

enum { SESSIONS = 20000 };

/* Copies a string that may be missing. */
static bool copy(char **to, const char *from) {
  if (!from) return true;
  *to = strdup(from);
  return *to != NULL;
}

static bool copy_names(char ***to, const char *const *from) {
  size_t count = 0;
  if (!from) return true;
  while (from[count]) count++;
  *to = calloc(count + 1, sizeof **to);
  for (size_t i = 0; *to && i < count; i++)
    if (!((*to)[i] = strdup(from[i]))) return false;
  return *to != NULL;
}

static bool is_zero(const uint64_t *reserved, size_t count) {
  while (count > 0)
    if (reserved[--count] != 0) return false;
  return true;
}

static int wrong(struct tls__text *why, const char *what) {
  tls__text_add(why, "%s", what);
  return UV_EINVAL;
}

static int no_memory(struct tls__text *why) {
  tls__text_add(why, "not enough memory");
  return UV_ENOMEM;
}

static bool is_empty(const char *text) { return text && !*text; }

/* Those that both have. */
static int check_files(const char *ca, const char *cert, const char *key,
                       struct tls__text *why) {
  if (is_empty(ca) || is_empty(cert) || is_empty(key))
    return wrong(why, "ca, cert and key of tls are paths, which are not empty");
  if (key && !cert)
    return wrong(why, "tls has a key without a certificate: give cert, too");
  return 0;
}

int tls__options_of_client(struct tls__options *options,
                           const rover_tls_client_options_t *given,
                           struct tls__text *why) {
  *options = (struct tls__options){.verify = ROVER_TLS_VERIFY_REQUIRE,
                                   .min_version = 0x0303};
  if (!is_zero(given->reserved,
               sizeof given->reserved / sizeof *given->reserved))
    return wrong(why, "reserved fields of the options of tls are not zero");
  int err = check_files(given->ca, given->cert, given->key, why);
  if (err < 0) return err;
  if (given->server_name &&
      (!*given->server_name || strlen(given->server_name) > TLS__NAME_MAX))
    return wrong(why, "server_name of tls is a host, of 1 to 255 bytes");
  if (!copy(&options->ca, given->ca) || !copy(&options->cert, given->cert) ||
      !copy(&options->key, given->key) ||
      !copy(&options->server_name, given->server_name))
    return no_memory(why);
  return 0;
}

static int check_names(const rover_tls_server_options_t *given,
                       struct tls__text *why) {
  if (!given->names) return 0;
  if (!given->ca || given->verify == ROVER_TLS_VERIFY_NONE)
    return wrong(why, "names of tls need a ca, and clients that are verified: "
                      "anybody could claim a name");
  if (!*given->names)
    return wrong(why, "names of tls has no name, so that nobody may come");
  for (size_t i = 0; given->names[i]; i++) {
    if (tls__name_is_pattern(given->names[i])) continue;
    tls__text_add(why, "names of tls has ");
    tls__text_quote(why, given->names[i], strlen(given->names[i]), 100);
    return wrong(why,
                 ", which is neither a DNS name, perhaps with \"*\" for its "
                 "first label, nor an IP address, nor a URI, perhaps with "
                 "\"/*\" at its end");
  }
  return 0;
}

static int check_server(const rover_tls_server_options_t *given,
                        struct tls__text *why) {
  if (!given->cert)
    return wrong(why, "tls needs a certificate to show: give cert");
  if (given->verify < ROVER_TLS_VERIFY_DEFAULT ||
      given->verify > ROVER_TLS_VERIFY_REQUIRE)
    return wrong(why, "verify of tls is none of ROVER_TLS_VERIFY_...");
  if (given->verify > ROVER_TLS_VERIFY_NONE && !given->ca)
    return wrong(why,
                 "tls is to verify clients, and has no ca to verify them by");
  if (given->crl && (!given->ca || given->verify == ROVER_TLS_VERIFY_NONE))
    return wrong(why, "crl of tls needs a ca, and clients that are verified");
  if (is_empty(given->crl))
    return wrong(why, "crl of tls is a path, which is not empty");
  if (given->min_version && given->min_version != 0x0303 &&
      given->min_version != 0x0304)
    return wrong(why,
                 "min_version of tls is 0x0303 (TLS 1.2) or 0x0304 (TLS 1.3)");
  return check_names(given, why);
}

int tls__options_of_server(struct tls__options *options,
                           const rover_tls_server_options_t *given,
                           struct tls__text *why) {
  *options = (struct tls__options){.is_server = true};
  if (!is_zero(given->reserved,
               sizeof given->reserved / sizeof *given->reserved))
    return wrong(why, "reserved fields of the options of tls are not zero");
  int err = check_files(given->ca, given->cert, given->key, why);
  if (err == 0) err = check_server(given, why);
  if (err < 0) return err;
  options->verify = given->verify ? given->verify
                    : given->ca   ? ROVER_TLS_VERIFY_REQUIRE
                                  : ROVER_TLS_VERIFY_NONE;
  options->min_version = given->min_version ? given->min_version : 0x0303;
  options->sessions = given->sessions ? given->sessions : SESSIONS;
  if (!copy(&options->ca, given->ca) || !copy(&options->cert, given->cert) ||
      !copy(&options->key, given->key) || !copy(&options->crl, given->crl) ||
      !copy_names(&options->names, given->names))
    return no_memory(why);
  return 0;
}

void tls__options_free(struct tls__options *options) {
  free(options->ca);
  free(options->cert);
  free(options->key);
  free(options->server_name);
  free(options->crl);
  for (size_t i = 0; options->names && options->names[i]; i++)
    free(options->names[i]);
  free(options->names);
}
