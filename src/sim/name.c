#include "name.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <uthash.h>

#include "memory.h"
#include "work.h"

struct name {
  UT_hash_handle hh;
  struct sim__machine **machines;
  size_t count;
  char text[];
};

static struct name *names;

static void lower(char *to, const char *from, size_t size) {
  for (size_t i = 0; i < size; i++)
    to[i] = (char)(from[i] >= 'A' && from[i] <= 'Z' ? from[i] + 32 : from[i]);
}

static struct name *find(const char *text) {
  char own[256];
  size_t length = strlen(text);
  struct name *name;

  if (length >= sizeof own) return NULL;
  lower(own, text, length);
  if (length > 1 && own[length - 1] == '.') length--;
  HASH_FIND(hh, names, own, length, name);
  return name;
}

void sim__name_add(const char *text, struct sim__machine *machine) {
  struct name *name = find(text);
  size_t length = strlen(text);

  if (!name) {
    name = sim__new(sizeof *name + length + 1);
    lower(name->text, text, length);
    HASH_ADD_KEYPTR(hh, names, name->text, length, name);
  }
  name->machines =
      sim__grow(name->machines, (name->count + 1) * sizeof(void *));
  name->machines[name->count++] = machine;
}

void sim__names_clear(void) {
  struct name *next;
  struct name *name = names;

  HASH_CLEAR(hh, names);
  for (; name; name = next) {
    next = name->hh.next;
    free(name->machines);
    free(name);
  }
}

/* -- Answers -------------------------------------------------------------- */

struct answer {
  struct addrinfo info;
  struct sockaddr_in6 name; /* the larger of the two */
};

struct asked {
  int family, type; /* or 0 */
  uint16_t port;
  struct addrinfo *first, **last;
};

static void add_one(struct asked *asked, const struct sim__address *address,
                    int family, int type) {
  struct answer *answer = sim__new(sizeof *answer);
  socklen_t size = sizeof answer->name;

  sim__address_write(address, family, (struct sockaddr *)&answer->name, &size);
  answer->info = (struct addrinfo){
      .ai_family = family,
      .ai_socktype = type,
      .ai_protocol = type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP,
      .ai_addrlen = size,
      .ai_addr = (struct sockaddr *)&answer->name};
  *asked->last = &answer->info;
  asked->last = &answer->info.ai_next;
}

static void add(struct asked *asked, struct sim__address address) {
  int family = IN6_IS_ADDR_V4MAPPED(&address.ip) ? AF_INET : AF_INET6;

  address.port = asked->port;
  if (asked->family && asked->family != family) return;
  if (asked->type != SOCK_DGRAM) add_one(asked, &address, family, SOCK_STREAM);
  if (asked->type != SOCK_STREAM) add_one(asked, &address, family, SOCK_DGRAM);
}

static bool add_literal(struct asked *asked, const char *node) {
  struct sim__address address = {.port = 0};
  struct in_addr v4;

  if (inet_aton(node, &v4) == 1) /* also as in 127.1 */
    add(asked, sim__address_of_v4(ntohl(v4.s_addr), 0));
  else if (inet_pton(AF_INET6, node, &address.ip) == 1) add(asked, address);
  else return false;
  return true;
}

static void add_own(struct asked *asked, bool passive) {
  struct sim__address v6 = {.ip = IN6ADDR_LOOPBACK_INIT};

  if (passive) v6.ip = in6addr_any;
  add(asked, v6);
  add(asked, sim__address_of_v4(passive ? INADDR_ANY : INADDR_LOOPBACK, 0));
}

static bool add_name(struct asked *asked, const char *node) {
  const struct name *name = find(node);

  if (!strcasecmp(node, "localhost") || !strcasecmp(node, "localhost.")) {
    add_own(asked, false);
    return true;
  }
  for (size_t i = 0; name && i < name->count; i++)
    add(asked, sim__machine_address(name->machines[i]));
  if (!name && sim__on_surprise)
    sim__on_surprise(sim__current, SIM__NOBODY, node);
  return name != NULL;
}

int sim__name_find(const char *node, const char *service,
                   const struct addrinfo *hints, struct addrinfo **found) {
  static const struct addrinfo none;
  struct asked asked = {.first = NULL, .last = &asked.first};
  char *end = NULL;
  unsigned long port = service ? strtoul(service, &end, 10) : 0;

  if (!hints) hints = &none;
  if (!node && !service) return EAI_NONAME;
  if (service && (*end || port > UINT16_MAX)) return EAI_SERVICE;
  asked.family = hints->ai_family;
  asked.type = hints->ai_socktype;
  asked.port = (uint16_t)port;
  if (!node) add_own(&asked, (hints->ai_flags & AI_PASSIVE) != 0);
  else if (!add_literal(&asked, node) &&
           (hints->ai_flags & AI_NUMERICHOST || !add_name(&asked, node)))
    return EAI_NONAME;
  *found = asked.first;
  return asked.first ? 0 : EAI_NONAME;
}

void sim__name_free(struct addrinfo *found) {
  while (found) {
    struct addrinfo *next = found->ai_next;
    free(found); /* it is the first field of its answer */
    found = next;
  }
}
