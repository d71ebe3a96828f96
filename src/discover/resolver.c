#include "resolver.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ares.h>
#include <utlist.h>

#include "message.h"

/* The life of a round: it opens a channel, with the servers that resolv.conf has
 * now, and asks what it is given, a limited number of questions at a time: a
 * burst of thousands would overflow the server's socket. Each socket of c-ares
 * has a handle; one timer is for what comes first of c-ares' own time, of what
 * waits to be asked, and of the deadline, at which all that is not answered has
 * timed out. Callbacks run within calls of c-ares, which must not see its channel
 * go: a round that closes in one goes when the outermost call returns. */

enum {
  IN_FLIGHT = 64, /* questions at a time */
  TRIES = 2       /* of each server; the second takes twice the time */
};

struct question {
  struct discover__round *round;
  struct question *prev, *next; /* in waiting */
  enum discover__record_type type;
  discover__answered_cb answered;
  void *data;
  char name[];
};

struct descriptor {
  uv_poll_t poll;
  ares_socket_t fd;
  struct discover__round *round;
  struct descriptor *prev, *next; /* in round->descriptors */
};

struct discover__round {
  uv_loop_t *loop;
  uv_timer_t timer;
  uint64_t deadline; /* in the loop's time */
  ares_channel channel;
  struct descriptor *descriptors;
  struct question *waiting;
  unsigned in_flight, depth; /* depth: of calls into c-ares */
  bool closing;
};

/* -- What the round waits for --------------------------------------------- */

static void enter(struct discover__round *round) { round->depth++; }
static void leave(struct discover__round *round);

static void free_descriptor(uv_handle_t *handle) { free(handle->data); }

static void on_ready(uv_poll_t *poll, int status, int events) {
  struct descriptor *ready = poll->data;
  struct discover__round *round = ready->round;
  ares_socket_t fd = ready->fd;
  bool readable = status < 0 || events & UV_READABLE;
  bool writable = status < 0 || events & UV_WRITABLE;

  enter(round);
  ares_process_fd(round->channel, readable ? fd : ARES_SOCKET_BAD,
                  writable ? fd : ARES_SOCKET_BAD);
  leave(round);
}

static struct descriptor *watch(struct discover__round *round,
                                ares_socket_t fd) {
  struct descriptor *made = calloc(1, sizeof *made);

  if (!made) return NULL;
  if (uv_poll_init(round->loop, &made->poll, fd) < 0) {
    free(made);
    return NULL;
  }
  made->poll.data = made;
  made->fd = fd;
  made->round = round;
  DL_APPEND(round->descriptors, made);
  return made;
}

static void unwatch(struct discover__round *round, struct descriptor *gone) {
  DL_DELETE(round->descriptors, gone);
  uv_close((uv_handle_t *)&gone->poll, free_descriptor);
}

/* c-ares opens and closes sockets, and says here what it waits for. What cannot
 * be watched times out. */
static void on_socket(void *data, ares_socket_t fd, int readable,
                      int writable) {
  struct discover__round *round = data;
  struct descriptor *found;

  DL_SEARCH_SCALAR(round->descriptors, found, fd, fd);
  if (!readable && !writable) {
    if (found) unwatch(round, found);
    return;
  }
  if (!found) found = watch(round, fd);
  if (found)
    uv_poll_start(&found->poll,
                  (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0),
                  on_ready);
}

/* -- Questions ------------------------------------------------------------ */

static const char *name_of(enum discover__record_type type) {
  switch (type) {
    case DISCOVER_A: return "A";
    case DISCOVER_AAAA: return "AAAA";
    case DISCOVER_SRV: return "SRV";
    default: return "addresses";
  }
}

static int status_of(int status) {
  switch (status) {
    case ARES_SUCCESS: return 0;
    case ARES_ENOTFOUND: return UV_EAI_NONAME;
    case ARES_ENODATA: return UV_EAI_NODATA;
    case ARES_ETIMEOUT:
    case ARES_ECANCELLED: /* by the deadline */ return UV_ETIMEDOUT;
    case ARES_ENOMEM: return UV_ENOMEM;
    case ARES_EBADNAME: return UV_EINVAL;
    case ARES_EBADRESP: return UV_EPROTO;
    default: return UV_EAI_FAIL;
  }
}

