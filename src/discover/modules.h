/* Private to src/discover and src/sim: loads the resolver and the HTTP client
 * when a source first needs them, so that nobody else is linked with c-ares or
 * libcurl. */
#ifndef DISCOVER_MODULES_H
#define DISCOVER_MODULES_H

#include <stddef.h>

struct discover__resolver;
struct discover__http;

/* NULL on failure; what to do is in `message`. A module stays loaded until the
 * process ends. */
const struct discover__resolver *discover__modules_resolver(char *message,
                                                            size_t size);
const struct discover__http *discover__modules_http(char *message, size_t size);

#endif
