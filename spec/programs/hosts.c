/* Several hosts in a process: on one loop, and on a loop in each of several
 * threads. None sees another. */
#include "hosts.h"

#include <setjmp.h>
#include <sys/syscall.h>
#include <time.h>

enum { HOSTS = 4, RELOADS = 3, KEPT = 3 };

/* A host and all that is its own. */
struct own {
  int number;
  rover_host_t *host;
  struct told told;
  char folder[4096];
  timer_t timer;
};

static struct own owns[HOSTS];

/* What each of them runs. It changes what a state that is shared would share,
 * keeps sockets that echo, has names looked up (127.1 is an address to
 * getaddrinfo() alone), has timers and requests of luv's, and now and then an
 * error. Each of its log lines tells whose it is. */
static const char script[] =
    "local uv = require 'luv'\n"
    "local me = tonumber(host.args[2])\n"
    "local function log(what) host.log.info(what, { of = me }) end\n"
    "assert(number == nil and string.number == nil and host.number == nil)\n"
    "number, string.number = me, me\n"
    "assert(require 'shared'.loads == 1)\n"
    "getmetatable('').__index = string\n"
    "host.carry = { me, (host.carry or { me, 0 })[2] + 1 }\n"
    "assert(host.carry[1] == me and host.carry[2] == host.generation)\n"
    "r = rover.new { rovingInterval = 2, servers = {\n"
    "  s = { host = '127.0.0.1', port = port } } }\n"
    "local kept = 0\n"
    "r:on('connection', function(slot, socket)\n"
    "  kept = kept + 1\n"
    "  if kept > 3 then return socket:close() end\n"
    "  assert(socket.adopted == (socket.state.of == me))\n"
    "  socket.state.of = me\n"
    "  local heard = ''\n"
    "  local sent = ('%d/%d/%d.'):format(me, host.generation, slot)\n"
    "  socket:on('data', function(chunk)\n"
    "    heard = heard .. chunk\n"
    "    if #heard < #sent then return end\n"
    "    assert(heard == sent)\n"
    "    log('echoed')\n"
    "  end)\n"
    "  socket:write(sent)\n"
    "end)\n"
    "r:start()\n"
    "named = rover.new { name = 'named', rovingInterval = 3, servers = {\n"
    "  s = { host = '127.1', port = port } } }\n"
    "named:on('connection', function(slot, socket)\n"
    "  socket:close()\n"
    "  log('resolved')\n"
    "end)\n"
    "named:start()\n"
    "local ticks = uv.new_timer()\n"
    "ticks:start(1, 1, function()\n"
    "  assert(number == me and string.number == me)\n"
    "  for i = 1, 100 do local _ = { i, tostring(i) } end\n"
    "  uv.fs_stat('.', function(err) assert(not err and number == me) end)\n"
    "  ticked = (ticked or 0) + 1\n"
    "  if ticked % 4 == 0 then log('ticked') end\n"
    "end)\n"
    "uv.new_timer():start(3, 0, function() error('of=' .. me) end)\n"
    "host.on('unload', function() log('unloaded') end)\n"
    "function whose() return number end\n"
    "function endless() while true do pcall(endless) end end\n";

static const char shared[] =
    "loads = (loads or 0) + 1 return { loads = loads }";

/* Numbers them, from 1, and gives each a folder. */
static void prepare(void) {
  for (int i = 0; i < HOSTS; i++) {
    owns[i].number = i + 1;
    snprintf(owns[i].folder, sizeof owns[i].folder, "%s/%d", folder, i);
    CHECK(mkdir(owns[i].folder, 0700) == 0);
  }
}

#ifdef __SANITIZE_THREAD__
/* How Lua raises errors where it is built with _FORTIFY_SOURCE. The sanitizer
 * does not know it, and would take the functions left behind for running. */
ROVER_EXTERN void __longjmp_chk(jmp_buf to, int value);
void __longjmp_chk(jmp_buf to, int value) { longjmp(to, value); }
#endif

/* -- One host ------------------------------------------------------------- */

