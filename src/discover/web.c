#include "web.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "modules.h"
#include "resolver.h"

/* The life of a request: the token is read, the host of the URL is resolved if it
 * is a name, and then the client sends it. All three may fail, and nothing of it
 * comes before the turn of the loop in which it was asked is over: a failure is
 * told by the timer. */

enum { MAX_TOKEN = 64 << 10, MAX_HEADERS = 64 };

struct discover__web {
  rover_source_t *source;
  void *user;
  const struct discover__resolver *resolver;
  const struct discover__http *http;
  struct discover__client *client;
  struct discover__transfer *transfer;
  struct discover__round *round;
  uv_timer_t timer;
  void (*later)(void *user);
  void (*closed)(void *user);
  discover__client_data_cb data;
  discover__web_done_cb done;
  /* The request under way. */
  char *url, *body, *token, *ca, *header;
  uint64_t wait;
  size_t max_size;
  int err; /* for the timer to tell */
  char message[1280];
};

static const struct discover__config *
config_of(const struct discover__web *web) {
  return discover__source_config(web->source);
}

static void drop(char **text) {
  free(*text);
  *text = NULL;
}

static void forget_texts(struct discover__web *web) {
  drop(&web->url);
  drop(&web->body);
  drop(&web->token);
  drop(&web->ca);
  drop(&web->header);
}

void discover__web_stop(struct discover__web *web) {
  uv_timer_stop(&web->timer);
  if (web->round) web->resolver->close(web->round);
  if (web->transfer) web->http->cancel(web->transfer);
  web->round = NULL;
  web->transfer = NULL;
  forget_texts(web);
}

static void on_told(uv_timer_t *timer) {
  struct discover__web *web = timer->data;
  web->done(web->user, web->err, NULL, web->message);
}

/* Tells it in the next turn. */
static void fail(struct discover__web *web, int err, const char *message) {
  char text[sizeof web->message];

  snprintf(text, sizeof text, "%s", message); /* may be the module's */
  discover__web_stop(web);
  memcpy(web->message, text, sizeof text);
  web->err = err;
  uv_timer_start(&web->timer, on_told, 0, 0);
}

/* -- The token ------------------------------------------------------------ */

static ssize_t read_whole(const char *path, char *bytes, size_t size) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat is;
  size_t length = 0;
  ssize_t got = 1;

  if (fd < 0) return -errno;
  if (fstat(fd, &is) < 0 || !S_ISREG(is.st_mode)) {
    close(fd);
    return UV_EINVAL;
  }
  while (got > 0 && length < size) {
    got = read(fd, bytes + length, size - length);
    if (got > 0) length += (size_t)got;
  }
  int err = got < 0 ? -errno : 0;
  close(fd);
  if (err < 0) return err;
  return length < size ? (ssize_t)length : UV_EFBIG;
}

/* Makes a header of it, here on the loop: tokens are on local disks, as the manual
 * asks, or in memory, as those of pods are. A token has neither blanks nor control characters. */
static bool read_token(struct discover__web *web, const char *path,
                       const char *scheme) {
  static const char name[] = "Authorization: ";
  size_t before = strlen(name) + strlen(scheme);
  char message[512];

  web->token = malloc(before + MAX_TOKEN + 1);
  if (!web->token) {
    fail(web, UV_ENOMEM, "out of memory");
    return false;
  }
  snprintf(web->token, before + 1, "%s%s", name, scheme);
  char *token = web->token + before;
  ssize_t length = read_whole(path, token, MAX_TOKEN);
  while (length > 0 && isspace((unsigned char)token[length - 1])) length--;
  for (ssize_t i = 0; i < length; i++)
    if (token[i] <= ' ' || token[i] == 0x7f) length = UV_EINVAL;
  if (length > 0) {
    token[length] = '\0';
    return true;
  }
  snprintf(message, sizeof message, "tokenFile %.300s: %s", path,
           length == 0           ? "it is empty"
           : length == UV_EINVAL ? "a file with a token, on one line, expected"
                                 : uv_strerror((int)length));
  fail(web, length < 0 ? (int)length : UV_EINVAL, message);
  return false;
}

/* -- The answer ----------------------------------------------------------- */

static void on_done(void *user, int status, struct discover__reply *answer,
                    const char *message) {
  struct discover__web *web = user;

  web->transfer = NULL;
  web->done(web->user, status, answer, message);
}

static void on_bytes(void *user, const char *bytes, size_t length) {
  struct discover__web *web = user;
  web->data(web->user, bytes, length);
}

/* -- The request ---------------------------------------------------------- */

