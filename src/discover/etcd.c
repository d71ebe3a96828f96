#include "etcd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "groups.h"
#include "json.h"
#include "text.h"
#include "web.h"

/* The source etcd: the keys with a prefix, through the JSON gateway of etcd 3.4
 * and later. A poll reads the range, and then watches from the next revision on.
 * That a compaction cancels a watch may be all that comes of it, and the stream
 * stays open; so it is read anew when a watch is cancelled, has failed, or has
 * been watching for as long as the interval. Changes are passed on together, a
 * moment after the first of them. */

enum {
  MOMENT = 50, /* ms */
  GAP = 1000   /* ms, at least, from one range to the next of its own */
};

struct etcd {
  rover_source_t *source;
  struct discover__web *web;
  struct discover__found found; /* entries, and the revision to watch from */
  uint64_t asked;               /* when the last range was */
  bool is_late;                 /* changes wait to be passed on */
};

static const struct discover__config *config_of(const struct etcd *etcd) {
  return discover__source_config(etcd->source);
}

/* -- Keys and values ------------------------------------------------------ */

/* int64 is a string in JSON; some proxies make numbers of them. */
static uint64_t number_of(const json_t *value) {
  const char *text = json_string_value(value);
  if (text) return strtoull(text, NULL, 10);
  return json_integer_value(value) > 0 ? (uint64_t)json_integer_value(value)
                                       : 0;
}

/* {"host": "10.0.0.7", "port": 4040, "weight": 2}, or what etcd's own clients
 * register: {"Op": 0, "Addr": "10.0.0.7:4040"}. */
static bool read_object(const json_t *object, int port,
                        struct discover__entry *entry,
                        struct discover__address *place) {
  const char *host = json_string_value(json_object_get(object, "host"));
  const char *both = json_string_value(json_object_get(object, "Addr"));
  json_int_t own = json_integer_value(json_object_get(object, "port"));
  json_int_t weight = json_integer_value(json_object_get(object, "weight"));

  if (both && !host) return discover__address_read(place, both, port, entry);
  if (!host || strlen(host) >= sizeof place->host) return false;
  entry->host = strcpy(place->host, host);
  entry->port = own > 0 && own <= 65535 ? (int)own : port;
  entry->weight = weight > 0 && weight <= UINT16_MAX ? (unsigned)weight : 0;
  return true;
}

/* An address, as text or in an object; a key without a value may end with it. */
static bool read_entry(const char *key, const char *value, size_t length,
                       int port, struct discover__entry *entry,
                       struct discover__address *place) {
  const char *last = strrchr(key, '/');

  if (length == 0)
    return discover__address_read(place, last ? last + 1 : key, port, entry);
  json_t *object;
  discover__json_load(&object, value, length);
  bool found = json_is_object(object)
                   ? read_object(object, port, entry, place)
                   : discover__address_read(place, value, port, entry);
  json_decref(object);
  return found;
}

/* Without an address the key counts as not there. Errors: UV_EPROTO, UV_ENOMEM.
 */
static int take(struct discover__groups *groups, const json_t *kv, int port,
                bool is_gone) {
  struct discover__address place;
  struct discover__entry entry = {0};
  const char *of_key = json_string_value(json_object_get(kv, "key"));
  const char *of_value = json_string_value(json_object_get(kv, "value"));
  size_t length;
  int err = 0;

  char *key = of_key ? discover__text_decode(of_key, &length) : NULL;
  char *value =
      key ? discover__text_decode(of_value ? of_value : "", &length) : NULL;
  if (!value) err = UV_EPROTO;
  else if (is_gone || !read_entry(key, value, length, port, &entry, &place))
    discover__groups_drop(groups, of_key);
  else err = discover__groups_set(groups, of_key, &entry, 1);
  free(key);
  free(value);
  return err;
}

