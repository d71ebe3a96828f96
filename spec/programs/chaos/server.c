#include "chaos.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The servers of a run: Callosum servers in C, which may make any mistake, and
 * real fronts, alone or in a host's policy, with a backend in C on the same
 * machine. */

struct server servers[SERVERS_MAX];
unsigned server_count;

static const char *const allow[] = {"10.0.0.0/8", "127.0.0.0/8", NULL};

struct server *server_named(const char *id) {
  size_t length = strcspn(id, ":"); /* a source's has a port */

  for (unsigned i = 0; i < server_count; i++)
    if (!strncmp(servers[i].name, id, length) && !servers[i].name[length])
      return &servers[i];
  return NULL;
}

/* -- Slots ---------------------------------------------------------------- */

static unsigned take_slot(struct server *server) {
  unsigned slot = 0;

  while (server->taken[slot / 64] >> slot % 64 & 1) slot++;
  server->taken[slot / 64] |= UINT64_C(1) << slot % 64;
  return slot;
}

void server_left(struct server *server, struct native *native) {
  server->count--;
  if (server->kind == CALLOSUM)
    server->taken[native->slot / 64] &= ~(UINT64_C(1) << native->slot % 64);
}

/* -- What it says first ----------------------------------------------------- */

static void set_line(struct native *native, const char *line) {
  native->line_left =
      (size_t)snprintf(native->line, sizeof native->line, "%s", line);
}

static void say_wrong_line(struct native *native) {
  static const char *const wrong[] = {"HTTP/1.0 400 Bad Request\r\n",
                                      "+1\r\n",
                                      " 1\r\n",
                                      "1\n",
                                      "\r\n",
                                      "00000000001\r\n",
                                      "2147483648\r\n",
                                      "1 \r\n",
                                      "1\rx",
                                      "-ERR\r\n",
                                      "\xff\xfe"};

  talker_break(native->talker);
  switch (draw(5)) {
    case 0: set_line(native, wrong[draw(sizeof wrong / sizeof *wrong)]); break;
    case 1: set_line(native, ""); break; /* it is silent */
    case 2:
      set_line(native, one_in(2) ? "1" : "1\r");
      native->finishing = true;
      break;
    case 3:
      set_line(native, "");
      native->finishing = true;
      break;
    case 4: set_line(native, "12"); break;
  }
}

static void on_client(struct sim__end *end, void *arg) {
  struct server *server = arg;
  struct native *native = native_new(end, "server", server);
  char line[32];

  server->count++;
  native->speech = server->speech;
  native->wants_proxy = server->proxy;
  native->slot = take_slot(server);
  if (server->tame || !one_in(8)) {
    snprintf(line, sizeof line, "%u\r\n", (unsigned)native->slot);
    set_line(native, line);
    if (native->speech == CHATS && one_in(2))
      native->quota = draw_log(1, 1 << 16);
  } else say_wrong_line(native);
  note("%s accepts server %llu with slot %u from machine %u", server->name,
       (unsigned long long)native->talker->id, (unsigned)native->slot,
       sim__end_peer(end)->id);
  native_say(native);
}

static void on_backend_client(struct sim__end *end, void *arg) {
  struct server *server = arg;
  struct native *native = native_new(end, "backend", server);

  server->count++;
  native->speech = server->speech;
  native->wants_proxy = server->send_proxy;
  note("the backend of %s accepts backend %llu", server->name,
       (unsigned long long)native->talker->id);
}

/* -- Up and down -------------------------------------------------------------- */

static void listen_again(struct server *server) {
  bool own = server->kind == CALLOSUM;
  server->listener =
      sim__listen(server->machine, own ? SERVER_PORT : BACKEND_PORT,
                  one_in(4) ? (unsigned)draw(4) : 128,
                  own ? on_client : on_backend_client, server);
  server->paused = false;
}

static void reset_clients(const struct server *server) {
  struct native *next;

  for (struct native *native = natives; native; native = next) {
    next = native->next;
    if (native->server == server) native_reset(native);
  }
}

void server_crash(struct server *server) {
  static const char *const manners[] = {"FIN", "RST", "silence"};
  unsigned manner = (unsigned)draw(3);

  if (!server->listener) return;
  note("%s%s dies by %s", server->kind == CALLOSUM ? "" : "the backend of ",
       server->name, server->kind == CALLOSUM ? manners[manner] : "RST");
  if (server->kind == CALLOSUM)
    sim__machine_stop(server->machine, (enum sim__manner)manner);
  else {
    sim__listener_close(server->listener);
    reset_clients(server);
  }
  server->listener = NULL;
}

