#include "luv.h"

#include <stdlib.h>
#include <string.h>

#include "../lua/error.h"
#include "../lua/luv.h"
#include "../net/reserve.h"
#include "call.h"
#include "exempt.h"
#include "finalizer.h"
#include "later.h"
#include "limits.h"

/* luv creates a loop in each Lua state and closes it, with all its handles,
 * when the state closes. The host embeds that loop in its own, as libuv's
 * manual describes under uv_backend_fd(): it polls the descriptor, keeps a
 * timer for the timeout, and runs the loop without waiting. All of luv is
 * called through Lua, so it may be linked to another libuv.
 *
 * luv runs from host__luv_start() on, which comes when the policy is committed,
 * until host__luv_stop(), when the next one has taken over, or host__luv_end(),
 * which closes its handles; if requests are pending then, it runs on until they
 * are done, and is in host->ending meanwhile. */

typedef void (*luv_set_callback_function)(lua_State *L, rover__lua_call call);
typedef uv_loop_t *(*luv_loop_function)(lua_State *L);
typedef void (*luv_set_loop_function)(lua_State *L, uv_loop_t *loop);

/* Functions of luv's, the argument of run(), luv's table, the argument of
 * walk() that closes a handle, and the deferred callbacks. */
enum { RUN, NOWAIT, BACKEND_FD, BACKEND_TIMEOUT, UPDATE_TIME, WALK, FILENO,
       MODULE, CLOSER, WAITING, REFS };
static const char *const functions[] = {
    [RUN] = "run",
    [BACKEND_FD] = "backend_fd",
    [BACKEND_TIMEOUT] = "backend_timeout",
    [UPDATE_TIME] = "update_time",
    [WALK] = "walk",
    [FILENO] = "fileno",
    [REFS] = NULL};

struct host__luv {
  struct host__policy *policy;
  rover_host_t *host;
  uv_prepare_t prepare; /* right before the host's loop polls */
  uv_timer_t timer;
  uv_idle_t again; /* while there is to be another turn */
  uv_poll_t poll;
  luv_set_callback_function set_callback;
  int refs[REFS];  /* in the registry, so that a call allocates nothing */
  uint64_t synced; /* the host's time when luv's was last set */
  uint64_t until;  /* this turn's deadline, in uv_hrtime()'s time */
  lua_Integer first, last; /* deferred callbacks; none if last < first */
  unsigned handles;
  void (*done)(struct host__policy *); /* once requests have ended; ... */
  struct host__luv *next;              /* ... it is in host->ending till then */
  bool dirty; /* luv has something due, or may have changed */
  bool running;
  bool over; /* no request is pending */
};

/* Calls one of luv's functions and returns its number or boolean. */
static lua_Integer ask(struct host__luv *luv, int function) {
  lua_State *L = luv->policy->L;
  lua_Integer answer = -1;

  if (!lua_checkstack(L, 4)) return answer;
  lua_rawgeti(L, LUA_REGISTRYINDEX, luv->refs[function]);
  if (lua_pcall(L, 0, 1, 0) == LUA_OK)
    answer = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : lua_toboolean(L, -1);
  lua_pop(L, 1);
  return answer;
}

/* -- Turns ---------------------------------------------------------------- */

/* libuv runs everything that is due in one go, which cannot be interrupted. So
 * that all callbacks of one turn of the host's loop share a budget, and none is
 * lost, those that come after it is spent are deferred to later turns, where
 * they run in order, before luv's loop does. */

/* Appends the function and its arguments to the deferred callbacks, as an array
 * with the number of arguments at 0. */
static int l_defer(lua_State *L) {
  struct host__luv *luv = host__policy_of(L)->luv;
  int count = lua_gettop(L);

  lua_createtable(L, count, 1);
  lua_insert(L, 1);
  for (int i = count; i > 0; i--) lua_rawseti(L, 1, i);
  lua_pushinteger(L, count - 1);
  lua_rawseti(L, 1, 0);
  lua_rawgeti(L, LUA_REGISTRYINDEX, luv->refs[WAITING]);
  lua_insert(L, 1);
  lua_rawseti(L, 1, luv->last + 1);
  luv->last++;
  return 0;
}

/* Returns false, and changes nothing, if there is no memory. */
static bool defer(lua_State *L, int nargs) {
  int base = lua_gettop(L) - nargs;

  if (!lua_checkstack(L, nargs + 4)) return false;
  lua_pushcfunction(L, l_defer);
  for (int i = 0; i <= nargs; i++) lua_pushvalue(L, base + i);
  bool done = lua_pcall(L, nargs + 1, 0, 0) == LUA_OK;
  lua_settop(L, done ? base - 1 : base + nargs);
  return done;
}

