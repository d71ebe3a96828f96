#include "client.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <utlist.h>

#include "request.h"

/* The life of a transfer: it waits for the next turn of the loop, libcurl works
 * on it whenever a socket or the time says so, and after its last byte `done` is
 * called and it is freed. libcurl wants one timer, and to know when its sockets
 * are ready, each of which has a handle; names were resolved before, since it
 * would start a thread for each.
 *
 * It works on the loop, in passes, unless one brings many bytes: these pause, and
 * are received in a thread of libuv's pool, as megabytes would hold up the loop.
 * Meanwhile `multi` is that thread's, with the descriptors and the bytes that
 * have come; the loop notes what is ready next. What libcurl asks for takes
 * effect after a pass, and so does what was cancelled meanwhile or within a
 * callback, and the end of the client. */

enum { MANY = 128 << 10 }; /* bytes, for the loop */

struct descriptor {
  uv_poll_t poll;
  curl_socket_t fd;
  struct discover__client *client;
  struct descriptor *prev, *next;
  int seen;    /* the loop's: it is ready for these, CURL_CSELECT_... */
  int ready;   /* libcurl is to know of these */
  int wanted;  /* UV_... events */
  int watched; /* those that are watched now */
  bool has_poll, removed;
  bool closed; /* by libcurl: it is once nothing watches its number */
};

struct discover__client {
  uv_loop_t *loop;
  uv_timer_t timer;
  uv_work_t work;
  uint64_t due; /* of libcurl, in the loop's time; UINT64_MAX: never */
  long wait;    /* as libcurl has said it; or UNCHANGED */
  CURLM *multi;
  struct descriptor *descriptors;
  struct discover__transfer *transfers; /* the loop's */
  struct discover__transfer *paused;
  unsigned depth; /* a pass, and calls of callbacks */
  bool is_due, in_thread, closing;
};

enum { NEVER = -1, UNCHANGED = -2 };

struct discover__transfer {
  struct discover__client *client;
  struct discover__transfer *prev, *next, *next_paused;
  struct discover__asked asked;
  struct discover__buffer body; /* of a stream: what was not given out yet */
  size_t max_size;
  size_t came; /* bytes, in a pass */
  atomic_bool cancelled;
  bool added, refused, paused, too_large; /* refused: by libcurl */
  discover__client_data_cb data;
  discover__client_done_cb done;
  void *user;
};

static long code_of(const struct discover__transfer *transfer);
static void leave(struct discover__client *client);

/* -- What libcurl waits for ----------------------------------------------- */

static void on_ready(uv_poll_t *poll, int status, int events) {
  struct descriptor *ready = poll->data;

  if (status < 0) ready->seen |= CURL_CSELECT_ERR;
  if (events & UV_READABLE) ready->seen |= CURL_CSELECT_IN;
  if (events & UV_WRITABLE) ready->seen |= CURL_CSELECT_OUT;
  uv_poll_stop(poll); /* until libcurl has looked at it */
  ready->watched = 0;
  ready->client->depth++;
  leave(ready->client);
}

/* In whichever thread libcurl is at work. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *data,
                     void *known) {
  struct discover__client *client = data;
  struct descriptor *found = known;

  (void)easy;
  if (what == CURL_POLL_REMOVE) {
    if (found) found->removed = true;
    return 0;
  }
  if (!found) {
    found = calloc(1, sizeof *found);
    if (!found) return -1;
    found->fd = fd;
    found->client = client;
    DL_APPEND(client->descriptors, found);
    curl_multi_assign(client->multi, fd, found);
  }
  found->wanted = 0;
  if (what & CURL_POLL_IN) found->wanted |= UV_READABLE;
  if (what & CURL_POLL_OUT) found->wanted |= UV_WRITABLE;
  return 0;
}

/* Likewise. */
static int on_close(void *data, curl_socket_t fd) {
  struct discover__client *client = data;
  struct descriptor *descriptor, *found = NULL;

  DL_FOREACH(client->descriptors, descriptor) {
    if (descriptor->fd == fd) found = descriptor;
  }
  if (found) found->closed = true;
  return found ? 0 : close(fd);
}

/* Likewise. */
static int on_due(CURLM *multi, long ms, void *data) {
  struct discover__client *client = data;

  (void)multi;
  client->wait = ms < 0 ? NEVER : ms;
  return 0;
}

static void free_descriptor(uv_handle_t *handle) { free(handle->data); }

static void unwatch(struct descriptor *gone) {
  curl_socket_t fd = gone->closed ? gone->fd : -1;

  DL_DELETE(gone->client->descriptors, gone);
  if (gone->has_poll) uv_close((uv_handle_t *)&gone->poll, free_descriptor);
  else free(gone);
  if (fd >= 0) close(fd);
}

