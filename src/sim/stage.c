#include "stage.h"

#include <errno.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "children.h"
#include "chunk.h"
#include "fleet.h"
#include "load.h"
#include "memory.h"
#include "view.h"
#include "watchdog.h"

/* The functions of `stage`, which lua/callosum/simulate.lua is given. Hosts and
 * servers are numbers from 1, times are seconds. The callers have checked what
 * users wrote; here only what would be unsafe is checked. */

enum { WORKERS = 8, ENDLESS = 3 /* calls that do not return end a run */ };
#define SERVICE 0.010
#define SPREAD 1.0 /* in which hosts boot */
#define SLICE 0.1  /* how often to see whether the run was interrupted */

static struct stage {
  const char *lua_path;
  struct sim__fleet fleet;
  struct sim__view view; /* of that fleet, once the run has started */
} stage;                 /* there is one run in a process, see clock.h */

static struct sim__fleet *fleet(lua_State *L) {
  if (!stage.view.fleet) luaL_error(L, "the run has not started");
  return &stage.fleet;
}

/* -- Arguments ------------------------------------------------------------- */

static uint32_t to_index(lua_State *L, int at, uint32_t count) {
  lua_Integer index = luaL_checkinteger(L, at);
  luaL_argcheck(L, index >= 1 && index <= (lua_Integer)count, at,
                "there is no such number");
  return (uint32_t)(index - 1);
}

static uint32_t to_server(lua_State *L, int at) {
  return to_index(L, at, fleet(L)->server_count);
}

/* Calls `fn` for each host of a list. */
static int for_hosts(lua_State *L, int at,
                     void (*fn)(struct sim__fleet *, uint32_t)) {
  struct sim__fleet *own = fleet(L);

  luaL_checktype(L, at, LUA_TTABLE);
  for (lua_Integer i = 1; lua_geti(L, at, i) != LUA_TNIL; i++) {
    fn(own, to_index(L, -1, own->host_count));
    lua_pop(L, 1);
  }
  return 0;
}

static uint64_t to_ns(lua_State *L, int at) {
  double seconds = luaL_checknumber(L, at);
  luaL_argcheck(L, seconds >= 0 && seconds <= 1e9, at, "no time");
  return (uint64_t)(seconds * SIM__S + 0.5);
}

static double number_field(lua_State *L, const char *name, double preset) {
  lua_getfield(L, 1, name);
  double value = luaL_optnumber(L, -1, preset);
  lua_pop(L, 1);
  return value;
}

/* -- The beginning --------------------------------------------------------- */

/* Strings of the settings live as long as these, which are kept. */
static const char *text_field(lua_State *L, int table, const char *name) {
  lua_getfield(L, table, name);
  const char *text = luaL_checkstring(L, -1);
  lua_pop(L, 1);
  return text;
}

