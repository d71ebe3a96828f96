/* The promises of <callosum/host.h> about the policy's code: calls into it,
 * its errors, and its limits. */
#include "hosts.h"

#include <sys/syscall.h>
#include <time.h>

static struct told told;
static rover_host_t *host;
static lua_State *state; /* of its policy */

static rover_host_options_t options(void) {
  rover_host_options_t own = telling(&told);
  own.rover_optional = 1;
  return own;
}

static void start(const rover_host_options_t *given, const char *script) {
  rover_host_options_t own = options();
  host = hosting(&told, given ? given : &own);
  CHECK(rover_host_state(host) == NULL);
  EQUAL(0, load(host, script));
  state = rover_host_state(host);
}

static void forget(void) { memset(&told, 0, sizeof told); }

/* Calls a global function with `nargs` numbers. */
static int call(const char *function, int nargs, int nresults) {
  lua_getglobal(state, function);
  for (int i = 1; i <= nargs; i++) lua_pushinteger(state, i);
  return rover_host_call(host, state, nargs, nresults);
}

static uint64_t milliseconds(void) { return uv_hrtime() / 1000000; }

/* -- rover_host_call() ---------------------------------------------------- */

static void results(void) {
  start(NULL, "function all(...) return ... end");
  int top = lua_gettop(state);
  lua_pushliteral(state, "below");
  EQUAL(0, call("all", 3, -1));
  EQUAL(top + 4, lua_gettop(state));
  EQUAL(3, lua_tointeger(state, -1));
  EQUAL(1, lua_tointeger(state, -3));
  SAME("below", lua_tostring(state, -4));
  lua_settop(state, top);
  EQUAL(0, call("all", 3, 0));
  EQUAL(top, lua_gettop(state));
  EQUAL(0, call("all", 3, 1));
  EQUAL(1, lua_tointeger(state, -1));
  lua_settop(state, top);
  EQUAL(0, call("all", 1, 100)); /* more than a stack has room for */
  EQUAL(top + 100, lua_gettop(state));
  EQUAL(1, lua_tointeger(state, top + 1));
  CHECK(lua_isnil(state, top + 2) && lua_isnil(state, -1));
  lua_settop(state, top);
  EQUAL(0, call("all", 0, -1));
  EQUAL(top, lua_gettop(state));
  /* In a thread of the state. */
  lua_State *thread = lua_newthread(state), *own = state;
  lua_pushcfunction(thread, l_call);
  lua_setglobal(thread, "c");
  state = thread;
  EQUAL(0, call("all", 2, -1));
  state = own;
  EQUAL(2, lua_gettop(thread));
  EQUAL(0, told.errors);
  finish(host);
}

static void errors(void) {
  static const struct {
    const char *code, *error;
  } wrong[] = {
      {"error 'oops'", "policy.lua:1: oops"},
      {"error('oops', 0)", "oops"},
      {"error {}", "(error object is a table value)"},
      {"error()", "(error object is a nil value)"},
      {"error(setmetatable({}, { __tostring = function() return 'mine' end"
       " }))", "mine"},
      {"error(setmetatable({}, { __tostring = error }))", ""},
      {"coroutine.yield()", "attempt to yield from outside a coroutine"},
      {"nothing()", "attempt to call a nil value (global 'nothing')"},
  };
  char script[1024];
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    snprintf(doing, sizeof doing, "function %zu", i);
    snprintf(script, sizeof script, "function f() %s end", wrong[i].code);
    start(NULL, script);
    forget();
    int top = lua_gettop(state);
    lua_pushliteral(state, "below");
    EQUAL(UV_EINVAL, call("f", 3, 2));
    EQUAL(top + 1, lua_gettop(state));
    SAME("below", lua_tostring(state, -1));
    EQUAL(1, told.errors);
    EQUAL(1, count(&told, "log error policy error error="));
    EQUAL(1, stats_of(host).script_errors);
    CHECK(strstr(told.error, wrong[i].error));
    lua_pushnil(state); /* no function */
    EQUAL(UV_EINVAL, rover_host_call(host, state, 0, 0));
    CHECK(strstr(told.error, "attempt to call a nil value"));
    finish(host);
  }
}

