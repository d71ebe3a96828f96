/* Private to src/discover: what the sources have in common that speak HTTP: a
 * URL, whose host is resolved, headers, a token, TLS, one request at a time. */
#ifndef DISCOVER_WEB_H
#define DISCOVER_WEB_H

#include "reading.h"

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
  uint64_t wait; /* ms that the server takes to answer; not of a stream */
  discover__read_cb read; /* what reads an answer of code 200; or NULL */
};

/* The end of a request; see client.h. A failure may also be that of a module, of
 * a name, of a token, or of `read`, whose outcome is in `found`: the callback may
 * take from that. `message` lives until the callback returns. */
typedef void (*discover__web_done_cb)(void *user, int status,
                                      const struct discover__reply *answer,
                                      struct discover__found *found,
                                      const char *message);
/* A line of a stream, without its end, and with a NUL behind it. */
typedef void (*discover__web_line_cb)(void *user, const char *line,
                                      size_t length);

/* Errors: UV_ENOMEM. */
int discover__web_new(struct discover__web **web, rover_source_t *source,
                      void *user);

/* Cancels what is under way. Calls back once, in a later turn of the loop or from
 * within; with `line`, the lines of an answer of code 200 come before. */
void discover__web_ask(struct discover__web *web,
                       const struct discover__web_request *request,
                       discover__web_line_cb line, discover__web_done_cb done);

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