/* The deferred callbacks and what they refer to exceed the cap, so this one is
 * lost, as it would be if it were called. */
static int drop(lua_State *L, int nargs) {
  lua_pop(L, nargs);
  host__policy_of(L)->capped = true;
  host__state_out_of_memory(L);
  host__report(L, LUA_ERRMEM, NULL, NULL, NULL);
  lua_pop(L, 1);
  return -LUA_ERRMEM;
}

/* The callback of luv while the policy runs. */
static int call_in_turn(lua_State *L, int nargs, int nresults, int flags) {
  if (nresults == 0 && host__is_late(L)) {
    if (host__is_out_of_room(L)) return drop(L, nargs);
    if (defer(L, nargs)) return 0;
  }
  return host__call(L, nargs, nresults, flags);
}

static void call_first(struct host__luv *luv) {
  lua_State *L = luv->policy->L;
  int top = lua_gettop(L);

  lua_rawgeti(L, LUA_REGISTRYINDEX, luv->refs[WAITING]);
  lua_rawgeti(L, top + 1, luv->first);
  lua_rawgeti(L, top + 2, 0);
  int nargs = (int)lua_tointeger(L, -1);
  lua_pushnil(L);
  lua_rawseti(L, top + 1, luv->first++);
  if (lua_checkstack(L, nargs + 4)) {
    for (int i = 0; i <= nargs; i++) lua_rawgeti(L, top + 2, i + 1);
    host__call(L, nargs, 0, ROVER__LUA_NOEXIT);
  }
  lua_settop(L, top);
}

static bool has_deferred(const struct host__luv *luv) {
  return luv->first <= luv->last;
}

/* Begins a turn with the deferred callbacks. Returns whether there is time
 * left. */
static bool catch_up(struct host__luv *luv) {
  luv->until = uv_hrtime() + luv->host->options.budget * UINT64_C(1000000);
  while (has_deferred(luv) && uv_hrtime() < luv->until &&
         lua_checkstack(luv->policy->L, 4))
    call_first(luv);
  return !has_deferred(luv);
}

/* The policy ends: its callbacks are no longer called. */
static void forget_deferred(struct host__luv *luv) {
  luv->first = luv->last + 1;
}

/* Returns whether luv still waits for something. */
static bool run_luv(struct host__luv *luv) {
  lua_State *L = luv->policy->L;

  if (!lua_checkstack(L, 4)) return true;
  luv->running = true;
  luv->policy->turn = luv->until;
  lua_rawgeti(L, LUA_REGISTRYINDEX, luv->refs[RUN]);
  lua_rawgeti(L, LUA_REGISTRYINDEX, luv->refs[NOWAIT]);
  /* This is not a call into the policy: each callback is one, with a budget. */
  bool alive = lua_pcall(L, 1, 1, 0) != LUA_OK || lua_toboolean(L, -1);
  lua_pop(L, 1);
  luv->running = false;
  luv->policy->turn = 0;
  return alive;
}

static void on_again(uv_idle_t *again) { (void)again; }

/* luv's loop is to run in the next turn. A program that runs ours without
 * waiting sees by its timeout that there is one. */
static void make_dirty(struct host__luv *luv) {
  luv->dirty = true;
  if (uv_is_active((uv_handle_t *)&luv->prepare))
    uv_idle_start(&luv->again, on_again);
}

static void on_timer(uv_timer_t *timer) { make_dirty(timer->data); }

static void on_poll(uv_poll_t *poll, int status, int events) {
  (void)status;
  (void)events;
  make_dirty(poll->data);
}

static void watch(struct host__luv *luv) {
  if (!uv_is_active((uv_handle_t *)&luv->poll))
    uv_poll_start(&luv->poll, UV_READABLE, on_poll);
}

/* Asks the kernel only if need be, which libuv does each time. */
static void unwatch(struct host__luv *luv) {
  if (uv_is_active((uv_handle_t *)&luv->poll)) uv_poll_stop(&luv->poll);
}