static void misuse(void) {
  static struct told other_told;
  rover_host_t *other = hosting(&other_told, NULL);
  start(NULL, "function f() called = true end");
  forget();
  lua_settop(state, 0);
  lua_getglobal(state, "f");
  EQUAL(UV_EINVAL, rover_host_call(NULL, state, 0, 0));
  EQUAL(UV_EINVAL, rover_host_call(other, state, 0, 0));
  EQUAL(UV_EINVAL, rover_host_call(host, NULL, 0, 0));
  EQUAL(UV_EINVAL, rover_host_call(host, state, -1, 0));
  EQUAL(UV_EINVAL, rover_host_call(host, state, 1, 0));
  EQUAL(UV_EINVAL, rover_host_call(host, state, 0, -2));
  EQUAL(1, lua_gettop(state));
  EQUAL(LUA_TFUNCTION, lua_type(state, 1));
  /* A coroutine that waits, or has failed, can be resumed only. */
  lua_State *thread = lua_newthread(state);
  for (int dead = 0; dead <= 1; dead++) {
    int count;
    EQUAL(0, luaL_loadstring(thread, "coroutine.yield() error()"));
    EQUAL(LUA_YIELD, lua_resume(thread, state, 0, &count));
    if (dead) CHECK(lua_resume(thread, state, 0, &count) > LUA_YIELD);
    int top = lua_gettop(thread);
    lua_pushcfunction(thread, l_call);
    EQUAL(UV_EINVAL, rover_host_call(host, thread, 0, 0));
    EQUAL(top + 1, lua_gettop(thread));
    lua_resetthread(thread);
  }
  lua_settop(state, 1);
  lua_pushvalue(state, 1);
  EQUAL(UV_ENOMEM, rover_host_call(host, state, 0, 1 << 30));
  EQUAL(UV_ENOMEM, rover_host_call(host, state, 0, INT32_MAX));
  EQUAL(0, lua_gettop(state));
  SAME("", told.lines);
  EQUAL(LUA_TNIL, lua_getglobal(state, "called"));
  finish(host);
  finish(other);
}

static int l_gc(lua_State *L) {
  lua_settop(L, 0);
  lua_pushcfunction(L, l_call);
  lua_pushinteger(L, 1);
  note(&told, "ended %d", rover_host_call(host, L, 1, 1));
  EQUAL(0, lua_gettop(L));
  return 0;
}

static int fail_called(lua_State *L) {
  (void)L;
  failed(__FILE__, __LINE__, "called in a policy that has ended");
}

