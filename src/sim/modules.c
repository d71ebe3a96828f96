#include <stdio.h>

#include "../discover/modules.h"
#include "clear.h"
#include "route.h"

/* What a source of servers asks the network by: nothing virtual answers that, so
 * no module is loaded; nor is TLS. The program is linked with --wrap, so these are
 * called in place of the functions in src/discover/modules.c. */

/* NOLINTBEGIN(bugprone-reserved-identifier): the linker's names */
const struct discover__resolver *
__wrap_discover__modules_resolver(char *message, size_t size);
const struct discover__http *__wrap_discover__modules_http(char *message,
                                                           size_t size);
const struct tls__functions *__wrap_discover__modules_tls(char *message,
                                                          size_t size);
/* NOLINTEND(bugprone-reserved-identifier) */

static void refuse(const char *what, char *message, size_t size) {
  sim__on_surprise(sim__current, SIM__SOURCE, what);
  snprintf(message, size,
           "the network is virtual, and nothing there answers sources: "
           "simulate with discover.file");
}

const struct discover__resolver *
__wrap_discover__modules_resolver(char *message, size_t size) {
  refuse("the resolver", message, size);
  return NULL;
}

const struct discover__http *__wrap_discover__modules_http(char *message,
                                                           size_t size) {
  refuse("the HTTP client", message, size);
  return NULL;
}

const struct tls__functions *__wrap_discover__modules_tls(char *message,
                                                          size_t size) {
  (void)message, (void)size;
  sim__on_surprise(sim__current, SIM__CLEAR, NULL);
  return &sim__clear;
}
