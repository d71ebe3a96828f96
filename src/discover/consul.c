#include "consul.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "feed.h"
#include "json.h"
#include "web.h"

/* The source consul: the instances of a service that pass their checks. After
 * the first answer each request is a blocking query: Consul (this is what its
 * documentation of 1.20 says) answers once the index is above the one given, or
 * after the wait. An index that falls, or is not there, is given up, so that the
 * next query answers at once. */

/* -- An answer ------------------------------------------------------------ */

static const char *text_of(const json_t *object, const char *key) {
  const char *text = json_string_value(json_object_get(object, key));
  return text ? text : "";
}

/* An instance without an address has its node's; one that has none either is not
 * valid. Returns false if it is none. */
static bool take(const json_t *instance, int port,
                 struct discover__entry *entry) {
  const json_t *service = json_object_get(instance, "Service");
  const json_t *weights = json_object_get(service, "Weights");
  json_int_t own = json_integer_value(json_object_get(service, "Port"));
  json_int_t weight = json_integer_value(json_object_get(weights, "Passing"));

  if (!json_is_object(service)) return false;
  entry->host = text_of(service, "Address");
  if (!*entry->host)
    entry->host = text_of(json_object_get(instance, "Node"), "Address");
  entry->port = port ? port : own > 0 && own <= 65535 ? (int)own : 0;
  entry->weight = weight > 0 && weight <= UINT16_MAX ? (unsigned)weight : 0;
  return true;
}

struct taking {
  struct discover__groups *groups;
  int port;
  size_t count;
};

static int take_instance(const json_t *instance, void *data) {
  struct taking *taking = data;
  struct discover__entry entry;
  char key[24];

  if (!take(instance, taking->port, &entry)) return UV_EPROTO;
  snprintf(key, sizeof key, "%zu", taking->count++);
  return discover__groups_set(taking->groups, key, &entry, 1);
}

/* An index that is not there is one from something that cannot block. */
static int read_index(const char *index, struct discover__found *found) {
  uint64_t last = strtoull(found->version, NULL, 10);
  uint64_t next = index ? strtoull(index, NULL, 10) : 0;

  if (next == 0) *found->version = '\0';
  else
    snprintf(found->version, sizeof found->version, "%llu",
             next < last ? 0ULL : (unsigned long long)next);
  return next > 0 && next == last;
}

/* With the same index, the wait was over. */
static int read_instances(const struct discover__config *config,
                          const struct discover__part *part,
                          struct discover__found *found, char *message,
                          size_t size) {
  struct taking taking = {&found->groups, config->options.port, 0};
  json_t *rest;

  (void)message;
  (void)size;
  if (read_index(part->index, found)) return 1;
  return discover__json_each(&rest, part->bytes, part->length, NULL,
                             take_instance, &taking);
}

/* -- A request ------------------------------------------------------------ */

static void add(struct discover__text *target, const char *name,
                const char *value) {
  if (!value) return;
  discover__text_add(target, name);
  discover__text_add_escaped(target, value);
}

static void ask(const struct discover__config *config, const char *version,
                struct discover__feed_request *request) {
  const char *url = discover__config_get(config, "url");
  uint64_t wait = config->options.interval;
  struct discover__text *target = &request->target;

  discover__text_add(&request->base, url ? url : "http://127.0.0.1:8500");
  add(target, "/v1/health/service/", discover__config_get(config, "service"));
  discover__text_add(target, "?passing=true");
  add(target, "&dc=", discover__config_get(config, "datacenter"));
  add(target, "&tag=", discover__config_get(config, "tag"));
  request->scheme = "Bearer ";
  if (!version || !strcmp(version, "0")) return;
  add(target, "&index=", version);
  discover__text_add(target, "&wait=");
  discover__text_add_number(target, wait);
  discover__text_add(target, "ms");
  /* Consul adds up to a sixteenth to the wait. */
  request->wait = wait + wait / 16;
}

/* -- What the source calls ------------------------------------------------ */

static const struct discover__feed_kind feed = {
    .ask = ask,
    .read = read_instances,
    .gap = 200,
    .empty = "no instance passes its checks",
    .hasty = "queries that are to wait for a change are answered at once "
             "without one: a proxy seems to ignore 'index'",
};

static int open_consul(void **provider, rover_source_t *source) {
  return discover__feed_open(provider, source, &feed);
}

static const struct discover__option options[] = {
    {"service", DISCOVER__TEXT, true},
    {"url", DISCOVER__TEXT, false},
    {"datacenter", DISCOVER__TEXT, false},
    {"tag", DISCOVER__TEXT, false},
    DISCOVER__WEB_OPTIONS,
    {0},
};

const struct discover__kind discover__consul = {
    .name = "consul",
    .interval = 300000,
    .watches = true,
    .http = true,
    .options = options,
    .check = discover__web_check,
    .open = open_consul,
    .poll = discover__feed_poll,
    .stop = discover__feed_stop,
    .close = discover__feed_close,
};