/* A budget of 0 is none to speak of. */
static void open_own(struct own *own, unsigned budget,
                     rover_host_alarm_cb alarm) {
  rover_host_options_t options = telling(&own->told);
  char port[16], number[16], *argv[] = {port, number};
  options.alarm = alarm;
  options.budget = budget ? budget : 60000;
  options.load_budget = 60000;
  EQUAL(0, rover_host_new(&own->host, loop, &options));
  snprintf(port, sizeof port, "%d", server_port);
  snprintf(number, sizeof number, "%d", own->number);
  file("shared.lua", shared);
  EQUAL(0, rover_host_load(own->host, policy(script), 2, argv));
}

static int whose(struct own *own) {
  lua_State *L = rover_host_state(own->host);
  int top = lua_gettop(L);
  lua_getglobal(L, "whose");
  EQUAL(0, rover_host_call(own->host, L, 0, 1));
  int number = (int)lua_tointeger(L, -1);
  lua_settop(L, top);
  return number;
}

static int overrun(struct own *own) {
  lua_State *L = rover_host_state(own->host);
  lua_getglobal(L, "endless");
  return rover_host_call(own->host, L, 0, 0);
}

/* All lines that a policy wrote are of this host, and all its errors. */
static void only_own(struct own *own) {
  for (const char *at = own->told.lines; (at = strstr(at, "of=")); at++)
    EQUAL(own->number, atoi(at + 3));
}

static void forget(struct own *own) {
  only_own(own);
  memset(&own->told, 0, sizeof own->told);
}

static void wait_until_at_work(struct own *own) {
  UNTIL(count(&own->told, "log info echoed") >= KEPT &&
        count(&own->told, "log info ticked") >= 3 &&
        count(&own->told, "log info resolved") >= 3 && own->told.errors);
}

/* -- On one loop ---------------------------------------------------------- */

static struct own *callee; /* of l_call_other() */

static int l_call_other(lua_State *L) {
  lua_pushinteger(L, overrun(callee));
  lua_pushinteger(L, whose(callee));
  return 2;
}

static void open_two(unsigned budget) {
  for (int i = 0; i < 2; i++) {
    folder = owns[i].folder;
    open_own(&owns[i], budget, NULL);
  }
}

static void close_own(struct own *own) {
  EQUAL(0, rover_host_close(own->host, on_host_closed));
  UNTIL(own->told.closes);
  EQUAL(1, count(&own->told, "log info unloaded"));
  only_own(own);
}

static void one_loop(void) {
  struct own *one = &owns[0], *other = &owns[1];
  prepare();
  open_two(0);
  wait_until_at_work(one);
  wait_until_at_work(other);
  EQUAL(1, whose(one));
  EQUAL(2, whose(other));
  for (int i = 1; i <= RELOADS; i++) {
    EQUAL(0, rover_host_reload(one->host, "test"));
    UNTIL(one->told.reloads == i);
    EQUAL(0, one->told.reload.status);
    EQUAL(i + 1, one->told.reload.generation);
    EQUAL(1, whose(one));
  }
  EQUAL(0, other->told.reloads);
  EQUAL(1, other->told.opens);
  EQUAL(1, stats_of(other->host).generation);
  EQUAL(2, whose(other));
  forget(other);
  UNTIL(count(&other->told, "log info ticked") >= 3);
  forget(one);
  close_own(one);
  forget(other);
  UNTIL(count(&other->told, "log info ticked") >= 3);
  EQUAL(0, other->told.errors);
  close_own(other);
}

static void overruns(void) {
  struct own *one = &owns[0], *other = &owns[1];
  called = l_call_other;
  callee = other;
  prepare();
  open_two(100);
  EQUAL(UV_EINVAL, overrun(one));
  CHECK(strstr(one->told.error, "the time budget of 100 ms is over"));
  EQUAL(0, other->told.errors);
  EQUAL(2, whose(other));
  /* One policy calls another's, which has a budget of its own. */
  forget(one);
  lua_State *L = rover_host_state(one->host);
  EQUAL(0, luaL_dostring(L, "function nest() local status, n = call()\n"
                            "for i = 1, 100000 do local _ = i end end"));
  lua_getglobal(L, "nest");
  int err = rover_host_call(one->host, L, 0, 0);
  EQUAL(1, other->told.errors);
  CHECK(strstr(other->told.error, "the time budget of 100 ms is over"));
  EQUAL(UV_EINVAL, err); /* it took all the time that the first has, too */
  EQUAL(1, one->told.errors);
  EQUAL(1, whose(one));
  EQUAL(2, whose(other));
  close_own(other);
  close_own(one);
}

