#include "etcd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "feed.h"
#include "json.h"
#include "web.h"

/* The source etcd: the keys with a prefix, through the JSON gateway of etcd 3.4
 * and later. A poll reads the range, and then watches from the next revision on.
 * That a compaction cancels a watch may be all that comes of it, and the stream
 * stays open; so it is read anew when a watch is cancelled, has failed, or has
 * been watching for as long as the interval. */

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

/* A key without an address has one that is not valid, to be counted. Errors:
 * UV_EPROTO, UV_ENOMEM. */
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
  if (!value) {
    err = UV_EPROTO;
  } else if (is_gone) {
    discover__groups_drop(groups, of_key);
  } else {
    if (!read_entry(key, value, length, port, &entry, &place)) entry.host = "";
    err = discover__groups_set(groups, of_key, &entry, 1);
  }
  free(key);
  free(value);
  return err;
}

struct taking {
  struct discover__groups *groups;
  int port;
};

static int take_key(const json_t *kv, void *data) {
  struct taking *taking = data;
  return take(taking->groups, kv, taking->port, false);
}

/* An answer to a range. An empty one has no "kvs". */
static int read_range(const struct discover__config *config,
                      const struct discover__part *part,
                      struct discover__found *found, char *message,
                      size_t size) {
  struct taking taking = {&found->groups, config->options.port};
  json_t *rest;
  int err = discover__json_each(&rest, part->bytes, part->length, "kvs",
                                take_key, &taking);
  const json_t *header = json_object_get(rest, "header");
  uint64_t revision = number_of(json_object_get(header, "revision"));

  (void)message;
  (void)size;
  if (err == 0 && revision == 0) err = UV_EPROTO;
  snprintf(found->version, sizeof found->version, "%llu",
           (unsigned long long)revision + 1);
  json_decref(rest);
  return err;
}

/* -- The watch ------------------------------------------------------------ */

/* By a compaction, or for a reason that is told. */
static int read_cancel(const json_t *result, char *message, size_t size) {
  const char *reason =
      json_string_value(json_object_get(result, "cancel_reason"));

  if (number_of(json_object_get(result, "compact_revision")) > 0)
    return UV_ECANCELED;
  snprintf(message, size, "etcd has cancelled the watch: %.300s",
           reason ? reason : "it does not say why");
  return UV_EPROTO;
}

static int read_events(const json_t *events, int port,
                       struct discover__groups *groups, char *message,
                       size_t size) {
  size_t count = json_array_size(events);
  int err = 0;

  for (size_t i = 0; err == 0 && i < count; i++) {
    const json_t *event = json_array_get(events, i);
    const char *type = json_string_value(json_object_get(event, "type"));
    err = take(groups, json_object_get(event, "kv"), port,
               type && !strcmp(type, "DELETE"));
  }
  if (err == UV_EPROTO)
    snprintf(message, size, "etcd's watch: events without keys");
  if (err < 0) return err;
  return count == 0;
}

/* {"result": {…}}, or {"error": {…}} within an answer of code 200, when the
 * server ends. */
static int read_line(const struct discover__config *config,
                     const struct discover__part *part,
                     struct discover__found *found, char *message,
                     size_t size) {
  json_t *root;
  int status = discover__json_load(&root, part->bytes, part->length);
  const json_t *result = json_object_get(root, "result");
  const json_t *error = json_object_get(root, "error");
  const char *said = json_string_value(json_object_get(error, "message"));

  if (json_is_true(json_object_get(result, "canceled"))) {
    status = read_cancel(result, message, size);
  } else if (json_is_object(result)) {
    status = read_events(json_object_get(result, "events"),
                         config->options.port, &found->groups, message, size);
  } else if (status == 0 || status == UV_EPROTO) {
    snprintf(message, size, "etcd's watch: %.300s",
             said    ? said
             : error ? "an error"
                     : "no JSON of etcd");
    status = UV_EPROTO;
  }
  json_decref(root);
  return status;
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

static void ask(const struct discover__config *config, const char *version,
                struct discover__feed_request *request) {
  const char *url = discover__config_get(config, "url");
  struct discover__text *body = &request->body;

  discover__text_add(&request->base, url ? url : "http://127.0.0.1:2379");
  discover__text_add(&request->target, version ? "/v3/watch" : "/v3/kv/range");
  discover__text_add(body, version ? "{\"create_request\":{" : "{");
  add_range(body, discover__config_get(config, "prefix"));
  if (version) {
    discover__text_add(body, ",\"start_revision\":\"");
    discover__text_add(body, version);
    discover__text_add(body, "\"}");
  }
  discover__text_add(body, "}");
  request->scheme = "";
}

/* -- What the source calls ------------------------------------------------ */

static const struct discover__feed_kind feed = {
    .ask = ask,
    .read = read_range,
    .read_line = read_line,
    .empty = "no key has the prefix and an address",
    .ended = "etcd has ended the watch",
    .hasty = "its watch is cancelled at once, since what was just read is said "
             "to be compacted",
};

static int open_etcd(void **provider, rover_source_t *source) {
  return discover__feed_open(provider, source, &feed);
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
    .poll = discover__feed_poll,
    .stop = discover__feed_stop,
    .close = discover__feed_close,
};
