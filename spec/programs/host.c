/* The promises of <callosum/host.h> about loading and closing. */
#include "hosts.h"

#include <poll.h>
#include <sys/resource.h>

static struct told told;
static rover_host_t *host;

static void open_host(void) { host = hosting(&told, NULL); }

static void forget(void) { memset(&told, 0, sizeof told); }

/* -- rover_host_new() ----------------------------------------------------- */

static void new_misuse(void) {
  rover_host_options_t options;
  rover_host_t *untouched = (rover_host_t *)&told;
  host = untouched;
  EQUAL(UV_EINVAL, rover_host_new(NULL, loop, NULL));
  EQUAL(UV_EINVAL, rover_host_new(&host, NULL, NULL));
  for (size_t i = 0; i < sizeof(options.reserved); i++) {
    memset(&options, 0, sizeof options);
    memset((char *)options.reserved + i, 1, 1);
    EQUAL(UV_EINVAL, rover_host_new(&host, loop, &options));
  }
  memset(&options, 0, sizeof options);
  options.threads = ROVER_WORKERS_MAX + 1;
  EQUAL(UV_EINVAL, rover_host_new(&host, loop, &options));
  CHECK(host == untouched);
}

static void new_defaults(void) {
  static const rover_host_stats_t zero;
  rover_host_stats_t stats;

  EQUAL(0, rover_host_new(&host, loop, NULL));
  CHECK(rover_host_data(host) == NULL);
  CHECK(rover_host_loop(host) == loop);
  CHECK(rover_host_workers(host) == NULL);
  memset(&stats, 0xa5, sizeof stats);
  rover_host_stats_get(host, &stats);
  CHECK(memcmp(&stats, &zero, sizeof stats) == 0);
  EQUAL(UV_EINVAL, load(host, "error 'nobody hears'"));
  EQUAL(UV_EINVAL, load(host, "nothing = 1"));
  EQUAL(0, load(host, ROVER "host.log.info 'unheard' host.stop()\n"
                "r:on('connection', function(_, socket)\n"
                "if not socket.adopted then host.reload() end end)\n"
                "if host.generation == 1 then r:connect() end"));
  UNTIL(stats_of(host).generation == 2);
  EQUAL(0, rover_host_close(host, NULL));
}

static void new_copies(void) {
  char path[4096];
  rover_host_options_t options = telling(&told);
  snprintf(path, sizeof path, "%s", folder);
  options.lua_path = path;
  options.rover_optional = 1;
  EQUAL(0, rover_host_new(&host, loop, &options));
  memset(path, 'x', sizeof path);
  memset(&options, 0xa5, sizeof options);
  CHECK(rover_host_data(host) == &told);
  file("mine.lua", "return 'found'");
  EQUAL(0, load(host, "assert(require 'mine' == 'found')"));
  finish(host);
}

static void new_workers(void) {
  rover_host_options_t options = {.threads = ROVER_WORKERS_MAX};

  EQUAL(0, rover_host_new(&host, loop, &options));
  EQUAL(ROVER_WORKERS_MAX, rover_workers_count(rover_host_workers(host)));
  EQUAL(0, rover_host_close(host, NULL));
}

static void new_allows(void) {
  char path[] = "/nowhere";
  const char *paths[] = {"/elsewhere", path, NULL};
  rover_host_options_t options = telling(&told);
  options.sandbox = options.rover_optional = 1;
  options.allow_paths = paths;
  EQUAL(0, rover_host_new(&host, loop, &options));
  memset(path, 'x', sizeof path - 1);
  memset(paths, 0xa5, sizeof paths);
  EQUAL(0, load(host, "local function try(path)"
                      "  return pcall(require 'callosum.front'.new, {"
                      "    listen = { port = 0 }, backend = { path = path } })"
                      " end "
                      "assert(not try '/x.sock')"
                      "assert(try '/nowhere/x.sock')"));
  finish(host);
}

/* -- rover_host_load() ---------------------------------------------------- */

static int from_policy(lua_State *L) {
  const char *path = lua_tostring(L, 1);
  lua_pushinteger(L, rover_host_load(host, path, 0, NULL));
  lua_pushinteger(L, rover_host_check(host, path, 0, NULL, NULL, NULL));
  lua_pushinteger(L, rover_host_reload(host, "test"));
  return 3;
}

