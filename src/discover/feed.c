#include "feed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "web.h"

/* A poll lists all. The list has a version, and from that on a watch goes on, or a
 * query that waits for a change. Answers, and lines of a watch, are read in a
 * thread, which has all that was found meanwhile, one after the other; lines a
 * moment after the first of them.
 *
 * If a watch fails, or its version is gone, all is listed anew, after a random
 * time, since the same may have happened to everybody. Watches that end at once,
 * and queries that are answered at once without a change, are counted: the time
 * between them doubles, and the source says so, until one has lived for a while.
 */

enum {
  GONE = 410,
  MOMENT = 50,            /* ms, for more lines to come */
  WELL = 10000,           /* ms that a watch has to live */
  RELIST = 1000,          /* ms, to list anew */
  PAUSE_MAX = 60000,      /* ms */
  HASTY_ROUNDS = 4,       /* in succession, of which nothing is said */
  ANSWER_MAX = 128 << 20, /* bytes; 100,000 of Consul's instances take that */
  UNREAD_MAX = 32 << 20    /* bytes of lines */
};

struct discover__feed {
  rover_source_t *source;
  const struct discover__feed_kind *kind;
  struct discover__web *web;
  struct discover__found found;
  struct discover__reading *reading; /* awaited */
  unsigned readings;                 /* in threads, awaited or not */
  bool is_list;                      /* is what was asked for last */
  uint64_t asked, wait;              /* when that was; how long it may wait */
  unsigned hasty;                    /* in succession */
  bool ended;                        /* the watch, but there is more to read */
  bool is_late;                      /* it waits for more lines */
  struct discover__buffer lines;     /* of the watch, to be read; and ... */
  struct discover__buffer part;      /* ... of the line that has not ended */
};

static struct discover__config *config_of(const struct discover__feed *feed) {
  return discover__source_config(feed->source);
}

static uint64_t now_of(const struct discover__feed *feed) {
  return uv_now(discover__source_loop(feed->source));
}

/* Whatever is under way. */
static void forget(struct discover__feed *feed) {
  discover__web_stop(feed->web);
  if (feed->reading) discover__reading_cancel(feed->reading);
  feed->reading = NULL;
  feed->ended = feed->is_late = false;
  discover__buffer_clear(&feed->lines);
  discover__buffer_clear(&feed->part);
}

static void list(void *user);
static void go_on(void *user);

/* -- Again ---------------------------------------------------------------- */

/* How long it waits before it asks for what it was not polled for. */
static uint64_t pause_of(struct discover__feed *feed, bool is_list,
                         uint64_t lived) {
  uint64_t ms = is_list ? RELIST : feed->kind->gap;

  for (unsigned i = 1; i < feed->hasty && ms < PAUSE_MAX; i++) ms *= 2;
  if (ms > PAUSE_MAX) ms = PAUSE_MAX;
  ms = (uint64_t)((double)ms * (0.5 + discover__source_draw(feed->source)));
  if (is_list) return ms;
  return ms > lived ? ms - lived : 0;
}

/* Without a message, all went as it should, if it was not too hasty. The source
 * may be closed in this, so it comes last. */
static void again(struct discover__feed *feed, bool is_list, bool is_news,
                  int status, const char *message) {
  uint64_t lived = now_of(feed) - feed->asked;
  uint64_t well =
      feed->wait > 0 && feed->wait / 2 < WELL ? feed->wait / 2 : WELL;
  char text[512];

  if (is_news || lived >= well) feed->hasty = 0;
  else feed->hasty++;
  uint64_t ms = pause_of(feed, is_list, lived);
  discover__web_later(feed->web, ms, is_list ? list : go_on);
  if (!message && feed->hasty < HASTY_ROUNDS) return;
  if (message) snprintf(text, sizeof text, "%s", message);
  else
    snprintf(text, sizeof text, "%s, %u times in succession; next in %.1f s",
             feed->kind->hasty, feed->hasty, (double)ms / 1e3);
  /* An answer that came too early is a list all the same. */
  discover__source_warn(feed->source, message ? status : UV_EAGAIN,
                        message || feed->kind->read_line, text);
}

