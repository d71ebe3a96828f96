#include "request.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

int discover__host_of(const char *url, char **out) {
  char *host = NULL, *scheme = NULL;
  int err = UV_EINVAL;
  CURLU *parsed = curl_url();

  if (!parsed) return UV_ENOMEM;
  if (curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK &&
      curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
      curl_url_get(parsed, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
      (!strcmp(scheme, "http") || !strcmp(scheme, "https"))) {
    unsigned char ip[16];
    bool known = *host == '[' || !strcmp(host, "localhost") ||
                 uv_inet_pton(AF_INET, host, ip) == 0;
    *out = strdup(known ? "" : host);
    err = *out ? 0 : UV_ENOMEM;
  }
  curl_free(host);
  curl_free(scheme);
  curl_url_cleanup(parsed);
  return err;
}

/* The parts, up to NULL, are one text. */
static int append(struct curl_slist **list, ...) {
  struct discover__text text = {0};
  va_list parts;

  va_start(parts, list);
  for (const char *part; (part = va_arg(parts, const char *));)
    discover__text_add(&text, part);
  va_end(parts);
  struct curl_slist *longer =
      text.failed ? NULL : curl_slist_append(*list, text.bytes);
  discover__text_free(&text);
  if (!longer) return UV_ENOMEM;
  *list = longer;
  return 0;
}

/* libcurl verifies the name in the URL, so a name of one's own goes there, and
 * the Host header and the way to connect are what the URL has said. */
static int take_server_name(struct discover__asked *asked, CURLU *url,
                            const char *host, const char *port,
                            const char *name) {
  if (curl_url_set(url, CURLUPART_HOST, name, 0) != CURLUE_OK) return UV_EINVAL;
  int err = append(&asked->headers, "Host: ", host, ":", port, NULL);
  if (err < 0) return err;
  return append(&asked->via, name, ":", port, ":", host, ":", port, NULL);
}

static int take_host(struct discover__asked *asked, CURLU *url,
                     const struct discover__request *request) {
  char *host = NULL, *port = NULL;
  int err = UV_EINVAL;

  if (curl_url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
      curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) ==
          CURLUE_OK) {
    err = 0;
    if (request->addresses)
      err = append(&asked->addresses, host, ":", port, ":", request->addresses,
                   NULL);
    if (err == 0 && request->server_name)
      err = take_server_name(asked, url, host, port, request->server_name);
  }
  curl_free(host);
  curl_free(port);
  return err;
}

/* What messages show is without user, password and query. */
static int take_url(struct discover__asked *asked,
                    const struct discover__request *request) {
  CURLU *url = curl_url();
  CURLUcode code;

  if (!url) return UV_ENOMEM;
  code = curl_url_set(url, CURLUPART_URL, request->url, 0);
  int err = code == CURLUE_OK ? take_host(asked, url, request) : UV_EINVAL;
  if (err == 0 && curl_url_get(url, CURLUPART_URL, &asked->url, 0))
    err = UV_ENOMEM;
  curl_url_set(url, CURLUPART_URL, request->url, 0);
  curl_url_set(url, CURLUPART_USER, NULL, 0);
  curl_url_set(url, CURLUPART_PASSWORD, NULL, 0);
  curl_url_set(url, CURLUPART_QUERY, NULL, 0);
  curl_url_set(url, CURLUPART_FRAGMENT, NULL, 0);
  if (err == 0 && curl_url_get(url, CURLUPART_URL, &asked->shown, 0))
    err = UV_ENOMEM;
  curl_url_cleanup(url);
  return err;
}

static int take_headers(struct discover__asked *asked,
                        const char *const *headers) {
  int err = 0;
  for (; err == 0 && headers && *headers; headers++)
    err = append(&asked->headers, *headers, NULL);
  return err;
}

#define SET(option, value)                                                     \
  do {                                                                         \
    CURLcode set = curl_easy_setopt(easy, option, value);                      \
    if (set != CURLE_OK)                                                       \
      return set == CURLE_OUT_OF_MEMORY ? UV_ENOMEM : UV_EINVAL;               \
  } while (0)

/* Nothing of what libcurl would take from the environment or follow: proxies,
 * .netrc, redirects, other protocols. */
static int set_up(struct discover__asked *asked,
                  const struct discover__request *request) {
  CURL *easy = asked->easy;

  SET(CURLOPT_URL, asked->url);
  SET(CURLOPT_NOSIGNAL, 1L);
  SET(CURLOPT_PROXY, "");
  SET(CURLOPT_PROTOCOLS_STR, "http,https");
  SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
  SET(CURLOPT_USERAGENT, "callosum-rover");
  SET(CURLOPT_TCP_KEEPALIVE, 1L);
  SET(CURLOPT_TCP_KEEPIDLE, 15L);
  SET(CURLOPT_TCP_KEEPINTVL, 5L);
  SET(CURLOPT_CONNECTTIMEOUT_MS, (long)request->connect_timeout);
  SET(CURLOPT_TIMEOUT_MS, (long)request->timeout);
  if (asked->headers) SET(CURLOPT_HTTPHEADER, asked->headers);
  if (asked->addresses) SET(CURLOPT_RESOLVE, asked->addresses);
  if (asked->via) SET(CURLOPT_CONNECT_TO, asked->via);
  if (request->path) SET(CURLOPT_UNIX_SOCKET_PATH, request->path);
  if (request->body) SET(CURLOPT_COPYPOSTFIELDS, request->body);
  if (request->ca) {
    SET(CURLOPT_CAINFO, request->ca);
    SET(CURLOPT_CAPATH, NULL);
#if LIBCURL_VERSION_NUM >= 0x075700
    /* libcurl would go on with what was in the file for another day. Where it
     * keeps nothing, it refuses the option. */
    curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, 0L);
#endif
  }
  if (request->cert) SET(CURLOPT_SSLCERT, request->cert);
  if (request->key) SET(CURLOPT_SSLKEY, request->key);
  return 0;
}

int discover__asked_init(struct discover__asked *asked,
                         const struct discover__request *request) {
  *asked = (struct discover__asked){.easy = curl_easy_init()};
  int err = asked->easy ? take_url(asked, request) : UV_ENOMEM;
  if (err == 0) err = take_headers(asked, request->headers);
  if (err == 0) err = set_up(asked, request);
  return err;
}

void discover__asked_free(struct discover__asked *asked) {
  if (asked->easy) curl_easy_cleanup(asked->easy);
  curl_slist_free_all(asked->headers);
  curl_slist_free_all(asked->addresses);
  curl_slist_free_all(asked->via);
  curl_free(asked->url);
  curl_free(asked->shown);
}