static void load_misuse(void) {
  char one[] = "one", *argv[] = {one, NULL};
  open_host();
  const char *path = policy("rover.new()");
  EQUAL(UV_EINVAL, rover_host_load(host, NULL, 0, NULL));
  EQUAL(UV_EINVAL, rover_host_load(host, path, -1, argv));
  EQUAL(UV_EINVAL, rover_host_load(host, path, 1, NULL));
  EQUAL(UV_EINVAL, rover_host_load(host, path, 2, argv));
  EQUAL(UV_EINVAL, rover_host_check(host, NULL, 0, NULL, NULL, NULL));
  EQUAL(UV_EINVAL, rover_host_check(host, path, -1, argv, NULL, NULL));
  EQUAL(UV_EINVAL, rover_host_check(host, path, 1, NULL, NULL, NULL));
  EQUAL(UV_EINVAL, rover_host_check(host, path, 2, argv, NULL, NULL));
  EQUAL(UV_EINVAL, rover_host_reload(host, "test")); /* nothing is loaded */
  SAME("", told.lines);
  rover_host_socket_t passed = {.fd = uv_backend_fd(loop), .reserved = {1}};
  EQUAL(UV_EINVAL, rover_host_pass(host, NULL));
  EQUAL(UV_EINVAL, rover_host_pass(NULL, &passed));
  EQUAL(UV_EINVAL, rover_host_pass(host, &passed));
  EQUAL(0, rover_host_load(host, path, 1, argv));
  EQUAL(UV_EINVAL, rover_host_reload(host, NULL));
  passed.reserved[0] = 0;
  EQUAL(UV_EALREADY, rover_host_pass(host, &passed));
  forget();
  EQUAL(UV_EALREADY, rover_host_load(host, path, 1, argv));
  settle();
  SAME("", told.lines);
  EQUAL(1, stats_of(host).generation);
  finish(host);
}

static void load_errors(void) {
  static const struct {
    const char *script, *error;
  } wrong[] = {
      {NULL, "cannot open "},
      {"= 1", "policy.lua:1: unexpected symbol near '='"},
      {"\nerror 'oops'", "policy.lua:2: oops"},
      {"error()", "(error object is a nil value)"},
      {"error(setmetatable({}, { __tostring = function() return 'mine' end}))",
       "mine"},
      {"\nlocal x = nil + 1", "policy.lua:2: attempt to perform arithmetic"},
      {"x = 1", "policy.lua declares no rover"},
      {"require 'nothing_of_that_name'", "module 'nothing_of_that_name' not"},
  };
  open_host();
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    snprintf(doing, sizeof doing, "script %zu", i);
    forget();
    if (wrong[i].script) EQUAL(UV_EINVAL, load(host, wrong[i].script));
    else EQUAL(UV_EINVAL, rover_host_load(host, "/nowhere", 0, NULL));
    CHECK(strstr(told.error, wrong[i].error));
    CHECK(!strncmp(told.traceback, "stack traceback:\n", 17));
    EQUAL(1, told.errors);
    EQUAL(1, count(&told, "log error cannot load policy"));
    EQUAL(1, count(&told, "log"));
    EQUAL(i + 1, stats_of(host).script_errors);
    EQUAL(0, stats_of(host).generation);
    EQUAL(UV_EINVAL, rover_host_reload(host, "test"));
  }
  forget();
  EQUAL(0, load(host, ROVER)); /* as if nothing had been tried */
  EQUAL(1, count(&told, "log info policy loaded file="));
  EQUAL(1, stats_of(host).generation);
  finish(host);
}

static struct rlimit limit;

/* Has the limit be met by the next descriptor. */
static void exhaust_descriptors(void) {
  int next = dup(0);
  CHECK(next >= 0 && close(next) == 0);
  EQUAL(0, getrlimit(RLIMIT_NOFILE, &limit));
  struct rlimit met = {(rlim_t)next, limit.rlim_max};
  EQUAL(0, setrlimit(RLIMIT_NOFILE, &met));
}

static void load_another(rover_host_t *of, const rover_host_log_t *log) {
  on_log(of, log);
  const char *beginning = "cannot watch for changes";
  if (strncmp(log->message.bytes, beginning, strlen(beginning)) != 0) return;
  EQUAL(0, setrlimit(RLIMIT_NOFILE, &limit));
  EQUAL(0, load(of, ROVER));
}