static size_t add_headers(const struct discover__web *web,
                          const char *headers[MAX_HEADERS + 4]) {
  const struct discover__config *config = config_of(web);
  size_t count = 0;

  for (size_t i = 0; i < config->count && count < MAX_HEADERS; i++)
    if (!strcmp(config->settings[i].key, "headers"))
      headers[count++] = config->settings[i].value;
  if (web->token) headers[count++] = web->token;
  if (web->header) headers[count++] = web->header;
  if (web->body) headers[count++] = "Content-Type: application/json";
  headers[count] = NULL;
  return count;
}

/* A little less than the source allows, which does not know what is awaited. */
static uint64_t timeout_of(const struct discover__web *web) {
  uint64_t timeout = config_of(web)->options.timeout;
  return timeout - timeout / 10;
}

static void start(struct discover__web *web, const char *addresses) {
  const struct discover__config *config = config_of(web);
  const char *headers[MAX_HEADERS + 4];
  struct discover__request request = {
      .url = web->url,
      .path = discover__config_get(config, "path"),
      .addresses = addresses,
      .headers = headers,
      .body = web->body,
      .ca = web->ca,
      .cert = discover__config_get(config, "tls.cert"),
      .key = discover__config_get(config, "tls.key"),
      .server_name = discover__config_get(config, "tls.serverName"),
      .connect_timeout = timeout_of(web),
      .timeout = web->data ? 0 : timeout_of(web) + web->wait,
      .max_size = web->max_size,
  };
  int err = 0;

  add_headers(web, headers);
  if (!web->client)
    err = web->http->open(discover__source_loop(web->source), &web->client);
  if (err == 0)
    err = web->http->start(web->client, &request, web->data ? on_bytes : NULL,
                           on_done, web, &web->transfer);
  if (err < 0)
    fail(web, err,
         err == UV_EINVAL ? "libcurl takes no such URL or setting"
                          : uv_strerror(err));
}

static void on_resolved(void *data, int status,
                        const struct discover__records *records,
                        const char *message) {
  struct discover__web *web = data;
  char addresses[2048] = "";

  if (status < 0) {
    fail(web, status, message);
    return;
  }
  for (size_t i = 0, length = 0; i < records->count; i++) {
    const char *host = records->list[i].host;
    size_t left = sizeof addresses - length;
    if (strlen(host) + 4 > left) break; /* they are enough */
    length += (size_t)snprintf(addresses + length, left,
                               strchr(host, ':') ? "%s[%s]" : "%s%s",
                               length > 0 ? "," : "", host);
  }
  web->resolver->close(web->round);
  web->round = NULL;
  start(web, addresses);
}

static void resolve(struct discover__web *web, const char *host) {
  struct discover__round_options options = {.timeout = timeout_of(web)};
  char message[512];

  if (!web->resolver)
    web->resolver = discover__modules_resolver(message, sizeof message);
  if (!web->resolver) {
    fail(web, discover__modules_status(), message);
    return;
  }
  int err = web->resolver->open(discover__source_loop(web->source), &options,
                                &web->round);
  if (err == 0)
    err = web->resolver->ask(web->round, DISCOVER_HOST, host, on_resolved, web);
  if (err < 0) fail(web, err, uv_strerror(err));
}

static char *join(const char *one, const char *other) {
  size_t size = strlen(one) + strlen(other) + 1;
  char *text = malloc(size);
  if (text) snprintf(text, size, "%s%s", one, other);
  return text;
}

static bool copy(char **to, const char *text) {
  if (!text) return true;
  *to = strdup(text);
  return *to != NULL;
}

static void send_request(struct discover__web *web) {
  char *host;

  if (discover__config_get(config_of(web), "path")) {
    start(web, NULL);
    return;
  }
  int err = web->http->host_of(web->url, &host);
  if (err < 0) {
    fail(web, err,
         err == UV_EINVAL ? "libcurl takes no such URL" : uv_strerror(err));
    return;
  }
  if (*host) resolve(web, host);
  else start(web, NULL);
  free(host);
}

void discover__web_ask(struct discover__web *web,
                       const struct discover__web_request *request,
                       discover__client_data_cb data,
                       discover__web_done_cb done) {
  const struct discover__config *config = config_of(web);
  const char *token = discover__config_get(config, "tokenFile");
  const char *ca = discover__config_get(config, "tls.ca");
  char message[512];

  discover__web_stop(web);
  web->data = data;
  web->done = done;
  web->wait = request->wait;
  web->max_size = request->max_size;
  if (!web->http) web->http = discover__modules_http(message, sizeof message);
  if (!web->http) {
    fail(web, discover__modules_status(), message);
    return;
  }
  web->url = join(request->base, request->target ? request->target : "");
  if (!web->url || !copy(&web->body, request->body) ||
      !copy(&web->header, request->header) ||
      !copy(&web->ca, ca ? ca : request->ca)) {
    fail(web, UV_ENOMEM, "out of memory");
    return;
  }
  if (!token) token = request->token_file;
  if (token && !read_token(web, token, request->scheme)) return;
  send_request(web);
}

