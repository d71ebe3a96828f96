/* Closing hosts, and whatever else may be called, from inside every callback of
 * <callosum/host.h> and every C function that a policy's code calls. Each point
 * at which one is called is combined with each action, done twice; then
 * everything is closed. */
#include "hosts.h"

/* Which callback of the host. */
enum kind { OPEN, LOG, ERROR, RELOAD, STOP, ALARM, SHOWN, CALLED, CLOSED };

/* What leads to it, once the first policy is loaded, if there is one. */
enum trigger {
  WAIT, /* it does */
  DO_LOAD,
  DO_RELOAD,
  DO_CHECK,
  DO_EACH,
  DO_CALL, /* its function f */
  DO_CLOSE,
  DO_RELOAD_AND_CLOSE
};

/* What the host is about then, which tells what its functions return. ENDED:
 * its newest state has. */
enum { RUNNING = 1, LOADING = 2, LOADED = 4, CLOSING = 8, ENDED = 16 };

struct point {
  enum kind kind;
  const char *message; /* of LOG: the beginning */
  const char *first;   /* the policy that is loaded before, or NULL */
  enum trigger trigger;
  const char *script; /* to be loaded, reloaded or checked, or NULL */
  int about;
};

#define PLAIN "rover.new() function f() end"
#define AT "{ s = { host = '127.0.0.1', port = port } } "
#define CONNECT                                                                \
  "r = rover.new { servers = " AT "} if host.generation == 1 then r:connect()" \
  " end "
/* A policy that keeps a socket, and says so. */
#define KEEP(code)                                                             \
  CONNECT "r:on('connection', function(slot, socket) " code                    \
          " host.log.info 'ready' end) "
#define ON_UNLOAD(code) "rover.new() host.on('unload', function() " code " end)"
#define ON_GC(code)                                                            \
  "rover.new() g = setmetatable({}, { __gc = function() " code " end })"
#define HERE "host.log.info 'here' "