static void load_unwatched(void) {
  rover_host_options_t options = telling(&told);
  options.log = load_another;
  options.watch = 1;
  host = hosting(&told, &options);
  exhaust_descriptors();
  EQUAL(UV_EINVAL, rover_host_load(host, "/no/where/policy.lua", 0, NULL));
  UNTIL(count(&told, "log info policy loaded"));
  UNTIL(count(&told, "log info watching for changes again"));
  EQUAL(1, count(&told, "log warn cannot watch for changes"));
  finish(host);
}

static void load_inside(void) {
  open_host();
  called = from_policy;
  /* Being loaded, and then loaded. */
  EQUAL(0, load(host, ROVER "local path = ...\n"
                "local l, c, r = call 'x.lua' codes = { l, c, r }\n"
                "host.log.info('codes', { l = l, c = c, r = r })"));
  char expected[128];
  snprintf(expected, sizeof expected, "log info codes c=%d l=%d r=%d",
           UV_EBUSY, UV_EALREADY, UV_EINVAL);
  EQUAL(1, count(&told, expected));
  EQUAL(1, told.opens);
  finish(host);
}

static void load_runs(void) {
  char one[] = "one", two[] = "", *argv[] = {one, two};
  open_host();
  const char *path = policy(
      "local a, b, c = ... assert(a == 'one' and b == '' and c == nil)\n"
      "assert(host.args[1] == a and host.args[2] == b and #host.args == 2)\n"
      "assert(host.generation == 1)\n"
      "rover.new() host.log.warn 'body'");
  EQUAL(0, rover_host_load(host, path, 2, argv));
  memset(one, 'x', 3);
  EQUAL(1, count(&told, "log warn body")); /* before it returned */
  policy("assert(... == 'one' and host.generation == 2) rover.new()");
  EQUAL(0, reload(host, NULL)); /* with the same arguments */
  finish(host);
}

static void on_rover(rover_host_t *of, const rover_host_rover_t *each,
                     void *arg) {
  rover_stats_t stats;
  CHECK(of == host && arg == &told);
  rover_stats_get(each->rover, &stats);
  note(&told, "rover %s %d %d %d %d", each->name, each->starts,
       (int)rover_roving_interval(each->rover),
       (int)rover_server_count(each->rover), (int)stats.attempts);
}

static void on_relay(rover_host_t *of, const rover_host_relay_t *each,
                     void *arg) {
  CHECK(of == host && arg == &told);
  note(&told, "relay %s %u", each->name,
       rover_relay_options(each->relay)->max_clients);
}

static void on_front(rover_host_t *of, const rover_host_front_t *each,
                     void *arg) {
  CHECK(of == host && arg == &told);
  note(&told, "front %s %d", each->name,
       rover_front_options(each->front)->backend.port);
}

static const rover_host_visitor_t visitor = {
    .rover = on_rover, .relay = on_relay, .front = on_front};

static void load_starts(void) {
  open_host();
  EQUAL(0, load(host, ROVER "r:start():on('connection', function(slot)\n"
                "host.log.info('kept', { slot = slot }) end)"));
  EQUAL(0, count(&told, "log info kept"));
  UNTIL(count(&told, "log info kept slot=0") == 1);
  rover_host_each(host, &visitor, &told);
  EQUAL(1, count(&told, "rover main 1 1000 1 1"));
  finish(host);
}

/* -- rover_host_check() and rover_host_each() ----------------------------- */

#define TWO_ROVERS                                                             \
  "a = rover.new { name = 'a', rovingInterval = 7 } a:start()\n"               \
  "a:addServer('x', { host = 'h', port = 1 })\n"                               \
  "a:addServer('y', { host = 'h', port = 1 })\n"                               \
  "b = rover.new { name = 'b' } b:connect()\n"                                 \
  "c = rover.new { name = 'c' } c:close()\n"                                   \
  "relay = require 'callosum.relay'.new { name = 'r', maxClients = 7,\n"       \
  "pick = print, listen = { port = 0 } }\n"                                   \
  "front = require 'callosum.front'.new { name = 'f',\n"                      \
  "backend = { port = 7 }, listen = { port = 0 } }"

