#include "http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "web.h"

/* The source http: a list as JSON, that of Prometheus' http_sd, or as text. The
 * server is told the ETag of the last answer, if that was believed, and need not
 * send again what has not changed. */

enum { TEXT_MAX = 32 << 20 }; /* what list.c reads */

struct http {
  rover_source_t *source;
  struct discover__web *web;
  char *etag; /* of the last answer, as a header; or NULL */
  bool is_asked_whole;
};

static void fail(struct http *http, int status, const char *message) {
  free(http->etag);
  http->etag = NULL;
  discover__source_failed(http->source, status, message);
}

static void keep_etag(struct http *http, const char *etag) {
  static const char name[] = "If-None-Match: ";

  free(http->etag);
  http->etag = NULL;
  if (!etag) return;
  size_t size = sizeof name + strlen(etag);
  http->etag = malloc(size); /* without it all is sent again */
  if (http->etag) snprintf(http->etag, size, "%s%s", name, etag);
}

static void on_done(void *user, int status, struct discover__reply *answer,
                    const char *message) {
  struct http *http = user;

  if (status < 0) {
    fail(http, status, message);
    return;
  }
  if (answer->code == 304 && !http->is_asked_whole) {
    discover__source_same(http->source);
    return;
  }
  if (answer->code != 200) {
    char text[1024];
    discover__web_explain(answer, text, sizeof text);
    fail(http, UV_EPROTO, text);
    return;
  }
  size_t length;
  char *bytes = discover__buffer_join(&answer->body, &length);
  if (!bytes) {
    fail(http, UV_ENOMEM, "out of memory");
    return;
  }
  keep_etag(http, answer->etag);
  discover__source_text(http->source, bytes, length, 0);
}

static void poll(void *provider, bool is_fresh) {
  struct http *http = provider;
  const struct discover__config *config = discover__source_config(http->source);
  struct discover__web_request request = {
      .base = discover__config_get(config, "url"),
      .header = is_fresh ? http->etag : NULL,
      .scheme = "Bearer ",
      .max_size = TEXT_MAX,
  };

  http->is_asked_whole = !request.header;
  discover__web_ask(http->web, &request, NULL, on_done);
}

static void stop(void *provider) {
  struct http *http = provider;
  discover__web_stop(http->web);
}

static int open_http(void **provider, rover_source_t *source) {
  struct http *http = calloc(1, sizeof *http);

  if (!http) return UV_ENOMEM;
  http->source = source;
  int err = discover__web_new(&http->web, source, http);
  if (err < 0) free(http);
  else *provider = http;
  return err;
}

static void on_closed(void *user) {
  struct http *http = user;
  rover_source_t *source = http->source;

  free(http->etag);
  free(http);
  discover__source_provider_closed(source);
}

static void close_http(void *provider) {
  struct http *http = provider;
  discover__web_close(http->web, on_closed);
}

static const struct discover__option options[] = {
    {"url", DISCOVER__TEXT, true}, DISCOVER__WEB_OPTIONS, {0}};

const struct discover__kind discover__http = {
    .name = "http",
    .interval = 30000,
    .http = true,
    .options = options,
    .check = discover__web_check,
    .open = open_http,
    .poll = poll,
    .stop = stop,
    .close = close_http,
};
