/* Private to src/host: what its files share. */
#ifndef HOST_INTERNAL_H
#define HOST_INTERNAL_H

#include <callosum/host.h>

#include <stdatomic.h>

#include "../lua/internal.h"

enum host__budget_kind { HOST__CALL, HOST__LOAD };

/* The time of the call that runs. What is atomic a signal handler reads too,
 * see rover_host_interrupt(). */
struct host__budget {
  lua_State *_Atomic running; /* the thread, of whichever policy, or NULL */
  _Atomic uint64_t deadline;  /* in uv_hrtime()'s time */
  _Atomic uint64_t alarm;     /* when one was asked for, or 0 */
  atomic_bool over;
  enum host__budget_kind kind;
  unsigned ms;
  bool closing; /* a state closes: its finalizers share one budget */
};

/* The reload that is under way: see reload.c. */
struct host__reload {
  rover_host_reload_t result; /* what is known of it so far */
  char trigger[32];
  struct host__policy *old; /* while the new one adopts its sockets */
  uint64_t held;            /* the loop was, in ns */
};

enum { HOST__SPARES_MAX = 64 };

struct rover_host_s {
  uv_loop_t *loop;
  rover_host_options_t options; /* lua_path is the host's own copy */
  struct host__policy *policy;  /* the one loaded, or NULL */
  rover_host_stats_t stats;
  struct host__budget budget;
  struct rover__lua_owner rovers; /* of all its policies */
  struct host__luv *ending; /* of ended policies, that have requests to end */
  struct host__watch *watch; /* NULL unless options.watch */
  uv_timer_t stopper; /* fires once the call that asked to stop is over */
  int stop_status;
  uv_idle_t reloader;  /* runs while a reload is wanted or under way */
  bool reload_wanted;
  char trigger[32];    /* what wants it */
  bool reloading;
  struct host__reload reload;
  bool loading;        /* a policy's script is prepared and run */
  bool checking;       /* only to be checked */
  char *path;          /* of the policy, and its arguments */
  int argc;
  char **argv;
  int spares[HOST__SPARES_MAX]; /* descriptors in reserve: see spare.c */
  int spare_count;
  unsigned handles; /* of libuv, not yet closed */
  bool closing;
  rover_host_close_cb close_cb;
};

/* -- host.c --------------------------------------------------------------- */

/* Says something, with fields as pairs of strings, ended by NULL. A pair whose
 * value is NULL is left out. */
void host__log(rover_host_t *host, rover_host_level_t level,
               const char *message, ...);

/* What the policy's code has raised. */
struct host__error {
  const char *text;      /* any bytes, with a NUL behind them */
  const char *shown;     /* the same, with \0 for each NUL in it */
  size_t length;         /* of the text */
  const char *traceback; /* or NULL */
};

/* Says that the policy cannot be loaded, or reloaded, and returns `status`.
 * Without an `error` that is why. */
int host__load_failed(rover_host_t *host, const char *path, int status,
                      const struct host__error *error);

/* Says that the policy's code has raised it, on that occasion, if any. */
void host__log_error(rover_host_t *host,
                     const struct rover__lua_occasion *occasion,
                     const struct host__error *error);

/* Says that a relay closes once so many clients are done. */
void host__log_draining(rover_host_t *host, const char *relay,
                        uint64_t clients);

/* Says that there is a new policy, with what its reload came to. */
void host__log_reloaded(rover_host_t *host, const rover_host_reload_t *reload);

/* Calls the program's stop callback when no Lua runs. */
void host__stop_soon(rover_host_t *host, int status);

/* A libuv handle of the host has closed. */
void host__unref(rover_host_t *host);

/* -- reload.c ------------------------------------------------------------- */

void host__reload_open(rover_host_t *host);

/* Reloads in the next turn of the loop, when no Lua runs. Asking again before
 * that makes no second reload. */
void host__reload_soon(rover_host_t *host, const char *trigger);

/* The host closes: ends what is under way or wanted, and tells so. */
void host__reload_cancel(rover_host_t *host);

