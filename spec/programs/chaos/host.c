#include "chaos.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Hosts with policies, which draw what they do from the same numbers. To them
 * there is a global, `chaos`, whose functions are at the end of this file. */

enum { HOSTS_MAX = 32, ARGS = SERVERS_MAX + 2, RELAY_PORT = 6380 };

struct host {
  unsigned index;
  const char *policy;
  struct sim__machine *machine;
  rover_host_t *host;
  struct server *server;
  char path[512], args[ARGS][16];
  char *argv[ARGS];
  int argc;
  bool relays, accept_proxy, reloading, closing, closed, restores;
  uint64_t serial; /* of what its policies have written to files */
  uint64_t generation, errors, declared; /* a bit for each rover's name */
};

static struct host hosts[HOSTS_MAX];
static unsigned host_count;
static bool calm;
const char *chaos_folder, *chaos_lua;

/* -- Callbacks ------------------------------------------------------------- */

static void on_open(rover_host_t *self, struct lua_State *L);

static void on_error(rover_host_t *self, const char *error,
                     const char *traceback) {
  struct host *host = rover_host_data(self);

  CHECK(!host->closed);
  host->errors++;
  if (!strstr(error, "chaos: ") && !strstr(error, "too many open files"))
    chaos_fail(__FILE__, __LINE__, "host %u (%s): %s\n%s", host->index,
               host->policy, error, traceback ? traceback : "");
}

static void on_log(rover_host_t *self, const rover_host_log_t *log) {
  const struct host *host = rover_host_data(self);
  CHECK(!host->closed && log->message.bytes);
  if (log->level < ROVER_HOST_WARN) return;
  note("host %u: %s%s%s", host->index, log->message.bytes,
       log->field_count ? ": " : "",
       log->field_count ? log->fields[0].value.bytes : "");
}

/* A rover that the new policy does not declare is gone, with its sockets. */
static bool is_undeclared(const struct talker *talker, const void *arg) {
  const struct host *host = arg;
  return talker->owner == host && !(host->declared >> talker->rover & 1);
}

static bool is_owned(const struct talker *talker, const void *arg) {
  return talker->owner == arg;
}

static void on_reload(rover_host_t *self, const rover_host_reload_t *result) {
  struct host *host = rover_host_data(self);

  CHECK(host->reloading && !host->closed);
  host->reloading = false;
  note("host %u has reloaded: %s", host->index,
       result->status ? uv_strerror(result->status) : "well");
  if (result->status == 0) {
    EQUAL(host->generation + 1, result->generation);
    talkers_break(is_undeclared, host);
  } else if (result->status != UV_ECANCELED)
    EQUAL(host->generation, result->generation);
  host->generation = result->generation;
}

static void on_alarm(rover_host_t *self, uint64_t ms) {
  (void)self;
  (void)ms; /* no time passes in a call */
}

static void reload(struct host *host) {
  EQUAL(host->closing ? UV_EINVAL : 0, rover_host_reload(host->host, "chaos"));
  if (!host->closing) host->reloading = true;
}

/* -- The books ---------------------------------------------------------------- */

struct sum {
  uint64_t kept;
  bool relays;
  rover_front_t *front;
  void (*fn)(const char *id, int slot, void *arg);
  void *arg;
};

static void check_rover(rover_host_t *self, const rover_host_rover_t *rover,
                        void *arg) {
  struct sum *sum = arg;
  rover_stats_t s;
  (void)self;

  rover_stats_get(rover->rover, &s);
  EQUAL(s.attempts,
        s.connections + s.rejected + s.unreachable + s.errors + s.cancelled +
            s.in_flight);
  EQUAL(s.connections, s.kept + s.closed);
  sum->kept += s.kept;
  if (!sum->fn) return;
  for (const rover_socket_t *socket =
           rover_socket_first((rover_t *)rover->rover);
       socket; socket = rover_socket_next(socket))
    sum->fn(rover_server_id(rover_socket_server(socket)),
            rover_socket_slot(socket), sum->arg);
}

