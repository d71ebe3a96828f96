#include "load.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <lua.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "clients.h"
#include "histogram.h"
#include "kernel.h"
#include "memory.h"

/* A request is known by the time at which it was made, also in Lua: nothing is
 * kept of it here. Times are filed under the second in which requests were
 * made, not answered, so that a second shows what those met that came in it. */

enum { FINE = 7, COARSE = 5 }; /* bits of histograms: of all, of a second */
enum { BINS = 120 };           /* over time, that a picture has room for */
enum { RELAYS = 8 };           /* of a host, that get requests */

/* What was made in one second of virtual time. */
struct second {
  uint32_t count, lost;
  struct sim__histogram *times; /* of those answered; NULL: none yet */
};

struct sim__load {
  double rate, factor; /* of a host, per s; and times this */
  double planned;      /* for how many seconds */
  uint64_t from;       /* when the first may be made */
  uint64_t count, answered, lost, waited;
  uint64_t nowhere; /* could not be made: no pool, and no relay that listens */
  char complaint[128];
  struct sim__histogram *times;
  struct second *seconds;
  size_t length; /* of these */
  struct own *hosts;
};

/* What a host needs to make requests. */
struct own {
  struct sim__load *load;
  struct sim__host *host;
  struct own *next;
  struct sim__random random;
  struct sim__event arrival;
  uint64_t turn;                /* its relays, or its pools, take turns */
  struct sim__machine *machine; /* of the clients */
  struct sim__clients *clients[RELAYS];
};

/* A state of a policy, and how many requests are under way in it: they are lost
 * if it is closed before they are answered. */
struct state {
  struct own *own;
  uint64_t open;
};

static const char state_name[] = "callosum.simulate.load";
static const char state_key = 0; /* its address is the registry's key */

/* -- Books ----------------------------------------------------------------- */

static struct second *second_of(struct sim__load *load, uint64_t at) {
  size_t index = at / SIM__S;

  if (index >= load->length) {
    size_t length = index + 1 + index / 2;
    load->seconds = sim__grow(load->seconds, length * sizeof *load->seconds);
    for (size_t i = load->length; i < length; i++)
      load->seconds[i] = (struct second){.count = 0};
    load->length = length;
  }
  return &load->seconds[index];
}

static void made(struct own *own, bool waits) {
  own->load->count++;
  if (waits) own->load->waited++;
  second_of(own->load, sim__now())->count++;
}

static void answered(void *data, uint64_t at) {
  struct own *own = data;
  struct second *second = second_of(own->load, at);
  uint64_t took = sim__now() - at;

  if (!second->times) second->times = sim__histogram_new(COARSE);
  sim__histogram_record(second->times, took);
  sim__histogram_record(own->load->times, took);
  own->load->answered++;
  sim__trace('A', own->host->index, took);
}

static void lost(void *data, uint64_t at) {
  struct own *own = data;

  second_of(own->load, at)->lost++;
  own->load->lost++;
  sim__trace('L', own->host->index, sim__now() - at);
}

/* -- Through pools --------------------------------------------------------- */

static uint64_t check_open(lua_State *L, struct state **state) {
  *state = lua_touserdata(L, lua_upvalueindex(1));
  (*state)->open--;
  return (uint64_t)luaL_checkinteger(L, 1);
}

static int l_answered(lua_State *L) {
  struct state *state;
  uint64_t at = check_open(L, &state);

  answered(state->own, at);
  return 0;
}

static int l_lost(lua_State *L) {
  struct state *state;
  uint64_t at = check_open(L, &state);

  lost(state->own, at);
  return 0;
}

/* The state of a policy is closed. */
static int l_gc(lua_State *L) {
  struct state *state = lua_touserdata(L, 1);

  for (; state->open > 0; state->open--) lost(state->own, sim__now());
  return 0;
}

void sim__load_open(struct sim__host *host, lua_State *L) {
  if (!host->load) return;
  struct state *state = lua_newuserdatauv(L, sizeof *state, 1);
  *state = (struct state){.own = host->load};
  if (luaL_newmetatable(L, state_name)) {
    lua_pushcfunction(L, l_gc);
    lua_setfield(L, -2, "__gc");
  }
  lua_setmetatable(L, -2);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "callosum.simulate.requests");
  lua_call(L, 1, 1); /* state begin */
  lua_pushvalue(L, -2);
  lua_pushcclosure(L, l_answered, 1);
  lua_pushvalue(L, -3);
  lua_pushcclosure(L, l_lost, 1);
  lua_call(L, 2, 1); /* state ask */
  lua_setiuservalue(L, -2, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &state_key);
}