/* -- spare.c: descriptors for reloads ------------------------------------- */

/* Takes those that are not there, as far as they are to be had; so it does by
 * itself when a policy that was replaced is gone. */
void host__spares_take(rover_host_t *host);
/* Gives up as many as a reload may not find elsewhere. */
void host__spares_lend(rover_host_t *host);
void host__spares_drop(rover_host_t *host);

/* -- policy.c: one policy, in a Lua state of its own ---------------------- */

struct host__policy {
  rover_host_t *host;
  lua_State *L;
  rover__lua_t *lua;
  struct host__luv *luv; /* NULL until it is required */
  bool luv_tried;
  bool ended;            /* its unload handlers run, or have run */
  int stop_wanted;       /* the status, or -1; asked for while staged */
  int unload;            /* references: the array of unload handlers, ... */
  int carry;             /* ... the table whose field is host.carry, ... */
  struct host__arena *arena; /* that they come from */
  char *traceback;       /* of the error that the running call ends by */
  size_t memory;         /* bytes that the state has, ... */
  size_t collected;      /* ... had after a collection, see limits.c, ... */
  size_t held_max;       /* ... and that the process may hold for it */
  const void *spared;    /* a call that gets some beyond that, see limits.c */
  bool capped;           /* when it last got none, for its limit's sake */
  int no_memory[2];      /* what to say then, by the field above, ... */
  int guards, guard_type; /* ... see finalizer.c, ... */
  int weak_key;           /* ... and weak.c; 0 outside the sandbox */
  char warning[256];     /* so far */
};

/* Loads the script, staged; `old` is the policy that it is to take over from,
 * or NULL. Returns a negative code when it failed, and has said why. */
int host__policy_open(struct host__policy **policy, rover_host_t *host,
                      const char *path, int argc, char *const argv[],
                      struct host__policy *old);

/* Has its relays listen. Returns a negative code when one cannot, and has said
 * so, and closed the policy. */
int host__policy_listen(struct host__policy *policy, const char *path);

/* Starts what it has asked for. */
void host__policy_commit(struct host__policy *policy);

/* Gives all that `old` has to `policy`, which is the host's from then on, and
 * commits that; sockets are yet to be adopted. Returns a negative code, and has
 * said why, if it cannot be done; then nothing has changed. */
int host__policy_take_over(struct host__policy *policy,
                           struct host__policy *old);

/* Runs the handlers of `unload`. */
void host__policy_unload(struct host__policy *policy);

/* Nothing of it runs any more after this. Its memory goes when what it has
 * asked of luv has ended; the host waits for that. */
void host__policy_close(struct host__policy *policy);

/* The policy that a state belongs to. */
struct host__policy *host__policy_of(lua_State *L);

/* Tells of the error on top of the stack of any thread, and counts it; `status`
 * is Lua's. With the `path` of a script, that cannot be loaded for it. An object
 * is only named, and `why` it has no text: runs nothing of the policy's, and
 * raises nothing. `traceback`, `path` and `why` may be NULL. */
void host__policy_report(lua_State *L, int status, const char *traceback,
                         const char *path, const char *why);

/* The rover__lua_call of policies. */
int host__policy_call(lua_State *L, int nargs, int nresults, int flags);

/* -- arena.c: the memory of one Lua state ---------------------------------- */

struct host__arena *host__arena_new(void); /* or NULL */

/* Gives back all memory that came from it. */
void host__arena_free(struct host__arena *arena);

/* The bytes that the process has for it: more than Lua asked for, as blocks
 * have sizes of their own, and free ones lie between others. */
size_t host__arena_held(const struct host__arena *arena);

/* As Lua's allocator: `old` is the size of `block`, 0 frees it. What would have
 * it hold more than `max` bytes fails. */
void *host__arena_realloc(struct host__arena *arena, void *block, size_t old,
                          size_t size, size_t max);

/* -- bind_host.c: the module callosum.host -------------------------------- */