/* A list that cannot be had is the source's to ask for again. */
static void fail(struct discover__feed *feed, int status, const char *message) {
  forget(feed);
  if (feed->is_list) discover__source_failed(feed->source, status, message);
  else again(feed, true, false, status, message);
}

/* -- Reading -------------------------------------------------------------- */

static void free_closed(struct discover__feed *feed) {
  rover_source_t *source = feed->source;

  if (feed->web || feed->readings > 0) return;
  discover__groups_clear(&feed->found.groups);
  free(feed);
  discover__source_provider_closed(source);
}

static void read_lines(void *user);

static void on_end(void *user) {
  struct discover__feed *feed = user;

  feed->ended = false;
  if (feed->kind->ended) fail(feed, UV_EOF, feed->kind->ended);
  else again(feed, false, false, 0, NULL);
}

/* Lines are read together; the last one may have no end. */
static void read_more(struct discover__feed *feed) {
  if (feed->reading || feed->is_late) return;
  if (feed->ended) discover__buffer_append(&feed->lines, &feed->part);
  if (feed->lines.length > 0) {
    feed->is_late = true;
    discover__web_later(feed->web, feed->ended ? 0 : MOMENT, read_lines);
  } else if (feed->ended) {
    discover__web_later(feed->web, 0, on_end);
  }
}

/* What comes next is arranged first: the source may stop or close this while it
 * takes the list. */
static void go_with(struct discover__feed *feed, int status,
                    struct discover__list *found) {
  bool has_version = *feed->found.version != '\0';

  if (!feed->is_list && feed->kind->read_line) read_more(feed);
  else if (feed->is_list && has_version)
    discover__web_later(feed->web, 0, go_on);
  else if (has_version) again(feed, false, status == 0, 0, NULL);
  if (found)
    discover__source_list(feed->source, found,
                          found->count == 0 ? feed->kind->empty : NULL);
}

static void explain(const struct discover__reading *reading, char *message,
                    size_t size) {
  const char *why = reading->message;

  if (reading->status == UV_EPROTO) why = "not the answer that was expected";
  if (reading->status == UV_E2BIG)
    why = "its JSON has too many values, or levels";
  if (reading->status == UV_ENOBUFS) why = "more than is kept of one source";
  if (reading->status == UV_ENOMEM) why = "out of memory";
  if (*reading->message) why = reading->message;
  snprintf(message, size, "%.300s: %.500s", reading->place, why);
}

static void on_read(struct discover__reading *reading) {
  struct discover__feed *feed = reading->data;
  struct discover__list *found = reading->list;
  bool is_awaited = feed->reading == reading;
  int status = reading->status;
  char message[1024];

  feed->readings--;
  if (is_awaited) {
    feed->reading = NULL;
    feed->found = reading->found;
    reading->found = (struct discover__found){0};
    reading->list = NULL;
    explain(reading, message, sizeof message);
  }
  discover__reading_free(reading);
  if (!is_awaited) {
    free_closed(feed);
  } else if (status == UV_ECANCELED) {
    forget(feed);
    again(feed, true, false, 0, NULL);
  } else if (status < 0) {
    fail(feed, status, message);
  } else {
    go_with(feed, status, found);
  }
}

/* Empties the buffer. `index` may be NULL. */
static void read_bytes(struct discover__feed *feed,
                       struct discover__buffer *bytes, bool is_whole,
                       const char *place, const char *index) {
  struct discover__reading *reading = calloc(1, sizeof *reading);

  if (!reading) {
    fail(feed, UV_ENOMEM, "out of memory");
    return;
  }
  reading->config = discover__config_ref(config_of(feed));
  reading->read = is_whole ? feed->kind->read : feed->kind->read_line;
  reading->is_whole = is_whole;
  reading->keeps = feed->kind->read_line != NULL;
  discover__buffer_append(&reading->bytes, bytes);
  snprintf(reading->place, sizeof reading->place, "%s", place);
  snprintf(reading->index, sizeof reading->index, "%s", index ? index : "");
  reading->found = feed->found;
  feed->found = (struct discover__found){0};
  reading->data = feed;
  reading->done = on_read;
  int err =
      discover__reading_start(reading, discover__source_loop(feed->source));
  if (err < 0) {
    discover__reading_free(reading);
    fail(feed, err, uv_strerror(err));
    return;
  }
  feed->reading = reading;
  feed->readings++;
}