/* c-ares 1.18 takes SERVFAIL for a server that refuses connections. */
static const char *reason_of(int err) {
  switch (err) {
    case UV_EAI_NONAME: return "there is no such name (NXDOMAIN)";
    case UV_EAI_NODATA: return "the name has no such records (NODATA)";
    case UV_ETIMEDOUT: return "no DNS server answered in time";
    case UV_ENOMEM: return "out of memory";
    case UV_EINVAL: return "this is not a name in DNS";
    case UV_EPROTO: return "the answer is malformed";
    default:
      return "the DNS servers failed or refused (SERVFAIL), or could not be "
             "reached";
  }
}

static void answer(struct question *question, int err,
                   const struct discover__records *records) {
  struct discover__round *round = question->round;
  char message[1280];

  if (err == 0 && (!records || records->count == 0)) err = UV_EAI_NODATA;
  snprintf(message, sizeof message, "%s of %s: %s", name_of(question->type),
           question->name, reason_of(err));
  if (!round->closing)
    question->answered(question->data, err, err ? NULL : records,
                       err ? message : NULL);
  free(question);
}

#if DISCOVER_HAS_DNSREC
static void on_answer(void *data, ares_status_t status, size_t timeouts,
                      const ares_dns_record_t *message) {
  struct question *question = data;
  struct discover__records records = {0};
  int err = status_of((int)status);

  (void)timeouts;
  question->round->in_flight--;
  if (err == 0) err = discover__message_take(message, question->type, &records);
  answer(question, err, &records);
  discover__records_free(&records);
}
#else
static void on_answer(void *data, int status, int timeouts,
                      unsigned char *bytes, int length) {
  struct question *question = data;
  struct discover__records records = {0};
  int err = status_of(status);

  (void)timeouts;
  question->round->in_flight--;
  if (err == 0)
    err =
        discover__message_take(bytes, (size_t)length, question->type, &records);
  answer(question, err, &records);
  discover__records_free(&records);
}
#endif

static void on_addresses(void *data, int status, int timeouts,
                         struct ares_addrinfo *found) {
  struct question *question = data;
  struct discover__records records = {0};
  int err = status_of(status);

  (void)timeouts;
  question->round->in_flight--;
  if (err == 0) {
    for (const struct ares_addrinfo_node *i = found->nodes; err == 0 && i;
         i = i->ai_next) {
      char text[INET6_ADDRSTRLEN];
      struct discover__record record = {.host = text};
      if (uv_ip_name(i->ai_addr, text, sizeof text) == 0)
        err = discover__records_add(&records, &record, (uint32_t)i->ai_ttl);
    }
  }
  ares_freeaddrinfo(found);
  answer(question, err, &records);
  discover__records_free(&records);
}

static void send_question(struct question *question) {
  struct discover__round *round = question->round;

  round->in_flight++;
  if (question->type == DISCOVER_HOST) {
    struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC,
                                        .ai_socktype = SOCK_STREAM,
                                        .ai_flags = ARES_AI_NOSORT};
    ares_getaddrinfo(round->channel, question->name, NULL, &hints, on_addresses,
                     question);
    return;
  }
#if DISCOVER_HAS_DNSREC
  ares_query_dnsrec(round->channel, question->name, ARES_CLASS_IN,
                    (ares_dns_rec_type_t)question->type, on_answer, question,
                    NULL);
#else
  enum { IN = 1 };
  ares_query(round->channel, question->name, IN, (int)question->type, on_answer,
             question);
#endif
}

static void fail_waiting(struct discover__round *round) {
  while (round->waiting) {
    struct question *first = round->waiting;
    DL_DELETE(round->waiting, first);
    answer(first, UV_ETIMEDOUT, NULL);
  }
}

/* -- The round ------------------------------------------------------------ */