/* Pushes its table. The policy's arguments are `argv`. May raise. */
void host__open_module(lua_State *L, int argc, char *const argv[]);

/* -- shown.c: the text of a value in the log ------------------------------- */

/* Pushes it; `value` is an absolute index. May raise, and call __tostring. */
void host__push_shown(lua_State *L, int value);

/* -- limits.c: what a policy takes of time and memory --------------------- */

/* A new state of the policy's; NULL if there is no memory. */
lua_State *host__state_new(struct host__policy *policy);

/* Closes it; what finalizers it has share a budget. */
void host__state_close(lua_State *L);

/* Prepares for the function below. May raise. */
void host__open_limits(lua_State *L);

/* Replaces Lua's out-of-memory error on top by one that tells whether it is the
 * policy's limit that was reached, or the system's. Allocates nothing. */
void host__state_out_of_memory(lua_State *L);

/* To be called around whatever runs the policy's code in the thread L, and
 * does not raise: from here the memory cap holds, and if this is not within
 * such a call already, the budget begins. host__enter() returns what to give
 * host__leave(). */
lua_State *host__enter(lua_State *L, enum host__budget_kind kind);
void host__leave(lua_State *L, lua_State *outer);

/* Has garbage collected, and then raises the error of memory, if the state has
 * next to nothing left of its cap. */
void host__check_room(lua_State *L);

/* The same if it has an eighth more than its cap, as luv may make it have. */
void host__check_cap(lua_State *L);

/* Whether it has, garbage included. */
bool host__is_beyond_cap(lua_State *L);

/* Whether it has, without garbage or nearly so. For what is asked often. */
bool host__is_out_of_room(lua_State *L);

/* For Lua: calls the first argument with the others, if host__check_cap() does
 * not raise. */
int host__call_within_cap(lua_State *L);

/* Between these the C function that runs, and no function that it calls, is
 * given what memory it wants. The first returns what to give the second. */
const void *host__spare(lua_State *L);
void host__spare_no_more(lua_State *L, const void *outer);

/* Whether code of a policy runs. */
bool host__is_running(const rover_host_t *host);

/* Whether the call that runs is over its budget. */
bool host__is_over(lua_State *L);

/* Whether the coroutine was ended by its budget. */
bool host__was_stopped(lua_State *co);

/* -- coroutine.c, finalizer.c: parts of Lua's library, made safe for it --- */

/* Replace the functions of the open libraries. May raise. */
void host__open_coroutine(lua_State *L);
void host__open_finalizer(lua_State *L);

/* -- weak.c: weak tables in the sandbox ----------------------------------- */

/* From here on, tables are weak by host__weak_check() alone. May raise. */
void host__open_weak(lua_State *L);

/* In setmetatable(): raises if the metatable at index 2 is not to be, or puts
 * there what Lua is to have in its place. */
void host__weak_check(lua_State *L);

/* Whether the table at index 1 has a metatable from there, which setmetatable()
 * may change though it looks protected. */
bool host__weak_may_change(lua_State *L);

/* -- sandbox.c: the libraries that a policy sees -------------------------- */

/* Opens Lua's, all or what the sandbox has, and makes them safe, for the script
 * at that path. May raise. */
void host__open_libraries(lua_State *L, const char *script);

/* Has messages and tracebacks know the functions in the table on top, which
 * stays there, as the module's. May raise. */
void host__name_functions(lua_State *L, const char *module);

/* Keeps the script from the metatables of all types in the registry that have a
 * finalizer, and in the sandbox from those of all our objects. May raise. */
void host__lock_finalizers(lua_State *L);
void host__lock_metatables(lua_State *L);

/* -- script.c: the text of scripts and modules ---------------------------- */

/* Whether there is a regular file that can be read. */
bool host__script_is_there(const char *path);

/* As luaL_loadfilex(L, path, "t"), but only of a regular file: it waits for
 * nobody. */
int host__script_load(lua_State *L, const char *path);

/* The same in place of Lua's package.searchpath(). */
int host__script_search(lua_State *L);