void server_revive(struct server *server) {
  if (server->listener) return;
  note("%s is back", server->name);
  if (server->machine->stopped) sim__machine_start(server->machine);
  listen_again(server);
}

/* -- Fronts --------------------------------------------------------------------- */

static void on_backend(rover_front_t *front, int up, int status,
                       const char *message) {
  struct server *server = rover_front_data(front);
  CHECK(server->front == front && message && !!up == !status);
  note("%s: %s", server->name, message);
  if (one_in(8))
    rover_front_drain(front, draw_log(1, 20000)), server->ends = true;
}

static void on_error(rover_front_t *front, int status, const char *message) {
  struct server *server = rover_front_data(front);
  CHECK(server->front == front && status < 0 && message);
  note("%s: error: %s", server->name, message);
}

static void on_reject(rover_front_t *front, int status, const char *message,
                      const struct sockaddr *peer) {
  struct server *server = rover_front_data(front);
  CHECK(server->front == front && server->accept_proxy && status < 0 && peer);
  note("%s: reject: %s", server->name, message);
}

static void renew(struct server *server);

static void on_front_closed(rover_front_t *front) {
  struct server *server = rover_front_data(front);

  CHECK(server->front == front && server->closing);
  server_check(server);
  EQUAL(0, server_open(server));
  note("%s: the front is closed", server->name);
  server->front = NULL;
  server->closing = false;
  server->closed++;
}

static void close_front(struct server *server, uint64_t ms) {
  int err = rover_front_close(server->front, ms, on_front_closed);
  EQUAL(server->closing ? UV_EALREADY : 0, err);
  server->closing = server->ends = true;
}

static void renew(struct server *server) {
  rover_front_options_t options = {
      .address = {.host = "0.0.0.0", .port = SERVER_PORT},
      .backend = {.port = BACKEND_PORT},
      .events = {.backend = on_backend, .error = on_error, .reject = on_reject},
      .data = server,
      .connect_on = (int)draw(3),
      .weight = one_in(2) ? 1 : (double)draw_log(1, 1024) / 64,
      .max_clients = (unsigned)draw_odd(1, 64),
      .max_per_address = (unsigned)draw_odd(1, 16),
      .allow = one_in(2) ? allow : NULL,
      .trusted = allow,
      .is_public = 1,
      .kept_after = draw_log(1, 2000),
      .connect_timeout = draw_odd(10, 5000),
      .health_interval = draw_odd(10, 5000),
      .idle_timeout = draw_odd(10, 60000),
      .half_close_timeout = draw_odd(10, 60000),
      .drain_timeout = draw_odd(10, 30000),
      .quiet_time = draw_odd(1, 1000),
      .keepalive = (int)draw_in(1, 15),
      .dead_peer_timeout = draw_odd(1000, 25000),
      .header_timeout = draw_odd(10, 5000),
      .send_proxy = server->send_proxy,
      .accept_proxy = server->accept_proxy};

  if (server->accept_proxy) options.connect_on = ROVER_FRONT_ON_DATA;
  if (options.idle_timeout) server->ends = true;
  sim__enter(server->machine);
  options.workers = machine_workers(server->machine);
  EQUAL(0, rover_front_new(&server->front, sim__machine_loop(server->machine),
                           &options));
  int err = rover_front_listen(server->front);
  CHECK(err == 0 || err == UV_EMFILE);
  if (err < 0) close_front(server, 0);
  sim__leave();
  note("%s: a front of weight %g: %s", server->name, options.weight,
       err == 0 ? "listens" : "no descriptor");
}

static void disturb_front(struct server *server) {
  rover_front_t *front = server->front;
  double weight = (double)draw_log(1, 1024) / 64;

  sim__enter(server->machine);
  switch (draw(8)) {
    case 0:
    case 1:
      note("%s: weight %g", server->name, weight);
      server->ends = server->reweighed = true;
      EQUAL(server->closing ? UV_EINVAL : 0,
            rover_front_set_weight(front, weight));
      break;
    case 2:
      note("%s: drains", server->name);
      server->ends = true;
      EQUAL(server->closing ? UV_EINVAL : 0,
            rover_front_drain(front, draw_log(1, 20000)));
      break;
    case 3:
    case 4:
      note("%s: resumes", server->name);
      EQUAL(server->closing ? UV_EINVAL : 0, rover_front_resume(front));
      break;
    case 5:
      note("%s: is set down", server->name);
      EQUAL(server->closing ? UV_EINVAL : 0,
            rover_front_set_down(front, one_in(3) ? "by hand" : NULL));
      break;
    case 6:
      if (!one_in(3)) break;
      note("%s: closes its front", server->name);
      close_front(server, one_in(2) ? 0 : draw_log(1, 20000));
      break;
    case 7: rover_front_set_down(front, NULL); break;
  }
  sim__leave();
}