static void read_arguments(lua_State *L, struct sim__hosts *hosts) {
  lua_getfield(L, 1, "args");
  luaL_checktype(L, -1, LUA_TTABLE);
  hosts->argc = (int)luaL_len(L, -1);
  hosts->argv = sim__new(((size_t)hosts->argc + 1) * sizeof *hosts->argv);
  for (int i = 0; i < hosts->argc; i++) {
    lua_geti(L, -1, i + 1);
    hosts->argv[i] = (char *)luaL_checkstring(L, -1);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

static void read_servers(lua_State *L, struct sim__fleet_options *options) {
  lua_getfield(L, 1, "servers");
  luaL_checktype(L, -1, LUA_TTABLE);
  options->server_count = (size_t)luaL_len(L, -1);
  struct sim__fleet_server *servers =
      sim__new((options->server_count + 1) * sizeof *servers);
  for (size_t i = 0; i < options->server_count; i++) {
    lua_geti(L, -1, (lua_Integer)i + 1);
    lua_getfield(L, -1, "port");
    servers[i] = (struct sim__fleet_server){text_field(L, -2, "name"),
                                            text_field(L, -2, "host"),
                                            (int)luaL_checkinteger(L, -1)};
    lua_pop(L, 2);
  }
  options->servers = servers;
  lua_pop(L, 1);
}

static void on_open(void *data, struct sim__host *host, lua_State *L) {
  (void)data;
  sim__load_open(host, L);
}

/* Hosts, which have not booted yet, are to make requests. */
static void begin_load(lua_State *L) {
  double rate = number_field(L, "requests", 0);

  if (rate <= 0) return;
  stage.view.load = sim__load_new(rate, number_field(L, "requestsFrom", 0),
                                  number_field(L, "seconds", 0));
  for (uint32_t i = 0; i < stage.fleet.host_count; i++)
    sim__load_add(stage.view.load, &stage.fleet.host[i]);
}

static int start(lua_State *L) {
  struct sim__fleet_options options = {0};
  char why[256];

  luaL_checktype(L, 1, LUA_TTABLE);
  if (stage.view.fleet) return luaL_error(L, "the run has started");
  lua_pushvalue(L, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &stage);
  options.hosts.lua_path = stage.lua_path;
  options.hosts.policy = text_field(L, 1, "policy");
  options.hosts.open = on_open;
  options.hosts.seed = (uint64_t)number_field(L, "seed", 1);
  options.hosts.shown = (uint32_t)number_field(L, "show", 0);
  options.host_count = (uint32_t)number_field(L, "hosts", 1);
  options.delay = number_field(L, "latency", 0.1) * SIM__MS;
  options.spread = (uint64_t)(number_field(L, "spread", SPREAD) * SIM__S);
  options.workers = (unsigned)number_field(L, "workers", WORKERS);
  options.service = number_field(L, "service", SERVICE) * SIM__S;
  lua_getfield(L, 1, "fronts");
  options.fronts = lua_toboolean(L, -1);
  read_arguments(L, &options.hosts);
  read_servers(L, &options);
  if (sim__host_capture() < 0) return luaL_error(L, "out of memory");
  if (!sim__fleet_start(&stage.fleet, &options, why)) {
    lua_pushnil(L);
    lua_pushstring(L, why);
    return 2;
  }
  stage.view.fleet = &stage.fleet;
  stage.view.named = stage.fleet.server_count;
  begin_load(L);
  sim__watchdog_start();
  lua_pushboolean(L, 1);
  return 1;
}

/* -- Time ------------------------------------------------------------------ */

static int fail(lua_State *L, const char *why) {
  lua_pushboolean(L, 0);
  lua_pushstring(L, why);
  return 2;
}

/* Why the run ends here, or NULL. */
static const char *push_failure(lua_State *L) {
  const struct sim__hosts *hosts = &stage.fleet.hosts;
  const struct sim__told *first = hosts->errors.first;
  const char *what = first ? first->message : "it cannot be loaded";

  if (sim__watchdog_count() >= ENDLESS)
    return lua_pushfstring(L,
                           "%d calls into the policy did not return within "
                           "%d s of this processor's time, the first: %s",
                           (int)sim__watchdog_count(), SIM__WATCHDOG_FIRST,
                           what);
  if (hosts->failed < stage.fleet.host_count) return NULL;
  return lua_pushfstring(
      L, "fails in %s: %s%s%s",
      hosts->failed == 1
          ? "its only host"
          : lua_pushfstring(L, "all %d hosts", (int)hosts->failed),
      what, first && first->traceback ? "\n" : "",
      first && first->traceback ? first->traceback : "");
}

/* stage.run(t): returns true at that time; or false and why not. */
static int run(lua_State *L) {
  uint64_t until = to_ns(L, 1), slice = (uint64_t)(SLICE * SIM__S);

  fleet(L);
  do {
    uint64_t now = sim__now();
    if (sim__children_interrupted()) return fail(L, "interrupted");
    sim__run(until - now > slice ? now + slice : until);
    const char *failure = push_failure(L);
    if (failure) return fail(L, failure);
  } while (sim__now() < until);
  lua_pushboolean(L, 1);
  return 1;
}

/* -- What happens to servers and hosts ------------------------------------- */

static int stop(lua_State *L) {
  static const char *const names[] = {"fin", "rst", "silence", NULL};
  static const enum sim__manner manners[] = {SIM__FIN, SIM__RST, SIM__SILENT};
  uint32_t server = to_server(L, 1);

  sim__fleet_stop(fleet(L), server,
                  manners[luaL_checkoption(L, 2, "fin", names)]);
  return 0;
}

static int begin(lua_State *L) {
  sim__fleet_begin(fleet(L), to_server(L, 1));
  return 0;
}

static int ghost(lua_State *L) {
  sim__fleet_ghost(fleet(L), to_server(L, 1));
  return 0;
}

static int slow(lua_State *L) {
  uint32_t server = to_server(L, 1);
  sim__server_slow(fleet(L)->server[server], luaL_checknumber(L, 2));
  return 0;
}

static int weight(lua_State *L) {
  uint32_t server = to_server(L, 1);
  double value = luaL_checknumber(L, 2);
  luaL_argcheck(L, value > 0, 2, "no weight");
  sim__server_weight(fleet(L)->server[server], value);
  return 0;
}

static int drain(lua_State *L) {
  uint32_t server = to_server(L, 1);
  if (!sim__server_drain(fleet(L)->server[server], to_ns(L, 2) / SIM__MS))
    return luaL_error(L, "only servers with fronts can drain");
  return 0;
}

static int resume(lua_State *L) {
  sim__server_resume(fleet(L)->server[to_server(L, 1)]);
  return 0;
}

static int surge(lua_State *L) {
  double factor = luaL_checknumber(L, 1);
  luaL_argcheck(L, factor >= 0, 1, "no factor");
  if (!stage.view.load) return luaL_error(L, "there are no requests");
  double rate = sim__load_surge(stage.view.load, factor);
  if (rate == 0) return 0;
  char why[128];
  snprintf(why, sizeof why,
           "that would be %.0f requests per second of each "
           "host: at most %d can be made",
           rate, SIM__LOAD_MOST);
  lua_pushstring(L, why); /* without a position: that is the timeline's */
  return lua_error(L);
}

/* The server that comes after the last one: at the next port of its host. */
static struct sim__fleet_server next_server(lua_State *L) {
  const struct sim__fleet *own = fleet(L);
  const struct sim__fleet_server *last = &own->names[own->server_count - 1];
  struct sim__fleet_server server = {NULL, last->host, last->port + 1};
  char *name = sim__new(16);

  snprintf(name, 16, "s%u", own->server_count + 1);
  server.name = name;
  if (server.port > 65535) {
    server.host = name;
    server.port = SIM__SERVER_PORT;
  }
  return server;
}

/* stage.add(n, within): returns the number of the first. */
static int add(lua_State *L) {
  lua_Integer n = luaL_checkinteger(L, 1);
  uint64_t within = to_ns(L, 2);
  lua_Integer first = fleet(L)->server_count + 1;
  char why[256];

  for (lua_Integer i = 0; i < n; i++) {
    struct sim__fleet_server server = next_server(L);
    if (!sim__fleet_add(fleet(L), &server, within, why))
      return luaL_error(L, "%s", why);
  }
  lua_pushinteger(L, first);
  return 1;
}

/* stage.partition({ host... }, { server... }) */
static int partition(lua_State *L) {
  struct sim__fleet *own = fleet(L);

  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checktype(L, 2, LUA_TTABLE);
  for (lua_Integer i = 1; lua_geti(L, 1, i) != LUA_TNIL; i++) {
    uint32_t host = to_index(L, -1, own->host_count);
    for (lua_Integer j = 1; lua_geti(L, 2, j) != LUA_TNIL; j++) {
      sim__fleet_cut(own, host, to_index(L, -1, own->server_count));
      lua_pop(L, 1);
    }
    lua_pop(L, 2);
  }
  return 0;
}

static int heal(lua_State *L) {
  sim__fleet_heal(fleet(L));
  return 0;
}

static int lose(lua_State *L) { return for_hosts(L, 1, sim__fleet_lose); }
static int boot(lua_State *L) { return for_hosts(L, 1, sim__fleet_boot); }

/* stage.reload({ host... }, path or nil) */
static int reload(lua_State *L) {
  struct sim__fleet *own = fleet(L);
  const char *script = luaL_optstring(L, 2, NULL);

  luaL_checktype(L, 1, LUA_TTABLE);
  if (script) { /* for as long as the process lives */
    lua_pushvalue(L, 2);
    luaL_ref(L, LUA_REGISTRYINDEX);
  }
  for (lua_Integer i = 1; lua_geti(L, 1, i) != LUA_TNIL; i++) {
    sim__host_reload(&own->host[to_index(L, -1, own->host_count)], script);
    lua_pop(L, 1);
  }
  return 0;
}

/* -- Processes and files --------------------------------------------------- */

/* Calls a function of a list, in a child process. */
static void work(void *arg, size_t index) {
  lua_State *L = arg;
  size_t length;

  lua_geti(L, 1, (lua_Integer)index + 1);
  if (lua_pcall(L, 0, 1, 0) != LUA_OK) {
    fprintf(stderr, "callosum-rover simulate: %s\n",
            luaL_tolstring(L, -1, NULL));
    return;
  }
  const char *text = luaL_checklstring(L, -1, &length);
  sim__children_return(text, length);
}

static void push_end(lua_State *L, int status) {
  if (WIFSIGNALED(status))
    lua_pushfstring(L, "was ended by signal %d, %s", WTERMSIG(status),
                    strsignal(WTERMSIG(status)));
  else lua_pushfstring(L, "ended with status %d", WEXITSTATUS(status));
}

/* stage.fork({ fn... }): calls each in a process of its own. Returns an array
 * of what they returned, texts; with false for one that has returned nothing,
 * and its end in a second array. */
static int fork_all(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  size_t count = (size_t)luaL_len(L, 1);
  struct sim__child *children =
      lua_newuserdatauv(L, (count + 1) * sizeof *children, 0);

  int err = sim__children_run(count, children, work, L, isatty(STDERR_FILENO));
  if (err < 0)
    return luaL_error(L, "cannot start a process: %s", uv_strerror(err));
  lua_createtable(L, (int)count, 0);
  lua_createtable(L, (int)count, 0);
  for (size_t i = 0; i < count; i++) {
    push_end(L, children[i].status);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
    if (children[i].text)
      lua_pushlstring(L, children[i].text, children[i].length);
    else lua_pushboolean(L, 0);
    lua_rawseti(L, -3, (lua_Integer)i + 1);
    free(children[i].text);
  }
  return 2;
}

static int progress(lua_State *L) {
  sim__children_progress(luaL_checknumber(L, 1));
  return 0;
}

/* Makes a folder, if it is not there; it can be written to, then. */
static int make_folder(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);

  struct stat there;
  int err = mkdir(path, 0777) < 0 ? errno : 0;

  if (err == EEXIST && stat(path, &there) == 0)
    err = !S_ISDIR(there.st_mode)         ? ENOTDIR
          : access(path, W_OK | X_OK) < 0 ? errno
                                          : 0;
  if (err == 0) {
    lua_pushboolean(L, 1);
    return 1;
  }
  lua_pushnil(L);
  lua_pushfstring(L, "%s: %s", path, strerror(err));
  return 2;
}

void sim__stage_push(lua_State *L, const char *lua_path) {
  static const luaL_Reg functions[] = {
      {"start", start},         {"run", run},
      {"stop", stop},           {"begin", begin},
      {"ghost", ghost},         {"slow", slow},
      {"weight", weight},       {"drain", drain},
      {"resume", resume},       {"add", add},
      {"partition", partition}, {"heal", heal},
      {"lose", lose},           {"boot", boot},
      {"reload", reload},       {"surge", surge},
      {"fork", fork_all},       {"progress", progress},
      {"mkdir", make_folder},   {NULL, NULL}};

  stage.lua_path = lua_path;
  sim__chunk_strip(lua_path);
  luaL_newlib(L, functions);
  sim__view_add(L, &stage.view);
}