/* -- require.c: where its modules come from ------------------------------- */

/* Sets up package for the script at that path. May raise. */
void host__open_require(lua_State *L, const char *script);

/* -- luv.c: the loop that luv makes in a policy's state ------------------- */

/* The preloader of luv: opens it so that it reports its callbacks' errors to
 * the host, and so that the host runs its loop. */
int host__luv_open(lua_State *L);

/* Lets luv's loop run from now on. `luv` may be NULL in each of these. */
void host__luv_start(struct host__luv *luv);

/* Before Lua code runs that may use luv. */
void host__luv_enter(struct host__luv *luv);

/* Whether its loop runs, but no call of the policy's does, and what these share in
 * this turn of the host's loop is spent. */
bool host__luv_is_late(const struct host__luv *luv);

/* Nothing of it runs until it is ended. */
void host__luv_stop(struct host__luv *luv);

/* Closes luv's handles and lets its requests end, calling nothing any more.
 * Returns true if all is done; else `done` comes when it is. The state must
 * not be closed before: luv's requests use it. */
bool host__luv_end(struct host__luv *luv, void (*done)(struct host__policy *));

/* The host closes: policies that have ended no longer wait for processes that
 * they started. */
void host__luv_hurry(rover_host_t *host);

/* Right before the state closes. */
void host__luv_close(struct host__luv *luv);

/* The descriptor of one of its handles that fits, or -1. L is the thread of its
 * state that runs, or the main one. */
int host__luv_find(struct host__luv *luv, lua_State *L,
                   bool (*fits)(int fd, const void *arg), const void *arg);

/* -- inherit.c: listeners of luv that the next policy has, too ------------- */

/* inherit(handle, host, port), of callosum.host. */
int host__inherit(lua_State *L);

/* -- watch.c: tells when files change ------------------------------------- */

struct host__watch;

typedef struct host__watch_callbacks_s {
  /* What is at one or more of the paths, or whether it can be read, is not
   * what it was; several changes in 100 ms are one. May call anything here. */
  void (*changed)(void *arg);
  /* The directory or file `path` cannot be watched, so from now on there is a
   * look each second instead; with `err` 0, not any more. UV_E2BIG: this path
   * and those yet to be added are not watched. Must not close the watch; with
   * UV_E2BIG, which comes from host__watch_add(), must not call it at all. */
  void (*trouble)(void *arg, int err, const char *path);
} host__watch_callbacks_t;

/* It alone does not keep the loop alive. Errors: UV_ENOMEM. */
int host__watch_new(struct host__watch **watch, uv_loop_t *loop,
                    const host__watch_callbacks_t *callbacks, void *arg);

/* Watches this file instead of those before; it need not exist. To be called
 * before it is read, as a change counts from here. The path is copied. If it
 * fails (UV_ENOMEM), those before are still watched. */
int host__watch_set(struct host__watch *watch, const char *path);

/* Watches one more; nothing changes if it is watched already. Errors:
 * UV_ENOMEM, UV_E2BIG. */
int host__watch_add(struct host__watch *watch, const char *path);

/* From now on nothing is called but `closed`, when the memory is about to
 * go. */
void host__watch_close(struct host__watch *watch, void (*closed)(void *arg));

/* -- trust.c: who can write the files that a policy comes from ------------- */

/* Says in the log if others than root and the user that runs this can write
 * what is at the path, or put another file there. */
void host__trust(rover_host_t *host, const char *path);

/* -- sources.c: the files that a policy comes from ------------------------ */

/* None of these does anything unless the host is to watch. */
int host__sources_open(rover_host_t *host);
void host__sources_close(rover_host_t *host);

/* A policy is about to be loaded: its script is what to watch from now on, and
 * what is added. */
int host__sources_set(rover_host_t *host, const char *script);

/* Has require() in this state add the modules that it looks for. Wraps the
 * searcher of Lua files that it finds, so it comes after what replaces that. May
 * raise. */
void host__sources_record(lua_State *L, const char *script);

#endif
