#include "fleet.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "work.h"

/* A fleet: hosts that boot within some time, servers, and the names by which
 * the hosts know them. It lives as long as the process. */

enum { FIRST_SERVER = 0x800000 }; /* the number of its machine */

/* The network is cut between these. */
struct sim__cut {
  struct sim__machine *host;
  uint32_t server;
  bool
      silence; /* until the server is up: with a front, nothing else is silent */
};

/* What a host is to be told of, later. */
struct news {
  struct sim__fleet *fleet;
  uint32_t host, server;
};

/* -- Addresses ------------------------------------------------------------- */

static bool parse(struct sim__address *address, const char *text) {
  struct in_addr four;

  if (inet_pton(AF_INET6, text, &address->ip) == 1) return true;
  if (inet_pton(AF_INET, text, &four) != 1) return false;
  memset(&address->ip, 0, 10);
  memset(address->ip.s6_addr + 10, 0xff, 2);
  memcpy(address->ip.s6_addr + 12, &four, 4);
  return true;
}

static struct sim__machine *machine_of(const struct sim__fleet *fleet,
                                       uint32_t server) {
  return sim__server_machine(fleet->server[server]);
}

/* The machine that stands for a name: that of the first server that has it. */
static struct sim__machine *named(const struct sim__fleet *fleet,
                                  const char *name) {
  for (uint32_t i = 0; i < fleet->server_count; i++)
    if (!strcmp(fleet->names[i].host, name)) return machine_of(fleet, i);
  return NULL;
}

/* Has hosts reach the machine by the server's address; and by its name, at
 * whatever port. */
static bool route(const struct sim__fleet *fleet,
                  const struct sim__fleet_server *server,
                  struct sim__machine *machine, char why[256]) {
  struct sim__address address = sim__machine_address(machine);

  sim__name_add(server->name, machine);
  sim__route(&address, machine, SIM__SERVER_PORT);
  if (!strcmp(server->host, "localhost")) parse(&address, "127.0.0.1");
  else if (!parse(&address, server->host)) {
    if (strchr(server->host, ':')) {
      snprintf(why, 256, "'%.200s' is neither an address nor a name",
               server->host);
      return false;
    }
    struct sim__machine *first = named(fleet, server->host);
    if (!first && strcmp(server->host, server->name) != 0)
      sim__name_add(server->host, machine);
    if (first) address = sim__machine_address(first);
  }
  address.port = (uint16_t)server->port;
  sim__route(&address, machine, SIM__SERVER_PORT);
  return true;
}

/* -- Servers --------------------------------------------------------------- */

static void on_changed(struct sim__machine *client, int by) {
  struct sim__host *host = client->data;
  if (host) host->connections += (uint32_t)by;
}

static bool add(struct sim__fleet *fleet,
                const struct sim__fleet_server *server, char why[256]) {
  uint32_t i = fleet->server_count;
  struct sim__server_options options = {.id = FIRST_SERVER + i,
                                        .workers = fleet->workers,
                                        .service = fleet->service,
                                        .front = fleet->fronts,
                                        .changed = on_changed};

  if (i == fleet->server_room) {
    uint32_t room = fleet->server_room ? 2 * fleet->server_room : 32;
    fleet->server = sim__grow(fleet->server, room * sizeof *fleet->server);
    fleet->names = sim__grow(fleet->names, room * sizeof *fleet->names);
    fleet->server_room = room;
  }
  struct sim__server *created = sim__server_new(&options);
  if (!route(fleet, server, sim__server_machine(created), why)) return false;
  fleet->server[i] = created;
  fleet->names[i] = *server;
  fleet->server_count++;
  sim__server_start(created);
  return true;
}

static void tell(void *arg) {
  struct news *news = arg;
  struct sim__fleet *fleet = news->fleet;
  const struct sim__fleet_server *server = &fleet->names[news->server];
  char id[300];

  snprintf(id, sizeof id, strchr(server->host, ':') ? "[%s]:%d" : "%s:%d",
           server->host, server->port);
  sim__host_add_server(&fleet->host[news->host], id, server->host,
                       server->port);
  free(news);
}

bool sim__fleet_add(struct sim__fleet *fleet,
                    const struct sim__fleet_server *server, uint64_t ns,
                    char why[256]) {
  if (!add(fleet, server, why)) return false;
  for (uint32_t i = 0; i < fleet->host_count; i++) {
    struct news *news = sim__new(sizeof *news);
    *news = (struct news){fleet, i, fleet->server_count - 1};
    double when = sim__random_unit(&fleet->random) * (double)ns;
    sim__at(sim__now() + (uint64_t)when, tell, news);
  }
  return true;
}