static void read_lines(void *user) {
  struct discover__feed *feed = user;

  feed->is_late = false;
  read_bytes(feed, &feed->lines, false, "its watch", NULL);
}

/* -- Requests ------------------------------------------------------------- */

static bool keep(struct discover__feed *feed, const char *bytes,
                 size_t length) {
  size_t most = UNREAD_MAX - feed->lines.length, whole = length;

  while (whole > 0 && bytes[whole - 1] != '\n') whole--;
  if (!discover__buffer_add(&feed->part, bytes, whole, most)) return false;
  if (whole > 0) discover__buffer_append(&feed->lines, &feed->part);
  return discover__buffer_add(&feed->part, bytes + whole, length - whole,
                              UNREAD_MAX - feed->lines.length);
}

static void on_bytes(void *user, const char *bytes, size_t length) {
  struct discover__feed *feed = user;

  if (keep(feed, bytes, length)) read_more(feed);
  else
    fail(feed, UV_EMSGSIZE,
         "its watch says too much at once, or there is no memory for it");
}

static void on_done(void *user, int status, struct discover__reply *answer,
                    const char *message) {
  struct discover__feed *feed = user;
  char text[1024];

  if (status == 0 && answer->code == GONE && !feed->is_list) {
    forget(feed);
    again(feed, true, false, 0, NULL);
    return;
  }
  if (status == 0 && answer->code != 200) {
    discover__web_explain(answer, text, sizeof text);
    status = UV_EPROTO;
    message = text;
  }
  if (status < 0) {
    fail(feed, status, message);
  } else if (feed->is_list || !feed->kind->read_line) {
    read_bytes(feed, &answer->body, true, answer->url, answer->consul_index);
  } else {
    feed->ended = true;
    read_more(feed);
  }
}

static void ask(struct discover__feed *feed, const char *version) {
  struct discover__feed_request of = {0};

  feed->kind->ask(config_of(feed), version, &of);
  feed->is_list = !version;
  feed->asked = now_of(feed);
  feed->wait = of.wait;
  if (of.base.failed || of.target.failed || of.body.failed) {
    fail(feed, UV_ENOMEM, "out of memory");
  } else {
    struct discover__web_request request = {
        .base = of.base.bytes,
        .target = of.target.bytes,
        .body = of.body.bytes,
        .scheme = of.scheme,
        .token_file = of.token_file,
        .ca = of.ca,
        .wait = of.wait,
        .max_size = ANSWER_MAX,
    };
    bool is_watch = version && feed->kind->read_line;
    discover__web_ask(feed->web, &request, is_watch ? on_bytes : NULL, on_done);
  }
  discover__text_free(&of.base);
  discover__text_free(&of.target);
  discover__text_free(&of.body);
}

static void go_on(void *user) {
  struct discover__feed *feed = user;
  ask(feed, feed->found.version);
}

/* The list is told, even if it is the same. */
static void list(void *user) {
  struct discover__feed *feed = user;

  forget(feed);
  *feed->found.version = '\0';
  feed->found.hash = 0;
  ask(feed, NULL);
}

/* -- What the source calls ------------------------------------------------ */

int discover__feed_open(void **out, rover_source_t *source,
                        const struct discover__feed_kind *kind) {
  struct discover__feed *feed = calloc(1, sizeof *feed);

  if (!feed) return UV_ENOMEM;
  feed->source = source;
  feed->kind = kind;
  int err = discover__web_new(&feed->web, source, feed);
  if (err < 0) free(feed);
  else *out = feed;
  return err;
}

void discover__feed_poll(void *provider, bool is_fresh) {
  (void)is_fresh;
  list(provider);
}

void discover__feed_stop(void *provider) { forget(provider); }

static void on_closed(void *user) {
  struct discover__feed *feed = user;

  feed->web = NULL;
  free_closed(feed);
}

void discover__feed_close(void *provider) {
  struct discover__feed *feed = provider;

  forget(feed);
  discover__web_close(feed->web, on_closed);
}