static void give_finalizer(rover_host_t *of, lua_State *L) {
  on_open(of, L);
  lua_newuserdatauv(L, 1, 0);
  lua_newtable(L);
  lua_pushcfunction(L, l_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  lua_setglobal(L, "mine");
}

static void ended(void) {
  char expected[32];
  rover_host_options_t own = options();
  own.open = give_finalizer;
  called = fail_called;
  snprintf(expected, sizeof expected, "ended %d", UV_ECANCELED);
  start(&own, "x = 1");
  EQUAL(0, reload(host, "x = 2"));
  EQUAL(1, count(&told, expected));
  finish(host);
  EQUAL(2, count(&told, expected));
  EQUAL(0, told.errors);
}

/* A state stays while what it asked of luv is under way: here, a process that
 * goes on until we have closed the pipe that it reads. */
static void ended_waiting(void) {
  char script[128];
  int ends[2];
  CHECK(pipe(ends) == 0);
  CHECK(fcntl(ends[1], F_SETFD, FD_CLOEXEC) == 0);
  snprintf(script, sizeof script,
           "require('luv').spawn('cat', {stdio = {%d}},\n"
           "function() call() end)",
           ends[0]);
  called = fail_called;
  start(NULL, script);
  close(ends[0]);
  EQUAL(0, reload(host, "x = 1"));
  CHECK(rover_host_state(host) != state);
  lua_settop(state, 0);
  lua_getglobal(state, "call");
  lua_pushinteger(state, 1);
  EQUAL(UV_ECANCELED, rover_host_call(host, state, 1, -1));
  EQUAL(0, lua_gettop(state));
  EQUAL(0, told.errors);
  close(ends[1]);
  finish(host);
}

/* Calls its argument, and returns the status and what that returned. */
static int l_nested(lua_State *L) {
  lua_settop(L, 1);
  int status = rover_host_call(host, L, 0, -1);
  lua_pushinteger(L, status);
  lua_insert(L, 1);
  return lua_gettop(L);
}

static void nested(void) {
  called = l_nested;
  start(NULL,
        "local function f() return call(function() return 'deep', 1 end) end\n"
        "function plain() local s, inner, deep = call(f)\n"
        "assert(s == 0 and inner == 0 and deep == 'deep') end\n"
        "function inside() assert(coroutine.wrap(function()\n"
        "plain() coroutine.yield(true) end)()) end\n"
        "function fails() local s = call(function() error 'in it' end)\n"
        "assert(s < 0 and not pcall(error)) return s end");
  EQUAL(0, call("plain", 0, 0));
  EQUAL(0, call("inside", 0, 0));
  EQUAL(0, told.errors);
  EQUAL(0, call("fails", 0, 1));
  EQUAL(UV_EINVAL, lua_tointeger(state, -1));
  EQUAL(1, told.errors);
  CHECK(strstr(told.error, "in it"));
  finish(host);
}

static void nested_budget(void) {
  rover_host_options_t own = options();
  own.budget = 60;
  called = l_nested;
  start(&own, "function f()\n"
              "for _ = 1, 100 do call(function() while true do end end) end\n"
              "end");
  uint64_t from = milliseconds();
  EQUAL(UV_EINVAL, call("f", 0, 0));
  CHECK(milliseconds() - from >= 60);
  EQUAL(2, told.errors); /* of the inner call, and the one around it */
  EQUAL(1, count(&told, "open"));
  forget();
  EQUAL(0, luaL_dostring(state, "function f() return 1 end"));
  EQUAL(0, call("f", 0, 0)); /* it was that call's only */
  EQUAL(0, told.errors);
  finish(host);
}

static void call_from_open(rover_host_t *of, lua_State *L) {
  host = of;
  on_open(of, L);
  EQUAL(0, luaL_dostring(L, "function double(x) return 2 * x end"));
  lua_getglobal(L, "double");
  lua_pushinteger(L, 21);
  EQUAL(0, rover_host_call(of, L, 1, 1));
  EQUAL(42, lua_tointeger(L, -1));
  EQUAL(UV_EALREADY, rover_host_load(of, "x", 0, NULL));
  EQUAL(UV_EBUSY, rover_host_check(of, "x", 0, NULL, NULL, NULL));
}

static void from_open(void) {
  rover_host_options_t own = options();
  own.open = call_from_open;
  start(&own, "assert(double(1) == 2)");
  EQUAL(0, reload(host, NULL));
  finish(host);
}

static void on_timer(uv_timer_t *timer) {
  EQUAL(0, call("count", 0, 0));
  uv_close((uv_handle_t *)timer, NULL);
}

static void from_loop(void) {
  uv_timer_t timer;
  start(NULL, "function count() host.log.info 'counted' end");
  uv_timer_init(loop, &timer);
  uv_timer_start(&timer, on_timer, 1, 0);
  UNTIL(count(&told, "log info counted"));
  finish(host);
}

/* -- Limits --------------------------------------------------------------- */

static int alarms;
static uint64_t alarm_in;

static void note_alarm(rover_host_t *of, uint64_t ms) {
  CHECK(rover_host_data(of) == &told);
  CHECK(ms > 0);
  alarms++;
  alarm_in = ms;
}

#define ENDLESS                                                                \
  "function f() while true do pcall(function() while true do end end) end end "

static void budget(void) {
  rover_host_options_t own = options();
  own.budget = 40;
  start(&own, ENDLESS);
  uint64_t from = milliseconds();
  EQUAL(UV_EINVAL, call("f", 0, 0));
  CHECK(milliseconds() - from >= 40);
  CHECK(strstr(told.error, "policy.lua:1: the time budget of 40 ms is over"));
  EQUAL(1, told.errors);
  CHECK(*told.traceback);
  finish(host);
}

static void defaults(void) {
  rover_host_options_t own = options();
  own.alarm = note_alarm;
  start(&own, "function f() return ('x'):rep(1 << 28) end");
  CHECK(alarm_in > 4000 && alarm_in <= 5000);
  EQUAL(UV_ENOMEM, call("f", 0, 1));
  CHECK(alarm_in > 0 && alarm_in <= 1000);
  SAME("not enough memory: the policy may have 268435456 bytes: keep less, or "
       "raise the option memory", told.error);
  finish(host);
}

static void memory(void) {
  rover_host_options_t own = options();
  own.memory = 4 << 20;
  start(&own, "function f() return ('x'):rep(1 << 24) end");
  EQUAL(UV_ENOMEM, call("f", 0, 1));
  SAME("not enough memory: the policy may have 4194304 bytes: keep less, or "
       "raise the option memory", told.error);
  SAME("", told.traceback); /* NULL */
  EQUAL(1, count(&told, "log error policy error error=not enough memory"));
  finish(host);
  forget();
  own.memory = 1; /* not enough for anything */
  host = hosting(&told, &own);
  EQUAL(UV_ENOMEM, load(host, "x = 1"));
  EQUAL(1, told.errors);
  EQUAL(0, told.opens);
  SAME("", told.traceback);
  finish(host);
}

static void sandbox(void) {
  rover_host_options_t own = options();
  own.sandbox = 1;
  start(&own, "assert(not io and not os.getenv and not debug.getinfo)"
              "assert(not pcall(require, 'luv'))");
  EQUAL(0, told.errors);
  finish(host);
}

/* -- Alarms --------------------------------------------------------------- */

/* As if the signal came. */
static int l_interrupt(lua_State *L) {
  uint64_t from = milliseconds();
  uint64_t wait = (uint64_t)luaL_optinteger(L, 1, 0);
  while (milliseconds() - from < wait) continue;
  lua_pushinteger(L, (lua_Integer)rover_host_interrupt(host));
  return 1;
}

static void interrupt(void) {
  rover_host_options_t own = options();
  own.budget = 400;
  own.load_budget = 3000;
  own.alarm = note_alarm;
  called = l_interrupt;
  start(&own, "function early() return call() end\n"
              "function late() call(401) x = 1 pcall(error) x = 2 end\n"
              "function never() end");
  EQUAL(1, alarms); /* of loading: steps share it */
  EQUAL(3000, alarm_in);
  EQUAL(0, rover_host_interrupt(host)); /* nothing runs */
  for (int i = 0; i < 1000; i++) EQUAL(0, call("never", 0, 0));
  EQUAL(2, alarms);
  CHECK(alarm_in > 0 && alarm_in <= 400);
  EQUAL(0, call("early", 0, 1));
  CHECK(lua_tointeger(state, -1) > 0 && lua_tointeger(state, -1) <= 400);
  EQUAL(0, told.errors);
  EQUAL(UV_EINVAL, call("late", 0, 0));
  CHECK(strstr(told.error, "the time budget of 400 ms is over"));
  EQUAL(LUA_TNIL, lua_getglobal(state, "x"));
  EQUAL(0, call("never", 0, 0)); /* the next has a budget of its own */
  EQUAL(0, rover_host_interrupt(host));
  finish(host);
}

static timer_t timer;
static volatile sig_atomic_t signals;

static void set_timer(uint64_t ms) {
  struct itimerspec when = {
      .it_value = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000}};
  timer_settime(timer, 0, &when, NULL);
}