static void on_prepare(uv_prepare_t *prepare) {
  struct host__luv *luv = prepare->data;
  if (!luv->dirty) return;
  uv_idle_stop(&luv->again);
  if (!catch_up(luv)) {
    uv_timer_start(&luv->timer, on_timer, 0, 0); /* another turn at once */
    return;
  }
  bool alive = run_luv(luv) || has_deferred(luv);
  luv->dirty = has_deferred(luv);
  if (luv->done && !alive) {
    struct host__luv **at = &luv->host->ending;
    while (*at != luv) at = &(*at)->next;
    *at = luv->next;
    luv->done(luv->policy);
    return;
  }
  uv_update_time(prepare->loop); /* the callbacks may have taken long */
  /* What luv waits for keeps the program's loop alive, as it would luv's. A
   * loop that is not alive must not watch its descriptor. */
  if (!alive) {
    uv_timer_stop(&luv->timer);
    unwatch(luv);
    uv_unref((uv_handle_t *)prepare);
    return;
  }
  ask(luv, UPDATE_TIME);
  lua_Integer timeout = ask(luv, BACKEND_TIMEOUT);
  if (has_deferred(luv)) timeout = 0;
  if (timeout < 0) uv_timer_stop(&luv->timer);
  else uv_timer_start(&luv->timer, on_timer, (uint64_t)timeout, 0);
  watch(luv);
  uv_ref((uv_handle_t *)prepare);
}

/* luv computes timeouts from its loop's time, which stands still between
 * runs. */
static void enter(struct host__luv *luv) {
  if (luv->running) return;
  make_dirty(luv);
  /* So that what is started now counts when the loop next checks whether it is
   * alive. */
  uv_ref((uv_handle_t *)&luv->prepare);
  uint64_t now = uv_now(luv->timer.loop);
  if (luv->synced == now) return;
  luv->synced = now;
  ask(luv, UPDATE_TIME);
}

/* The callback of luv while its handles are closed. */
static int call_plainly(lua_State *L, int nargs, int nresults, int flags) {
  (void)flags;
  int status = lua_pcall(L, nargs, nresults, 0);
  if (status == LUA_OK) return nresults;
  lua_pop(L, 1);
  return -status;
}

/* The callback of luv in a state that is about to close. */
static int call_nothing(lua_State *L, int nargs, int nresults, int flags) {
  (void)nresults;
  (void)flags;
  lua_pop(L, nargs + 1);
  return 0;
}

static int l_run(lua_State *L) {
  return luaL_error(L, "the host runs luv's loop: a policy does not call run()");
}

static int l_loop_close(lua_State *L) {
  return luaL_error(L, "the host closes luv's loop: a policy does not call "
                       "loop_close()");
}

/* -- Opening -------------------------------------------------------------- */

/* Where uv_loop_init() runs out of descriptors, libuv (1.44.2) leaves one open
 * each time. So it is seen before whether there are as many as it takes. */
static void check_descriptors(lua_State *L) {
  enum { OF_A_LOOP = 8 }; /* and some */
  struct net__reserve some = {.count = 0};
  const uv_loop_t *loop = host__policy_of(L)->host->loop;
  bool enough = net__reserve_fill(&some, uv_backend_fd(loop), OF_A_LOOP);

  net__reserve_drop(&some);
  if (enough) return;
  luaL_error(L, "cannot open luv: %s", rover__lua_explain(UV_EMFILE));
}

/* Leaves luv's table at index 1. */
static luv_set_callback_function open_module(lua_State *L) {
  union {
    void *symbol;
    luv_set_callback_function set_callback;
    luv_loop_function loop;
    luv_set_loop_function set_loop;
    lua_CFunction open;
  } set_callback, loop, set_loop, open;

  lua_settop(L, 0);
  check_descriptors(L);
  rover__lua_open_luv(L);
  set_callback.symbol = rover__lua_luv_symbol(L, "luv_set_callback");
  loop.symbol = rover__lua_luv_symbol(L, "luv_loop");
  set_loop.symbol = rover__lua_luv_symbol(L, "luv_set_loop");
  open.symbol = rover__lua_luv_symbol(L, "luaopen_luv");
  lua_pop(L, 1);
  set_callback.set_callback(L, call_in_turn);
  host__policy_of(L)->luv_tried = true;
  lua_pushcfunction(L, open.open);
  host__exempt_function(L);
  if (lua_pcall(L, 0, 1, 0) == LUA_OK) return set_callback.set_callback;
  /* luv closes its loop with the state, even one that libuv could not
   * initialize. */
  const uv_loop_t *half = loop.loop(L);
  if (half && !half->internal_fields) set_loop.set_loop(L, NULL);
  lua_error(L);
  return NULL;
}