/* -- In threads ----------------------------------------------------------- */

static _Thread_local struct own *mine;
static void (*work)(void);

static void in_thread(void *arg) {
  mine = arg;
  folder = mine->folder;
  with_loop(work);
}

static void in_threads(void (*function)(void)) {
  uv_thread_t threads[HOSTS];
  work = function;
  prepare();
  for (int i = 0; i < HOSTS; i++)
    CHECK(uv_thread_create(&threads[i], in_thread, &owns[i]) == 0);
  for (int i = 0; i < HOSTS; i++) CHECK(uv_thread_join(&threads[i]) == 0);
}

/* Reloads under traffic; the first has no time for endless calls. */
static void reload_all(void) {
  open_own(mine, mine->number == 1 ? 150 : 0, NULL);
  wait_until_at_work(mine);
  for (int i = 1; i <= RELOADS; i++) {
    EQUAL(mine->number, whose(mine));
    if (mine->number == 1) EQUAL(UV_EINVAL, overrun(mine));
    EQUAL(0, rover_host_reload(mine->host, "test"));
    UNTIL(mine->told.reloads == i);
    EQUAL(0, mine->told.reload.status);
    EQUAL(i + 1, mine->told.reload.generation);
    CHECK(mine->told.reload.adopted >= KEPT);
    UNTIL(count(&mine->told, "log info echoed") >= KEPT * (i + 1));
  }
  EQUAL(RELOADS + 1, stats_of(mine->host).generation);
  EQUAL(RELOADS + 1, mine->told.opens);
  EQUAL(0, rover_host_close(mine->host, on_host_closed));
  UNTIL(mine->told.closes);
  EQUAL(RELOADS + 1, count(&mine->told, "log info unloaded"));
  only_own(mine);
}

static void threads(void) { in_threads(reload_all); }

/* Each with a timer of the kernel's, that signals its thread alone. Not under
 * the thread sanitizer, which delivers no signal while Lua loops. */
#ifndef __SANITIZE_THREAD__

static void set_timer(struct own *own, uint64_t ms) {
  struct itimerspec when = {
      .it_value = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000}};
  timer_settime(own->timer, 0, &when, NULL);
}

static void on_signal(int signum, siginfo_t *info, void *context) {
  int saved = errno;
  (void)signum;
  (void)context;
  struct own *own = info->si_value.sival_ptr;
  uint64_t again = rover_host_interrupt(own->host);
  if (again > 0) set_timer(own, again);
  errno = saved;
}

static void on_alarm(rover_host_t *host, uint64_t ms) {
  mine->host = host;
  set_timer(mine, ms);
}

static void overrun_all(void) {
  struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID,
                           .sigev_signo = SIGRTMIN,
                           .sigev_value.sival_ptr = mine};
  event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
  CHECK(timer_create(CLOCK_MONOTONIC, &event, &mine->timer) == 0);
  open_own(mine, 150, on_alarm);
  for (int i = 0; i < 2; i++) {
    EQUAL(mine->number, whose(mine));
    int errors = mine->told.errors;
    EQUAL(UV_EINVAL, overrun(mine));
    EQUAL(errors + 1, mine->told.errors);
  }
  EQUAL(0, rover_host_close(mine->host, on_host_closed));
  UNTIL(mine->told.closes);
  only_own(mine);
  timer_delete(mine->timer);
}

static void alarms(void) {
  struct sigaction action = {.sa_sigaction = on_signal,
                             .sa_flags = SA_SIGINFO | SA_RESTART};
  struct sigaction before;
  CHECK(sigaction(SIGRTMIN, &action, &before) == 0);
  in_threads(overrun_all);
  sigaction(SIGRTMIN, &before, NULL);
}
#endif

const struct check checks[] = {
    {"hosts on one loop", "share no globals, rovers, logs and reloads",
     one_loop},
    {"hosts on one loop", "have budgets of their own, called by each other, "
                          "too", overruns},
    {"hosts in four threads", "share nothing, under traffic, reloads and "
                              "overruns", threads},
#ifndef __SANITIZE_THREAD__
    {"hosts in four threads", "have alarms of their own", alarms},
#endif
    {NULL, NULL, NULL}};