/* One that cannot be watched is one on which the transfer times out. */
static void watch(struct descriptor *descriptor) {
  uv_poll_t *poll = &descriptor->poll;

  if (!descriptor->has_poll) {
    if (uv_poll_init(descriptor->client->loop, poll, descriptor->fd) < 0)
      return;
    descriptor->has_poll = true;
    poll->data = descriptor;
  }
  if (descriptor->seen || descriptor->watched == descriptor->wanted) return;
  uv_poll_start(poll, descriptor->wanted, on_ready);
  descriptor->watched = descriptor->wanted;
}

static void on_time(uv_timer_t *timer);

static void set_timer(struct discover__client *client) {
  uint64_t now = uv_now(client->loop);
  struct discover__transfer *transfer;

  if (client->wait == NEVER) client->due = UINT64_MAX;
  else if (client->wait >= 0) client->due = now + (uint64_t)client->wait;
  client->wait = UNCHANGED;
  uint64_t due = client->due;
  DL_FOREACH(client->transfers, transfer)
  if (!transfer->added || transfer->cancelled) due = now;
  if (due == UINT64_MAX) uv_timer_stop(&client->timer);
  else uv_timer_start(&client->timer, on_time, due > now ? due - now : 0, 0);
}

/* Does what libcurl has asked for. A socket may have left, and be back under the
 * same number. */
static void arm(struct discover__client *client) {
  struct descriptor *descriptor, *next;

  DL_FOREACH(client->descriptors, descriptor) {
    if (descriptor->removed && descriptor->has_poll)
      uv_poll_stop(&descriptor->poll);
  }
  DL_FOREACH_SAFE(client->descriptors, descriptor, next) {
    if (descriptor->removed) unwatch(descriptor);
  }
  /* What was freed is in no list.
   * NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
  DL_FOREACH(client->descriptors, descriptor) watch(descriptor);
  if (!client->closing) set_timer(client);
}

/* -- Its work ------------------------------------------------------------- */

static void pass(struct discover__client *client) {
  struct descriptor *descriptor;
  int running;

  while (client->paused) {
    struct discover__transfer *paused = client->paused;
    client->paused = paused->next_paused;
    paused->paused = false;
    curl_easy_pause(paused->asked.easy, CURLPAUSE_CONT);
    client->is_due = true;
  }
  DL_FOREACH(client->descriptors, descriptor) {
    int ready = descriptor->ready;
    descriptor->ready = 0;
    if (ready && !descriptor->removed)
      curl_multi_socket_action(client->multi, descriptor->fd, ready, &running);
  }
  if (client->is_due)
    curl_multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0, &running);
  client->is_due = false;
}

static void on_work(uv_work_t *request) { pass(request->data); }

/* What has come of a stream; `data` may cancel it. */
static void give_out(struct discover__transfer *transfer) {
  struct discover__buffer bytes = transfer->body;
  struct discover__block *block;

  if (!transfer->data || code_of(transfer) != 200) return;
  transfer->body = (struct discover__buffer){0};
  LL_FOREACH(bytes.first, block) {
    if (transfer->cancelled || transfer->client->closing) break;
    transfer->data(transfer->user, block->bytes, block->length);
  }
  discover__buffer_clear(&bytes);
}

static void after_pass(struct discover__client *client) {
  struct discover__transfer *transfer;

  client->in_thread = false;
  DL_FOREACH(client->transfers, transfer) give_out(transfer);
  leave(client);
}

static void after_work(uv_work_t *request, int status) {
  (void)status;
  after_pass(request->data);
}

/* Has libcurl look at what is ready, if there is anything. Where many bytes came
 * in the last pass, more may follow. */
static void work(struct discover__client *client) {
  struct discover__transfer *transfer;
  struct descriptor *descriptor;
  bool any = client->is_due || client->paused, many = false;

  DL_FOREACH(client->descriptors, descriptor) {
    any |= descriptor->seen != 0;
    descriptor->ready = descriptor->seen;
    descriptor->seen = 0;
  }
  if (!any) return;
  DL_FOREACH(client->transfers, transfer) {
    many |= transfer->came > MANY;
    transfer->came = 0;
  }
  client->depth++;
  client->in_thread = many;
  if (many) {
    uv_queue_work(client->loop, &client->work, on_work, after_work);
  } else {
    pass(client);
    after_pass(client);
  }
}

/* -- A transfer ----------------------------------------------------------- */

