#include "kubernetes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "groups.h"
#include "json.h"
#include "text.h"
#include "web.h"

/* The source kubernetes: the endpoints of a service that are ready, from its
 * EndpointSlices (discovery.k8s.io/v1, Kubernetes 1.21 and later). A poll lists
 * them, and then watches from the list's version on, with bookmarks. A watch that
 * the server ends in order goes on from the last version heard of; a version that
 * it no longer has (410, as the answer or as an event) is listed anew. One address
 * may be in several slices. Changes are passed on together, a moment after the
 * first of them. */

#define ACCOUNT "/var/run/secrets/kubernetes.io/serviceaccount/"

enum {
  MOMENT = 50, /* ms, to pass on changes */
  GAP = 500,   /* ms, at least, from one list or watch to the next of its own */
  GONE = 410
};

struct kubernetes {
  rover_source_t *source;
  struct discover__web *web;
  struct discover__found found; /* slices, and the last version heard of */
  uint64_t asked;               /* when the last list or watch was */
  bool is_late;                 /* changes wait to be passed on */
};

static const struct discover__config *config_of(const struct kubernetes *k) {
  return discover__source_config(k->source);
}

static void fail(struct kubernetes *k, int status, const char *message) {
  rover_source_t *source = k->source;

  discover__web_stop(k->web);
  k->is_late = false;
  discover__source_failed(source, status, message);
}

/* -- A slice -------------------------------------------------------------- */

static const char *text_at(const json_t *object, const char *key) {
  return json_string_value(json_object_get(object, key));
}

/* The one that is named, or else the first; a `port` of the source's own is for
 * all. 0: there is none. */
static int port_of(const struct discover__config *config, const json_t *slice) {
  const char *wanted = discover__config_get(config, "portName");
  const json_t *ports = json_object_get(slice, "ports");

  if (config->options.port) return config->options.port;
  for (size_t i = 0; i < json_array_size(ports); i++) {
    const json_t *port = json_array_get(ports, i);
    const char *name = text_at(port, "name");
    const char *protocol = text_at(port, "protocol");
    json_int_t number = json_integer_value(json_object_get(port, "port"));
    if (protocol && strcmp(protocol, "TCP") != 0) continue;
    if (wanted && (!name || strcmp(name, wanted) != 0)) continue;
    if (number > 0 && number <= 65535) return (int)number;
  }
  return 0;
}

/* Not known to be unready is ready, as the API says. */
static bool is_ready(const json_t *endpoint) {
  const json_t *conditions = json_object_get(endpoint, "conditions");
  return !json_is_false(json_object_get(conditions, "ready"));
}

static bool is_of_family(int family, const json_t *slice) {
  const char *type = text_at(slice, "addressType");

  if (!type || family == 0) return true;
  return !strcmp(type, family == 4 ? "IPv4" : "IPv6");
}

/* The addresses of an endpoint are one and the same pod: the first is used. */
static int take_slice(struct discover__groups *slices, const json_t *slice,
                      const struct discover__config *config) {
  const char *name = text_at(json_object_get(slice, "metadata"), "name");
  const json_t *endpoints = json_object_get(slice, "endpoints");
  bool is_wanted = is_of_family(config->options.family, slice);
  int port = is_wanted ? port_of(config, slice) : 0;
  size_t count = 0;

  if (!name) return UV_EPROTO;
  struct discover__entry *entries =
      calloc(json_array_size(endpoints) + 1, sizeof *entries);
  if (!entries) return UV_ENOMEM;
  for (size_t i = 0; port && i < json_array_size(endpoints); i++) {
    const json_t *endpoint = json_array_get(endpoints, i);
    const json_t *addresses = json_object_get(endpoint, "addresses");
    const char *host = json_string_value(json_array_get(addresses, 0));
    if (host && is_ready(endpoint))
      entries[count++] = (struct discover__entry){.host = host, .port = port};
  }
  int err = discover__groups_set(slices, name, entries, count);
  free(entries);
  return err;
}

/* Errors: UV_EPROTO. */
static int take_version(struct discover__found *found, const json_t *object) {
  const char *text =
      text_at(json_object_get(object, "metadata"), "resourceVersion");

  if (!text || strlen(text) >= sizeof found->version) return UV_EPROTO;
  strcpy(found->version, text);
  return 0;
}

