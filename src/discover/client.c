#include "client.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>
#include <utlist.h>

#include "text.h"

/* The life of a transfer: it waits for the next turn of the loop, libcurl works
 * on it whenever a socket or the time says so, and after its last byte `done` is
 * called and it is freed. libcurl opens and closes sockets, each with a handle of
 * its own, and wants one timer; names were resolved before, since it would start
 * a thread for each. Within its callbacks a transfer cannot be taken out of it,
 * so what is cancelled there goes when the outermost call returns; so does the
 * client. */

struct descriptor {
  uv_poll_t poll;
  curl_socket_t fd;
  struct discover__client *client;
  struct descriptor *prev, *next;
};

struct discover__client {
  uv_loop_t *loop;
  uv_timer_t timer;
  uint64_t due; /* of libcurl, in the loop's time; UINT64_MAX: never */
  CURLM *multi;
  struct descriptor *descriptors;
  struct discover__transfer *transfers;
  unsigned depth;
  bool closing;
};

struct discover__transfer {
  struct discover__client *client;
  struct discover__transfer *prev, *next;
  CURL *easy;
  struct curl_slist *headers, *addresses, *via;
  char *url, *shown; /* shown: without what may be secret */
  struct discover__buffer body;
  size_t max_size;
  bool added, refused, cancelled, too_large; /* refused: by libcurl */
  discover__client_data_cb data;
  discover__client_done_cb done;
  void *user;
  char reason[CURL_ERROR_SIZE];
};

static void leave(struct discover__client *client);

/* -- What libcurl waits for ----------------------------------------------- */

static void free_descriptor(uv_handle_t *handle) { free(handle->data); }

static void on_ready(uv_poll_t *poll, int status, int events) {
  struct descriptor *ready = poll->data;
  struct discover__client *client = ready->client;
  int what = 0, running;

  if (status < 0) what = CURL_CSELECT_ERR;
  if (events & UV_READABLE) what |= CURL_CSELECT_IN;
  if (events & UV_WRITABLE) what |= CURL_CSELECT_OUT;
  client->depth++;
  curl_multi_socket_action(client->multi, ready->fd, what, &running);
  leave(client);
}

static struct descriptor *watch(struct discover__client *client,
                                curl_socket_t fd) {
  struct descriptor *made = calloc(1, sizeof *made);

  if (!made) return NULL;
  if (uv_poll_init(client->loop, &made->poll, fd) < 0) {
    free(made);
    return NULL;
  }
  made->poll.data = made;
  made->fd = fd;
  made->client = client;
  DL_APPEND(client->descriptors, made);
  return made;
}

static void unwatch(struct descriptor *gone) {
  DL_DELETE(gone->client->descriptors, gone);
  uv_close((uv_handle_t *)&gone->poll, free_descriptor);
}

/* A socket that cannot be watched is one on which the transfer times out. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *data,
                     void *known) {
  struct discover__client *client = data;
  struct descriptor *found = known;
  int events = 0;

  (void)easy;
  if (what == CURL_POLL_REMOVE) {
    if (found) unwatch(found);
    return 0;
  }
  if (!found) {
    found = watch(client, fd);
    if (!found) return -1;
    curl_multi_assign(client->multi, fd, found);
  }
  if (what & CURL_POLL_IN) events |= UV_READABLE;
  if (what & CURL_POLL_OUT) events |= UV_WRITABLE;
  uv_poll_start(&found->poll, events, on_ready);
  return 0;
}

static void on_time(uv_timer_t *timer);

static void arm(struct discover__client *client) {
  uint64_t now = uv_now(client->loop), due = client->due;
  struct discover__transfer *transfer;

  DL_FOREACH(client->transfers, transfer)
  if (!transfer->added || transfer->cancelled) due = now;
  if (due == UINT64_MAX) uv_timer_stop(&client->timer);
  else uv_timer_start(&client->timer, on_time, due > now ? due - now : 0, 0);
}

static int on_due(CURLM *multi, long ms, void *data) {
  struct discover__client *client = data;

  (void)multi;
  client->due = ms < 0 ? UINT64_MAX : uv_now(client->loop) + (uint64_t)ms;
  return 0;
}

/* -- A transfer ----------------------------------------------------------- */