static void free_round(uv_handle_t *handle) { free(handle->data); }

static void destroy(struct discover__round *round) {
  round->depth++; /* c-ares calls back those that it cancels */
  while (round->waiting) {
    struct question *first = round->waiting;
    DL_DELETE(round->waiting, first);
    free(first);
  }
  ares_destroy(round->channel);
  while (round->descriptors) unwatch(round, round->descriptors);
  uv_close((uv_handle_t *)&round->timer, free_round);
}

static void on_time(uv_timer_t *timer) {
  struct discover__round *round = timer->data;

  enter(round);
  if (uv_now(round->loop) >= round->deadline) {
    ares_cancel(round->channel);
    fail_waiting(round);
  } else {
    ares_process_fd(round->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
  }
  leave(round);
}

static void arm(struct discover__round *round) {
  uint64_t now = uv_now(round->loop), due = round->deadline;
  struct timeval time;

  if (round->in_flight == 0 && !round->waiting) {
    uv_timer_stop(&round->timer);
    return;
  }
  if (round->waiting && round->in_flight < IN_FLIGHT) due = now;
  if (ares_timeout(round->channel, NULL, &time)) {
    uint64_t ms = (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_usec / 1000;
    if (now + ms + 1 < due) due = now + ms + 1;
  }
  uv_timer_start(&round->timer, on_time, due > now ? due - now : 0, 0);
}

/* The outermost asks what waits; its answers may come at once. */
static void leave(struct discover__round *round) {
  while (round->depth == 1 && !round->closing && round->waiting &&
         round->in_flight < IN_FLIGHT) {
    struct question *first = round->waiting;
    DL_DELETE(round->waiting, first);
    send_question(first);
  }
  if (--round->depth > 0) return;
  if (round->closing) destroy(round);
  else arm(round);
}

static int open_channel(struct discover__round *round,
                        const struct discover__round_options *options) {
  struct ares_options own = {0};
  uint64_t once = options->timeout / 4;
  int mask = ARES_OPT_SOCK_STATE_CB | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
             ARES_OPT_FLAGS;

  own.sock_state_cb = on_socket;
  own.sock_state_cb_data = round;
  own.timeout = once > 0 && once < INT32_MAX ? (int)once : 1;
  own.tries = TRIES;
  own.flags = ARES_FLAG_EDNS;
  int status = ares_init_options(&round->channel, &own, mask);
  if (status != ARES_SUCCESS)
    return status == ARES_ENOMEM ? UV_ENOMEM : UV_EMFILE;
  if (options->servers &&
      ares_set_servers_ports_csv(round->channel, options->servers) !=
          ARES_SUCCESS) {
    ares_destroy(round->channel);
    return UV_EINVAL;
  }
  return 0;
}

static int open_round(uv_loop_t *loop,
                      const struct discover__round_options *options,
                      struct discover__round **out) {
  struct discover__round *round = calloc(1, sizeof *round);

  if (!round) return UV_ENOMEM;
  round->loop = loop;
  int err = open_channel(round, options);
  if (err < 0) {
    free(round);
    return err;
  }
  uv_timer_init(loop, &round->timer);
  round->timer.data = round;
  round->deadline = uv_now(loop) + options->timeout;
  *out = round;
  return 0;
}

static int ask(struct discover__round *round, enum discover__record_type type,
               const char *name, discover__answered_cb answered, void *data) {
  size_t size = strlen(name) + 1;
  struct question *question = malloc(sizeof *question + size);

  if (!question) return UV_ENOMEM;
  *question = (struct question){
      .round = round, .type = type, .answered = answered, .data = data};
  memcpy(question->name, name, size);
  DL_APPEND(round->waiting, question);
  if (round->depth == 0) arm(round);
  return 0;
}

static void close_round(struct discover__round *round) {
  round->closing = true;
  if (round->depth == 0) destroy(round);
}

extern const struct discover__resolver discover__resolver;
__attribute__((visibility("default")))
const struct discover__resolver discover__resolver = {open_round, ask,
                                                      close_round};
