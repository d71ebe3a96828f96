#include "limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../lua/error.h"
#include "arena.h"
#include "say.h"

/* A policy's memory is capped by the allocator of its Lua state. Its time is
 * watched by the program, which the host asks for an alarm: a call costs no
 * more than reading a clock, and no hook is set before the budget is spent.
 * Without alarms a count hook is used, which makes a tight loop about twice as
 * slow.
 *
 * Once a call is over its budget, the hook raises at every instruction and
 * call, in each thread that continues, until the call has ended. While the
 * error of a hook is handled, hooks are off, and Lua turns them off for
 * finalizers: see coroutine.c and finalizer.c for these. */

enum {
  COUNT = 1000,   /* instructions between readings of the clock */
  TICK_MS = 10,   /* the longest one of the coarse clock */
  LONG_MS = 1000, /* a budget for which that is not much */
  AGAIN_MS = 100  /* before an interrupt without effect is repeated */
};
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)

/* Release and acquire order the fields for the signal handler, which runs on
 * the same thread; they cost nothing. */
#define get(field) atomic_load_explicit(field, memory_order_acquire)
#define put(field, value)                                                      \
  atomic_store_explicit(field, value, memory_order_release)
_Static_assert(ATOMIC_POINTER_LOCK_FREE == 2 && ATOMIC_LLONG_LOCK_FREE == 2,
               "a signal handler may take no locks");

/* -- Memory --------------------------------------------------------------- */

/* The cap applies to what Lua allocates. The process may hold a quarter more,
 * because of fragmentation, and since even an almost empty state has some pages
 * of each size. */
enum { PAGES_AT_ONCE = 256 * 1024 };

static size_t held_max(size_t cap) {
  size_t more = cap / 4 + PAGES_AT_ONCE;
  return cap < SIZE_MAX - more ? cap + more : SIZE_MAX;
}

static bool is_within_cap(const struct host__policy *policy, size_t more) {
  size_t cap = policy->host->options.memory;
  return policy->memory <= cap && more <= cap - policy->memory;
}

/* The running call in L; NULL outside of any. Unlike everything else, this is
 * safe even while Lua moves the stack. */
static const void *running_call(lua_State *L) {
  lua_Debug ar;
  return lua_getstack(L, 0, &ar) ? ar.i_ci : NULL;
}

/* The cap applies to the policy's code, and to ours that creates values for it,
 * all of which runs in protected mode. luv would not survive an error: whether
 * it is called by the policy (see host__exempt()) or by its loop, it gets all
 * the memory it asks for, and the cap is checked before the policy's code
 * continues. */
static bool is_capped(const struct host__policy *policy) {
  lua_State *L = get(&policy->host->budget.running);
  if (!L) return false;
  return !policy->exempted || host__policy_of(L) != policy ||
         running_call(L) != policy->exempted;
}

/* There is no room within the cap, or the system is out of memory. */
static void *allocate_beyond(struct host__policy *policy, void *block,
                             size_t old, size_t size) {
  policy->capped = false;
  if (!is_capped(policy))
    return host__arena_realloc(policy->arena, block, old, size, SIZE_MAX);
  policy->capped = (size > old && !is_within_cap(policy, size - old)) ||
                   host__arena_held(policy->arena) >
                       policy->held_max - PAGES_AT_ONCE;
  return NULL;
}

static void *allocate(void *data, void *block, size_t old, size_t size) {
  struct host__policy *policy = data;
  void *moved = NULL;

  if (!block) old = 0; /* `old` is a type then */
  if (size <= old || is_within_cap(policy, size - old))
    moved = host__arena_realloc(policy->arena, block, old, size,
                                policy->held_max);
  if (!moved && size > 0) moved = allocate_beyond(policy, block, old, size);
  if (moved || size == 0) policy->memory += size - old;
  return moved;
}

static void check_cap(lua_State *L, size_t max) {
  if (host__policy_of(L)->memory <= max) return;
  lua_gc(L, LUA_GCCOLLECT);
  if (host__policy_of(L)->memory <= max) return;
  host__policy_of(L)->capped = true;
  rover__lua_no_memory(L);
}

void host__check_room(lua_State *L) {
  size_t cap = host__policy_of(L)->host->options.memory;
  check_cap(L, cap - cap / 16);
}

static size_t beyond_cap(const struct host__policy *policy) {
  size_t cap = policy->host->options.memory;
  return cap < SIZE_MAX - cap / 8 ? cap + cap / 8 : SIZE_MAX;
}

bool host__is_beyond_cap(lua_State *L) {
  const struct host__policy *policy = host__policy_of(L);
  return policy->memory > beyond_cap(policy);
}

/* A collection takes long, so the next one waits until there may be enough
 * garbage to be worth it. */