static void check_relay(rover_host_t *self, const rover_host_relay_t *relay,
                        void *arg) {
  struct sum *sum = arg;
  rover_relay_stats_t s;
  (void)self;

  rover_relay_stats_get(relay->relay, &s);
  EQUAL(s.accepted, s.joined + s.refused + s.expired + s.gone + s.rejected +
                        s.handshaking + s.waiting);
  EQUAL(s.joined, s.ended + s.reset + s.cut + s.running);
  sum->kept += s.running;
  if (s.running > 0) sum->relays = true;
}

static void see_front(rover_host_t *self, const rover_host_front_t *front,
                      void *arg) {
  (void)self;
  ((struct sum *)arg)->front = front->front;
}

static struct sum sum_of(struct host *host,
                         void (*fn)(const char *id, int slot, void *arg),
                         void *arg) {
  static const rover_host_visitor_t visitor = {
      .rover = check_rover, .relay = check_relay, .front = see_front};
  struct sum sum = {.fn = fn, .arg = arg};
  rover_host_stats_t s;

  if (host->closing) return sum;
  sim__enter(host->machine);
  rover_host_each(host->host, &visitor, &sum);
  sim__leave();
  rover_host_stats_get(host->host, &s);
  EQUAL(host->errors, s.script_errors);
  if (!host->reloading) EQUAL(host->generation, s.generation);
  return sum;
}

rover_front_t *host_front(struct host *host) {
  return sum_of(host, NULL, NULL).front;
}

void hosts_check(void) {
  for (unsigned i = 0; i < host_count; i++) sum_of(&hosts[i], NULL, NULL);
}

uint64_t hosts_kept(void) {
  uint64_t sum = 0;
  for (unsigned i = 0; i < host_count; i++)
    sum += sum_of(&hosts[i], NULL, NULL).kept;
  return sum;
}

bool hosts_relay(void) {
  for (unsigned i = 0; i < host_count; i++)
    if (sum_of(&hosts[i], NULL, NULL).relays) return true;
  return false;
}

void hosts_each(void (*fn)(const char *id, int slot, void *arg), void *arg) {
  for (unsigned i = 0; i < host_count; i++) sum_of(&hosts[i], fn, arg);
}

/* -- Life ------------------------------------------------------------------------ */

__attribute__((format(printf, 2, 3))) static void
add_arg(struct host *host, const char *format, ...) {
  va_list args;

  va_start(args, format);
  vsnprintf(host->args[host->argc], sizeof host->args[0], format, args);
  va_end(args);
  host->argv[host->argc] = host->args[host->argc];
  host->argc++;
}

static void start(struct host *host) {
  rover_host_options_t options = {.lua_path = chaos_lua,
                                  .open = on_open,
                                  .log = on_log,
                                  .error = on_error,
                                  .reload = on_reload,
                                  .alarm = on_alarm,
                                  .data = host};

  snprintf(host->path, sizeof host->path, "%s/%s.lua", chaos_folder,
           host->policy);
  note("host %u has the policy %s", host->index, host->policy);
  sim__enter(host->machine);
  EQUAL(0, rover_host_new(&host->host, sim__machine_loop(host->machine),
                          &options));
  EQUAL(0, rover_host_load(host->host, host->path, host->argc, host->argv));
  host->generation = 1;
  sim__leave();
}

struct host *host_for_front(struct server *server) {
  struct host *host = &hosts[host_count];

  *host = (struct host){.index = host_count++,
                        .policy = "front",
                        .server = server,
                        .machine = server->machine};
  add_arg(host, "%d", server->accept_proxy);
  add_arg(host, "%d", server->send_proxy);
  start(host);
  return host;
}