/* Closes a handle. Upvalues: luv's functions is_closing and close. In a reload
 * a running process keeps its handle, so that libuv can reap it. */
static int l_close_handle(lua_State *L) {
  const struct host__policy *policy = host__policy_of(L);
  if (policy->host->reloading && !policy->luv->over &&
      luaL_testudata(L, 1, "uv_process"))
    return 0;
  lua_settop(L, 1);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushvalue(L, 1);
  lua_call(L, 1, 1);
  if (lua_toboolean(L, -1)) return 0;
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_pushvalue(L, 1);
  lua_call(L, 1, 0);
  return 0;
}

/* luv's table is at index 1. */
static void push_closer(lua_State *L) {
  lua_getfield(L, 1, "is_closing");
  lua_getfield(L, 1, "close");
  lua_pushcclosure(L, l_close_handle, 2);
}

/* luv calls back in the thread that has opened it, and a coroutine may have
 * ended or yielded by then. */
static int open_in_main(lua_State *L, lua_State *main) {
  if (!lua_checkstack(main, 4)) return rover__lua_no_memory(L);
  lua_State *outer = host__enter(main, HOST__CALL);
  lua_pushcfunction(main, host__luv_open);
  int status = lua_pcall(main, 0, 1, 0);
  host__leave(main, outer);
  lua_xmove(main, L, 1);
  return status == LUA_OK ? 1 : lua_error(L);
}

int host__luv_open(lua_State *L) {
  struct host__policy *policy = host__policy_of(L);
  uv_loop_t *loop = policy->host->loop;
  struct host__luv own = {.policy = policy, .host = policy->host, .handles = 4,
                          .first = 1};

  if (policy->lua->dead) return luaL_error(L, "the policy has ended");
  if (L != policy->L) return open_in_main(L, policy->L);
  if (policy->luv) { /* required again after package.loaded was cleared */
    lua_rawgeti(L, LUA_REGISTRYINDEX, policy->luv->refs[MODULE]);
    return 1;
  }
  if (policy->host->options.sandbox)
    return luaL_error(L, "the sandbox has no luv");
  /* The loop of the first attempt is garbage, and luv would use it. */
  if (policy->luv_tried)
    return luaL_error(L, "luv could not be opened before, and cannot be tried "
                         "again in this state: reload the policy");
  own.set_callback = open_module(L);
  host__lock_finalizers(L);
  for (int i = 0; i < REFS; i++) {
    if (functions[i]) lua_getfield(L, 1, functions[i]);
    else if (i == NOWAIT) lua_pushliteral(L, "nowait");
    else if (i == MODULE) lua_pushvalue(L, 1);
    else if (i == WAITING) lua_newtable(L);
    else push_closer(L);
    own.refs[i] = luaL_ref(L, LUA_REGISTRYINDEX);
  }
  host__exempt_luv(L);
  lua_pushcfunction(L, l_run);
  lua_setfield(L, 1, "run");
  lua_pushcfunction(L, l_loop_close);
  lua_setfield(L, 1, "loop_close");

  struct host__luv *luv = malloc(sizeof *luv);
  if (!luv) return rover__lua_no_memory(L);
  *luv = own;
  int err = uv_poll_init(loop, &luv->poll, (int)ask(luv, BACKEND_FD));
  if (err < 0) {
    free(luv);
    return luaL_error(L, "cannot watch luv's loop: %s", uv_strerror(err));
  }
  uv_prepare_init(loop, &luv->prepare);
  uv_timer_init(loop, &luv->timer);
  uv_idle_init(loop, &luv->again);
  luv->prepare.data = luv->timer.data = luv->poll.data = luv->again.data = luv;
  uv_unref((uv_handle_t *)&luv->timer);
  uv_unref((uv_handle_t *)&luv->again);
  uv_unref((uv_handle_t *)&luv->poll);
  policy->luv = luv;
  policy->enter_luv = enter;
  policy->host->handles++;
  if (!policy->lua->staged) host__luv_start(luv);
  return 1;
}

void host__luv_start(struct host__luv *luv) {
  if (!luv) return;
  uv_prepare_start(&luv->prepare, on_prepare);
  make_dirty(luv);
  watch(luv);
}

void host__luv_stop(struct host__luv *luv) {
  if (!luv) return;
  forget_deferred(luv);
  uv_prepare_stop(&luv->prepare);
  uv_timer_stop(&luv->timer);
  uv_idle_stop(&luv->again);
  uv_poll_stop(&luv->poll);
}

