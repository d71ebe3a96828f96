/* callosum/host.h - runs a policy: a Lua script that decides about the sockets
 * of its rovers.
 *
 * The host makes a Lua state for the policy, gives it the modules
 * callosum.rover and callosum.host, loads it, and runs its rovers on the
 * caller's loop. It never prints, exits, touches signals, or picks or runs a
 * loop; what it has to say goes to the callbacks below. What <callosum/rover.h>
 * says of units, strings, errors, threads, callbacks and signals holds here
 * too.
 */
#ifndef CALLOSUM_HOST_H
#define CALLOSUM_HOST_H

#include <callosum/relay.h>
#include <callosum/rover.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rover_host_s rover_host_t;

struct lua_State; /* of <lua.h>, which programs without `open` do not need */

/* Any function here may be called from any callback, and from any C function
 * that a policy's code calls; what makes no sense there is refused with a code.
 * The host closes once all of these have returned. */

/* -- Log lines ------------------------------------------------------------ */

typedef enum {
  ROVER_HOST_DEBUG,
  ROVER_HOST_INFO,
  ROVER_HOST_WARN,
  ROVER_HOST_ERROR
} rover_host_level_t;

typedef enum {
  ROVER_HOST_STRING,
  ROVER_HOST_NUMBER, /* written as JSON writes numbers */
  ROVER_HOST_BOOLEAN /* "true" or "false" */
} rover_host_type_t;

/* Text may hold any byte, NUL included; a NUL follows its end. */
typedef struct rover_host_text_s {
  const char *bytes;
  size_t length;
} rover_host_text_t;

typedef struct rover_host_field_s {
  rover_host_text_t key;
  rover_host_text_t value;
  rover_host_type_t type;
} rover_host_field_t;

typedef struct rover_host_log_s {
  rover_host_level_t level;
  rover_host_text_t message;
  const rover_host_field_t *fields; /* in the order to show them in */
  size_t field_count;
} rover_host_log_t;

/* The host or its policy has something to say. `log` lives for the callback.
 * Unlike most callbacks it may come from within any call of this header. */
typedef void (*rover_host_log_cb)(rover_host_t *host,
                                  const rover_host_log_t *log);

/* -- Policies ------------------------------------------------------------- */

/* `L` is the state of a policy that is about to be loaded, reloaded or checked:
 * Lua's libraries are open, callosum.rover and callosum.host can be required,
 * and the script comes next. Set globals, or fill package.preload. Runs under
 * `memory` and `load_budget` in protected mode: an error that is raised here
 * (lua_error()) is one of loading the policy. Leave on the stack what you like.
 * Ownership: the state is the host's. It closes when its policy has ended, or
 * at once if loading that fails: collect what you give it by __gc, and do not
 * keep it, but ask rover_host_state() for it. */
typedef void (*rover_host_open_cb)(rover_host_t *host, struct lua_State *L);

/* The policy's code raised an error, which was caught: in a handler, a timer,
 * a call of yours, or while it was loaded. Both strings live for the callback;
 * `error` is cut after 64 KiB and has \0 for a NUL in what was raised, and
 * `traceback` is NULL if there is none, as for an error of memory. The same was
 * logged, with the fields `error` and `traceback`. May come from within any call
 * of this header, and while the policy's code runs. */
typedef void (*rover_host_error_cb)(rover_host_t *host, const char *error,
                                    const char *traceback);

/* How a reload ended. All of it lives for the callback. */
typedef struct rover_host_reload_s {
  int status; /* 0; or UV_EINVAL, UV_ENOMEM: see rover_host_load(), the old
                 policy goes on; or UV_ECANCELED: the host was closed before it
                 was over */
  const char *error;     /* what failed and where, or NULL */
  const char *trigger;   /* "watch", "host.reload()", or yours */
  uint64_t generation;   /* of the policy that goes on */
  double ms;             /* for which it held up the loop, in all its turns */
  size_t adopted, closed; /* sockets that the new policy has taken over, but
                             for those that ended before it was asked about
                             them, and of these the ones closed by now */
} rover_host_reload_t;

/* Exactly one comes for each reload that was asked for, by whomever, from the
 * loop, after its log line (a cancelled one has none). What is asked for until
 * a reload begins asks for that one. */
typedef void (*rover_host_reload_cb)(rover_host_t *host,
                                     const rover_host_reload_t *result);

/* -- A host --------------------------------------------------------------- */

/* The policy called host.stop(status), 0 to 255. Closing the host is up to
 * you. */
typedef void (*rover_host_stop_cb)(rover_host_t *host, int status);

/* The host wants rover_host_interrupt() to be called in `ms` milliseconds: see
 * there. Replaces what it wanted before. Comes from within calls of this
 * header and from the loop, at most once in a budget's time. */
