#include "client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Rovers in C, each on a machine of its own, some with a relay beside it. What
 * is done to them, from outside and from within their callbacks, is drawn. */

enum { CLIENTS_MAX = 24 };

static struct client clients[CLIENTS_MAX];
static unsigned client_count;
bool rovers_are_calm;

/* -- The books --------------------------------------------------------------- */

static rover_stats_t check_rover(struct client *client) {
  rover_stats_t s;

  rover_stats_get(client->rover, &s);
  if (fault == UNCOUNTED && s.cancelled > 0) s.cancelled--;
  EQUAL(s.attempts,
        s.connections + s.rejected + s.unreachable + s.errors + s.cancelled +
            s.in_flight);
  EQUAL(s.connections, s.kept + s.closed);
  EQUAL(client->connections, s.connections);
  EQUAL(client->unreachable, s.unreachable);
  CHECK(client->errors >= s.errors); /* some are of no attempt */
  return s;
}

/* -- The rover -------------------------------------------------------------------- */

static void on_rover_closed(rover_t *rover) {
  struct client *client = rover_data(rover);

  CHECK(client->closing && !client->closed);
  rover_stats_t s = check_rover(client);
  EQUAL(0, s.kept);
  EQUAL(0, s.in_flight);
  CHECK(!client->held);
  client->closed = true;
  note("rover %u is closed", client->index);
}

static void close_rover(struct client *client) {
  if (client->closed) return;
  note("rover %u closes", client->index);
  int err = rover_close(client->rover, on_rover_closed);
  EQUAL(client->closing ? UV_EALREADY : 0, err);
  client->closing = true;
  for (struct held *held = client->held; held; held = held->next) {
    if (!held->closes && rover_socket_write_queue_size(held->socket) > 0)
      talker_break(held->talker);
    held->talker->finished = true;
    held->closes = true;
  }
}

static void change_servers(struct client *client);

/* What is rejected by then is counted as rejected. */
static void change_limits(struct client *client) {
  rover_rejection_t rejection = {.slot_limit = (unsigned)draw_odd(1, 20),
                                 .patience = (unsigned)draw(3),
                                 .interval = draw_odd(1, 1000),
                                 .max_interval = draw_odd(1, 5000),
                                 .growth = (double)draw_odd(1, 3),
                                 .jitter = one_in(2) ? 0 : 0.2};
  const char *id = servers[draw(server_count)].name;

  if (client->closing) return;
  note("rover %u rejects slots from %u on", client->index,
       rejection.slot_limit);
  EQUAL(0, rover_set_rejection(client->rover, &rejection));
  EQUAL(0, rover_set_slot_limit(client->rover, (unsigned)draw_odd(1, 30)));
  if (one_in(2)) rover_set_max_kept(client->rover, (unsigned)draw_odd(1, 20));
  rover_server_exempt(client->rover, id, one_in(2));
}

static void disturb_within(struct client *client) {
  if (rovers_are_calm || !one_in(16)) return;
  switch (draw(16)) {
    case 0: rover_stop(client->rover); break;
    case 1:
      if (one_in(8)) close_rover(client);
      break;
    case 2:
    case 3: change_servers(client); break;
    case 5: change_limits(client); break;
    case 4:
      if (held_any(client)) held_close(held_any(client));
      break;
    default:
      if (!client->has_relay && held_any(client)) held_use(held_any(client));
      break;
  }
}

static void on_connection(rover_t *rover, int slot, rover_socket_t *socket) {
  struct client *client = rover_data(rover);
  const char *id = rover_server_id(rover_socket_server(socket));

  CHECK(!client->closing && rover == client->rover);
  client->connections++;
  EQUAL(slot, rover_socket_slot(socket));
  struct held *held = held_new(client, socket);
  note("rover %u: %s gives slot %d to %llu", client->index, id, slot,
       (unsigned long long)held->talker->id);
  check_rover(client);
  if (client->relay) relay_join(client);
  if (!held->closes && (slot > 20 || one_in(4))) held_close(held);
  else if (!held->closes && !client->has_relay && one_in(2)) held_use(held);
  disturb_within(client);
}