#define POINTS(P)                                                              \
  P("the open hook of a load", OPEN, NULL, NULL, DO_LOAD, PLAIN,               \
    RUNNING | LOADING)                                                         \
  P("the open hook of a reload", OPEN, NULL, PLAIN, DO_RELOAD, PLAIN,          \
    RUNNING | LOADING | LOADED)                                                \
  P("the open hook of a check", OPEN, NULL, PLAIN, DO_CHECK, PLAIN,            \
    RUNNING | LOADING | LOADED)                                                \
  P("the log callback of a load", LOG, "policy loaded", NULL, DO_LOAD, PLAIN,  \
    LOADED)                                                                    \
  P("the log callback of a failed load", LOG, "cannot load", NULL, DO_LOAD,    \
    "error 'x'", LOADING)                                                      \
  P("the log callback of a script's body", LOG, "here", NULL, DO_LOAD,         \
    HERE PLAIN, RUNNING | LOADING)                                             \
  P("the log callback of a body that is reloaded", LOG, "here", PLAIN,         \
    DO_RELOAD, HERE PLAIN, RUNNING | LOADING | LOADED)                         \
  P("the log callback of a body that is checked", LOG, "here", NULL, DO_CHECK, \
    HERE PLAIN, RUNNING | LOADING)                                             \
  P("the log callback of a reload", LOG, "policy reloaded", PLAIN, DO_RELOAD,  \
    PLAIN, LOADED)                                                             \
  P("the log callback of a failed reload", LOG, "reload failed", PLAIN,        \
    DO_RELOAD, "error 'x'", LOADING | LOADED)                                  \
  P("the log callback of a failed handover", LOG, "reload failed",             \
    KEEP("rawset(socket.state, 'f', print)"), DO_RELOAD, CONNECT,              \
    LOADING | LOADED)                                                          \
  P("the log callback of an unload handler", LOG, "here", ON_UNLOAD(HERE),     \
    DO_RELOAD, PLAIN, RUNNING | LOADED)                                        \
  P("the log callback of the last unload handler", LOG, "here",                \
    ON_UNLOAD(HERE), DO_CLOSE, NULL, CLOSING)                                  \
  P("the log callback of a finalizer", LOG, "here", ON_GC(HERE), DO_RELOAD,    \
    PLAIN, RUNNING | LOADED)                                                   \
  P("the log callback of the last finalizer", LOG, "here", ON_GC(HERE),        \
    DO_CLOSE, NULL, CLOSING)                                                   \
  P("the error callback of a load", ERROR, NULL, NULL, DO_LOAD, "error 'x'",   \
    LOADING)                                                                   \
  P("the error callback of a reload", ERROR, NULL, PLAIN, DO_RELOAD,           \
    "error 'x'", LOADING | LOADED)                                             \
  P("the error callback of a check", ERROR, NULL, PLAIN, DO_CHECK,             \
    "error 'x'", LOADING | LOADED)                                             \
  P("the error callback of a failed handover", ERROR, NULL,                    \
    KEEP("rawset(socket.state, 'f', print)"), DO_RELOAD, CONNECT,              \
    LOADING | LOADED)                                                          \
  P("the error callback of a handler", ERROR, NULL,                            \
    CONNECT "r:on('connection', function() error 'x' end)", WAIT, NULL,        \
    LOADED)                                                                    \
  P("the error callback of a call", ERROR, NULL,                               \
    "rover.new() function f() error 'x' end", DO_CALL, NULL, LOADED)           \
  P("the error callback of a timer", ERROR, NULL,                              \
    "rover.new() require('luv').new_timer():start(0, 0, error)", WAIT, NULL,   \
    LOADED)                                                                    \
  P("the error callback of an unload handler", ERROR, NULL,                    \
    ON_UNLOAD("error 'x'"), DO_RELOAD, PLAIN, RUNNING | LOADED)                \
  P("the error callback of the last unload handler", ERROR, NULL,              \
    ON_UNLOAD("error 'x'"), DO_CLOSE, NULL, CLOSING)                           \
  P("the error callback of a finalizer", ERROR, NULL, ON_GC("error 'x'"),      \
    DO_RELOAD, PLAIN, RUNNING | LOADED)                                        \
  P("the error callback of a finalizer of what is checked", ERROR, NULL, NULL, \
    DO_CHECK, ON_GC("error 'x'"), RUNNING | ENDED)                             \
  P("the reload callback", RELOAD, NULL, PLAIN, DO_RELOAD, PLAIN, LOADED)      \
  P("the reload callback of a failed one", RELOAD, NULL, PLAIN, DO_RELOAD,     \
    "error 'x'", LOADED)                                                       \
  P("the reload callback of a cancelled one", RELOAD, NULL, PLAIN,             \
    DO_RELOAD_AND_CLOSE, NULL, CLOSING)                                        \
  P("the stop callback", STOP, NULL, "rover.new() host.stop()", WAIT, NULL,    \
    LOADED)                                                                    \
  P("the alarm callback of a load", ALARM, NULL, NULL, DO_LOAD, PLAIN,         \
    RUNNING | LOADING)                                                         \
  P("the alarm callback of a reload", ALARM, NULL, PLAIN, DO_RELOAD, PLAIN,    \
    RUNNING | LOADING | LOADED)                                                \
  P("the alarm callback of a call", ALARM, NULL, PLAIN, DO_CALL, NULL,         \
    RUNNING | LOADED)                                                          \
  P("the callback of rover_host_each()", SHOWN, NULL, PLAIN, DO_EACH,    \
    NULL, LOADED)                                                              \
  P("the callback of rover_host_check()", SHOWN, NULL, NULL, DO_CHECK, PLAIN,  \
    0)                                                                         \
  P("the callback of rover_host_check() beside a policy", SHOWN, NULL, PLAIN,  \
    DO_CHECK, PLAIN, LOADED)                                                   \
  P("what a script's body calls", CALLED, NULL, NULL, DO_LOAD, "call()" PLAIN, \
    RUNNING | LOADING)                                                         \
  P("what a body that is reloaded calls", CALLED, NULL, PLAIN, DO_RELOAD,      \
    "call()" PLAIN, RUNNING | LOADING | LOADED)                                \
  P("what a body that is checked calls", CALLED, NULL, NULL, DO_CHECK,         \
    "call()" PLAIN, RUNNING | LOADING)                                         \
  P("what a connection handler calls", CALLED, NULL, KEEP("call()"), WAIT,     \
    NULL, RUNNING | LOADED)                                                    \
  P("what an error handler calls", CALLED, NULL,                               \
    "rover.new():on('error', function() call() end):connect()", WAIT, NULL,    \
    RUNNING | LOADED)                                                          \
  P("what a data handler calls", CALLED, NULL,                                 \
    KEEP("socket:on('data', function() call() end) socket:write 'x'"), WAIT,   \
    NULL, RUNNING | LOADED)                                                    \
  P("what the callback of a write calls", CALLED, NULL,                        \
    KEEP("socket:write('x', function() call() end)"), WAIT, NULL,              \
    RUNNING | LOADED)                                                          \
  P("what a socket's close handler calls", CALLED, NULL,                       \
    KEEP("socket:on('close', function() call() end):close()"), WAIT, NULL,     \
    RUNNING | LOADED)                                                          \
  P("what a handler of an adopted socket calls", CALLED, NULL, KEEP(""),       \
    DO_RELOAD, KEEP("call()"), RUNNING | LOADED)                               \
  P("what a timer calls", CALLED, NULL,                                        \
    "rover.new() require('luv').new_timer():start(0, 0, function() call()"     \
    " end)", WAIT, NULL, RUNNING | LOADED)                                     \
  P("what a coroutine calls", CALLED, NULL,                                    \
    "rover.new() f = coroutine.wrap(function() call() end)", DO_CALL, NULL,    \
    RUNNING | LOADED)                                                          \
  P("what an unload handler calls", CALLED, NULL, ON_UNLOAD("call()"),         \
    DO_RELOAD, PLAIN, RUNNING | LOADED)                                        \
  P("what the last unload handler calls", CALLED, NULL, ON_UNLOAD("call()"),   \
    DO_CLOSE, NULL, CLOSING)                                                   \
  P("what a finalizer calls", CALLED, NULL, ON_GC("call()"), DO_RELOAD, PLAIN, \
    RUNNING | LOADED)                                                          \
  P("what the last finalizer calls", CALLED, NULL, ON_GC("call()"), DO_CLOSE,  \
    NULL, CLOSING)                                                             \
  P("what a finalizer of a script that fails calls", CALLED, NULL, NULL,       \
    DO_LOAD, ON_GC("call()") " error 'x'", RUNNING | ENDED)                    \
  P("what a finalizer of a script that is checked calls", CALLED, NULL, NULL,  \
    DO_CHECK, ON_GC("call()"), RUNNING | ENDED)                                \
  P("what rover_host_call() calls", CALLED, NULL, "rover.new() f = call",      \
    DO_CALL, NULL, RUNNING | LOADED)                                           \
  P("the close callback", CLOSED, NULL, PLAIN, DO_CLOSE, NULL, CLOSING)        \
  P("the close callback of a host without policy", CLOSED, NULL, NULL,         \
    DO_CLOSE, NULL, CLOSING)