/* Makes a request in the running policy. */
static void ask_pool(struct own *own) {
  struct sim__host *host = own->host;
  lua_State *L = rover_host_state(host->host);
  if (!L) return;

  int top = lua_gettop(L);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &state_key);
  struct state *state = lua_touserdata(L, -1);
  lua_getiuservalue(L, -1, 1);
  lua_pushinteger(L, (lua_Integer)sim__now());
  lua_pushinteger(L, (lua_Integer)own->turn);
  uint64_t open = state->open++;
  int err = rover_host_call(host->host, L, 2, 1);
  if (err == 0 && lua_isnil(L, -1)) {
    state->open--;
    own->load->nowhere++;
  } else made(own, err < 0 || lua_toboolean(L, -1));
  if (err < 0 && state->open > open) {
    state->open--;
    lost(own, sim__now());
  }
  lua_settop(L, top);
}

/* -- Through relays -------------------------------------------------------- */

struct found {
  const rover_relay_options_t *relays[RELAYS];
  unsigned count;
};

static void on_relay(rover_host_t *host, const rover_host_relay_t *relay,
                     void *arg) {
  struct found *found = arg;

  (void)host;
  if (found->count < RELAYS && rover_relay_is_listening(relay->relay))
    found->relays[found->count++] = rover_relay_options(relay->relay);
}

static const struct sim__clients_ops clients_ops = {.answered = answered,
                                                    .lost = lost};

/* The clients belong to a machine: if another has taken its place, the
 * connections of these have ended. */
static void leave(struct own *own) {
  for (unsigned i = 0; i < RELAYS; i++) {
    if (own->clients[i]) sim__clients_free(own->clients[i]);
    own->clients[i] = NULL;
  }
}

static void ask_relay(struct own *own, const struct found *found) {
  unsigned i = (unsigned)(own->turn % found->count);

  if (own->machine != own->host->machine) leave(own);
  own->machine = own->host->machine;
  if (!own->clients[i])
    own->clients[i] = sim__clients_new(own->machine, &clients_ops, own);
  made(own, sim__clients_ask(own->clients[i], &found->relays[i]->address));
}

/* -- Arrivals -------------------------------------------------------------- */

/* Poisson arrivals have no memory: this may be called at any time. */
static void set_arrival(struct own *own) {
  const struct sim__load *load = own->load;
  double rate = load->rate * load->factor;
  uint64_t now = sim__now(), from = now > load->from ? now : load->from;

  if (rate > 0)
    sim__event_set(&own->arrival, from + (uint64_t)sim__random_exponential(
                                             &own->random, SIM__S / rate));
  else sim__event_cancel(&own->arrival);
}

static void on_arrival(struct sim__event *event) {
  static const rover_host_visitor_t visitor = {.relay = on_relay};
  struct own *own =
      (struct own *)((char *)event - offsetof(struct own, arrival));
  struct sim__host *host = own->host;

  set_arrival(own);
  if (host->state != SIM__HOST_RUNNING) return;
  struct found found = {.count = 0};
  rover_host_each(host->host, &visitor, &found);
  if (found.count > 0) ask_relay(own, &found);
  else {
    sim__enter(host->machine);
    ask_pool(own);
    sim__leave();
  }
  own->turn++;
}

struct sim__load *sim__load_new(double rate, double from, double seconds) {
  struct sim__load *load = sim__new(sizeof *load);

  load->rate = rate;
  load->factor = 1;
  load->from = (uint64_t)(from * SIM__S);
  load->planned = seconds;
  load->times = sim__histogram_new(FINE);
  return load;
}

void sim__load_free(struct sim__load *load) {
  struct own *next;

  for (struct own *own = load->hosts; own; own = next) {
    next = own->next;
    sim__event_cancel(&own->arrival);
    leave(own);
    own->host->load = NULL;
    free(own);
  }
  for (size_t i = 0; i < load->length; i++) free(load->seconds[i].times);
  free(load->seconds);
  free(load->times);
  free(load);
}