/* An answer to a list, in a thread. */
static int read_list(const struct discover__config *config, const char *bytes,
                     size_t length, struct discover__found *found) {
  json_t *root;
  int err = discover__json_load(&root, bytes, length);
  const json_t *items = json_object_get(root, "items");

  if (err == 0) err = take_version(found, root);
  if (err == 0 && !json_is_array(items)) err = UV_EPROTO;
  for (size_t i = 0; err == 0 && i < json_array_size(items); i++)
    err = take_slice(&found->groups, json_array_get(items, i), config);
  json_decref(root);
  return err;
}

/* -- Requests ------------------------------------------------------------- */

/* The URL; by default where a pod finds the server. */
static void add_base(struct discover__text *base,
                     const struct discover__config *config) {
  const char *url = discover__config_get(config, "url");
  char host[256] = "kubernetes.default.svc", port[8] = "443";
  size_t host_size = sizeof host, port_size = sizeof port;

  if (url) {
    discover__text_add(base, url);
    return;
  }
  uv_os_getenv("KUBERNETES_SERVICE_HOST", host, &host_size);
  uv_os_getenv("KUBERNETES_SERVICE_PORT", port, &port_size);
  bool is_ipv6 = strchr(host, ':') != NULL;
  discover__text_add(base, is_ipv6 ? "https://[" : "https://");
  discover__text_add(base, host);
  discover__text_add(base, is_ipv6 ? "]:" : ":");
  discover__text_add(base, port);
}

static void ask(struct kubernetes *k, const char *version,
                discover__web_line_cb line, discover__web_done_cb done) {
  const struct discover__config *config = config_of(k);
  const char *space = discover__config_get(config, "namespace");
  bool is_in_pod = !discover__config_get(config, "url");
  struct discover__text base = {0}, target = {0};

  add_base(&base, config);
  discover__text_add(&target, "/apis/discovery.k8s.io/v1/namespaces/");
  discover__text_add_escaped(&target, space ? space : "default");
  discover__text_add(&target, "/endpointslices?labelSelector="
                              "kubernetes.io%2Fservice-name%3D");
  discover__text_add_escaped(&target, discover__config_get(config, "service"));
  if (version) {
    discover__text_add(&target, "&watch=true&allowWatchBookmarks=true"
                                "&resourceVersion=");
    discover__text_add_escaped(&target, version);
  }
  k->asked = uv_now(discover__source_loop(k->source));
  if (base.failed || target.failed) {
    fail(k, UV_ENOMEM, "out of memory");
  } else {
    struct discover__web_request request = {
        .base = base.bytes,
        .target = target.bytes,
        .scheme = "Bearer ",
        .read = line ? NULL : read_list,
        .token_file = is_in_pod ? ACCOUNT "token" : NULL,
        .ca = is_in_pod ? ACCOUNT "ca.crt" : NULL,
    };
    discover__web_ask(k->web, &request, line, done);
  }
  discover__text_free(&base);
  discover__text_free(&target);
}

static void ask_list(void *user);
static void watch(void *user);

/* A server that ends everything at once is not asked without a pause. */
static void ask_later(struct kubernetes *k, void (*what)(void *user)) {
  uint64_t now = uv_now(discover__source_loop(k->source));
  uint64_t due = k->asked + GAP;

  discover__web_later(k->web, due > now ? due - now : 0, what);
}

/* -- The watch ------------------------------------------------------------ */

static void tell(void *user) {
  struct kubernetes *k = user;

  k->is_late = false;
  discover__groups_tell(&k->found.groups, k->source, "no endpoint is ready");
}

static void on_change(struct kubernetes *k) {
  if (!k->is_late) discover__web_later(k->web, MOMENT, tell);
  k->is_late = true;
}

/* An event of type ERROR has a Status for its object. */
static void on_error(struct kubernetes *k, const json_t *object) {
  const char *said = text_at(object, "message");
  char message[512];

  if (json_integer_value(json_object_get(object, "code")) == GONE) {
    discover__web_stop(k->web);
    ask_later(k, ask_list);
    return;
  }
  snprintf(message, sizeof message, "Kubernetes' watch: %.300s",
           said ? said : "an error");
  fail(k, UV_EPROTO, message);
}