static void each(void) {
  rover_host_visitor_t other = visitor;
  open_host();
  rover_host_each(host, &visitor, &told);
  SAME("", told.lines);
  EQUAL(0, load(host, TWO_ROVERS));
  forget();
  rover_host_each(host, &visitor, &told);
  SAME("rover a 1 7 2 0\nrover b 0 1000 0 1\nrelay r 7\nfront f 7\n",
       told.lines);
  other.relay = NULL;
  other.front = NULL;
  forget();
  EQUAL(0, rover_host_each(host, &other, &told));
  EQUAL(0, rover_host_each(host, &(rover_host_visitor_t){0}, &told));
  SAME("rover a 1 7 2 0\nrover b 0 1000 0 1\n", told.lines);
  EQUAL(UV_EINVAL, rover_host_each(host, NULL, &told));
  EQUAL(UV_EINVAL, rover_host_each(NULL, &visitor, &told));
  memset(&other.reserved[2], 1, 1);
  EQUAL(UV_EINVAL, rover_host_each(host, &other, &told));
  EQUAL(UV_EINVAL, rover_host_check(host, policy(TWO_ROVERS), 0, NULL, &other,
                                    &told));
  SAME("rover a 1 7 2 0\nrover b 0 1000 0 1\n", told.lines);
  finish(host);
}

static void collect(rover_host_t *of, const rover_host_rover_t *each,
                    void *arg) {
  lua_State *L = rover_host_state(of);
  (void)arg;
  lua_getglobal(L, "collect");
  EQUAL(0, rover_host_call(of, L, 0, 0));
  note(&told, "rover %s of %d servers", each->name,
       (int)rover_server_count(each->rover));
}

static void each_collected(void) {
  open_host();
  EQUAL(0, load(host, "rover.new { name = ('one'):rep(9) }\n"
                "two = rover.new { name = ('two'):rep(9) }\n"
                "three = rover.new { name = 'three' }\n"
                "function collect() two = nil collectgarbage()"
                "collectgarbage() end"));
  forget();
  EQUAL(0, rover_host_each(
               host, &(rover_host_visitor_t){.rover = collect}, NULL));
  SAME("rover oneoneoneoneoneoneoneoneone of 0 servers\n"
       "rover three of 0 servers\n", told.lines);
  finish(host);
}

static void check(void) {
  open_host();
  const char *path = policy(TWO_ROVERS "\nhost.stop(3) host.reload()"
                            "host.on('unload', function() error 'no' end)");
  EQUAL(0, rover_host_check(host, path, 0, NULL, &visitor, &told));
  EQUAL(1, count(&told, "rover a 1 7 2 0"));
  EQUAL(1, count(&told, "rover b 0 1000 0 0"));
  EQUAL(2, count(&told, "rover"));
  EQUAL(1, count(&told, "relay r 7"));
  EQUAL(0, rover_host_check(host, path, 0, NULL, NULL, NULL));
  EQUAL(UV_EINVAL,
        rover_host_check(host, policy("error 'oops'"), 0, NULL, NULL, NULL));
  EQUAL(1, count(&told, "log error cannot load policy"));
  CHECK(strstr(told.error, "oops"));
  settle();
  EQUAL(0, told.stops + told.reloads);
  EQUAL(1, told.errors);
  EQUAL(3, told.opens);
  EQUAL(0, stats_of(host).generation);
  /* Beside a policy that is loaded, which does not notice. */
  EQUAL(0, load(host, "assert(host.generation == 1) mine = rover.new {}"));
  forget();
  EQUAL(0, rover_host_check(host, policy("assert(not mine) rover.new()"), 0,
                            NULL, &visitor, &told));
  EQUAL(1, count(&told, "rover main 0 1000 0 0"));
  EQUAL(1, stats_of(host).generation);
  finish(host);
}

static void check_often(void) {
  open_host();
  const char *path = policy(
      "rover.new()\n"
      "require 'callosum.relay'.new { pick = print, listen = { port = 0 } }\n"
      "require 'luv'.new_timer():start(1, 1, print)");
  EQUAL(0, rover_host_check(host, path, 0, NULL, NULL, NULL));
  int open = descriptors();
  for (int i = 0; i < 20; i++)
    EQUAL(0, rover_host_check(host, path, 0, NULL, NULL, NULL));
  EQUAL(open, descriptors());
  finish(host);
}

/* Runs the loop within another, as libuv's manual describes under
 * uv_backend_fd(), until there are so many ticks. */