static void on_unreachable(rover_t *rover, rover_server_t *server, int status) {
  struct client *client = rover_data(rover);

  CHECK(!client->closing && rover == client->rover && server && status < 0);
  CHECK(rover_unreachable_message(rover));
  client->unreachable++;
  note("rover %u: %s is unreachable: %s", client->index,
       rover_server_id(server), uv_strerror(status));
  check_rover(client);
  disturb_within(client);
}

static void on_error(rover_t *rover, rover_server_t *server, int status,
                     const char *message) {
  struct client *client = rover_data(rover);

  CHECK(!client->closing && rover == client->rover && status < 0 && message);
  client->errors++;
  note("rover %u: error at %s: %s", client->index,
       server ? rover_server_id(server) : "none", message);
  check_rover(client);
  disturb_within(client);
}

/* -- What is done to it ------------------------------------------------------------ */

static void add_server(struct client *client, const struct server *server) {
  int err =
      rover_server_add(client->rover, server->name, server->host, SERVER_PORT);
  EQUAL(client->closing ? UV_EINVAL : 0, err);
}

static void set_servers(struct client *client) {
  rover_server_entry_t entries[SERVERS_MAX + 1] = {{0}};
  rover_server_changes_t changes;
  size_t count = 0;

  for (unsigned i = 0; i < server_count; i++)
    if (!one_in(4))
      entries[count++] = (rover_server_entry_t){
          servers[i].name, servers[i].host, SERVER_PORT, 0, NULL, 0, {0}};
  int err = rover_server_set(client->rover, entries, count, &changes);
  EQUAL(client->closing ? UV_EINVAL : 0, err);
  if (err == 0) EQUAL(count, rover_server_count(client->rover));
}

static void change_servers(struct client *client) {
  const struct server *server = &servers[draw(server_count)];

  switch (draw(6)) {
    case 0:
    case 1: add_server(client, server); break;
    case 2: rover_server_drop(client->rover, server->name); break;
    case 3:
      rover_server_pause(client->rover, server->name, draw_log(1, 10000));
      break;
    case 4: set_servers(client); break;
    case 5:
      rover_server_add(client->rover, "nowhere",
                       one_in(2) ? "nowhere.example" : "10.9.9.9", SERVER_PORT);
      break;
  }
}

static void disturb(struct client *client) {
  struct held *held;

  switch (draw(16)) {
    case 0:
      if (!client->closing) EQUAL(0, rover_start(client->rover));
      break;
    case 1: rover_stop(client->rover); break;
    case 2:
    case 3: rover_connect(client->rover); break;
    case 4:
      rover_connect_to(client->rover, servers[draw(server_count)].name);
      break;
    case 5:
    case 6: change_servers(client); break;
    case 7: rover_set_roving_interval(client->rover, draw_log(1, 5000)); break;
    case 8: rover_rove_in(client->rover, draw_log(1, 5000)); break;
    case 9:
      if (one_in(16)) close_rover(client);
      break;
    case 10:
      client->machine->limit = one_in(2) ? 1024 : (uint32_t)draw_in(75, 100);
      break;
    default:
      if (!client->has_relay && (held = held_any(client))) held_use(held);
      break;
  }
  if (client->relay && one_in(64)) relay_close(client, draw_log(1, 10000));
}

static void check(struct client *client) {
  if (client->vanished) return;
  if (!client->closed) check_rover(client);
  if (client->relay) relay_check(client);
}

/* Its machine is without power. What it has in this process stays there. */
static void vanish(struct client *client) {
  note("machine %u vanishes", client->machine->id);
  for (struct held *held = client->held; held; held = held->next) {
    talker_break(held->talker);
    talker_close(held->talker);
  }
  client->vanished = true;
  sim__machine_stop(client->machine, SIM__SILENT);
}

void rovers_disturb(void) {
  if (client_count == 0) return;
  struct client *client = &clients[draw(client_count)];

  if (client->vanished) return;
  if (one_in(256)) {
    vanish(client);
    return;
  }
  sim__enter(client->machine);
  if (!client->closed) disturb(client);
  check(client);
  bool calls = client->relay && !client->relay_closing;
  sim__leave();
  for (uint64_t i = calls ? draw(4) : 0; i > 0; i--)
    native_call(client->machine, RELAY_PORT,
                client->path[0] ? client->path : NULL, client->accept_proxy);
}

/* -- All of them --------------------------------------------------------------------- */