#define AS_POINT(what, ...) {__VA_ARGS__},
static const struct point points[] = {POINTS(AS_POINT)};

enum action {
  NOTHING,
  CLOSE,
  LOAD,
  CHECK_OTHER_FILE,
  ASK_RELOAD,
  EACH,
  CALL,
  EVERYTHING,
  EVERYTHING_THEN_CLOSE,
  CLOSE_THEN_EVERYTHING,
  CLOSE_OTHER,
  EVERYTHING_OF_OTHER,
  CLOSE_BOTH,
  ACTIONS
};
static const char *const action_names[ACTIONS] = {
    "nothing", "close", "load", "check", "reload", "each rover", "call",
    "everything", "everything, close", "close, everything", "close other",
    "everything of other", "close both"};

/* A host, and what is known of it. */
struct known {
  rover_host_t *host;
  struct told told;
  int about;
  int accepted; /* reloads asked for by actions */
  lua_State *states[8]; /* that are open; the newest is the last */
  int count;
};

static struct known one, other;
static const struct point *point;
static enum action action;
static int armed, hits;
static char other_file[4096];

/* -- Actions -------------------------------------------------------------- */

static void on_known_closed(rover_host_t *host);

static void do_close(struct known *k) {
  if (k->told.closes) return;
  EQUAL(k->about & CLOSING ? UV_EALREADY : 0,
        rover_host_close(k->host, on_known_closed));
  k->about |= CLOSING;
}