static void free_transfer(struct discover__transfer *transfer) {
  if (transfer->paused)
    LL_DELETE2(transfer->client->paused, transfer, next_paused);
  if (transfer->added)
    curl_multi_remove_handle(transfer->client->multi, transfer->asked.easy);
  discover__asked_free(&transfer->asked);
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
  curl_easy_getinfo(transfer->asked.easy, CURLINFO_RESPONSE_CODE, &code);
  return code;
}

/* Whatever is not all taken ends the transfer. */
static size_t on_bytes(char *bytes, size_t one, size_t size, void *data) {
  struct discover__transfer *transfer = data;
  bool streams = transfer->data && code_of(transfer) == 200;

  (void)one;
  if (transfer->cancelled) return 0;
  transfer->came += size;
  if (transfer->came > MANY && !transfer->client->in_thread) {
    transfer->paused = true;
    LL_PREPEND2(transfer->client->paused, transfer, next_paused);
    return CURL_WRITEFUNC_PAUSE;
  }
  if (streams)
    return discover__buffer_add(&transfer->body, bytes, size, SIZE_MAX) ? size
                                                                        : 0;
  return keep(transfer, bytes, size) ? size : 0;
}

static const char *header(const struct discover__transfer *transfer,
                          const char *name) {
  struct curl_header *found;
  CURLHcode err =
      curl_easy_header(transfer->asked.easy, name, 0, CURLH_HEADER, -1, &found);
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
  const char *reason = *transfer->asked.reason ? transfer->asked.reason
                                               : curl_easy_strerror(result);

  if (transfer->too_large)
    snprintf(message, sizeof message,
             "%.900s: the answer is larger than %zu bytes",
             transfer->asked.shown, transfer->max_size);
  else
    snprintf(message, sizeof message, "%.900s: %s", transfer->asked.shown,
             reason);
  answer.url = transfer->asked.shown;
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
  struct descriptor *descriptor;

  client->depth++;
  while (client->transfers) {
    struct discover__transfer *first = client->transfers;
    DL_DELETE(client->transfers, first);
    free_transfer(first);
  }
  curl_multi_cleanup(client->multi);
  DL_FOREACH(client->descriptors, descriptor) descriptor->removed = true;
  arm(client);
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

/* The outermost call: libcurl is not at work, so that transfers can go, and it
 * can begin again. */
static void leave(struct discover__client *client) {
  if (client->depth == 1) {
    end_dropped(client);
    end_done(client);
  }
  if (--client->depth > 0) return;
  if (client->closing) {
    destroy(client);
    return;
  }
  arm(client);
  work(client);
}

/* What was asked for in an earlier turn begins. */
static void add_new(struct discover__client *client) {
  struct discover__transfer *transfer;

  DL_FOREACH(client->transfers, transfer) {
    if (transfer->added || transfer->cancelled) continue;
    transfer->added =
        curl_multi_add_handle(client->multi, transfer->asked.easy) == CURLM_OK;
    transfer->refused = !transfer->added;
  }
}

static void on_time(uv_timer_t *timer) {
  struct discover__client *client = timer->data;

  if (client->depth > 0) return; /* it is set again after that */
  client->due = UINT64_MAX;
  client->is_due = true;
  client->depth++;
  add_new(client);
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
  client->wait = UNCHANGED;
  uv_timer_init(loop, &client->timer);
  client->timer.data = client->work.data = client;
  curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
  curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
  curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_due);
  curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
  *out = client;
  return 0;
}

/* While all threads hang, nothing more would end. Only once: libuv would do
 * that again. */
static void call_off_work(struct discover__client *client) {
  if (client->in_thread && uv_cancel((uv_req_t *)&client->work) == 0)
    client->in_thread = false;
}

static void cancel(struct discover__transfer *transfer) {
  transfer->cancelled = true;
  call_off_work(transfer->client);
  transfer->client->depth++;
  leave(transfer->client);
}

static void close_client(struct discover__client *client) {
  client->closing = true;
  call_off_work(client);
  if (client->depth == 0) destroy(client);
}

/* -- A request ------------------------------------------------------------ */

static void set_callbacks(struct discover__transfer *transfer) {
  CURL *easy = transfer->asked.easy;

  curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->asked.reason);
  curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close);
  curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, transfer->client);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_bytes);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
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
  int err = discover__asked_init(&transfer->asked, request);
  if (err < 0) {
    free_transfer(transfer);
    return err;
  }
  set_callbacks(transfer);
  DL_APPEND(client->transfers, transfer);
  if (client->depth == 0) arm(client);
  *out = transfer;
  return 0;
}

extern const struct discover__http discover__http;
__attribute__((visibility("default")))
const struct discover__http discover__http = {open_client, discover__host_of,
                                              start, cancel, close_client};
