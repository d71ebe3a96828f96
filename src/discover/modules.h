/* Private to src/discover, src/lua, src/host and src/sim: loads the resolver, the
 * HTTP client and TLS when they are first needed, so that nobody else is linked
 * with c-ares, libcurl or OpenSSL. */
#ifndef DISCOVER_MODULES_H
#define DISCOVER_MODULES_H

#include <stddef.h>

struct discover__resolver;
struct discover__http;
struct tls__functions; /* see src/tls/functions.h */

/* NULL on failure; what to do is in `message`. A module stays loaded until the
 * process ends. */
const struct discover__resolver *discover__modules_resolver(char *message,
                                                            size_t size);
const struct discover__http *discover__modules_http(char *message, size_t size);
const struct tls__functions *discover__modules_tls(char *message, size_t size);

/* What a failure to load one means: UV_EMFILE or UV_ENOENT. */
int discover__modules_status(void);

#endif