void sim__load_add(struct sim__load *load, struct sim__host *host) {
  struct own *own = sim__new(sizeof *own);

  own->load = load;
  own->host = host;
  own->next = load->hosts;
  load->hosts = own;
  host->load = own;
  own->random = sim__random_stream("load", host->index);
  own->arrival.happen = on_arrival;
  set_arrival(own);
}

double sim__load_surge(struct sim__load *load, double factor) {
  if (load->rate * factor > SIM__LOAD_MOST) return load->rate * factor;
  load->factor = factor;
  for (struct own *own = load->hosts; own; own = own->next) set_arrival(own);
  return 0;
}

/* -- Results --------------------------------------------------------------- */

const char *sim__load_complaint(struct sim__load *load) {
  if (load->nowhere == 0) return NULL;
  if (load->count == 0)
    return "no request could be made: the policy makes no pool "
           "(callosum.pool), and no relay of it listens";
  snprintf(load->complaint, sizeof load->complaint,
           "%" PRIu64 " requests could not be made: their host had no pool "
           "and no relay that listened",
           load->nowhere);
  return load->complaint;
}

static void set_number(lua_State *L, const char *name, double number) {
  lua_pushnumber(L, number);
  lua_setfield(L, -2, name);
}

static void set_count(lua_State *L, const char *name, uint64_t count) {
  lua_pushinteger(L, (lua_Integer)count);
  lua_setfield(L, -2, name);
}

static void set_percentile(lua_State *L, const char *name,
                           const struct sim__histogram *times, double share) {
  if (times && times->count > 0)
    set_number(L, name, sim__histogram_at(times, share) / SIM__MS);
}

static void set_percentiles(lua_State *L, const struct sim__histogram *times) {
  set_percentile(L, "p50", times, 0.5);
  set_percentile(L, "p99", times, 0.99);
  set_percentile(L, "p999", times, 0.999);
}

static void push_busiest(lua_State *L, const struct sim__load *load) {
  size_t busiest = 0;

  for (size_t i = 1; i < load->length; i++)
    if (load->seconds[i].count > load->seconds[busiest].count) busiest = i;
  lua_createtable(L, 0, 3);
  set_count(L, "at", busiest);
  set_count(L, "count", load->seconds[busiest].count);
  set_percentile(L, "p99", load->seconds[busiest].times, 0.99);
}

/* How many seconds are one bin. */
static size_t width_of(const struct sim__load *load) {
  static const size_t widths[] = {1,  2,   5,   10,  15,   20,  30,
                                  60, 120, 300, 600, 1800, 3600};
  size_t i = 0;

  while (i + 1 < sizeof widths / sizeof *widths &&
         (double)widths[i] * BINS < load->planned)
    i++;
  return widths[i];
}

static void push_bin(lua_State *L, const struct sim__load *load, size_t from,
                     size_t to) {
  struct sim__histogram *times = sim__histogram_new(COARSE);
  uint64_t count = 0, losses = 0;

  for (size_t i = from; i < to && i < load->length; i++) {
    const struct second *second = &load->seconds[i];
    count += second->count;
    losses += second->lost;
    if (second->times) sim__histogram_add(times, second->times);
  }
  lua_createtable(L, 0, 6);
  set_number(L, "at", (double)(from + to) / 2);
  set_count(L, "count", count);
  set_count(L, "lost", losses);
  set_percentiles(L, times);
  free(times);
}

static void push_bins(lua_State *L, const struct sim__load *load) {
  size_t width = width_of(load), length = load->length;
  lua_Integer count = 0;

  while (length > 0 && load->seconds[length - 1].count == 0) length--;
  lua_newtable(L);
  for (size_t i = load->from / SIM__S / width * width; i < length; i += width) {
    push_bin(L, load, i, i + width);
    lua_rawseti(L, -2, ++count);
  }
}

void sim__load_push(const struct sim__load *load, lua_State *L) {
  lua_createtable(L, 0, 9);
  set_count(L, "count", load->count);
  set_count(L, "answered", load->answered);
  set_count(L, "lost", load->lost);
  set_count(L, "waited", load->waited);
  set_percentiles(L, load->times);
  if (load->count > 0) {
    push_busiest(L, load);
    lua_setfield(L, -2, "busiest");
  }
  push_bins(L, load);
  lua_setfield(L, -2, "latency");
}
