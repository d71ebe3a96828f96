#include "clients.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

/* A connection belongs to the list of those that are idle or of those that have
 * a request. The relay joins it with a kept socket for as long as it lives, so a
 * program that made a connection for each request would use up those. */

enum { MOST = 100 };       /* connections */
enum { IDLE_S = 10 };      /* after which one is closed */
enum { QUEUE_FIRST = 16 }; /* requests that have room at first */

/* One connection. It is idle, or has a request, since `at`. */
struct client {
  struct sim__clients *all;
  struct sim__end *end;
  struct client *next, *previous; /* of those that are idle, or of the others */
  struct sim__event expiry;
  uint64_t at;
  bool busy, connected;
};

struct list {
  struct client *first; /* the one that was added last */
};

struct sim__clients {
  struct sim__machine *machine;
  const struct sim__clients_ops *ops;
  void *data;
  struct list idle, busy;
  unsigned count;
  struct sim__address address; /* where to connect, unless to `path` */
  char *path;                  /* of a Unix socket, or NULL */
  uint64_t *queue;             /* times of requests that wait, as a ring */
  size_t queued, head, room;
};

static const char request[] = "request\n";

/* -- Lists, and the queue -------------------------------------------------- */

static void push(struct list *list, struct client *client) {
  client->previous = NULL;
  client->next = list->first;
  if (list->first) list->first->previous = client;
  list->first = client;
}

static void take(struct list *list, struct client *client) {
  if (client->next) client->next->previous = client->previous;
  if (client->previous) client->previous->next = client->next;
  else list->first = client->next;
}

static void enqueue(struct sim__clients *all, uint64_t at) {
  if (all->queued == all->room) {
    size_t room = all->room ? all->room * 2 : QUEUE_FIRST;
    uint64_t *queue = sim__new(room * sizeof *queue);
    for (size_t i = 0; i < all->queued; i++)
      queue[i] = all->queue[(all->head + i) % all->room];
    free(all->queue);
    all->queue = queue;
    all->room = room;
    all->head = 0;
  }
  all->queue[(all->head + all->queued++) % all->room] = at;
}

static uint64_t dequeue(struct sim__clients *all) {
  uint64_t at = all->queue[all->head];

  all->head = (all->head + 1) % all->room;
  all->queued--;
  return at;
}

/* -- A connection ---------------------------------------------------------- */

static void begin(struct client *client, uint64_t at) {
  client->busy = true;
  client->at = at;
  push(&client->all->busy, client);
  if (client->connected) sim__write(client->end, request, sizeof request - 1);
}

/* It has no request any more: takes one that waits, or is idle from now on. */
static void rest(struct client *client) {
  struct sim__clients *all = client->all;

  take(&all->busy, client);
  client->busy = false;
  if (all->queued > 0) {
    begin(client, dequeue(all));
    return;
  }
  push(&all->idle, client);
  sim__event_set(&client->expiry, sim__now() + (uint64_t)IDLE_S * SIM__S);
}

static struct client *new_client(struct sim__clients *all);

/* Its end is closed, or ended. Another takes its place if requests wait. */
static void forget(struct client *client) {
  struct sim__clients *all = client->all;
  bool was_busy = client->busy;
  uint64_t at = client->at;

  sim__event_cancel(&client->expiry);
  take(was_busy ? &all->busy : &all->idle, client);
  all->count--;
  free(client);
  if (was_busy) all->ops->lost(all->data, at);
  if (all->queued > 0 && !all->machine->stopped)
    begin(new_client(all), dequeue(all));
}

static void on_expiry(struct sim__event *event) {
  struct client *client =
      (struct client *)((char *)event - offsetof(struct client, expiry));
  sim__close(client->end);
  forget(client);
}

static void on_connected(struct sim__end *end) {
  struct client *client = sim__end_data(end);

  client->connected = true;
  sim__write(end, request, sizeof request - 1);
}

/* The answer is a line. */
static void on_readable(struct sim__end *end) {
  struct client *client = sim__end_data(end);
  char bytes[256];
  ssize_t n;

  while ((n = sim__read(end, bytes, sizeof bytes)) > 0) {
    if (!client->busy || bytes[n - 1] != '\n') continue;
    client->all->ops->answered(client->all->data, client->at);
    rest(client);
  }
  if (n == -EAGAIN) return;
  sim__close(end);
  forget(client);
}

static void on_ended(struct sim__end *end, int err) {
  (void)err;
  forget(sim__end_data(end));
}

static const struct sim__end_ops ops = {
    .connected = on_connected, .readable = on_readable, .ended = on_ended};

static struct client *new_client(struct sim__clients *all) {
  struct client *client = sim__new(sizeof *client);

  client->all = all;
  client->expiry.happen = on_expiry;
  all->count++;
  client->end = all->path
                    ? sim__connect_path(all->machine, all->path, &ops, client)
                    : sim__connect(all->machine, &all->address, &ops, client);
  return client;
}

/* -- All of them ----------------------------------------------------------- */

/* The address at which a program of the same machine reaches the relay. */
static struct sim__address address_of(const rover_address_t *address) {
  struct sim__address to = {.port = (uint16_t)address->port};
  struct in_addr four;
  const char *host = address->host;

  if (!host || inet_pton(AF_INET6, host, &to.ip) != 1) {
    if (!host || inet_pton(AF_INET, host, &four) != 1 || four.s_addr == 0)
      four.s_addr = htonl(INADDR_LOOPBACK);
    memset(&to.ip, 0, 10);
    memset(to.ip.s6_addr + 10, 0xff, 2);
    memcpy(to.ip.s6_addr + 12, &four, 4);
  } else if (IN6_IS_ADDR_UNSPECIFIED(&to.ip)) to.ip = in6addr_loopback;
  return to;
}

static void aim(struct sim__clients *all, const rover_address_t *address) {
  if (!address->path) {
    all->address = address_of(address);
    free(all->path);
    all->path = NULL;
  } else if (!all->path || strcmp(all->path, address->path) != 0) {
    free(all->path);
    all->path = strcpy(sim__new(strlen(address->path) + 1), address->path);
  }
}

bool sim__clients_ask(struct sim__clients *all, const rover_address_t *relay) {
  struct client *client = all->idle.first;

  if (client) {
    take(&all->idle, client);
    sim__event_cancel(&client->expiry);
    begin(client, sim__now());
    return false;
  }
  aim(all, relay);
  if (all->count < MOST) begin(new_client(all), sim__now());
  else enqueue(all, sim__now());
  return true;
}

struct sim__clients *sim__clients_new(struct sim__machine *machine,
                                      const struct sim__clients_ops *own_ops,
                                      void *data) {
  struct sim__clients *all = sim__new(sizeof *all);

  all->machine = machine;
  all->ops = own_ops;
  all->data = data;
  return all;
}

static void free_list(struct list *list) {
  struct client *next;

  for (struct client *client = list->first; client; client = next) {
    next = client->next;
    sim__event_cancel(&client->expiry);
    sim__close(client->end);
    free(client);
  }
}

void sim__clients_free(struct sim__clients *all) {
  free_list(&all->idle);
  free_list(&all->busy);
  free(all->queue);
  free(all->path);
  free(all);
}