static void turn_within(int ticks) {
  for (int i = 0; i < 1000 && count(&told, "log info tick") < ticks; i++) {
    struct pollfd due = {uv_backend_fd(loop), POLLIN, 0};
    int timeout = uv_backend_timeout(loop);
    CHECK(timeout >= 0 && timeout <= 2000);
    poll(&due, 1, timeout);
    uv_run(loop, UV_RUN_NOWAIT);
  }
  CHECK(count(&told, "log info tick") >= ticks);
}

static void turns_when_due(void) {
  open_host();
  EQUAL(0, load(host, "rover.new()\n"
                      "require 'luv'.new_timer():start(5, 5, function()\n"
                      "  require 'callosum.host'.log.info 'tick'\n"
                      "end)"));
  turn_within(3);
  finish(host);
}

/* Nothing else of the rover is due for an hour. */
static void turns_when_started(void) {
  open_host();
  EQUAL(0, load(host, "local uv = require 'luv'\n"
                      "r = rover.new { rovingInterval = 3600000,\n"
                      "  servers = { s = { host = '127.0.0.1', port = port } } }\n"
                      "r:on('connection', function()\n"
                      "  uv.new_timer():start(5, 0, function()\n"
                      "    require 'callosum.host'.log.info 'tick'\n"
                      "  end)\n"
                      "end)\n"
                      "r:start()"));
  turn_within(1);
  finish(host);
}

/* -- The open hook -------------------------------------------------------- */

static int l_gc(lua_State *L) {
  note(&told, "collected %d", *(int *)lua_touserdata(L, 1));
  return 0;
}

static int l_module(lua_State *L) {
  lua_pushliteral(L, "preloaded");
  return 1;
}

static void push_collected(lua_State *L, int number) {
  *(int *)lua_newuserdatauv(L, sizeof number, 0) = number;
  lua_newtable(L);
  lua_pushcfunction(L, l_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
}

static void give(rover_host_t *of, lua_State *L) {
  on_open(of, L);
  EQUAL(0, luaL_dostring(L, "assert(string and require 'callosum.rover'.new)"
                            "assert(require 'callosum.host'.on)"
                            "assert(not started)"));
  lua_pushinteger(L, told.opens);
  lua_setglobal(L, "opened");
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushcfunction(L, l_module);
  lua_setfield(L, -2, "of.program");
  push_collected(L, told.opens);
  lua_setglobal(L, "mine");
  for (int i = 0; i < 10; i++) lua_pushinteger(L, i); /* what you like */
}

static void open_gives(void) {
  for (int sandbox = 0; sandbox <= 1; sandbox++) {
    rover_host_options_t options = telling(&told);
    snprintf(doing, sizeof doing, sandbox ? "sandbox" : "no sandbox");
    forget();
    options.open = give;
    options.sandbox = sandbox;
    host = hosting(&told, &options);
    EQUAL(0, load(host, "assert(opened == 1) started = true rover.new()"
                        "assert(require 'of.program' == 'preloaded')"));
    EQUAL(0, reload(host, "assert(opened == 2) started = true rover.new()"
                          "assert(require 'of.program' == 'preloaded')"));
    EQUAL(1, count(&told, "collected 1"));
    EQUAL(0, rover_host_check(host, policy("assert(opened == 3) rover.new()"),
                              0, NULL, NULL, NULL));
    EQUAL(1, count(&told, "collected 3"));
    EQUAL(0, count(&told, "collected 2"));
    finish(host);
    EQUAL(1, count(&told, "collected 2"));
    EQUAL(3, count(&told, "collected"));
    EQUAL(3, told.opens);
  }
}

static const char *wanted; /* of what goes wrong in the hook */

static void go_wrong(rover_host_t *of, lua_State *L) {
  on_open(of, L);
  if (!wanted) return;
  push_collected(L, 0);
  lua_setglobal(L, "mine");
  if (luaL_dostring(L, wanted)) lua_error(L);
}

static void open_fails(void) {
  static const struct {
    const char *code, *error;
    int status, traced;
  } wrong[] = {
      {"error 'hook'", "hook", UV_EINVAL, 1},
      {"error {}", "(error object is a table value)", UV_EINVAL, 1},
      {"x = ('x'):rep(1 << 24)", "not enough memory: the policy may have "
                                 "4194304 bytes", UV_ENOMEM, 0},
      {"while true do end", "the loading budget of 300 ms is over", UV_EINVAL,
       1},
  };
  rover_host_options_t options = telling(&told);
  options.open = go_wrong;
  options.memory = 4 << 20;
  options.load_budget = 300;
  host = hosting(&told, &options);
  for (int loaded = 0; loaded <= 1; loaded++)
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
      snprintf(doing, sizeof doing, "loaded %d, hook %zu", loaded, i);
      forget();
      wanted = wrong[i].code;
      if (loaded) EQUAL(wrong[i].status, reload(host, "rover.new()"));
      else EQUAL(wrong[i].status, load(host, "rover.new()"));
      EQUAL(1, told.opens);
      EQUAL(1, told.errors);
      EQUAL(1, count(&told, "collected"));
      CHECK(strstr(told.error, wrong[i].error));
      EQUAL(wrong[i].traced, *told.traceback != '\0');
      EQUAL(1, count(&told, loaded ? "log error reload failed"
                                   : "log error cannot load policy"));
      if (loaded) CHECK(strstr(told.reload_error, wrong[i].error));
      EQUAL(loaded, stats_of(host).generation);
      EQUAL(loaded ? i + 1 : 0, stats_of(host).failed_reloads);
      if (!loaded) wanted = NULL;
      if (!loaded && i == sizeof wrong / sizeof *wrong - 1)
        EQUAL(0, load(host, "rover.new()"));
    }
  wanted = NULL;
  finish(host);
}