static void on_signal(int signum) {
  int saved = errno;
  (void)signum;
  signals++;
  uint64_t again = rover_host_interrupt(host);
  if (again > 0) set_timer(again);
  errno = saved;
}

static void on_alarm(rover_host_t *of, uint64_t ms) {
  host = of;
  alarms++;
  set_timer(ms);
}

static void posix_timer(void) {
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  struct sigaction before;
  struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID,
                           .sigev_signo = SIGRTMIN};
  rover_host_options_t own = options();
  own.budget = 100;
  own.load_budget = 300;
  own.alarm = on_alarm;
  event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
  CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
  CHECK(sigaction(SIGRTMIN, &action, &before) == 0);
  host = hosting(&told, &own);
  EQUAL(UV_EINVAL, load(host, "while true do end"));
  CHECK(strstr(told.error, "the loading budget of 300 ms is over"));
  EQUAL(0, load(host, ENDLESS "function g() local co = coroutine.wrap(f)\n"
                              "while true do pcall(co) end end\n"
                              "function h() return 1 end"));
  state = rover_host_state(host);
  EQUAL(UV_EINVAL, call("f", 0, 0));
  EQUAL(UV_EINVAL, call("g", 0, 0));
  CHECK(strstr(told.error, "the time budget of 100 ms is over"));
  EQUAL(3, told.errors);
  CHECK(signals >= 3);
  EQUAL(0, call("h", 0, 0));
  finish(host);
  timer_delete(timer);
  sigaction(SIGRTMIN, &before, NULL);
}