static void do_load(struct known *k) {
  int expected = k->about & CLOSING              ? UV_EINVAL
                 : k->about & (LOADED | LOADING) ? UV_EALREADY
                 : k->about & RUNNING            ? UV_EBUSY
                                                 : 0;
  EQUAL(expected, rover_host_load(k->host, other_file, 0, NULL));
  if (expected == 0) k->about |= LOADED;
}

static void on_rover(rover_host_t *host, const rover_host_rover_t *rover,
                     void *arg);

static const rover_host_visitor_t visitor = {.rover = on_rover};

static void do_check(struct known *k) {
  EQUAL(k->about & CLOSING               ? UV_EINVAL
        : k->about & (RUNNING | LOADING) ? UV_EBUSY
                                         : 0,
        rover_host_check(k->host, other_file, 0, NULL, &visitor, NULL));
}

static void do_reload(struct known *k) {
  int expected = k->about & CLOSING || !(k->about & LOADED) ? UV_EINVAL : 0;
  EQUAL(expected, rover_host_reload(k->host, "action"));
  if (expected == 0) k->accepted++;
}

static int l_nothing(lua_State *L) {
  lua_pushboolean(L, 1);
  return 1;
}

/* Calls into the newest state, whatever that is about. */
static void do_call(struct known *k) {
  if (k->count == 0) return;
  lua_State *L = k->states[k->count - 1];
  int top = lua_gettop(L);
  CHECK(lua_checkstack(L, 2));
  lua_pushcfunction(L, l_nothing);
  int status = rover_host_call(k->host, L, 0, 1);
  if (k->about & CLOSING) CHECK(status == 0 || status == UV_ECANCELED);
  else EQUAL(k->about & ENDED ? UV_ECANCELED : 0, status);
  EQUAL(top + (status == 0), lua_gettop(L));
  lua_settop(L, top);
}

static void do_everything(struct known *k) {
  do_load(k);
  do_check(k);
  do_reload(k);
  do_call(k);
  if (!(k->about & CLOSING))
    EQUAL(!!(k->about & LOADED), rover_host_state(k->host) != NULL);
  rover_host_each(k->host, &visitor, NULL);
  CHECK(rover_host_data(k->host) == k);
}

static void act(void) {
  switch (action) {
    case NOTHING: break;
    case CLOSE: do_close(&one); break;
    case LOAD: do_load(&one); break;
    case CHECK_OTHER_FILE: do_check(&one); break;
    case ASK_RELOAD: do_reload(&one); break;
    case EACH: rover_host_each(one.host, &visitor, NULL); break;
    case CALL: do_call(&one); break;
    case EVERYTHING: do_everything(&one); break;
    case EVERYTHING_THEN_CLOSE:
      do_everything(&one);
      do_close(&one);
      break;
    case CLOSE_THEN_EVERYTHING:
      do_close(&one);
      do_everything(&one);
      break;
    case CLOSE_OTHER: do_close(&other); break;
    case EVERYTHING_OF_OTHER: do_everything(&other); break;
    case CLOSE_BOTH:
      do_close(&other);
      do_close(&one);
      break;
    case ACTIONS: break;
  }
}

static void at(struct known *k, enum kind kind) {
  if (k != &one || !armed || kind != point->kind || hits > 0) return;
  hits++;
  one.about = point->about;
  act();
  act();
}

/* -- Callbacks ------------------------------------------------------------ */

/* When the state closes, after the finalizers of scripts. */
static int l_forget(lua_State *L) {
  struct known *k = *(struct known **)lua_touserdata(L, 1);
  int i = 0;
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  while (k->states[i] != lua_tothread(L, -1)) CHECK(++i < k->count);
  for (k->count--; i < k->count; i++) k->states[i] = k->states[i + 1];
  return 0;
}

static int l_at(lua_State *L) {
  at(lua_touserdata(L, lua_upvalueindex(1)), CALLED);
  return 0;
}

static void on_known_open(rover_host_t *host, lua_State *L) {
  struct known *k = rover_host_data(host);
  CHECK(k->count < 8);
  k->states[k->count++] = L;
  *(struct known **)lua_newuserdatauv(L, sizeof k, 0) = k;
  lua_newtable(L);
  lua_pushcfunction(L, l_forget);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  luaL_ref(L, LUA_REGISTRYINDEX);
  lua_pushlightuserdata(L, k);
  lua_pushcclosure(L, l_at, 1);
  lua_setglobal(L, "call");
  k->told.opens++;
  at(k, OPEN);
}

