/* Private to src/discover: DNS, by c-ares, on the caller's loop. What is here is
 * in a module of its own, which modules.h loads on demand. */
#ifndef DISCOVER_RESOLVER_H
#define DISCOVER_RESOLVER_H

#include <uv.h>

#include "records.h"

/* A round: a channel of c-ares, and what is asked through it. It has read
 * /etc/resolv.conf anew, and shares no cache with other rounds. */
struct discover__round;

struct discover__round_options {
  const char *servers; /* "127.0.0.1:53,[::1]:5353"; NULL: resolv.conf's */
  uint64_t timeout;    /* in ms, of the whole round */
};

/* `status` is 0, with at least one record; UV_EAI_NONAME or UV_EAI_NODATA: there
 * are none, for certain; or it is not known: UV_ETIMEDOUT, UV_EAI_FAIL (SERVFAIL,
 * refused, no server reached), UV_EPROTO, UV_EINVAL (no name), UV_ENOMEM.
 * `records` and `message`, NULL if there is no error, live until this returns. It
 * may ask more, and close the round. */
typedef void (*discover__answered_cb)(void *data, int status,
                                      const struct discover__records *records,
                                      const char *message);

/* The only symbol of the module, named as its type. */
struct discover__resolver {
  /* Errors: UV_EINVAL (servers), UV_ENOMEM, UV_EMFILE (or what c-ares could not
   * say). */
  int (*open)(uv_loop_t *loop, const struct discover__round_options *options,
              struct discover__round **round);
  /* The name is asked as it is, without search domains; of DISCOVER_HOST alone
   * as the system does it, with these and /etc/hosts, and one family of two is
   * enough. The callback comes once, in a later turn of the loop, unless the
   * round closes first. Errors: UV_ENOMEM. */
  int (*ask)(struct discover__round *round, enum discover__record_type type,
             const char *name, discover__answered_cb answered, void *data);
  /* Calls nobody back. Its handles close in the next turn of the loop. */
  void (*close)(struct discover__round *round);
};

#endif