static void free_transfer(struct discover__transfer *transfer) {
  if (transfer->added)
    curl_multi_remove_handle(transfer->client->multi, transfer->easy);
  if (transfer->easy) curl_easy_cleanup(transfer->easy);
  curl_slist_free_all(transfer->headers);
  curl_slist_free_all(transfer->addresses);
  curl_slist_free_all(transfer->via);
  curl_free(transfer->url);
  curl_free(transfer->shown);
  discover__buffer_clear(&transfer->body);
  free(transfer);
}

static bool keep(struct discover__transfer *transfer, const char *bytes,
                 size_t size) {
  transfer->too_large = size > transfer->max_size - transfer->body.length;
  return discover__buffer_add(&transfer->body, bytes, size, transfer->max_size);
}

static long code_of(const struct discover__transfer *transfer) {
  long code = 0;
  curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &code);
  return code;
}

/* Whatever is not all taken ends the transfer. */
static size_t on_bytes(char *bytes, size_t one, size_t size, void *data) {
  struct discover__transfer *transfer = data;

  (void)one;
  if (transfer->cancelled) return 0;
  if (!transfer->data || code_of(transfer) != 200)
    return keep(transfer, bytes, size) ? size : 0;
  transfer->data(transfer->user, bytes, size);
  return transfer->cancelled ? 0 : size;
}

static const char *header(const struct discover__transfer *transfer,
                          const char *name) {
  struct curl_header *found;
  CURLHcode err =
      curl_easy_header(transfer->easy, name, 0, CURLH_HEADER, -1, &found);
  return err == CURLHE_OK ? found->value : NULL;
}

static int status_of(const struct discover__transfer *transfer,
                     CURLcode result) {
  switch (result) {
    case CURLE_OK: return 0;
    case CURLE_WRITE_ERROR:
      return transfer->too_large ? UV_EMSGSIZE : UV_ENOMEM;
    case CURLE_OUT_OF_MEMORY: return UV_ENOMEM;
    case CURLE_OPERATION_TIMEDOUT: return UV_ETIMEDOUT;
    case CURLE_COULDNT_CONNECT: return UV_ECONNREFUSED;
    case CURLE_COULDNT_RESOLVE_HOST: return UV_EAI_FAIL;
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_PARTIAL_FILE: return UV_ECONNRESET;
    default: return UV_EPROTO;
  }
}

static void finish(struct discover__transfer *transfer, CURLcode result) {
  struct discover__reply answer = {0};
  char message[CURL_ERROR_SIZE + 1024];
  int err = status_of(transfer, result);
  const char *reason =
      *transfer->reason ? transfer->reason : curl_easy_strerror(result);

  if (transfer->too_large)
    snprintf(message, sizeof message,
             "%.900s: the answer is larger than %zu bytes", transfer->shown,
             transfer->max_size);
  else snprintf(message, sizeof message, "%.900s: %s", transfer->shown, reason);
  answer.url = transfer->shown;
  answer.code = code_of(transfer);
  answer.body = transfer->body;
  answer.location = header(transfer, "Location");
  answer.etag = header(transfer, "ETag");
  answer.consul_index = header(transfer, "X-Consul-Index");
  transfer->done(transfer->user, err, err ? NULL : &answer,
                 err ? message : NULL);
  transfer->body = answer.body;
}

/* Takes it out of the list first: `done` may cancel everything else. */
static void end(struct discover__transfer *transfer, CURLcode result) {
  struct discover__client *client = transfer->client;

  DL_DELETE(client->transfers, transfer);
  if (!transfer->cancelled && !client->closing) finish(transfer, result);
  free_transfer(transfer);
}

/* -- The client ----------------------------------------------------------- */

static void free_client(uv_handle_t *handle) { free(handle->data); }

static void destroy(struct discover__client *client) {
  client->depth++;
  while (client->transfers) {
    struct discover__transfer *first = client->transfers;
    DL_DELETE(client->transfers, first);
    free_transfer(first);
  }
  curl_multi_cleanup(client->multi);
  while (client->descriptors) unwatch(client->descriptors);
  uv_close((uv_handle_t *)&client->timer, free_client);
}