/* -- All of them ------------------------------------------------------------------ */

void server_disturb(struct server *server) {
  if (server->kind == FRONT && !server->front) renew(server);
  if (server->kind == FRONT && one_in(2)) {
    disturb_front(server);
    return;
  }
  switch (draw(8)) {
    case 0: server_crash(server); break;
    case 1:
    case 2:
    case 3: server_revive(server); break;
    case 4:
      if (!server->listener) break;
      server->paused = !server->paused;
      note("%s%s accepting", server->name,
           server->paused ? " pauses" : " resumes");
      sim__listener_pause(server->listener, server->paused);
      break;
    case 5:
      if (one_in(4)) reset_clients(server);
      break;
    case 6:
      if (server->kind != CALLOSUM)
        server->machine->limit = one_in(2) ? 1024 : (uint32_t)draw_in(80, 110);
      break;
  }
}

static void make(struct server *server, unsigned index, bool proxy) {
  *server = (struct server){.index = index,
                            .kind = (enum kind)draw(3),
                            .speech = (enum speech)draw_in(ECHOES, CHATS),
                            .tame = one_in(2),
                            .proxy = proxy};
  if (one_in(2)) server->speech = ECHOES;
  snprintf(server->name, sizeof server->name, "s%u", index);
  server->machine = sim__machine_new(200 + index);
  sim__name_add(server->name, server->machine);
  snprintf(server->host, sizeof server->host, "%s", server->name);
  if (server->kind != CALLOSUM) {
    server->accept_proxy = proxy;
    server->send_proxy = one_in(2) ? (int)draw_in(1, 2) : 0;
    server->proxy = server->send_proxy;
  }
  listen_again(server);
  note("%s is a %s server%s", server->name,
       server->kind == CALLOSUM ? "Callosum"
       : server->kind == FRONT  ? "front's"
                                : "policy's front's",
       server->tame ? ", tame" : "");
  if (server->kind == FRONT) renew(server);
  if (server->kind == HOSTED) server->policy = host_for_front(server);
}

void servers_make(unsigned count, bool proxy) {
  server_count = count;
  for (unsigned i = 0; i < count; i++) make(&servers[i], i, proxy);
}

static rover_front_t *front_of(const struct server *server) {
  return server->policy ? host_front(server->policy) : server->front;
}

uint64_t server_open(const struct server *server) {
  rover_front_stats_t s;

  if (server->kind == CALLOSUM) return server->count;
  if (!front_of(server)) return 0;
  rover_front_stats_get(front_of(server), &s);
  return s.open - s.ending;
}

size_t server_slots(const struct server *server, uint64_t *slots, size_t room) {
  size_t count = 0;

  if (server->kind != CALLOSUM)
    return front_of(server) ? indices_slots(front_of(server), slots, room) : 0;
  for (unsigned slot = 0; slot < 64 * 64; slot++)
    if (server->taken[slot / 64] >> slot % 64 & 1) {
      CHECK(count < room);
      slots[count++] = slot;
    }
  return count;
}

void server_check(const struct server *server) {
  rover_front_stats_t s;

  if (server->kind == CALLOSUM || !front_of(server)) return;
  rover_front_stats_get(front_of(server), &s);
  EQUAL(s.accepted, s.refused + s.failed + s.closed + s.open);
  EQUAL(s.joined, s.ended + s.reset + s.cut + s.drained + s.running);
  CHECK(s.unused + s.running + s.ending <= s.open);
  CHECK(s.probes <= s.closed && s.rejected <= s.refused + s.closed);
  EQUAL(0, s.held);
}

void servers_calm(void) {
  for (unsigned i = 0; i < server_count; i++) {
    struct server *server = &servers[i];
    server->machine->limit = 1024;
    server->tame = true;
    server_revive(server);
    if (server->paused) sim__listener_pause(server->listener, false);
    server->paused = false;
  }
}

void servers_close(void) {
  for (unsigned i = 0; i < server_count; i++) {
    struct server *server = &servers[i];
    if (!server->front) continue;
    sim__enter(server->machine);
    close_front(server, one_in(2) ? 0 : draw_log(1, 20000));
    sim__leave();
  }
}

void servers_check_closed(void) {
  for (unsigned i = 0; i < server_count; i++) {
    struct server *server = &servers[i];
    CHECK(!server->front);
    EQUAL(0, server->count);
    for (size_t j = 0; j < 64; j++) EQUAL(0, server->taken[j]);
    if (server->kind == FRONT) machine_check_closed(server->machine);
  }
}
