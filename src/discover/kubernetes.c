#include "kubernetes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "feed.h"
#include "json.h"
#include "web.h"

/* The source kubernetes: the endpoints of a service that are ready, from its
 * EndpointSlices (discovery.k8s.io/v1, Kubernetes 1.21 and later). A poll lists
 * them, and then watches from the list's version on, with bookmarks. A watch that
 * the server ends in order goes on from the last version heard of; a version that
 * it no longer has (410, as the answer or as an event) is listed anew. One address
 * may be in several slices. */

#define ACCOUNT "/var/run/secrets/kubernetes.io/serviceaccount/"

enum { GONE = 410 };

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

struct taking {
  struct discover__groups *slices;
  const struct discover__config *config;
};

static int take_item(const json_t *slice, void *data) {
  struct taking *taking = data;
  return take_slice(taking->slices, slice, taking->config);
}

/* An answer to a list. */
static int read_list(const struct discover__config *config,
                     const struct discover__part *part,
                     struct discover__found *found, char *message,
                     size_t size) {
  struct taking taking = {&found->groups, config};
  json_t *rest;
  int err = discover__json_each(&rest, part->bytes, part->length, "items",
                                take_item, &taking);

  (void)message;
  (void)size;
  if (err == 0 && !json_object_get(rest, "items")) err = UV_EPROTO;
  if (err == 0) err = take_version(found, rest);
  json_decref(rest);
  return err;
}

/* -- The watch ------------------------------------------------------------ */

/* An event of type ERROR has a Status for its object. */
static int read_error(const json_t *object, char *message, size_t size) {
  const char *said = text_at(object, "message");

  if (json_integer_value(json_object_get(object, "code")) == GONE)
    return UV_ECANCELED;
  snprintf(message, size, "Kubernetes' watch: %.300s",
           said ? said : "an error");
  return UV_EPROTO;
}

static int read_event(const struct discover__config *config, const char *type,
                      const json_t *object, struct discover__found *found) {
  const char *name = text_at(json_object_get(object, "metadata"), "name");
  int err = type ? take_version(found, object) : UV_EPROTO;

  if (err < 0) return err;
  if (!strcmp(type, "BOOKMARK")) return 1;
  if (!name) return UV_EPROTO;
  if (strcmp(type, "DELETED") != 0)
    return take_slice(&found->groups, object, config);
  discover__groups_drop(&found->groups, name);
  return 0;
}

static int read_line(const struct discover__config *config,
                     const struct discover__part *part,
                     struct discover__found *found, char *message,
                     size_t size) {
  json_t *root;
  int status = discover__json_load(&root, part->bytes, part->length);
  const char *type = text_at(root, "type");
  const json_t *object = json_object_get(root, "object");

  if (status == 0)
    status = type && !strcmp(type, "ERROR")
                 ? read_error(object, message, size)
                 : read_event(config, type, object, found);
  if (status == UV_EPROTO && !*message)
    snprintf(message, size, "Kubernetes' watch: not an event of its API");
  json_decref(root);
  return status;
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

static void ask(const struct discover__config *config, const char *version,
                struct discover__feed_request *request) {
  const char *space = discover__config_get(config, "namespace");
  bool is_in_pod = !discover__config_get(config, "url");
  struct discover__text *target = &request->target;

  add_base(&request->base, config);
  discover__text_add(target, "/apis/discovery.k8s.io/v1/namespaces/");
  discover__text_add_escaped(target, space ? space : "default");
  discover__text_add(target, "/endpointslices?labelSelector="
                             "kubernetes.io%2Fservice-name%3D");
  discover__text_add_escaped(target, discover__config_get(config, "service"));
  if (version) {
    discover__text_add(target, "&watch=true&allowWatchBookmarks=true"
                               "&resourceVersion=");
    discover__text_add_escaped(target, version);
  }
  request->scheme = "Bearer ";
  request->token_file = is_in_pod ? ACCOUNT "token" : NULL;
  request->ca = is_in_pod ? ACCOUNT "ca.crt" : NULL;
}

/* -- What the source calls ------------------------------------------------ */

static const struct discover__feed_kind feed = {
    .ask = ask,
    .read = read_list,
    .read_line = read_line,
    .gap = 500,
    .empty = "no endpoint is ready",
    .hasty =
        "its watch ends at once, or what was just listed is said to be gone",
};

static int open_kubernetes(void **provider, rover_source_t *source) {
  return discover__feed_open(provider, source, &feed);
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
    .poll = discover__feed_poll,
    .stop = discover__feed_stop,
    .close = discover__feed_close,
};
