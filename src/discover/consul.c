#include "consul.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "text.h"
#include "web.h"

/* The source consul: the instances of a service that pass their checks. After
 * the first answer each request is a blocking query: Consul (this is what its
 * documentation of 1.20 says) answers once the index is above the one given, or
 * after the wait. An index that falls, or is not there, is given up, so that the
 * next query answers at once. A query that fails ends this, and the source polls
 * anew. */

enum { GAP = 200 /* ms, at least, between two queries */ };

struct consul {
  rover_source_t *source;
  struct discover__web *web;
  uint64_t index; /* 0: the next query does not block */
  uint64_t asked; /* when the last query was */
};

static const struct discover__config *config_of(const struct consul *consul) {
  return discover__source_config(consul->source);
}

/* -- An answer ------------------------------------------------------------ */

static const char *text_of(const json_t *object, const char *key) {
  const char *text = json_string_value(json_object_get(object, key));
  return text ? text : "";
}

/* An instance without an address has its node's. */
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
  return *entry->host != '\0';
}

static int take_all(const json_t *instances, int port,
                    struct discover__groups *groups) {
  size_t count = json_array_size(instances);
  struct discover__entry *entries = calloc(count + 1, sizeof *entries);
  int err = 0;

  if (!entries) return UV_ENOMEM;
  for (size_t i = 0; err == 0 && i < count; i++)
    if (!take(json_array_get(instances, i), port, &entries[i])) err = UV_EPROTO;
  if (err == 0) err = discover__groups_set(groups, "", entries, count);
  free(entries);
  return err;
}

static int read_instances(const struct discover__config *config,
                          const char *bytes, size_t length,
                          struct discover__found *found) {
  json_t *root;
  int err = discover__json_load(&root, bytes, length);

  if (err == 0)
    err = json_is_array(root)
              ? take_all(root, config->options.port, &found->groups)
              : UV_EPROTO;
  json_decref(root);
  return err;
}

static void on_done(void *user, int status,
                    const struct discover__reply *answer,
                    struct discover__found *found, const char *message);

static void ask(void *user) {
  struct consul *consul = user;
  const struct discover__config *config = config_of(consul);
  const char *url = discover__config_get(config, "url");
  const char *service = discover__config_get(config, "service");
  const char *datacenter = discover__config_get(config, "datacenter");
  const char *tag = discover__config_get(config, "tag");
  uint64_t wait = config->options.interval;
  struct discover__text target = {0};
  struct discover__web_request request = {.scheme = "Bearer ",
                                          .read = read_instances};

  discover__text_add(&target, "/v1/health/service/");
  discover__text_add_escaped(&target, service);
  discover__text_add(&target, "?passing=true");
  if (datacenter) {
    discover__text_add(&target, "&dc=");
    discover__text_add_escaped(&target, datacenter);
  }
  if (tag) {
    discover__text_add(&target, "&tag=");
    discover__text_add_escaped(&target, tag);
  }
  if (consul->index > 0) {
    discover__text_add(&target, "&index=");
    discover__text_add_number(&target, consul->index);
    discover__text_add(&target, "&wait=");
    discover__text_add_number(&target, wait);
    discover__text_add(&target, "ms");
  }
  if (target.failed) {
    discover__text_free(&target);
    discover__source_failed(consul->source, UV_ENOMEM, "out of memory");
    return;
  }
  consul->asked = uv_now(discover__source_loop(consul->source));
  request.base = url ? url : "http://127.0.0.1:8500";
  request.target = target.bytes;
  /* Consul adds up to a sixteenth to the wait. */
  if (consul->index > 0) request.wait = wait + wait / 16;
  discover__web_ask(consul->web, &request, NULL, on_done);
  discover__text_free(&target);
}

/* An answer without an index comes from something that cannot block. */
static void ask_next(struct consul *consul, uint64_t index) {
  uint64_t now = uv_now(discover__source_loop(consul->source));
  uint64_t due = consul->asked + GAP;

  consul->index = index < consul->index ? 0 : index;
  if (index > 0)
    discover__web_later(consul->web, due > now ? due - now : 0, ask);
}

static uint64_t index_of(const struct discover__reply *answer) {
  const char *index = answer->consul_index;
  return index ? strtoull(index, NULL, 10) : 0;
}

static void on_done(void *user, int status,
                    const struct discover__reply *answer,
                    struct discover__found *found, const char *message) {
  struct consul *consul = user;
  char text[1024];

  if (status == 0 && answer->code != 200) {
    discover__web_explain(answer, text, sizeof text);
    status = UV_EPROTO;
    message = text;
  }
  if (status < 0) {
    discover__source_failed(consul->source, status, message);
  } else if (consul->index > 0 && index_of(answer) == consul->index) {
    ask_next(consul, consul->index); /* the wait was over */
  } else {
    /* The source may stop this while it takes the answer. */
    ask_next(consul, index_of(answer));
    discover__groups_tell(&found->groups, consul->source,
                          "no instance passes its checks");
  }
}

/* -- What the source calls ------------------------------------------------ */

static void poll(void *provider, bool is_fresh) {
  struct consul *consul = provider;

  (void)is_fresh;
  consul->index = 0;
  ask(consul);
}

static void stop(void *provider) {
  struct consul *consul = provider;
  discover__web_stop(consul->web);
}

static int open_consul(void **provider, rover_source_t *source) {
  struct consul *consul = calloc(1, sizeof *consul);

  if (!consul) return UV_ENOMEM;
  consul->source = source;
  int err = discover__web_new(&consul->web, source, consul);
  if (err < 0) free(consul);
  else *provider = consul;
  return err;
}

static void on_closed(void *user) {
  struct consul *consul = user;
  rover_source_t *source = consul->source;

  free(consul);
  discover__source_provider_closed(source);
}

static void close_consul(void *provider) {
  struct consul *consul = provider;
  discover__web_close(consul->web, on_closed);
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
    .poll = poll,
    .stop = stop,
    .close = close_consul,
};
