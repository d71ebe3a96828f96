#include "dns.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "list.h"
#include "modules.h"
#include "provider.h"
#include "resolver.h"

/* The sources dns and srv. Each poll is a look-up of its own: of dns it asks for
 * A and AAAA; of srv it asks for the services, and then for A and AAAA of each
 * target of those with the lowest priority. An answer is all of that: if a
 * question fails, what the others brought is passed on as a part, from which
 * nobody is taken away. */

/* A name and the addresses that it has; of srv, one of a service's targets. */
struct target {
  char *host;
  int port;
  unsigned weight;
  struct look *look;
  struct target *first; /* of this host, for which the addresses are asked */
  size_t services;      /* of the first: that have this host */
  struct discover__records found;
};

/* A look-up: it goes when it ends, before the source hears of it. */
struct look {
  struct dns *dns;
  struct discover__round *round;
  struct target *targets;
  size_t count, pending;
  size_t found; /* servers: of each service the addresses of its host */
  uint32_t ttl;
  int failed;   /* what makes the answer a part */
  bool unknown; /* whatever was empty was NXDOMAIN */
  char reason[1280];
};

struct dns {
  rover_source_t *source;
  const struct discover__resolver *resolver; /* loaded by the first poll */
  struct look *look;                         /* NULL between the polls */
  uv_timer_t gone;                           /* closed with it */
};

static const struct discover__config *config_of(const struct dns *dns) {
  return discover__source_config(dns->source);
}

static void leave(struct look *look) {
  look->dns->look = NULL;
  look->dns->resolver->close(look->round);
}

static void free_look(struct look *look) {
  for (size_t i = 0; i < look->count; i++) {
    free(look->targets[i].host);
    discover__records_free(&look->targets[i].found);
  }
  free(look->targets);
  free(look);
}

static void fail(struct look *look, int err, const char *message) {
  rover_source_t *source = look->dns->source;

  leave(look);
  discover__source_failed(source, err, message);
  free_look(look);
}

/* -- The answer ----------------------------------------------------------- */

static void write_entries(const struct look *look,
                          struct discover__entry *entries) {
  for (size_t i = 0; i < look->count; i++) {
    const struct target *target = &look->targets[i];
    const struct discover__records *found = &target->first->found;
    for (size_t j = 0; j < found->count; j++)
      *entries++ = (struct discover__entry){.host = found->list[j].host,
                                            .port = target->port,
                                            .weight = target->weight};
  }
}

/* In a thread, if they are many. */
static int make_list(void *from, struct discover__list **list) {
  struct look *look = from;
  struct discover__entry *entries = calloc(look->found + 1, sizeof *entries);

  if (!entries) return UV_ENOMEM;
  write_entries(look, entries);
  int err = discover__list_new(list, entries, look->found);
  free(entries);
  return err;
}

static void drop_look(void *from) { free_look(from); }

static const char *note_of(const struct look *look) {
  if (look->failed) return look->reason;
  if (look->found > 0) return NULL;
  return look->unknown ? "NXDOMAIN" : "NODATA";
}

static void finish(struct look *look) {
  if (look->found == 0 && look->failed) {
    fail(look, look->failed, look->reason);
    return;
  }
  struct discover__answer answer = {
      .from = look,
      .count = look->found,
      .ttl = look->ttl > 0 ? (uint64_t)look->ttl * 1000 : 1,
      .note = note_of(look),
      .make = make_list,
      .drop = drop_look,
  };
  if (look->found == 0) answer.ttl = 0; /* that of NXDOMAIN is not told */
  leave(look);
  discover__source_answer(look->dns->source, &answer);
}

/* -- Addresses ------------------------------------------------------------ */

static int keep(struct target *target,
                const struct discover__records *records) {
  int err = 0;
  for (size_t i = 0; err == 0 && i < records->count; i++) {
    err =
        discover__records_add(&target->found, &records->list[i], records->ttl);
    if (err == 0) target->look->found += target->services;
  }
  return err;
}

/* Before they are kept: an answer can have thousands of services, each of which
 * has thousands of addresses. */
static bool are_too_many(const struct look *look, const struct target *target,
                         const struct discover__records *records) {
  return records->count > (ROVER_SOURCE_SERVERS_MAX - look->found) /
                              target->services;
}