/* -- The error callback --------------------------------------------------- */

#define CONNECT                                                                \
  "r = rover.new { servers = { s = { host = '127.0.0.1', port = port } } }"    \
  " r:connect() "

/* Scripts that raise an error once they are loaded. */
static void error_sources(void) {
  static const char *const scripts[] = {
      CONNECT "r:on('connection', function() error 'here' end)",
      CONNECT "r:on('connection', function(_, s) s:on('data',"
              "function() error 'here' end) s:write 'x' end)",
      CONNECT "r:on('connection', function(_, s) s:on('close',"
              "function() error 'here' end) s:close() end)",
      CONNECT "r:on('connection', function(_, s) s:write('x',"
              "function() error 'here' end) end)",
      "r = rover.new() r:on('error', function() error 'here' end):connect()",
      "r = rover.new() r:on('error', print) r:off('error', print):connect()",
      "require('luv').new_timer():start(1, 0, function() error 'here' end)",
      "require('luv').getaddrinfo('127.0.0.1', nil, nil,"
      "function() error 'here' end)",
      "r = rover.new() r:on('error', function() setmetatable({},"
      "{ __gc = function() error 'here' end }) collectgarbage() end):connect()",
  };
  for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
    char expected[4096];
    snprintf(doing, sizeof doing, "script %zu", i);
    forget();
    start(NULL, scripts[i]);
    EQUAL(0, told.errors);
    UNTIL(told.errors);
    CHECK(strstr(told.error,
                 i == 5 ? "unhandled 'error' event of rover 'main': No servers"
                        : "policy.lua:1: here"));
    CHECK(!strncmp(told.traceback, "stack traceback:\n", 17));
    /* The same was logged before. */
    CHECK(strstr(told.lines, "log error policy error "));
    snprintf(expected, sizeof expected, " error=%s\nerror %s\n", told.error,
             told.error);
    CHECK(strstr(told.lines, expected));
    EQUAL(1, stats_of(host).script_errors);
    finish(host);
    EQUAL(1, told.errors);
  }
}

static void error_unload(void) {
  start(NULL, "host.on('unload', function() error 'one' end)\n"
              "host.on('unload', function() error 'two' end)");
  finish(host);
  EQUAL(2, told.errors);
  EQUAL(2, count(&told, "log error policy error error="));
  start(NULL, "host.on('unload', function() error 'one' end)");
  forget();
  EQUAL(0, reload(host, "x = 1"));
  EQUAL(1, told.errors);
  EQUAL(1, stats_of(host).script_errors);
  finish(host);
}

const struct check checks[] = {
    {"rover_host_call()", "gives results as lua_pcall() does", results},
    {"rover_host_call()", "reports errors, and pushes nothing", errors},
    {"rover_host_call()", "returns UV_EINVAL for another host's state, a "
                          "suspended thread, and counts that cannot be",
     misuse},
    {"rover_host_call()", "returns UV_ECANCELED once the policy has ended, and "
                          "calls nothing", ended},
    {"rover_host_call()", "returns it, too, while luv keeps the state of one "
                          "that was replaced", ended_waiting},
    {"rover_host_call()", "may be called by what the policy calls", nested},
    {"rover_host_call()", "shares the budget of the call that it is in",
     nested_budget},
    {"rover_host_call()", "may be called by the open hook", from_open},
    {"rover_host_call()", "may be called by the program's own callbacks",
     from_loop},
    {"the budget", "is kept without alarms", budget},
    {"the budget", "is kept by rover_host_interrupt(), which is wanted once in "
                   "its time", interrupt},
    {"the budget", "is kept by a timer of the kernel's and a signal",
     posix_timer},
    {"the limits", "are 256 MiB, 1 s, and 5 s for loading, by default",
     defaults},
    {"the memory limit", "ends a call with UV_ENOMEM, without traceback",
     memory},
    {"the sandbox", "is an option", sandbox},
    {"the error callback", "tells of errors in handlers and timers, after the "
                           "log", error_sources},
    {"the error callback", "tells of errors in unload handlers", error_unload},
    {NULL, NULL, NULL}};