typedef void (*rover_host_alarm_cb)(rover_host_t *host, uint64_t ms);

/* The host is closed; its memory is freed right after this returns. */
typedef void (*rover_host_close_cb)(rover_host_t *host);

/* Zero means default in every field, so start from `= {0}` (in C++, `{}`). */
typedef struct rover_host_options_s {
  const char *lua_path; /* the folder that holds callosum/server.lua and its
                           like; NULL: wherever Lua looks */
  int rover_optional;   /* nonzero: a script need not declare a rover */
  int watch; /* nonzero: reload when the script changes, or a module that it
                required from its own folder. Where changes cannot be watched,
                the log says so and there is a look each second. */
  /* Limits, of each policy. What goes beyond ends with an error in the script
   * and is logged and counted as such; host and rovers go on. Time is the
   * clock's. One long C function, string.find on a hostile pattern, say, cannot
   * be broken into: the call ends when it has. */
  size_t memory;        /* bytes that its Lua state may have, for which the
                           process holds at most 1.5 times as many; and as many
                           its rovers beside it, for servers, attempts and what
                           is yet to be sent; 0: 256 MiB */
  unsigned budget;      /* ms that a call into it may take; 0: 1,000 */
  unsigned load_budget; /* the same for loading it; 0: 5,000 */
  int sandbox; /* nonzero: its code has no files, processes, environment, C
                  modules, luv, bytecode and debug library, and requires only
                  from its own folder and callosum.* */
  /* Callbacks, each of which may be NULL. */
  rover_host_open_cb open;
  rover_host_log_cb log;
  rover_host_error_cb error;
  rover_host_reload_cb reload;
  rover_host_stop_cb stop; /* NULL: host.stop() does nothing */
  rover_host_alarm_cb alarm; /* NULL: budgets are kept by counting, which about
                                doubles the time of a tight loop in Lua */
  void *data;             /* yours; see rover_host_data() */
  uint64_t reserved[8];   /* for later versions: 0 */
} rover_host_options_t;

/* Makes a host on `loop`; `options` NULL means defaults.
 * Ownership: free it with rover_host_close(), which needs the loop to run.
 * Errors: UV_EINVAL (an argument is NULL, or `reserved` is not 0), UV_ENOMEM. */
ROVER_EXTERN int rover_host_new(rover_host_t **host, uv_loop_t *loop,
                                const rover_host_options_t *options);

/* Loads the policy in the file `path`, with `argc` strings as its arguments
 * (`...` and host.args), and starts what it declares. Runs the script's body
 * before it returns. From here on the host has some descriptors in reserve, a
 * quarter of the limit and 64 at most, for reloads of a policy that uses up all
 * there are. Errors: UV_EINVAL (the script is no regular file, could not be read
 * or compiled, raised an error or declares no rover: the log and the error
 * callback say what and where; an argument is NULL or the host closes),
 * UV_EALREADY (a policy is loaded, or being loaded), UV_EBUSY (finalizers run,
 * of one that could not be loaded or was checked), UV_ENOMEM (of this process or
 * of its `memory`). */
ROVER_EXTERN int rover_host_load(rover_host_t *host, const char *path, int argc,
                                 char *const argv[]);

/* Loads the policy's file again, in the next turn of the loop, in a new Lua
 * state, and lets that take over: rovers of the same name keep their clock,
 * their attempts and their sockets, which the new policy decides about. If the
 * script fails, the old policy goes on as if nothing had been tried. To decide
 * about all sockets may take several turns of the loop, a budget each, in which
 * the old policy is called no more; another reload waits meanwhile. The reload
 * callback tells the outcome. Asking again before that is harmless. `trigger`
 * is a word or two that say what asked, cut after 31 bytes. Errors: UV_EINVAL
 * (no policy is loaded, the host closes, `trigger` is NULL). */
ROVER_EXTERN int rover_host_reload(rover_host_t *host, const char *trigger);

/* -- What a policy declares ----------------------------------------------- */

/* A rover and a relay of a policy's. All of it lives for the callback. */
typedef struct rover_host_rover_s {
  const char *name;
  const rover_t *rover; /* for its interval, servers and counters */
  int starts;           /* whether it was started */
} rover_host_rover_t;

typedef struct rover_host_relay_s {
  const char *name;
  const rover_relay_t *relay; /* for its options and counters */
} rover_host_relay_t;

typedef void (*rover_host_rover_cb)(rover_host_t *host,
                                    const rover_host_rover_t *rover, void *arg);
typedef void (*rover_host_relay_cb)(rover_host_t *host,
                                    const rover_host_relay_t *relay, void *arg);

/* Callbacks for each of them, of which any may be NULL; start from `= {0}`. */
typedef struct rover_host_visitor_s {
  rover_host_rover_cb rover;
  rover_host_relay_cb relay;
  void (*reserved[6])(void); /* for later versions: NULL */
} rover_host_visitor_t;