/* -- The object ----------------------------------------------------------- */

int discover__web_new(struct discover__web **out, rover_source_t *source,
                      void *user) {
  struct discover__web *web = calloc(1, sizeof *web);

  if (!web) return UV_ENOMEM;
  web->source = source;
  web->user = user;
  uv_timer_init(discover__source_loop(source), &web->timer);
  web->timer.data = web;
  *out = web;
  return 0;
}

static void on_later(uv_timer_t *timer) {
  struct discover__web *web = timer->data;
  web->later(web->user);
}

void discover__web_later(struct discover__web *web, uint64_t ms,
                         void (*later)(void *user)) {
  web->later = later;
  uv_timer_start(&web->timer, on_later, ms, 0);
}

static void on_closed(uv_handle_t *handle) {
  struct discover__web *web = handle->data;
  void (*closed)(void *user) = web->closed;
  void *user = web->user;

  free(web);
  closed(user);
}

void discover__web_close(struct discover__web *web,
                         void (*closed)(void *user)) {
  discover__web_stop(web);
  if (web->client) web->http->close(web->client);
  web->client = NULL;
  web->closed = closed;
  uv_close((uv_handle_t *)&web->timer, on_closed);
}

/* -- Words ---------------------------------------------------------------- */

/* Without user, password and query. */
static void show(char *out, size_t size, const char *url) {
  const char *authority = strstr(url, "//");
  int length = (int)discover__config_shown(url);

  if (authority && authority - url < length) {
    size_t after = strcspn(authority + 2, "/?#"), user = 0;
    int scheme = (int)(authority + 2 - url);
    for (size_t i = 0; i < after; i++)
      if (authority[2 + i] == '@') user = i + 1;
    snprintf(out, size, "%.*s%.*s", scheme, url, length - scheme - (int)user,
             url + scheme + user);
  } else {
    snprintf(out, size, "%.*s", length, url);
  }
}

void discover__web_explain(const struct discover__reply *answer, char *message,
                           size_t size) {
  const struct discover__block *first = answer->body.first;
  char begin[200];
  size_t used = 0;

  if (answer->code >= 300 && answer->code < 400 && answer->location) {
    char place[301];
    show(place, sizeof place, answer->location);
    snprintf(message, size,
             "%.300s: HTTP %ld: redirects are not followed; ask '%s' itself, "
             "if it is to be trusted",
             answer->url, answer->code, place);
    return;
  }
  for (size_t i = 0; first && i < first->length && used < sizeof begin - 1;
       i++) {
    char c = first->bytes[i];
    begin[used] = ' ';
    if (c > ' ' && c <= '~') begin[used] = c;
    used++;
  }
  while (used > 0 && begin[used - 1] == ' ') used--;
  begin[used] = '\0';
  snprintf(message, size, "%.300s: HTTP %ld%s%s%s", answer->url, answer->code,
           answer->code == 401 || answer->code == 403
               ? " (see headers, tokenFile or tls)"
               : "",
           used ? ": " : "", begin);
}

/* Whose host is known to be there; libcurl looks at the rest. */
static bool is_url(const char *url) {
  size_t scheme = !strncmp(url, "http://", 7)    ? 7
                  : !strncmp(url, "https://", 8) ? 8
                                                 : 0;
  if (scheme == 0 || strcspn(url + scheme, "/?#") == 0) return false;
  for (; *url; url++)
    if (*url <= ' ' || *url == 0x7f) return false;
  return true;
}

/* What is in a URL is shown in messages. */
static bool has_user(const char *url) {
  const char *host = strstr(url, "//") + 2;
  const char *at = strchr(host, '@');
  return at && at < host + strcspn(host, "/?#");
}

bool discover__web_check(const struct discover__config *config, char *message,
                         size_t size) {
  const char *url = discover__config_get(config, "url");
  size_t headers = 0;

  if (url && !is_url(url)) {
    char place[201];
    show(place, sizeof place, url);
    snprintf(message, size, "url: http:// or https:// expected, got '%s'",
             place);
    return false;
  }
  if (url && has_user(url)) {
    snprintf(message, size,
             "url: a user and a password do not belong there, since URLs are "
             "logged; see headers and tokenFile");
    return false;
  }
  for (size_t i = 0; i < config->count; i++) {
    const struct discover__setting *setting = &config->settings[i];
    if (strcmp(setting->key, "headers") != 0) continue;
    if (++headers > MAX_HEADERS || strpbrk(setting->value, "\r\n")) {
      snprintf(message, size, "headers: at most %d, each on one line, expected",
               (int)MAX_HEADERS);
      return false;
    }
  }
  return true;
}