static void on_known_log(rover_host_t *host, const rover_host_log_t *log) {
  struct known *k = rover_host_data(host);
  note(&k->told, "%s", log->message.bytes);
  if (point->kind == LOG && !strncmp(log->message.bytes, point->message,
                                     strlen(point->message)))
    at(k, LOG);
}

static void on_known_error(rover_host_t *host, const char *error,
                           const char *traceback) {
  CHECK(error && *error && (!traceback || *traceback));
  at(rover_host_data(host), ERROR);
}

static void on_known_reload(rover_host_t *host,
                            const rover_host_reload_t *reload) {
  struct known *k = rover_host_data(host);
  CHECK(reload->trigger && (reload->status == 0) == !reload->error);
  k->told.reloads++;
  at(k, RELOAD);
}

static void on_known_stop(rover_host_t *host, int status) {
  EQUAL(0, status);
  at(rover_host_data(host), STOP);
}

static void on_known_alarm(rover_host_t *host, uint64_t ms) {
  CHECK(ms > 0);
  at(rover_host_data(host), ALARM);
}

static void on_rover(rover_host_t *host, const rover_host_rover_t *rover,
                     void *arg) {
  SAME("main", rover->name);
  (void)arg;
  at(rover_host_data(host), SHOWN);
}

static void on_known_closed(rover_host_t *host) {
  struct known *k = rover_host_data(host);
  EQUAL(0, k->count); /* all states are */
  at(k, CLOSED);
  k->told.closes++;
}

/* -- Getting there -------------------------------------------------------- */

static void open_known(struct known *k) {
  rover_host_options_t options = {.open = on_known_open,
                                  .log = on_known_log,
                                  .error = on_known_error,
                                  .reload = on_known_reload,
                                  .stop = on_known_stop,
                                  .data = k};
  if (point->kind == ALARM) options.alarm = on_known_alarm;
  memset(k, 0, sizeof *k);
  EQUAL(0, rover_host_new(&k->host, loop, &options));
}

static void pull_trigger(void) {
  lua_State *L = one.count ? one.states[one.count - 1] : NULL;
  switch (point->trigger) {
    case WAIT: break;
    case DO_LOAD: load(one.host, point->script); break;
    case DO_CHECK:
      rover_host_check(one.host, policy(point->script), 0, NULL, &visitor,
                       NULL);
      break;
    case DO_EACH: rover_host_each(one.host, &visitor, NULL); break;
    case DO_CALL:
      lua_getglobal(L, "f");
      rover_host_call(one.host, L, 0, 0);
      break;
    case DO_CLOSE: do_close(&one); break;
    case DO_RELOAD_AND_CLOSE:
      EQUAL(0, rover_host_reload(one.host, "trigger"));
      do_close(&one);
      break;
    case DO_RELOAD:
      policy(point->script);
      EQUAL(0, rover_host_reload(one.host, "trigger"));
      break;
  }
}

static void run(void) {
  snprintf(doing, sizeof doing, "%s", action_names[action]);
  armed = hits = 0;
  open_known(&one);
  open_known(&other);
  EQUAL(0, load(other.host, PLAIN));
  other.about = LOADED;
  armed = point->trigger == WAIT;
  if (point->first) EQUAL(0, load(one.host, point->first));
  /* Only KEEP says that, when it has a socket. */
  if (point->first && strstr(point->first, "'ready'") && !armed)
    UNTIL(count(&one.told, "ready"));
  armed = 1;
  pull_trigger();
  UNTIL(hits);
  settle();
  if (!one.told.closes) one.about &= CLOSING;
  do_close(&one);
  do_close(&other);
  UNTIL(one.told.closes && other.told.closes);
  EQUAL(1, hits);
  if (one.accepted) CHECK(one.told.reloads > 0);
  EQUAL(other.accepted > 0, other.told.reloads);
}

static void matrix(void) {
  point = &points[chosen];
  COPY(other_file, file("other.lua", "require 'callosum.rover'.new()"));
  for (action = 0; action < ACTIONS; action++) run();
}

#define AS_CHECK(what, ...)                                                    \
  {what, "may close hosts, and call their functions, twice", matrix},
const struct check checks[] = {POINTS(AS_CHECK){NULL, NULL, NULL}};
