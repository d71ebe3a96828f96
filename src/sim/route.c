#include "route.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "listener.h"
#include "memory.h"
#include "net.h"

void (*sim__on_surprise)(struct sim__machine *machine, enum sim__surprise kind,
                         const char *what);

/* -- Routes --------------------------------------------------------------- */

struct key {
  struct in6_addr ip;
  uint16_t port; /* 0: any */
};

struct route {
  struct key key;
  struct sim__machine *machine;
  uint16_t to;
  UT_hash_handle hh;
};

static struct route *routes;

static struct key key_of(const struct sim__address *address, uint16_t port) {
  struct sim__address loopback = sim__address_of_v4(INADDR_LOOPBACK, 0);
  struct key key;

  memset(&key, 0, sizeof key); /* the padding, too, is hashed */
  key.ip = sim__address_is_loopback(address) ? loopback.ip : address->ip;
  key.port = port;
  return key;
}

static struct route *find(const struct sim__address *address, uint16_t port) {
  struct key key = key_of(address, port);
  struct route *route;
  HASH_FIND(hh, routes, &key, sizeof key, route);
  return route;
}

static void route_free(struct route *route) {
  /* Only the last takes the table with it.
   * NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
  HASH_DEL(routes, route);
  free(route);
}

void sim__route(const struct sim__address *address,
                struct sim__machine *machine, uint16_t to) {
  struct route *route = find(address, address->port);

  if (!route) {
    route = sim__new(sizeof *route);
    route->key = key_of(address, address->port);
    HASH_ADD(hh, routes, key, sizeof route->key, route);
  }
  route->machine = machine;
  route->to = to;
}

static void tell_stranger(struct sim__machine *from,
                          const struct sim__address *to) {
  char ip[INET6_ADDRSTRLEN], text[INET6_ADDRSTRLEN + 16];
  bool is_v4 = IN6_IS_ADDR_V4MAPPED(&to->ip);

  if (!sim__on_surprise) return;
  if (is_v4) inet_ntop(AF_INET, &to->ip.s6_addr[12], ip, sizeof ip);
  else inet_ntop(AF_INET6, &to->ip, ip, sizeof ip);
  snprintf(text, sizeof text, is_v4 ? "%s:%u" : "[%s]:%u", ip, to->port);
  sim__on_surprise(from, SIM__NOBODY, text);
}

struct sim__machine *sim__route_find(struct sim__machine *from,
                                     const struct sim__address *to,
                                     uint16_t *port) {
  bool is_own = sim__address_is_loopback(to) || sim__address_is_any(to);

  *port = to->port;
  if (is_own && sim__listener_at(from, to)) return from;
  struct route *route = find(to, to->port);
  if (!route) route = find(to, 0);
  if (route && route->to > 0) *port = route->to;
  if (route) return route->machine;
  tell_stranger(from, to);
  return is_own ? from : NULL;
}

void sim__route_add(struct sim__machine *machine) {
  struct sim__address own = sim__machine_address(machine);
  sim__route(&own, machine, 0);
}

/* -- Partitions ----------------------------------------------------------- */

static uint32_t cuts;  /* most runs have none, ... */
static uint32_t downs; /* ... and no machine that is silent */

void sim__down_set(struct sim__machine *machine, bool down) {
  if (machine->net->down == down) return;
  machine->net->down = down;
  if (down) downs++;
  else downs--;
}

static struct sim__machine **find_cut(const struct sim__machine *one,
                                      const struct sim__machine *other) {
  const struct sim__net *net = one->net;

  for (uint32_t i = 0; i < net->cut_count; i++)
    if (net->cut[i] == other) return &net->cut[i];
  return NULL;
}

bool sim__is_cut(const struct sim__machine *one,
                 const struct sim__machine *other) {
  if (!one || !other) return true;
  if (cuts == 0 && downs == 0) return false;
  if (one->net->down || other->net->down) return true;
  return one->net->cut_count < other->net->cut_count ? find_cut(one, other)
                                                     : find_cut(other, one);
}

static void add_cut(struct sim__machine *one, struct sim__machine *other) {
  struct sim__net *net = one->net;

  if (net->cut_count == net->cut_room) {
    net->cut_room = net->cut_room ? net->cut_room * 2 : 4;
    net->cut = sim__grow(net->cut, net->cut_room * sizeof(void *));
  }
  net->cut[net->cut_count++] = other;
}

static void remove_cut(struct sim__machine *one,
                       const struct sim__machine *other) {
  struct sim__net *net = one->net;
  struct sim__machine **cut = find_cut(one, other);
  if (cut) *cut = net->cut[--net->cut_count];
}

bool sim__cut_set(struct sim__machine *one, struct sim__machine *other,
                  bool cut) {
  if (one == other || (find_cut(one, other) != NULL) == cut) return false;
  if (cut) {
    add_cut(one, other);
    add_cut(other, one);
    cuts++;
  } else {
    remove_cut(one, other);
    remove_cut(other, one);
    cuts--;
  }
  return true;
}

void sim__route_remove(struct sim__machine *machine) {
  struct route *route, *next;

  for (route = routes; route; route = next) {
    next = route->hh.next;
    if (route->machine == machine) route_free(route);
  }
  while (machine->net->cut_count > 0)
    sim__cut_set(machine, machine->net->cut[0], false);
  free(machine->net->cut);
  machine->net->cut = NULL;
  machine->net->cut_room = 0;
}