/* -- The network ----------------------------------------------------------- */

static void cut(struct sim__fleet *fleet, uint32_t host, uint32_t server,
                bool silence) {
  struct sim__machine *machine = fleet->host[host].machine;

  if (!machine) return;
  fleet->cuts =
      sim__grow(fleet->cuts, (fleet->cut_count + 1) * sizeof *fleet->cuts);
  fleet->cuts[fleet->cut_count++] = (struct sim__cut){machine, server, silence};
  sim__partition(machine, machine_of(fleet, server), true);
}

void sim__fleet_cut(struct sim__fleet *fleet, uint32_t host, uint32_t server) {
  cut(fleet, host, server, false);
}

/* Heals what was cut by silence of that server; or else all others. */
static void heal(struct sim__fleet *fleet, bool silence, uint32_t server) {
  size_t kept = 0;

  for (size_t i = 0; i < fleet->cut_count; i++) {
    const struct sim__cut each = fleet->cuts[i];
    if (each.silence != silence || (silence && each.server != server))
      fleet->cuts[kept++] = each;
    else sim__partition(each.host, machine_of(fleet, each.server), false);
  }
  fleet->cut_count = kept;
}

void sim__fleet_heal(struct sim__fleet *fleet) { heal(fleet, false, 0); }

/* -- What happens to servers ----------------------------------------------- */

void sim__fleet_stop(struct sim__fleet *fleet, uint32_t server,
                     enum sim__manner manner) {
  if (!sim__server_is_up(fleet->server[server])) return;
  if (fleet->fronts && manner == SIM__SILENT)
    for (uint32_t i = 0; i < fleet->host_count; i++)
      cut(fleet, i, server, true);
  sim__server_stop(fleet->server[server], manner);
}

void sim__fleet_begin(struct sim__fleet *fleet, uint32_t server) {
  if (sim__server_is_up(fleet->server[server])) return;
  heal(fleet, true, server);
  sim__server_start(fleet->server[server]);
}

void sim__fleet_ghost(struct sim__fleet *fleet, uint32_t server) {
  sim__fleet_stop(fleet, server, SIM__SILENT);
  sim__fleet_begin(fleet, server);
}

/* -- Hosts ----------------------------------------------------------------- */

static void on_surprise(struct sim__machine *machine, enum sim__surprise kind,
                        const char *what) {
  static const char *const formats[] = {
      [SIM__NOBODY] = "'%.300s' is no virtual server; see --servers",
      [SIM__PROCESS] = "%.300s fails: there are no virtual processes",
      [SIM__WRITTEN] =
          "'%.300s' is written: files are real, and the same for all hosts",
      [SIM__SOURCE] = ("a source of servers needs %.300s, and nothing virtual "
                       "answers that: simulate with discover.file"),
      [SIM__CLEAR] = ("TLS is left out: no certificate is read, and what would "
                      "be secured goes in clear")};
  struct sim__host *host = machine->data;
  char text[400];

  if (!host) return;
  snprintf(text, sizeof text, formats[kind], what);
  sim__tell(&host->hosts->warnings, host->index, text, NULL);
}

static struct sim__fleet *fleet_of(struct sim__host *host) {
  return (struct sim__fleet *)host->hosts; /* its first field */
}

static void boot(struct sim__host *host, uint32_t machine) {
  struct sim__fleet *fleet = fleet_of(host);

  sim__host_boot(host, machine);
  if (fleet->hosts.failed == fleet->host_count) sim__stop();
}

static void on_boot(struct sim__event *event) {
  struct sim__host *host =
      (struct sim__host *)((char *)event - offsetof(struct sim__host, later));
  boot(host, host->index + 1);
}

void sim__fleet_lose(struct sim__fleet *fleet, uint32_t host) {
  sim__host_lose(&fleet->host[host]);
}

void sim__fleet_boot(struct sim__fleet *fleet, uint32_t host) {
  if (fleet->host[host].state != SIM__HOST_LOST) return;
  boot(&fleet->host[host], ++fleet->machines);
}

/* -- What there is to see -------------------------------------------------- */

static uint32_t connections(struct sim__fleet *fleet, struct sim__host *host) {
  rover_stats_t sum = {0};

  if (!fleet->fronts) return host->connections;
  sim__host_count(host, &sum);
  return (uint32_t)sum.kept;
}