static void on_addresses(void *data, int status,
                         const struct discover__records *records,
                         const char *message) {
  struct target *target = data;
  struct look *look = target->look;

  if (status == 0 && are_too_many(look, target, records)) {
    char too_many[128];
    snprintf(too_many, sizeof too_many,
             "more than %d servers: %zu services, and the addresses of each",
             ROVER_SOURCE_SERVERS_MAX, look->count);
    fail(look, UV_E2BIG, too_many);
    return;
  }
  if (status == 0) {
    status = keep(target, records);
    if (records->ttl < look->ttl) look->ttl = records->ttl;
  }
  if (status == UV_EAI_NODATA) look->unknown = false;
  if (status < 0 && status != UV_EAI_NODATA && status != UV_EAI_NONAME &&
      !look->failed) {
    look->failed = status;
    snprintf(look->reason, sizeof look->reason, "%s",
             message ? message : "out of memory");
  }
  if (--look->pending == 0) finish(look);
}

static int ask(struct target *target, enum discover__record_type type) {
  struct look *look = target->look;
  int err = look->dns->resolver->ask(look->round, type, target->host,
                                     on_addresses, target);
  look->pending += err == 0;
  return err;
}

/* The targets are sorted, so that those of one host are neighbours. */
static int ask_addresses(struct look *look) {
  int family = config_of(look->dns)->options.family, err = 0;

  look->unknown = true;
  for (size_t i = 0; err == 0 && i < look->count; i++) {
    struct target *target = &look->targets[i];
    bool is_first = i == 0 || strcasecmp(target[-1].host, target->host) != 0;
    target->first = is_first ? target : target[-1].first;
    target->first->services++;
    if (!is_first) continue;
    if (family != 6) err = ask(target, DISCOVER_A);
    if (err == 0 && family != 4) err = ask(target, DISCOVER_AAAA);
  }
  return err;
}

static int make_targets(struct look *look, size_t count) {
  look->targets = calloc(count, sizeof *look->targets);
  return look->targets ? 0 : UV_ENOMEM;
}

static int add_target(struct look *look, const char *host, int port,
                      unsigned weight) {
  struct target *target = &look->targets[look->count];

  *target = (struct target){
      .host = strdup(host), .port = port, .weight = weight, .look = look};
  if (!target->host) return UV_ENOMEM;
  look->count++;
  return 0;
}

static int ask_host(struct look *look) {
  const struct discover__config *config = config_of(look->dns);
  int err = make_targets(look, 1);

  if (err == 0)
    err = add_target(look, discover__config_get(config, "host"),
                     config->options.port, 0);
  return err < 0 ? err : ask_addresses(look);
}

/* -- Services ------------------------------------------------------------- */

static int by_host(const void *one, const void *other) {
  const struct target *a = one, *b = other;
  int order = strcasecmp(a->host, b->host);
  return order ? order : a->port - b->port;
}

static int take_services(struct look *look,
                         const struct discover__records *records) {
  uint16_t lowest = UINT16_MAX;
  int err = make_targets(look, records->count);

  for (size_t i = 0; i < records->count; i++)
    if (records->list[i].priority < lowest) lowest = records->list[i].priority;
  for (size_t i = 0; err == 0 && i < records->count; i++) {
    const struct discover__record *record = &records->list[i];
    if (record->priority == lowest)
      err = add_target(look, record->host, record->port, record->weight);
  }
  if (err < 0) return err;
  qsort(look->targets, look->count, sizeof *look->targets, by_host);
  look->ttl = records->ttl;
  return ask_addresses(look);
}

static void on_services(void *data, int status,
                        const struct discover__records *records,
                        const char *message) {
  struct look *look = data;

  if (status == UV_EAI_NONAME || status == UV_EAI_NODATA) {
    look->unknown = status == UV_EAI_NONAME;
    finish(look);
    return;
  }
  if (status == 0) status = take_services(look, records);
  if (status < 0) fail(look, status, message ? message : "out of memory");
}

static int ask_services(struct look *look) {
  return look->dns->resolver->ask(
      look->round, DISCOVER_SRV,
      discover__config_get(config_of(look->dns), "service"), on_services, look);
}

/* -- What the source calls ------------------------------------------------ */

static int open_look(struct dns *dns) {
  const struct discover__config *config = config_of(dns);
  uint64_t timeout = config->options.timeout;
  /* A little less than the source allows, which does not know what is awaited. */
  struct discover__round_options options = {
      .servers = discover__config_get(config, "servers"),
      .timeout = timeout - timeout / 10,
  };
  struct look *look = calloc(1, sizeof *look);

  if (!look) return UV_ENOMEM;
  look->dns = dns;
  look->ttl = UINT32_MAX;
  int err = dns->resolver->open(discover__source_loop(dns->source), &options,
                                &look->round);
  if (err < 0) free(look);
  else dns->look = look;
  return err;
}

