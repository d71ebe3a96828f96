#include "client.h"

#include <stdio.h>

/* A relay in C, on the machine of a rover, whose clients are native ends. */

void relay_check(const struct client *client) {
  rover_relay_stats_t s;
  uint64_t waiting = 0;

  rover_relay_stats_get(client->relay, &s);
  EQUAL(s.accepted, s.joined + s.refused + s.expired + s.gone + s.rejected +
                        s.handshaking + s.waiting);
  EQUAL(s.joined, s.ended + s.reset + s.cut + s.running);
  EQUAL(client->joined, s.joined);
  for (const rover_relay_client_t *each =
           rover_relay_client_first(client->relay);
       each; each = rover_relay_client_next(each))
    waiting++;
  /* Of some that are over this has yet to be said. */
  CHECK(client->called >= client->joined + client->over + waiting);
}

void relay_join(struct client *client) {
  struct held *next;

  if (client->relay_closing) return;
  for (struct held *held = client->held; held; held = next) {
    rover_relay_client_t *first = rover_relay_client_first(client->relay);
    next = held->next;
    if (!first) return;
    if (held->touched || held->closes || held->ends) continue;
    int err = rover_relay_client_join(first, held->socket);
    CHECK(err == 0 || err == UV_ENOTCONN || err == UV_EINVAL ||
          err == UV_EMFILE || err == UV_ECONNRESET || err == UV_ETIMEDOUT ||
          err == UV_EHOSTUNREACH || err == UV_EPIPE);
    if (err < 0) continue;
    held->closes = true;
    client->joined++;
    note("relay %u joins with server %s", client->index,
         rover_server_id(rover_socket_server(held->socket)));
  }
}

static void on_client(rover_relay_t *relay, rover_relay_client_t *of) {
  struct client *client = rover_relay_data(relay);

  CHECK(!client->relay_closed);
  client->called++;
  CHECK(rover_relay_client_is_waiting(of));
  rover_relay_client_set_data(of, client);
  if (!rovers_are_calm && one_in(16)) rover_relay_client_refuse(of);
  else relay_join(client);
}

static void on_client_closed(rover_relay_t *relay, rover_relay_client_t *of,
                             int status) {
  struct client *client = rover_relay_data(relay);

  CHECK(!client->relay_closed && status <= 0);
  if (rover_relay_client_data(of)) client->over++;
}

static void on_relay_error(rover_relay_t *relay, int status,
                           const char *message) {
  struct client *client = rover_relay_data(relay);
  CHECK(!client->relay_closed && status < 0 && message);
}

static void on_relay_closed(rover_relay_t *relay) {
  struct client *client = rover_relay_data(relay);

  CHECK(client->relay_closing && !client->relay_closed);
  relay_check(client);
  EQUAL(client->called, client->joined + client->over);
  client->relay_closed = true;
  client->relay = NULL;
  note("relay %u is closed", client->index);
}

void relay_close(struct client *client, uint64_t ms) {
  if (!client->relay) return;
  int err = rover_relay_close(client->relay, ms, on_relay_closed);
  EQUAL(client->relay_closing ? UV_EALREADY : 0, err);
  client->relay_closing = true;
}

void relay_make(struct client *client) {
  static const char *const trusted[] = {"127.0.0.0/8", NULL};
  rover_relay_options_t options = {.address = {.port = RELAY_PORT},
                                   .events = {.client = on_client,
                                              .close = on_client_closed,
                                              .error = on_relay_error},
                                   .data = client,
                                   .wait_timeout = draw_odd(10, 10000),
                                   .idle_timeout = draw_odd(10, 60000),
                                   .half_close_timeout = draw_odd(10, 60000),
                                   .max_clients = (unsigned)draw_odd(1, 64),
                                   .accept_proxy = client->accept_proxy,
                                   .trusted =
                                       client->accept_proxy ? trusted : NULL,
                                   .header_timeout = draw_odd(10, 5000),
                                   .send_proxy = client->proxy};

  if (one_in(4) && !client->accept_proxy) {
    snprintf(client->path, sizeof client->path, "/tmp/chaos-%u.sock",
             client->index);
    options.address = (rover_address_t){.path = client->path};
  }
  options.workers = machine_workers(client->machine);
  EQUAL(0, rover_relay_new(&client->relay, sim__machine_loop(client->machine),
                           &options));
  EQUAL(0, rover_relay_listen(client->relay));
}