bool host__is_out_of_room(lua_State *L) {
  struct host__policy *policy = host__policy_of(L);
  size_t max = beyond_cap(policy), step = policy->host->options.memory / 8;

  if (policy->memory > max && policy->memory > policy->collected + step) {
    lua_gc(L, LUA_GCCOLLECT);
    policy->collected = policy->memory;
  }
  if (policy->memory <= max) policy->collected = 0;
  return policy->memory > max;
}

void host__check_cap(lua_State *L) {
  check_cap(L, beyond_cap(host__policy_of(L)));
}

int host__call_within_cap(lua_State *L) {
  host__check_cap(L);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
  return lua_gettop(L);
}

/* If the function raises, pcall() and the like undo this: see coroutine.c. */
const void *host__exempt(lua_State *L) {
  struct host__policy *policy = host__policy_of(L);
  const void *outer = policy->exempted;
  policy->exempted = running_call(L);
  return outer;
}

void host__exempt_end(lua_State *L, const void *outer) {
  host__policy_of(L)->exempted = outer;
}

/* -- Time ----------------------------------------------------------------- */

static void on_over(lua_State *L, lua_Debug *ar);
static void on_count(lua_State *L, lua_Debug *ar);

static void hook_over(lua_State *L) {
  lua_sethook(L, on_over, LUA_MASKCALL | LUA_MASKCOUNT, 1);
}

/* The hook of a thread that is within its budget. */
static void hook_idle(lua_State *L) {
  if (host__policy_of(L)->host->options.alarm) lua_sethook(L, NULL, 0, 0);
  else lua_sethook(L, on_count, LUA_MASKCOUNT, COUNT);
}

static int fail_over(lua_State *L) {
  const struct host__budget *budget = &host__policy_of(L)->host->budget;
  lua_Debug ar = {.currentline = -1};

  for (int i = 0; ar.currentline < 0 && lua_getstack(L, i, &ar); i++)
    lua_getinfo(L, "Sl", &ar);
  if (ar.currentline > 0)
    lua_pushfstring(L, "%s:%d: ", ar.short_src, ar.currentline);
  else lua_pushliteral(L, "");
  lua_pushfstring(L,
                  budget->kind == HOST__LOAD
                      ? "the loading budget of %I ms is over: do less as it is "
                        "loaded, or raise the option load-budget"
                      : "the time budget of %I ms is over: do less in one call, "
                        "or raise the option budget",
                  (lua_Integer)budget->ms);
  lua_concat(L, 2);
  return lua_error(L);
}

static void on_over(lua_State *L, lua_Debug *ar) {
  /* A thread may keep its hook after the call in which it was set. */
  (void)ar;
  if (!host__is_over(L)) hook_idle(L);
  else fail_over(L);
}

static void on_count(lua_State *L, lua_Debug *ar) {
  struct host__budget *budget = &host__policy_of(L)->host->budget;
  (void)ar;
  if (uv_hrtime() < get(&budget->deadline)) return;
  put(&budget->over, true);
  hook_over(L);
  fail_over(L);
}

bool host__is_running(const rover_host_t *host) {
  return get(&host->budget.running) != NULL;
}

bool host__is_over(lua_State *L) {
  return get(&host__policy_of(L)->host->budget.over);
}

bool host__is_late(lua_State *L) {
  const struct host__policy *policy = host__policy_of(L);
  return policy->turn && !host__is_running(policy->host) &&
         uv_hrtime() >= policy->turn;
}

bool host__was_stopped(lua_State *co) {
  return lua_status(co) > LUA_YIELD && lua_gethook(co) == on_over;
}

/* The time, or for a long budget up to a tick later, in a tenth of the time that
 * the exact clock takes, which is more than the rest of entering and leaving a
 * call. */
static uint64_t begin_at(unsigned ms) {
  struct timespec now;
  if (ms < LONG_MS) return uv_hrtime();
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec +
         TICK_MS * NS_PER_MS;
}

static void start_clock(rover_host_t *host, enum host__budget_kind kind) {
  struct host__budget *budget = &host->budget;
  budget->kind = kind;
  budget->ms =
      kind == HOST__LOAD ? host->options.load_budget : host->options.budget;
  put(&budget->over, false);
  put(&budget->deadline, begin_at(budget->ms) + budget->ms * NS_PER_MS);
}

static uint64_t whole_ms(uint64_t ns) {
  return (ns + NS_PER_MS - 1) / NS_PER_MS;
}

/* One alarm in the time of a budget is enough, rather than one per call: if it
 * comes too early, the call is within its budget, and the alarm is repeated. */