/* -- Log lines ------------------------------------------------------------ */

static void on_fields(rover_host_t *of, const rover_host_log_t *log) {
  static const struct {
    const char *key, *value;
    size_t length;
    rover_host_type_t type;
  } expected[] = {{"b", "true", 4, ROVER_HOST_BOOLEAN},
                  {"f", "1.5", 3, ROVER_HOST_NUMBER},
                  {"i", "-7", 2, ROVER_HOST_NUMBER},
                  {"inf", "inf", 3, ROVER_HOST_STRING},
                  {"s", "a\0b", 3, ROVER_HOST_STRING}};
  (void)of;
  if (log->level != ROVER_HOST_WARN) return;
  EQUAL(7, log->message.length);
  CHECK(!memcmp(log->message.bytes, "hello\0w", 8));
  EQUAL(5, log->field_count);
  for (size_t i = 0; i < 5; i++) {
    SAME(expected[i].key, log->fields[i].key.bytes);
    EQUAL(expected[i].length, log->fields[i].value.length);
    CHECK(!memcmp(expected[i].value, log->fields[i].value.bytes,
                  expected[i].length + 1));
    EQUAL(expected[i].type, log->fields[i].type);
  }
  told.errors++;
}

static void log_fields(void) {
  rover_host_options_t options = telling(&told);
  options.log = on_fields;
  host = hosting(&told, &options);
  EQUAL(0, load(host, ROVER "host.log.warn('hello\\0w', { s = 'a\\0b',"
                      "i = -7, f = 1.5, b = true, inf = 1/0 })"));
  EQUAL(1, told.errors);
  finish(host);
}

static void log_levels(void) {
  open_host();
  EQUAL(0, load(host, ROVER "for _, l in ipairs { 'debug', 'info', 'warn',"
                      "'error' } do host.log[l]('at ' .. l) end"
                      " warn('a', 'b')"));
  EQUAL(1, count(&told, "log debug at debug"));
  EQUAL(1, count(&told, "log info at info"));
  EQUAL(1, count(&told, "log warn at warn"));
  EQUAL(1, count(&told, "log error at error"));
  EQUAL(1, count(&told, "log warn policy warning warning=ab"));
  EQUAL(0, told.errors);
  finish(host);
}

/* -- Stopping and closing ------------------------------------------------- */

static void stop(void) {
  open_host();
  EQUAL(0, load(host, ROVER "host.stop(3) host.stop(255)"
                "host.on('unload', function() host.stop(9) end)"));
  EQUAL(0, told.stops);
  UNTIL(told.stops);
  EQUAL(1, count(&told, "stop 255"));
  settle();
  EQUAL(1, told.stops);
  EQUAL(1, stats_of(host).generation);
  finish(host);
  EQUAL(1, told.stops);
}