static void make(struct client *client, unsigned index, bool relay, int proxy) {
  uint64_t seed = draw(UINT64_MAX - 1) + 1;
  rover_options_t options = {.events = {.connection = on_connection,
                                        .unreachable = on_unreachable,
                                        .error = on_error},
                             .data = client,
                             .roving_interval = draw_log(1, 1000),
                             .connect_timeout = draw_odd(1, 10000),
                             .slot_timeout = draw_odd(1, 10000),
                             .max_attempts = (unsigned)draw_odd(1, 32),
                             .jitter = one_in(2) ? 0 : (double)draw(101) / 100,
                             .seed = seed,
                             .keepalive = (int)draw_odd(1, 30),
                             .allow_half_open = one_in(4),
                             .slot_limit = (unsigned)draw_odd(1, 30)};

  *client = (struct client){.index = index,
                            .proxy = proxy,
                            .accept_proxy = relay && one_in(4),
                            .has_relay = relay,
                            .machine = sim__machine_new(100 + index)};
  sim__enter(client->machine);
  EQUAL(0, rover_new(&client->rover, sim__machine_loop(client->machine),
                     &options));
  for (unsigned i = 0; i < server_count; i++)
    if (!one_in(4)) add_server(client, &servers[i]);
  if (relay) relay_make(client);
  EQUAL(0, rover_start(client->rover));
  sim__leave();
}

void rovers_make(unsigned count, bool relays, int proxy) {
  client_count = count;
  for (unsigned i = 0; i < count; i++)
    make(&clients[i], i, relays || one_in(2), proxy);
}

void rovers_calm(void) {
  rovers_are_calm = true;
  for (unsigned i = 0; i < client_count; i++) {
    struct client *client = &clients[i];
    if (client->vanished) continue;
    client->machine->limit = 1024;
    sim__enter(client->machine);
    if (!client->closing) rover_stop(client->rover);
    /* Behind unread bytes an end would not be noticed, and that who has ended
     * its side is gone, only by keepalive. */
    for (struct held *held = client->held; held; held = held->next)
      if (held->ends) held_close(held);
      else if (!held->closes) held_read(held);
    sim__leave();
  }
}

uint64_t rovers_kept(void) {
  rover_relay_stats_t relayed;
  rover_stats_t s;
  uint64_t sum = 0;

  for (unsigned i = 0; i < client_count; i++) {
    if (clients[i].vanished) continue;
    if (!clients[i].closed) {
      rover_stats_get(clients[i].rover, &s);
      sum += s.kept;
    }
    if (!clients[i].relay) continue;
    rover_relay_stats_get(clients[i].relay, &relayed);
    sum += relayed.running;
  }
  return sum;
}

void rovers_check(void) {
  for (unsigned i = 0; i < client_count; i++) check(&clients[i]);
}

void rovers_each(void (*fn)(const char *id, int slot, void *arg), void *arg) {
  for (unsigned i = 0; i < client_count; i++)
    for (const struct held *held = clients[i].held; held; held = held->next)
      if (!held->closes && !clients[i].vanished)
        fn(rover_server_id(rover_socket_server(held->socket)),
           rover_socket_slot(held->socket), arg);
}

bool rovers_relay(void) {
  rover_relay_stats_t s;

  for (unsigned i = 0; i < client_count; i++) {
    if (!clients[i].relay || clients[i].vanished) continue;
    rover_relay_stats_get(clients[i].relay, &s);
    if (s.running > 0) return true;
  }
  return false;
}

void rovers_close(void) {
  for (unsigned i = 0; i < client_count; i++) {
    if (!clients[i].vanished && one_in(8)) vanish(&clients[i]);
    if (clients[i].vanished) continue;
    sim__enter(clients[i].machine);
    close_rover(&clients[i]);
    relay_close(&clients[i], one_in(2) ? 0 : draw_log(1, 10000));
    sim__leave();
  }
}

void rovers_check_closed(void) {
  for (unsigned i = 0; i < client_count; i++) {
    if (clients[i].vanished) continue;
    CHECK(clients[i].closed);
    CHECK(!clients[i].relay);
    machine_check_closed(clients[i].machine);
  }
}

struct sim__machine *rovers_machine(void) {
  return client_count > 0 ? clients[draw(client_count)].machine : NULL;
}