/* Shows `visitor` the rovers and then the relays of the policy that is loaded,
 * if one is, before it returns. Errors: UV_EINVAL (`host` or `visitor` is NULL,
 * or `reserved` is not). */
ROVER_EXTERN int rover_host_each(rover_host_t *host,
                                 const rover_host_visitor_t *visitor,
                                 void *arg);

/* Loads the policy as rover_host_load() does, shows `visitor` (or NULL) what it
 * declares, before it returns, and throws it away: nothing is started, nothing
 * connects or listens. Errors: as rover_host_load() and rover_host_each(), but
 * a policy may be loaded already, and UV_EBUSY from within its code or while one
 * is loaded or reloaded. */
ROVER_EXTERN int rover_host_check(rover_host_t *host, const char *path,
                                  int argc, char *const argv[],
                                  const rover_host_visitor_t *visitor,
                                  void *arg);

/* -- Calls into a policy -------------------------------------------------- */

/* The state of the policy that is loaded, for rover_host_call(), or NULL if
 * none is. Another after each reload that succeeds, so do not keep it. Outside
 * of a function that the policy calls, nothing catches what Lua raises on it,
 * out of memory above all: push only what allocates nothing (functions without
 * upvalues, light userdata, numbers, booleans, lua_rawgeti(), lua_rawgetp()),
 * and do the rest in a C function that is called so. */
ROVER_EXTERN struct lua_State *rover_host_state(const rover_host_t *host);

/* Calls the function of the policy that lies below its `nargs` arguments on
 * the stack of `L`, a state that `open` was given or a thread of it. As with
 * lua_pcall(), they are popped, and `nresults` results (or all, if -1) are
 * pushed; unlike there, the call has a budget (that of the policy's call that
 * it is made in, if it is), and an error is logged, counted and given to the
 * error callback, not pushed. Errors: UV_EINVAL (it raised one), UV_ENOMEM,
 * UV_ECANCELED (the policy has ended; nothing was called); and, with nothing
 * popped, UV_EINVAL for what cannot be: `host` or `L` is NULL, `L` is of
 * another host or suspended, a count is negative or more than is there. */
ROVER_EXTERN int rover_host_call(rover_host_t *host, struct lua_State *L,
                                 int nargs, int nresults);

/* -- The end, and what there is to ask ------------------------------------ */

/* From the next turn of the loop on, runs the policy's unload handlers, closes
 * its rovers and sockets, and calls back when all is gone. `cb` may be NULL.
 * Clients that its relays have joined first have the time that the relay gives
 * them to finish: see `draining` of rover_host_stats_t.
 * Errors: UV_EALREADY when it is closing already (harmless; `cb` is then not
 * called). */
ROVER_EXTERN int rover_host_close(rover_host_t *host, rover_host_close_cb cb);

ROVER_EXTERN void *rover_host_data(const rover_host_t *host);

/* The loop that it was made on. */
ROVER_EXTERN uv_loop_t *rover_host_loop(const rover_host_t *host);

/* Interrupts the policy if its time is over. For programs that set `alarm`: to
 * be called from a signal handler, on the thread that runs the host's loop,
 * once the time that the host asked for has passed. The signal must not go
 * elsewhere: a SIGEV_THREAD_ID timer sees to it. Returns in how many
 * milliseconds to call it again, or 0 for not until the host asks. The one
 * function here that is safe in a signal handler; not after the host's
 * close_cb. */
ROVER_EXTERN uint64_t rover_host_interrupt(rover_host_t *host);

/* -- Counters ------------------------------------------------------------- */

/* As ROVER_STATS_MAP of <callosum/rover.h>. */
#define ROVER_HOST_STATS_MAP(XX)                                               \
  XX(generation, COUNTER, "generation", "Policies loaded so far.")             \
  XX(failed_reloads, COUNTER, "failedReloads",                                 \
     "Reloads after which the old policy stayed.")                             \
  XX(script_errors, COUNTER, "scriptErrors",                                   \
     "Errors raised by the policy's code and caught.")                         \
  XX(draining, GAUGE, "draining",                                              \
     "Clients of closed relays that are still joined; the host closes after "  \
     "them.")

typedef struct rover_host_stats_s {
#define XX(name, kind, lua, text) uint64_t name;
  ROVER_HOST_STATS_MAP(XX)
#undef XX
#define XX(name, kind, lua, text) -1
  uint64_t reserved[16 ROVER_HOST_STATS_MAP(XX)]; /* zero */
#undef XX
} rover_host_stats_t;

ROVER_EXTERN void rover_host_stats_get(const rover_host_t *host,
                                       rover_host_stats_t *stats);

#ifdef __cplusplus
}
#endif
#endif