void sim__fleet_fill(struct sim__fleet *fleet, uint32_t *least,
                     uint32_t *most) {
  bool any = false;

  *least = *most = 0;
  for (uint32_t i = 0; i < fleet->host_count; i++) {
    struct sim__host *host = &fleet->host[i];
    if (host->state != SIM__HOST_RUNNING) continue;
    uint32_t n = connections(fleet, host);
    if (!any || n < *least) *least = n;
    if (n > *most) *most = n;
    any = true;
  }
}

/* Hosts that were seen at the server that is looked at have its number. */
struct distinct {
  uint32_t *seen, server;
  uint64_t count;
};

static void see(void *arg, struct sim__machine *client, uint32_t slot) {
  struct distinct *distinct = arg;
  const struct sim__host *host = client->data;
  (void)slot;
  if (!host || distinct->seen[host->index] == distinct->server) return;
  distinct->seen[host->index] = distinct->server;
  distinct->count++;
}

/* With fronts, the servers of a host's sockets: a list that is short. */
struct socket_servers {
  const rover_server_t **list;
  size_t count;
};

static void see_socket(void *arg, const rover_socket_t *socket) {
  struct socket_servers *servers = arg;
  const rover_server_t *server = rover_socket_server(socket);

  for (size_t i = 0; i < servers->count; i++)
    if (servers->list[i] == server) return;
  servers->list =
      sim__grow(servers->list, (servers->count + 1) * sizeof *servers->list);
  servers->list[servers->count++] = server;
}

double sim__fleet_distinct(struct sim__fleet *fleet) {
  struct distinct distinct = {
      .seen = sim__new(fleet->host_count * sizeof *distinct.seen)};

  for (uint32_t i = 0; i < fleet->server_count; i++) {
    distinct.server = i + 1;
    sim__server_each(fleet->server[i], see, &distinct);
  }
  free(distinct.seen);
  for (uint32_t i = 0; fleet->fronts && i < fleet->host_count; i++) {
    struct socket_servers servers = {0};
    sim__host_each_socket(&fleet->host[i], see_socket, &servers);
    distinct.count += servers.count;
    free(servers.list);
  }
  if (fleet->hosts.running == 0) return 0;
  return (double)distinct.count / fleet->hosts.running;
}

struct slots {
  void (*fn)(void *arg, uint32_t slot);
  void *arg;
};

static void pass_slot(void *arg, struct sim__machine *client, uint32_t slot) {
  const struct slots *slots = arg;
  (void)client;
  slots->fn(slots->arg, slot);
}

static void pass_socket(void *arg, const rover_socket_t *socket) {
  const struct slots *slots = arg;
  slots->fn(slots->arg, (uint32_t)rover_socket_slot(socket));
}

void sim__fleet_slots(struct sim__fleet *fleet,
                      void (*fn)(void *arg, uint32_t slot), void *arg) {
  struct slots slots = {fn, arg};

  for (uint32_t i = 0; i < fleet->server_count; i++)
    sim__server_each(fleet->server[i], pass_slot, &slots);
  for (uint32_t i = 0; fleet->fronts && i < fleet->host_count; i++)
    sim__host_each_socket(&fleet->host[i], pass_socket, &slots);
}

/* -- A run ----------------------------------------------------------------- */

bool sim__fleet_start(struct sim__fleet *fleet,
                      const struct sim__fleet_options *options, char why[256]) {
  *fleet = (struct sim__fleet){.hosts = options->hosts,
                               .host_count = options->host_count,
                               .fronts = options->fronts,
                               .workers = options->workers,
                               .service = options->service,
                               .machines = options->host_count};
  sim__start(options->hosts.seed);
  sim__network.delay = (uint64_t)options->delay;
  sim__network.jitter = (uint64_t)(options->delay / 2);
  sim__on_surprise = on_surprise;
  fleet->random = sim__random_stream("fleet", 0);
  for (size_t i = 0; i < options->server_count; i++)
    if (!add(fleet, &options->servers[i], why)) return false;
  fleet->host = sim__new(fleet->host_count * sizeof *fleet->host);
  for (uint32_t i = 0; i < fleet->host_count; i++) {
    struct sim__host *host = &fleet->host[i];
    host->hosts = &fleet->hosts;
    host->index = i;
    host->later.happen = on_boot;
    double when = sim__random_unit(&fleet->random) * (double)options->spread;
    sim__event_set(&host->later, (uint64_t)when);
  }
  return true;
}