static void want_alarm(rover_host_t *host) {
  struct host__budget *budget = &host->budget;
  uint64_t alarm = get(&budget->alarm);

  if (!host->options.alarm || (alarm && alarm <= get(&budget->deadline)))
    return;
  uint64_t now = uv_hrtime(), deadline = get(&budget->deadline);
  uint64_t latest = now + budget->ms * NS_PER_MS;
  if (deadline > latest) deadline = latest;
  put(&budget->deadline, deadline);
  put(&budget->alarm, deadline);
  host->options.alarm(host, deadline > now ? whole_ms(deadline - now) : 1);
}

lua_State *host__enter(lua_State *L, enum host__budget_kind kind) {
  rover_host_t *host = host__policy_of(L)->host;
  lua_State *outer = get(&host->budget.running);

  if (!outer) host__policy_of(L)->exempted = NULL;
  if (!outer && !host->budget.closing) start_clock(host, kind);
  put(&host->budget.running, L);
  if (!outer) want_alarm(host);
  else if (get(&host->budget.over)) hook_over(L);
  return outer;
}

void host__leave(lua_State *L, lua_State *outer) {
  struct host__budget *budget = &host__policy_of(L)->host->budget;

  put(&budget->running, outer);
  atomic_signal_fence(memory_order_seq_cst);
  if (!get(&budget->over)) return;
  if (outer) {
    hook_over(outer);
  } else if (!budget->closing) {
    hook_idle(L);
    put(&budget->over, false);
  }
}

uint64_t rover_host_interrupt(rover_host_t *host) {
  struct host__budget *budget = &host->budget;
  lua_State *L = get(&budget->running);
  uint64_t now = uv_hrtime(), deadline = get(&budget->deadline);

  if (!L) {
    put(&budget->alarm, 0);
    return 0;
  }
  if (now >= deadline) {
    put(&budget->over, true);
    hook_over(L);
    deadline = now + AGAIN_MS * NS_PER_MS;
  }
  put(&budget->alarm, deadline);
  return whole_ms(deadline - now);
}

/* -- States --------------------------------------------------------------- */

/* Every call into Lua that may raise is protected. */
static int on_panic(lua_State *L) {
  host__log(host__policy_of(L)->host, ROVER_HOST_ERROR,
            "unprotected error: this is a bug, and the process ends",
            HOST__FIELDS(host__string("error", lua_type(L, -1) == LUA_TSTRING
                                                   ? lua_tostring(L, -1)
                                                   : "unknown")));
  return 0;
}

/* Receives warn(), and errors in C finalizers, perhaps in pieces. */
static void on_warn(void *data, const char *piece, int more) {
  struct host__policy *policy = data;
  size_t length = strlen(policy->warning);

  snprintf(policy->warning + length, sizeof policy->warning - length, "%s",
           piece);
  if (more) return;
  if (*policy->warning != '@') /* "@on" and "@off" control Lua's own */
    host__log(policy->host, ROVER_HOST_WARN, "policy warning",
              HOST__FIELDS(host__string("warning", policy->warning)));
  *policy->warning = '\0';
}

lua_State *host__state_new(struct host__policy *policy) {
  policy->held_max = held_max(policy->host->options.memory);
  policy->arena = host__arena_new();
  if (!policy->arena) return NULL;
  lua_State *L = lua_newstate(allocate, policy);
  if (!L) {
    host__arena_free(policy->arena);
    return NULL;
  }
  *(struct host__policy **)lua_getextraspace(L) = policy;
  lua_atpanic(L, on_panic);
  lua_setwarnf(L, on_warn, policy);
  hook_idle(L);
  return L;
}

void host__state_close(lua_State *L) {
  struct host__policy *policy = host__policy_of(L);
  rover_host_t *host = policy->host;

  start_clock(host, HOST__CALL);
  host->budget.closing = true;
  lua_close(L);
  host__arena_free(policy->arena);
  host->budget.closing = false;
  put(&host->budget.over, false);
}

void host__open_limits(lua_State *L) {
  struct host__policy *policy = host__policy_of(L);
  char text[120];

  /* lua_pushfstring() writes numbers by a function of the C library that may be
   * far from all others in memory. */
  snprintf(text, sizeof text,
           "not enough memory: the policy may have %zu bytes: keep less, or "
           "raise the option memory",
           policy->host->options.memory);
  lua_pushstring(L, text);
  policy->no_memory[true] = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_pushliteral(L, "not enough memory: the system has no more");
  policy->no_memory[false] = luaL_ref(L, LUA_REGISTRYINDEX);
}

void host__state_out_of_memory(lua_State *L) {
  struct host__policy *policy = host__policy_of(L);
  if (!policy->no_memory[false]) return; /* not created yet */
  lua_pop(L, 1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, policy->no_memory[policy->capped]);
}