static void poll(void *provider, bool is_fresh) {
  struct dns *dns = provider;
  char message[512];

  (void)is_fresh;
  if (!dns->resolver)
    dns->resolver = discover__modules_resolver(message, sizeof message);
  if (!dns->resolver) {
    discover__source_failed(dns->source, discover__modules_status(), message);
    return;
  }
  int err = open_look(dns);
  if (err < 0) {
    discover__source_failed(dns->source, err, uv_strerror(err));
    return;
  }
  err = config_of(dns)->kind == &discover__srv ? ask_services(dns->look)
                                               : ask_host(dns->look);
  if (err < 0) fail(dns->look, err, uv_strerror(err));
}

static void stop(void *provider) {
  struct dns *dns = provider;
  struct look *look = dns->look;

  if (!look) return;
  leave(look);
  free_look(look);
}

static int open_dns(void **provider, rover_source_t *source) {
  struct dns *dns = calloc(1, sizeof *dns);

  if (!dns) return UV_ENOMEM;
  dns->source = source;
  uv_timer_init(discover__source_loop(source), &dns->gone);
  dns->gone.data = dns;
  *provider = dns;
  return 0;
}

static void on_closed(uv_handle_t *handle) {
  struct dns *dns = handle->data;
  rover_source_t *source = dns->source;

  free(dns);
  discover__source_provider_closed(source);
}

static void close_dns(void *provider) {
  struct dns *dns = provider;

  stop(dns);
  uv_close((uv_handle_t *)&dns->gone, on_closed);
}

/* -- Settings ------------------------------------------------------------- */

/* "10.0.0.53", "10.0.0.53:5353", "::1", "[::1]:53", separated by commas. */
static bool is_server(const char *text, size_t length) {
  char copy[80], *port = NULL;
  unsigned char ip[16];

  if (length >= sizeof copy) return false;
  memcpy(copy, text, length);
  copy[length] = '\0';
  char *host = copy, *end = strchr(copy, ']');
  if (*copy == '[' && end) {
    host++;
    *end = '\0';
    if (end[1] == ':') port = end + 2;
    else if (end[1]) return false;
  } else if ((end = strchr(copy, ':')) && !strchr(end + 1, ':')) {
    *end = '\0';
    port = end + 1;
  }
  if (port) {
    long number = strtol(port, &end, 10);
    if (!*port || *end || number < 1 || number > 65535) return false;
  }
  return uv_inet_pton(AF_INET, host, ip) == 0 ||
         uv_inet_pton(AF_INET6, host, ip) == 0;
}

static bool check_servers(const struct discover__config *config, char *message,
                          size_t size) {
  const char *servers = discover__config_get(config, "servers");

  for (const char *at = servers; at;) {
    size_t length = strcspn(at, ",");
    if (!is_server(at, length)) {
      snprintf(message, size,
               "servers: IP addresses of DNS servers expected, each with a "
               "port if it is not 53, as '10.0.0.53,[::1]:5353'; got '%s'",
               servers);
      return false;
    }
    at = at[length] ? at + length + 1 : NULL;
  }
  return true;
}

static bool check_dns(const struct discover__config *config, char *message,
                      size_t size) {
  if (config->options.port == 0) {
    snprintf(message, size,
             "port: required, since an address in DNS has none (srv has)");
    return false;
  }
  return check_servers(config, message, size);
}

static const struct discover__option dns_options[] = {
    {"host", DISCOVER__TEXT, true},
    {"servers", DISCOVER__TEXT, false},
    {0},
};

static const struct discover__option srv_options[] = {
    {"service", DISCOVER__TEXT, true},
    {"servers", DISCOVER__TEXT, false},
    {0},
};

const struct discover__kind discover__dns = {
    .name = "dns",
    .interval = 30000,
    .options = dns_options,
    .check = check_dns,
    .open = open_dns,
    .poll = poll,
    .stop = stop,
    .close = close_dns,
};

const struct discover__kind discover__srv = {
    .name = "srv",
    .interval = 30000,
    .options = srv_options,
    .check = check_servers,
    .open = open_dns,
    .poll = poll,
    .stop = stop,
    .close = close_dns,
};