static void on_closed(uv_handle_t *handle) {
  struct host__luv *luv = handle->data;
  if (--luv->handles > 0) return;
  host__unref(luv->host);
  free(luv);
}

/* Runs luv's loop while something is due. Returns whether it is done. */
static bool settle(struct host__luv *luv) {
  for (int turn = 0; turn < 16; turn++) {
    if (!run_luv(luv)) return true;
    if (ask(luv, BACKEND_TIMEOUT) != 0) return false;
  }
  return false;
}

static void close_handles(struct host__luv *luv) {
  lua_State *L = luv->policy->L;

  /* When the state closes, finalizers of luv free handles that libuv has not
   * closed yet: by then no handle may be left, and none may be created. */
  lua_gc(L, LUA_GCSTOP);
  /* None of this is the script's code, so there is no budget. */
  luv->set_callback(L, call_plainly);
  if (lua_checkstack(L, 4)) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, luv->refs[WALK]);
    lua_rawgeti(L, LUA_REGISTRYINDEX, luv->refs[CLOSER]);
    call_plainly(L, 1, 0, 0);
  }
  luv->set_callback(L, call_nothing);
}

bool host__luv_end(struct host__luv *luv, void (*done)(struct host__policy *)) {
  if (!luv) return true;
  forget_deferred(luv);
  close_handles(luv);
  if (settle(luv)) return true;
  luv->done = done;
  luv->next = luv->host->ending;
  luv->host->ending = luv;
  host__luv_start(luv);
  return false;
}

void host__luv_hurry(rover_host_t *host) {
  for (struct host__luv *luv = host->ending; luv; luv = luv->next) {
    close_handles(luv);
    make_dirty(luv);
  }
}

/* -- Looking for a descriptor --------------------------------------------- */

struct search {
  struct host__luv *luv;
  bool (*fits)(int fd, const void *arg);
  const void *arg;
  int found;
};

/* Examines a handle. Upvalues: luv's function fileno and the search. */
static int l_look(lua_State *L) {
  struct search *search = lua_touserdata(L, lua_upvalueindex(2));
  lua_settop(L, 1);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, 1, 1);
  int fd = lua_isinteger(L, 1) ? (int)lua_tointeger(L, 1) : -1;
  if (search->found < 0 && fd >= 0 && search->fits(fd, search->arg))
    search->found = fd;
  return 0;
}

static int walk(lua_State *L) {
  const struct search *search = lua_touserdata(L, 1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, search->luv->refs[WALK]);
  lua_rawgeti(L, LUA_REGISTRYINDEX, search->luv->refs[FILENO]);
  lua_pushvalue(L, 1);
  lua_pushcclosure(L, l_look, 2);
  lua_call(L, 1, 0);
  return 0;
}

int host__luv_find(struct host__luv *luv, lua_State *L,
                   bool (*fits)(int fd, const void *arg), const void *arg) {
  struct search search = {luv, fits, arg, -1};

  if (!luv || !lua_checkstack(L, 4)) return -1;
  luv->set_callback(L, call_plainly); /* not a callback of the policy */
  lua_pushcfunction(L, walk);
  lua_pushlightuserdata(L, &search);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
  luv->set_callback(L, call_in_turn);
  return search.found;
}

/* -- Closing -------------------------------------------------------------- */

static int l_ended(lua_State *L) {
  return luaL_error(L, "the policy has ended");
}

/* luv could no longer finish what finalizers would start now. */
static int disable(lua_State *L) {
  for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
    if (!lua_isfunction(L, -1)) continue;
    lua_pushvalue(L, -2);
    lua_pushcfunction(L, l_ended);
    lua_rawset(L, 1);
  }
  return 0;
}

void host__luv_close(struct host__luv *luv) {
  if (!luv) return;
  lua_State *L = luv->policy->L;
  luv->over = true;
  close_handles(luv);
  run_luv(luv);
  if (lua_checkstack(L, 4)) {
    lua_pushcfunction(L, disable);
    lua_rawgeti(L, LUA_REGISTRYINDEX, luv->refs[MODULE]);
    host__call(L, 1, 0, 0);
  }
  luv->policy->luv = NULL;
  luv->policy->enter_luv = NULL;
  uv_close((uv_handle_t *)&luv->prepare, on_closed);
  uv_close((uv_handle_t *)&luv->timer, on_closed);
  uv_close((uv_handle_t *)&luv->again, on_closed);
  uv_close((uv_handle_t *)&luv->poll, on_closed);
}
