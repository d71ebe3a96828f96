/* Private to src/tls, src/discover, src/lua, src/host and src/sim: what
 * libcallosum-tls offers those who load it when they need it. */
#ifndef TLS_FUNCTIONS_H
#define TLS_FUNCTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <callosum/tls.h>

struct tls__functions {
  int version; /* ROVER_VERSION_HEX of the library */
  /* Of <callosum/tls.h>. */
  int (*client_new)(rover_tls_t **tls,
                    const rover_tls_client_options_t *options, char *message);
  int (*server_new)(rover_tls_t **tls,
                    const rover_tls_server_options_t *options, char *message);
  int (*reload)(rover_tls_t *tls, char *message);
  rover_tls_t *(*ref)(rover_tls_t *tls);
  void (*unref)(rover_tls_t *tls);
  int64_t (*expiry)(const rover_tls_t *tls, const char **file);
  /* The index-th of the files that it has read, in the order cert, key, ca,
   * crl: each path once, but one that is `crl`, too, is another time there.
   * *expires is when the first of its certificates expires, or the next of its
   * revocation lists is due: seconds since 1970, or INT64_MAX if it has none;
   * *is_list is whether it is such a list. *path lives until the next call
   * about `tls`. The system's CAs are not listed. Errors: UV_ENOENT (there are
   * no more). */
  int (*file)(const rover_tls_t *tls, size_t index, const char **path,
              int64_t *expires, bool *is_list);
};

extern ROVER_EXTERN const struct tls__functions tls__functions;

#endif