/* An answer to a range, in a thread. An empty one has no "kvs". */
static int read_range(const struct discover__config *config, const char *bytes,
                      size_t length, struct discover__found *found) {
  json_t *root;
  int err = discover__json_load(&root, bytes, length);
  const json_t *kvs = json_object_get(root, "kvs");
  const json_t *header = json_object_get(root, "header");
  uint64_t revision = number_of(json_object_get(header, "revision"));

  if (err == 0 && revision == 0) err = UV_EPROTO;
  for (size_t i = 0; err == 0 && i < json_array_size(kvs); i++)
    err = take(&found->groups, json_array_get(kvs, i), config->options.port,
               false);
  snprintf(found->version, sizeof found->version, "%llu",
           (unsigned long long)revision + 1);
  json_decref(root);
  return err;
}

/* -- Requests ------------------------------------------------------------- */

/* Of the keys that begin with the prefix: up to the prefix with its last byte
 * raised. */
static void add_range(struct discover__text *body, const char *prefix) {
  size_t length = strlen(prefix);
  char *end = strdup(prefix);

  discover__text_add(body, "\"key\":\"");
  discover__text_add_base64(body, prefix, length);
  discover__text_add(body, "\",\"range_end\":\"");
  while (end && length > 0 && (unsigned char)end[length - 1] == 0xff) length--;
  if (end && length > 0) {
    end[length - 1]++;
    discover__text_add_base64(body, end, length);
  } else {
    discover__text_add(body, "AA=="); /* all that follow */
  }
  discover__text_add(body, "\"");
  body->failed |= !end;
  free(end);
}

static void ask(struct etcd *etcd, const char *target,
                struct discover__text *body, discover__web_line_cb line,
                discover__web_done_cb done) {
  const struct discover__config *config = config_of(etcd);
  const char *url = discover__config_get(config, "url");
  struct discover__web_request request = {
      .base = url ? url : "http://127.0.0.1:2379",
      .target = target,
      .body = body->bytes,
      .scheme = "",
      .read = line ? NULL : read_range,
  };

  if (body->failed)
    discover__source_failed(etcd->source, UV_ENOMEM, "out of memory");
  else discover__web_ask(etcd->web, &request, line, done);
  discover__text_free(body);
}

static void fail(struct etcd *etcd, int status, const char *message) {
  rover_source_t *source = etcd->source;

  discover__web_stop(etcd->web);
  etcd->is_late = false;
  discover__source_failed(source, status, message);
}

static void ask_range(void *user);

/* -- The watch ------------------------------------------------------------ */

static void tell(void *user) {
  struct etcd *etcd = user;

  etcd->is_late = false;
  discover__groups_tell(&etcd->found.groups, etcd->source,
                        "no key has the prefix and an address");
}

/* By a compaction, or for a reason that is told. */
static void on_cancelled(struct etcd *etcd, const json_t *result) {
  const char *reason =
      json_string_value(json_object_get(result, "cancel_reason"));
  uint64_t now = uv_now(discover__source_loop(etcd->source));
  uint64_t due = etcd->asked + GAP;
  char message[512];

  if (number_of(json_object_get(result, "compact_revision")) > 0) {
    discover__web_stop(etcd->web);
    discover__web_later(etcd->web, due > now ? due - now : 0, ask_range);
    return;
  }
  snprintf(message, sizeof message, "etcd has cancelled the watch: %.300s",
           reason ? reason : "it does not say why");
  fail(etcd, UV_EPROTO, message);
}

static int take_events(struct etcd *etcd, const json_t *events) {
  int err = 0;

  for (size_t i = 0; err == 0 && i < json_array_size(events); i++) {
    const json_t *event = json_array_get(events, i);
    const char *type = json_string_value(json_object_get(event, "type"));
    err = take(&etcd->found.groups, json_object_get(event, "kv"),
               config_of(etcd)->options.port, type && !strcmp(type, "DELETE"));
  }
  if (json_array_size(events) > 0) {
    if (!etcd->is_late) discover__web_later(etcd->web, MOMENT, tell);
    etcd->is_late = true;
  }
  return err;
}

/* {"result": {…}}, or {"error": {…}} within an answer of code 200, when the
 * server ends. */