static void end_dropped(struct discover__client *client) {
  struct discover__transfer *transfer;

  do {
    DL_FOREACH(client->transfers, transfer)
    /* One that has ended is in no list.
       * NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
    if (transfer->cancelled || transfer->refused) break;
    if (transfer) end(transfer, CURLE_OUT_OF_MEMORY);
  } while (transfer && !client->closing);
}

static void end_done(struct discover__client *client) {
  struct discover__transfer *transfer;
  CURLMsg *message;
  int left;

  while (!client->closing &&
         (message = curl_multi_info_read(client->multi, &left))) {
    if (message->msg != CURLMSG_DONE) continue;
    CURLcode result = message->data.result;
    char *private;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &private);
    transfer = (struct discover__transfer *)(void *)private;
    end(transfer, result);
    end_dropped(client);
  }
}

/* The outermost call: libcurl is not at work, so that transfers can go. */
static void leave(struct discover__client *client) {
  if (client->depth == 1) {
    end_dropped(client);
    end_done(client);
  }
  if (--client->depth > 0) return;
  if (client->closing) destroy(client);
  else arm(client);
}

static void on_time(uv_timer_t *timer) {
  struct discover__client *client = timer->data;
  struct discover__transfer *transfer;
  int running;

  client->depth++;
  client->due = UINT64_MAX;
  DL_FOREACH(client->transfers, transfer) {
    if (transfer->added || transfer->cancelled) continue;
    transfer->added =
        curl_multi_add_handle(client->multi, transfer->easy) == CURLM_OK;
    transfer->refused = !transfer->added;
  }
  curl_multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0, &running);
  leave(client);
}

/* When the module is loaded, before it is used from any thread. */
__attribute__((constructor)) static void prepare(void) {
  curl_global_init(CURL_GLOBAL_DEFAULT);
}

static int open_client(uv_loop_t *loop, struct discover__client **out) {
  struct discover__client *client = calloc(1, sizeof *client);

  if (!client) return UV_ENOMEM;
  client->multi = curl_multi_init();
  if (!client->multi) {
    free(client);
    return UV_ENOMEM;
  }
  client->loop = loop;
  client->due = UINT64_MAX;
  uv_timer_init(loop, &client->timer);
  client->timer.data = client;
  curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
  curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
  curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_due);
  curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
  *out = client;
  return 0;
}

static void cancel(struct discover__transfer *transfer) {
  transfer->cancelled = true;
  if (transfer->client->depth == 0) end(transfer, CURLE_OK);
}

static void close_client(struct discover__client *client) {
  client->closing = true;
  if (client->depth == 0) destroy(client);
}

/* -- A request ------------------------------------------------------------ */

static int host_of(const char *url, char **out) {
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
static int take_server_name(struct discover__transfer *transfer, CURLU *url,
                            const char *host, const char *port,
                            const char *name) {
  if (curl_url_set(url, CURLUPART_HOST, name, 0) != CURLUE_OK) return UV_EINVAL;
  int err = append(&transfer->headers, "Host: ", host, ":", port, NULL);
  if (err < 0) return err;
  return append(&transfer->via, name, ":", port, ":", host, ":", port, NULL);
}

static int take_host(struct discover__transfer *transfer, CURLU *url,
                     const struct discover__request *request) {
  char *host = NULL, *port = NULL;
  int err = UV_EINVAL;

  if (curl_url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
      curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) ==
          CURLUE_OK) {
    err = 0;
    if (request->addresses)
      err = append(&transfer->addresses, host, ":", port, ":",
                   request->addresses, NULL);
    if (err == 0 && request->server_name)
      err = take_server_name(transfer, url, host, port, request->server_name);
  }
  curl_free(host);
  curl_free(port);
  return err;
}