void hosts_make(unsigned count, int proxy) {
  static const char *const policies[] = {"plain", "pool", "relay", "sources"};

  for (unsigned i = 0; i < count; i++) {
    struct host *host = &hosts[host_count];
    unsigned which = proxy ? 2 : (unsigned)draw(4);
    *host = (struct host){.index = host_count,
                          .policy = policies[which],
                          .relays = which == 2,
                          .accept_proxy = which == 2 && one_in(4),
                          .machine = sim__machine_new(300 + host_count)};
    host_count++;
    if (which == 2) {
      add_arg(host, "%d", host->accept_proxy);
      add_arg(host, "%d", proxy);
    }
    for (unsigned j = 0; j < server_count; j++)
      add_arg(host, "%s", servers[j].name);
    start(host);
  }
}

static void disturb(struct host *host) {
  uint64_t calls = host->relays ? draw(4) : 0;

  if (host->closing) return;
  if (one_in(8)) {
    sim__enter(host->machine);
    reload(host);
    sim__leave();
  }
  if (one_in(8))
    host->machine->limit = one_in(2) ? 1024 : (uint32_t)draw_in(85, 120);
  while (calls-- > 0)
    native_call(host->machine, RELAY_PORT, NULL, host->accept_proxy);
}

void hosts_disturb(void) {
  if (host_count > 0) disturb(&hosts[draw(host_count)]);
}

static void stop(rover_host_t *self, const rover_host_rover_t *rover,
                 void *arg) {
  (void)self;
  (void)arg;
  rover_stop((rover_t *)rover->rover);
}

void hosts_calm(void) {
  static const rover_host_visitor_t visitor = {.rover = stop};

  calm = true;
  for (unsigned i = 0; i < host_count; i++) {
    hosts[i].machine->limit = 1024;
    if (hosts[i].closing) continue;
    sim__enter(hosts[i].machine);
    rover_host_each(hosts[i].host, &visitor, NULL);
    sim__leave();
  }
}

static void on_closed(rover_host_t *self) {
  struct host *host = rover_host_data(self);
  CHECK(host->closing && !host->closed && !host->reloading);
  host->closed = true;
}

void hosts_close(void) {
  for (unsigned i = 0; i < host_count; i++) {
    struct host *host = &hosts[i];
    if (host->closing) continue;
    talkers_break(is_owned, host);
    sim__enter(host->machine);
    EQUAL(0, rover_host_close(host->host, on_closed));
    host->closing = true;
    if (host->server) host->server->ends = true;
    sim__leave();
  }
}

void hosts_check_closed(void) {
  for (unsigned i = 0; i < host_count; i++) {
    CHECK(hosts[i].closed);
    machine_check_closed(hosts[i].machine);
  }
}

struct sim__machine *hosts_machine(void) {
  return host_count > 0 ? hosts[draw(host_count)].machine : NULL;
}

/* -- What policies can call ---------------------------------------------------- */

static struct host *host_in(lua_State *L) {
  return lua_touserdata(L, lua_upvalueindex(1));
}

static uint64_t number(lua_State *L, int i) {
  return (uint64_t)luaL_checkinteger(L, i);
}

static struct talker *talker_in(lua_State *L) {
  return talker_get(number(L, 1));
}

static int push(lua_State *L, uint64_t value) {
  lua_pushinteger(L, (lua_Integer)value);
  return 1;
}

/* The default, mostly. */
static int lua_odd(lua_State *L) {
  uint64_t value = draw_odd(number(L, 1), number(L, 2));
  if (value > 0) return push(L, value);
  return 0;
}

static int lua_draw(lua_State *L) {
  return push(L, draw_in(number(L, 1), number(L, 2)));
}

static int lua_log(lua_State *L) {
  return push(L, draw_log(number(L, 1), number(L, 2)));
}

/* Never, once all is calm. */
static int lua_one_in(lua_State *L) {
  lua_pushboolean(L, !calm && one_in((unsigned)number(L, 1)));
  return 1;
}

static int lua_calm(lua_State *L) {
  lua_pushboolean(L, calm);
  return 1;
}

static int lua_note(lua_State *L) {
  note("host %u: %s", host_in(L)->index, luaL_checkstring(L, 1));
  return 0;
}

static int lua_reload(lua_State *L) {
  reload(host_in(L));
  return 0;
}