static void on_line(void *user, const char *line, size_t length) {
  struct etcd *etcd = user;
  json_t *root;
  discover__json_load(&root, line, length);
  const json_t *result = json_object_get(root, "result");
  const json_t *error = json_object_get(root, "error");
  const char *said = json_string_value(json_object_get(error, "message"));
  char message[512];

  if (json_is_true(json_object_get(result, "canceled"))) {
    on_cancelled(etcd, result);
  } else if (json_is_object(result)) {
    int err = take_events(etcd, json_object_get(result, "events"));
    if (err < 0) fail(etcd, err, "etcd's watch: events without keys");
  } else {
    snprintf(message, sizeof message, "etcd's watch: %.300s",
             said    ? said
             : error ? "an error"
                     : "no JSON of etcd");
    fail(etcd, UV_EPROTO, message);
  }
  json_decref(root);
}

static void on_watched(void *user, int status,
                       const struct discover__reply *answer,
                       struct discover__found *found, const char *message) {
  struct etcd *etcd = user;
  char text[1024];

  (void)found;
  if (status == 0 && answer->code == 200) {
    status = UV_EOF;
    message = "etcd has ended the watch";
  } else if (status == 0) {
    discover__web_explain(answer, text, sizeof text);
    status = UV_EPROTO;
    message = text;
  }
  fail(etcd, status, message);
}

static void watch(void *user) {
  struct etcd *etcd = user;
  struct discover__text body = {0};

  discover__text_add(&body, "{\"create_request\":{");
  add_range(&body, discover__config_get(config_of(etcd), "prefix"));
  discover__text_add(&body, ",\"start_revision\":\"");
  discover__text_add(&body, etcd->found.version);
  discover__text_add(&body, "\"}}");
  ask(etcd, "/v3/watch", &body, on_line, on_watched);
}

/* -- The range ------------------------------------------------------------ */

static void on_range(void *user, int status,
                     const struct discover__reply *answer,
                     struct discover__found *found, const char *message) {
  struct etcd *etcd = user;
  char text[1024];

  if (status == 0 && answer->code != 200) {
    discover__web_explain(answer, text, sizeof text);
    status = UV_EPROTO;
    message = text;
  }
  if (status < 0) {
    fail(etcd, status, message);
    return;
  }
  struct discover__found old = etcd->found;
  etcd->found = *found;
  *found = old;
  /* The source may stop this while it takes the answer. */
  discover__web_later(etcd->web, 0, watch);
  tell(etcd);
}

static void ask_range(void *user) {
  struct etcd *etcd = user;
  struct discover__text body = {0};

  etcd->asked = uv_now(discover__source_loop(etcd->source));
  discover__text_add(&body, "{");
  add_range(&body, discover__config_get(config_of(etcd), "prefix"));
  discover__text_add(&body, "}");
  ask(etcd, "/v3/kv/range", &body, NULL, on_range);
}

/* -- What the source calls ------------------------------------------------ */

static void poll(void *provider, bool is_fresh) {
  (void)is_fresh;
  ask_range(provider);
}

static void stop(void *provider) {
  struct etcd *etcd = provider;

  etcd->is_late = false;
  discover__web_stop(etcd->web);
}

static int open_etcd(void **provider, rover_source_t *source) {
  struct etcd *etcd = calloc(1, sizeof *etcd);

  if (!etcd) return UV_ENOMEM;
  etcd->source = source;
  int err = discover__web_new(&etcd->web, source, etcd);
  if (err < 0) free(etcd);
  else *provider = etcd;
  return err;
}

static void on_closed(void *user) {
  struct etcd *etcd = user;
  rover_source_t *source = etcd->source;

  discover__groups_clear(&etcd->found.groups);
  free(etcd);
  discover__source_provider_closed(source);
}

static void close_etcd(void *provider) {
  struct etcd *etcd = provider;
  discover__web_close(etcd->web, on_closed);
}

static const struct discover__option options[] = {
    {"prefix", DISCOVER__TEXT, true},
    {"url", DISCOVER__TEXT, false},
    DISCOVER__WEB_OPTIONS,
    {0},
};

const struct discover__kind discover__etcd = {
    .name = "etcd",
    .interval = 60000,
    .watches = true,
    .http = true,
    .options = options,
    .check = discover__web_check,
    .open = open_etcd,
    .poll = poll,
    .stop = stop,
    .close = close_etcd,
};