/* What messages show is without user, password and query. */
static int take_url(struct discover__transfer *transfer,
                    const struct discover__request *request) {
  CURLU *url = curl_url();
  CURLUcode code;

  if (!url) return UV_ENOMEM;
  code = curl_url_set(url, CURLUPART_URL, request->url, 0);
  int err = code == CURLUE_OK ? take_host(transfer, url, request) : UV_EINVAL;
  if (err == 0 && curl_url_get(url, CURLUPART_URL, &transfer->url, 0))
    err = UV_ENOMEM;
  curl_url_set(url, CURLUPART_URL, request->url, 0);
  curl_url_set(url, CURLUPART_USER, NULL, 0);
  curl_url_set(url, CURLUPART_PASSWORD, NULL, 0);
  curl_url_set(url, CURLUPART_QUERY, NULL, 0);
  curl_url_set(url, CURLUPART_FRAGMENT, NULL, 0);
  if (err == 0 && curl_url_get(url, CURLUPART_URL, &transfer->shown, 0))
    err = UV_ENOMEM;
  curl_url_cleanup(url);
  return err;
}

static int take_headers(struct discover__transfer *transfer,
                        const char *const *headers) {
  int err = 0;
  for (; err == 0 && headers && *headers; headers++)
    err = append(&transfer->headers, *headers, NULL);
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
static int set_up(struct discover__transfer *transfer,
                  const struct discover__request *request) {
  CURL *easy = transfer->easy;

  SET(CURLOPT_URL, transfer->url);
  SET(CURLOPT_PRIVATE, transfer);
  SET(CURLOPT_ERRORBUFFER, transfer->reason);
  SET(CURLOPT_NOSIGNAL, 1L);
  SET(CURLOPT_PROXY, "");
  SET(CURLOPT_PROTOCOLS_STR, "http,https");
  SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
  SET(CURLOPT_USERAGENT, "callosum-rover");
  SET(CURLOPT_TCP_KEEPALIVE, 1L);
  SET(CURLOPT_TCP_KEEPIDLE, 15L);
  SET(CURLOPT_TCP_KEEPINTVL, 5L);
  SET(CURLOPT_WRITEFUNCTION, on_bytes);
  SET(CURLOPT_WRITEDATA, transfer);
  SET(CURLOPT_CONNECTTIMEOUT_MS, (long)request->connect_timeout);
  SET(CURLOPT_TIMEOUT_MS, (long)request->timeout);
  if (transfer->headers) SET(CURLOPT_HTTPHEADER, transfer->headers);
  if (transfer->addresses) SET(CURLOPT_RESOLVE, transfer->addresses);
  if (transfer->via) SET(CURLOPT_CONNECT_TO, transfer->via);
  if (request->path) SET(CURLOPT_UNIX_SOCKET_PATH, request->path);
  if (request->body) SET(CURLOPT_COPYPOSTFIELDS, request->body);
  if (request->ca) {
    SET(CURLOPT_CAINFO, request->ca);
    SET(CURLOPT_CAPATH, NULL);
  }
  if (request->cert) SET(CURLOPT_SSLCERT, request->cert);
  if (request->key) SET(CURLOPT_SSLKEY, request->key);
  return 0;
}

static int start(struct discover__client *client,
                 const struct discover__request *request,
                 discover__client_data_cb data, discover__client_done_cb done,
                 void *user, struct discover__transfer **out) {
  struct discover__transfer *transfer = calloc(1, sizeof *transfer);

  if (!transfer) return UV_ENOMEM;
  transfer->client = client;
  transfer->max_size = request->max_size;
  transfer->data = data;
  transfer->done = done;
  transfer->user = user;
  transfer->easy = curl_easy_init();
  int err = transfer->easy ? take_url(transfer, request) : UV_ENOMEM;
  if (err == 0) err = take_headers(transfer, request->headers);
  if (err == 0) err = set_up(transfer, request);
  if (err < 0) {
    free_transfer(transfer);
    return err;
  }
  DL_APPEND(client->transfers, transfer);
  if (client->depth == 0) arm(client);
  *out = transfer;
  return 0;
}

extern const struct discover__http discover__http;
__attribute__((visibility("default")))
const struct discover__http discover__http = {open_client, host_of, start,
                                              cancel, close_client};