/* Raises an error, if the policy is being reloaded, now and then. */
static int lua_maybe_fail(lua_State *L) {
  const struct host *host = host_in(L);
  if (host->generation > 0 && one_in(6))
    return luaL_error(L, "chaos: it fails");
  return 0;
}

static int lua_declares(lua_State *L) {
  host_in(L)->declared |= UINT64_C(1) << number(L, 1);
  return 0;
}

static int lua_ends(lua_State *L) {
  host_in(L)->server->ends = host_in(L)->server->reweighed = true;
  return 0;
}

/* The name of one of its files. */
static int lua_path(lua_State *L) {
  lua_pushfstring(L, "host%d.file%d", (int)host_in(L)->index,
                  (int)number(L, 1));
  return 1;
}

static int lua_serial(lua_State *L) { return push(L, ++host_in(L)->serial); }

static int lua_echoes(lua_State *L) {
  const struct server *server = server_named(luaL_checkstring(L, 1));
  lua_pushboolean(L, server && server->speech == ECHOES);
  return 1;
}

static int talker_open(lua_State *L) {
  struct talker *talker = talker_new("policy");
  talker->owner = host_in(L);
  talker->rover = (unsigned)number(L, 1);
  note("host %u: rover %u has policy %llu", host_in(L)->index, talker->rover,
       (unsigned long long)talker->id);
  return push(L, talker->id);
}

/* The next bytes, which count as said. */
static int talker_say(lua_State *L) {
  struct talker *talker = talker_in(L);
  size_t size = number(L, 2);
  luaL_Buffer buffer;
  char *bytes = luaL_buffinitsize(L, &buffer, size);

  talker_next(talker, bytes, size);
  talker_said(talker, size);
  luaL_pushresultsize(&buffer, size);
  return 1;
}

static int talker_hear(lua_State *L) {
  size_t size;
  const char *bytes = luaL_checklstring(L, 2, &size);
  talker_hears(talker_in(L), bytes, size);
  return 0;
}

static int talker_hear_end(lua_State *L) {
  talker_ends(talker_in(L));
  return 0;
}

static int talker_broke(lua_State *L) {
  talker_break(talker_in(L));
  return 0;
}

static int talker_over(lua_State *L) {
  note("policy %llu is closed", (unsigned long long)number(L, 1));
  talker_close(talker_in(L));
  return 0;
}

static int talker_finish(lua_State *L) {
  note("policy %llu %s", (unsigned long long)number(L, 1),
       lua_toboolean(L, 2) ? "ends its side" : "is to go on");
  talker_in(L)->finished = lua_toboolean(L, 2);
  return 0;
}

static int talker_listen(lua_State *L) {
  talker_in(L)->listens = lua_toboolean(L, 2);
  return 0;
}

static int talker_counts(lua_State *L) {
  const struct talker *talker = talker_in(L);
  push(L, talker->said);
  return 1 + push(L, talker->heard);
}

static void on_open(rover_host_t *self, lua_State *L) {
  static const luaL_Reg functions[] = {{"draw", lua_draw},
                                       {"log", lua_log},
                                       {"odd", lua_odd},
                                       {"oneIn", lua_one_in},
                                       {"calm", lua_calm},
                                       {"note", lua_note},
                                       {"reload", lua_reload},
                                       {"maybeFail", lua_maybe_fail},
                                       {"declares", lua_declares},
                                       {"frontEnds", lua_ends},
                                       {"path", lua_path},
                                       {"serial", lua_serial},
                                       {"echoes", lua_echoes},
                                       {"open", talker_open},
                                       {"say", talker_say},
                                       {"hear", talker_hear},
                                       {"ends", talker_hear_end},
                                       {"broke", talker_broke},
                                       {"over", talker_over},
                                       {"finish", talker_finish},
                                       {"listen", talker_listen},
                                       {"counts", talker_counts},
                                       {NULL, NULL}};
  struct host *host = rover_host_data(self);

  host->declared = 0;
  lua_newtable(L);
  lua_pushlightuserdata(L, host);
  luaL_setfuncs(L, functions, 1);
  lua_setglobal(L, "chaos");
}
