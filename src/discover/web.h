/* Private to src/discover: what the sources have in common that speak HTTP: a
 * URL, whose host is resolved, headers, a token, TLS, one request at a time. */
#ifndef DISCOVER_WEB_H
#define DISCOVER_WEB_H

#include "client.h"
#include "provider.h"

/* For the options of a kind. "path" is that of a Unix socket. */
#define DISCOVER__WEB_OPTIONS                                                  \
  {"path", DISCOVER__PATH, false}, {"headers", DISCOVER__HEADERS, false},      \
      {"tokenFile", DISCOVER__PATH, false}, {                                  \
    "tls", DISCOVER__TLS, false                                                \
  }

struct discover__web;

struct discover__web_request {
  const char *base;            /* the URL, or its beginning */
  const char *target;          /* its end; may be NULL */
  const char *header;          /* one more; may be NULL */
  const char *body;            /* JSON to POST; NULL: GET */
  const char *scheme;          /* of the Authorization header: "Bearer " */
  const char *token_file, *ca; /* where the settings name none */
  uint64_t wait;   /* ms that the server takes to answer; not of a stream */
  size_t max_size; /* of the answer; not of a stream */
};

/* The end of a request; see client.h. A failure may also be that of a module, of
 * a name, or of a token. `message` lives until the callback returns. */
typedef discover__client_done_cb discover__web_done_cb;

/* Errors: UV_ENOMEM. */
int discover__web_new(struct discover__web **web, rover_source_t *source,
                      void *user);

/* Cancels what is under way. Calls back once, in a later turn of the loop or from
 * within; with `data` set it is a stream: see client.h. */
void discover__web_ask(struct discover__web *web,
                       const struct discover__web_request *request,
                       discover__client_data_cb data,
                       discover__web_done_cb done);

/* Calls `later` after `ms`, unless it is stopped or something is asked before. */
void discover__web_later(struct discover__web *web, uint64_t ms,
                         void (*later)(void *user));

/* Nothing of what was asked for is called back. */
void discover__web_stop(struct discover__web *web);

/* Calls `closed`, then the memory is gone. */
void discover__web_close(struct discover__web *web, void (*closed)(void *user));

/* Of an answer that is not the one expected: its code, and what to do. */
void discover__web_explain(const struct discover__reply *answer, char *message,
                           size_t size);

/* For check() of a kind: its "url", if there is one, and headers. */
bool discover__web_check(const struct discover__config *config, char *message,
                         size_t size);

#endif