static void close_order(void) {
  open_host();
  EQUAL(0, load(host, ROVER "r:on('connection', function(_, socket)\n"
                "host.log.info 'kept'\n"
                "socket:on('close', function() host.log.info 'gone' end) end)"
                "r:connect()"
                "host.on('unload', function() host.log.info 'one' end)"
                "host.on('unload', function() host.log.info 'two' end)"));
  UNTIL(count(&told, "log info kept"));
  forget();
  EQUAL(0, rover_host_close(host, on_host_closed));
  EQUAL(UV_EALREADY, rover_host_close(host, on_host_closed));
  EQUAL(UV_EALREADY, rover_host_close(host, NULL));
  SAME("", told.lines); /* the rest comes from the loop */
  UNTIL(told.closes);
  SAME("log info one\nlog info two\nclosed\n", told.lines);
  EQUAL(1, told.closes);
}

static void close_unloaded(void) {
  open_host();
  finish(host);
  SAME("closed\n", told.lines);
  EQUAL(0, rover_host_new(&host, loop, NULL));
  EQUAL(0, rover_host_close(host, NULL));
}

static void closing(void) {
  const char *path = policy(ROVER);
  EQUAL(UV_EINVAL, rover_host_load(host, path, 0, NULL));
  EQUAL(UV_EINVAL, rover_host_check(host, path, 0, NULL, NULL, NULL));
  EQUAL(UV_EINVAL, rover_host_reload(host, "test"));
  EQUAL(UV_EALREADY, rover_host_close(host, NULL));
  rover_host_each(host, &visitor, &told);
  CHECK(rover_host_data(host) == &told);
  EQUAL(1, stats_of(host).generation);
}

static void on_closing_closed(rover_host_t *of) {
  SAME("", told.lines);
  closing();
  SAME("", told.lines); /* it has no rovers any more */
  on_host_closed(of);
}

static void close_misuse(void) {
  open_host();
  EQUAL(0, load(host, ROVER));
  EQUAL(0, rover_host_close(host, on_closing_closed));
  closing();
  EQUAL(1, count(&told, "rover")); /* until the next turn of the loop */
  forget();
  UNTIL(told.closes);
}

const struct check checks[] = {
    {"rover_host_new()", "returns UV_EINVAL without a loop, or a place for the "
                         "host, and writes nothing", new_misuse},
    {"rover_host_new()", "takes NULL for the defaults, and no callback is "
                         "needed", new_defaults},
    {"rover_host_new()", "copies the options", new_copies},
    {"rover_host_new()", "says where a policy in the sandbox may have sockets",
     new_allows},
    {"rover_host_new()", "makes as many workers as asked for", new_workers},
    {"a policy's timers", "are due where another loop runs the host's",
     turns_when_due},
    {"a policy's timers", "are, too, if a handler starts them",
     turns_when_started},
    {"rover_host_load()", "and check and reload return UV_EINVAL for what is "
                          "NULL or negative, and say nothing", load_misuse},
    {"rover_host_load()", "returns UV_EINVAL for what is wrong with a script, "
                          "and log and error callback tell", load_errors},
    {"rover_host_load()", "runs the script with its arguments before it "
                          "returns", load_runs},
    {"rover_host_load()", "starts what was declared", load_starts},
    {"rover_host_load()", "refuses to be called by what it loads",
     load_inside},
    {"rover_host_load()", "may be called when the log tells that files cannot "
                          "be watched", load_unwatched},
    {"rover_host_each()", "shows what is declared and not closed", each},
    {"rover_host_each()", "shows rovers that are collected meanwhile",
     each_collected},
    {"rover_host_check()", "shows what a script declares, and changes nothing",
     check},
    {"rover_host_check()", "leaves no descriptor open, so that it may be called "
                           "however often before the loop runs", check_often},
    {"the open hook", "gives functions and modules to each state, sandboxed or "
                      "not, which collects them", open_gives},
    {"the open hook", "can fail the load and the reload, by error, memory and "
                      "time", open_fails},
    {"the log callback", "gets any byte, and the types of fields", log_fields},
    {"the log callback", "gets each level, and Lua's warnings", log_levels},
    {"the stop callback", "comes once, from the loop, with the last status",
     stop},
    {"rover_host_close()", "unloads the policy from the loop, then calls back "
                           "once", close_order},
    {"rover_host_close()", "closes a host without policy", close_unloaded},
    {"a closing host", "refuses what the header forbids, in its close callback "
                       "too", close_misuse},
    {NULL, NULL, NULL}};
