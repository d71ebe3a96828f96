/* Private to src/discover: an HTTP client, by libcurl, on the caller's loop. What
 * is here is in a module of its own, which modules.h loads on demand. */
#ifndef DISCOVER_CLIENT_H
#define DISCOVER_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#include <uv.h>

#include "buffer.h"

/* Connections, kept open from one request to the next, and what is under way. */
struct discover__client;
struct discover__transfer;

/* All that is NULL is left out. It is copied. */
struct discover__request {
  const char *url;             /* http:// or https:// */
  const char *path;            /* of a Unix socket, to connect to instead */
  const char *addresses;       /* of the URL's host: "10.0.0.1,[::1]" */
  const char *const *headers;  /* "Name: value", ended by NULL */
  const char *body;            /* POST */
  const char *ca, *cert, *key; /* paths of PEM files; NULL: the system's CAs */
  const char *server_name;     /* in the certificate, if not the URL's host */
  uint64_t connect_timeout;    /* in ms, with the TLS handshake */
  uint64_t timeout;            /* in ms, of everything; 0: none, for a stream */
  size_t max_size;             /* of an answer; of a stream: not looked at */
};

/* Lives until the callback returns. */
struct discover__reply {
  const char *url; /* without user, password and query */
  long code;       /* of HTTP */
  struct discover__buffer body; /* whoever takes it leaves an empty one */
  const char *location;     /* of a redirect, which is not followed */
  const char *etag;         /* with its quotes; or NULL */
  const char *consul_index; /* X-Consul-Index; or NULL */
};

/* With `data` set this is a stream: what arrives of an answer of code 200 goes
 * there, and not into answer->body. May cancel the transfer. */
typedef void (*discover__client_data_cb)(void *data, const char *bytes,
                                         size_t length);
/* Called once. `status` is 0 if an answer came, whatever its code; or UV_E…, with
 * a message. May start others, and close the client. */
typedef void (*discover__client_done_cb)(void *data, int status,
                                         struct discover__reply *answer,
                                         const char *message);

/* The only symbol of the module, named as its type. */
struct discover__http {
  /* Errors: UV_ENOMEM. */
  int (*open)(uv_loop_t *loop, struct discover__client **client);
  /* The host of a URL, without brackets, where it has to be resolved first; an
   * empty text where not (IP addresses, localhost). Free it. Errors: UV_EINVAL
   * (not a URL of http or https), UV_ENOMEM. */
  int (*host_of)(const char *url, char **host);
  /* Errors: UV_EINVAL, UV_ENOMEM. The transfer lives until `done` returns. */
  int (*start)(struct discover__client *client,
               const struct discover__request *request,
               discover__client_data_cb data, discover__client_done_cb done,
               void *user, struct discover__transfer **transfer);
  /* Calls nobody back. Also from within a callback. */
  void (*cancel)(struct discover__transfer *transfer);
  /* Cancels what is under way. Its handles close in the next turn of the loop. */
  void (*close)(struct discover__client *client);
};

#endif