static int take_event(struct kubernetes *k, const char *type,
                      const json_t *object) {
  const char *name = text_at(json_object_get(object, "metadata"), "name");
  int err = take_version(&k->found, object);

  if (err < 0 || !strcmp(type, "BOOKMARK")) return err;
  if (!name) return UV_EPROTO;
  if (!strcmp(type, "DELETED")) discover__groups_drop(&k->found.groups, name);
  else err = take_slice(&k->found.groups, object, config_of(k));
  if (err == 0) on_change(k);
  return err;
}

static void on_line(void *user, const char *line, size_t length) {
  struct kubernetes *k = user;
  json_t *root;
  discover__json_load(&root, line, length);
  const char *type = text_at(root, "type");
  const json_t *object = json_object_get(root, "object");

  if (type && !strcmp(type, "ERROR")) {
    on_error(k, object);
  } else {
    int err = type ? take_event(k, type, object) : UV_EPROTO;
    if (err < 0)
      fail(k, err,
           err == UV_ENOMEM ? "out of memory"
                            : "Kubernetes' watch: not an event of its API");
  }
  json_decref(root);
}

/* Without an error it has ended in order, and goes on; with what is late, since
 * there is one timer. */
static void on_watched(void *user, int status,
                       const struct discover__reply *answer,
                       struct discover__found *found, const char *message) {
  struct kubernetes *k = user;
  char text[1024];

  (void)found;
  if (status == 0 && answer->code == 200) {
    ask_later(k, watch);
    if (k->is_late) tell(k);
    return;
  }
  if (status == 0 && answer->code == GONE) {
    ask_later(k, ask_list);
    return;
  }
  if (status == 0) {
    discover__web_explain(answer, text, sizeof text);
    status = UV_EPROTO;
    message = text;
  }
  fail(k, status, message);
}

static void watch(void *user) {
  struct kubernetes *k = user;
  ask(k, k->found.version, on_line, on_watched);
}

/* -- The list ------------------------------------------------------------- */

static void on_list(void *user, int status,
                    const struct discover__reply *answer,
                    struct discover__found *found, const char *message) {
  struct kubernetes *k = user;
  char text[1024];

  if (status == 0 && answer->code != 200) {
    discover__web_explain(answer, text, sizeof text);
    status = UV_EPROTO;
    message = text;
  }
  if (status < 0) {
    fail(k, status, message);
    return;
  }
  struct discover__found old = k->found;
  k->found = *found;
  *found = old;
  /* The source may stop this while it takes the answer. */
  discover__web_later(k->web, 0, watch);
  tell(k);
}

static void ask_list(void *user) {
  struct kubernetes *k = user;
  ask(k, NULL, NULL, on_list);
}

/* -- What the source calls ------------------------------------------------ */

static void poll(void *provider, bool is_fresh) {
  (void)is_fresh;
  ask_list(provider);
}

static void stop(void *provider) {
  struct kubernetes *k = provider;

  k->is_late = false;
  discover__web_stop(k->web);
}

static int open_kubernetes(void **provider, rover_source_t *source) {
  struct kubernetes *k = calloc(1, sizeof *k);

  if (!k) return UV_ENOMEM;
  k->source = source;
  int err = discover__web_new(&k->web, source, k);
  if (err < 0) free(k);
  else *provider = k;
  return err;
}

static void on_closed(void *user) {
  struct kubernetes *k = user;
  rover_source_t *source = k->source;

  discover__groups_clear(&k->found.groups);
  free(k);
  discover__source_provider_closed(source);
}

static void close_kubernetes(void *provider) {
  struct kubernetes *k = provider;
  discover__web_close(k->web, on_closed);
}

static const struct discover__option options[] = {
    {"service", DISCOVER__TEXT, true},
    {"namespace", DISCOVER__TEXT, false},
    {"portName", DISCOVER__TEXT, false},
    {"url", DISCOVER__TEXT, false},
    DISCOVER__WEB_OPTIONS,
    {0},
};

const struct discover__kind discover__kubernetes = {
    .name = "kubernetes",
    .interval = 300000,
    .watches = true,
    .http = true,
    .options = options,
    .check = discover__web_check,
    .open = open_kubernetes,
    .poll = poll,
    .stop = stop,
    .close = close_kubernetes,
};
