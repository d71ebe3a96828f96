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

#include <callosum/rover.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rover_host_s rover_host_t;

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
 * Unlike other callbacks it may come from within any call of this header, so
 * it must not close the host. Errors of the policy's code come here with the
 * fields `error` and `traceback`. */
typedef void (*rover_host_log_cb)(rover_host_t *host,
                                  const rover_host_log_t *log);

/* -- A host --------------------------------------------------------------- */

/* The policy called host.stop(status), 0 to 255. Closing the host is up to
 * you. */
typedef void (*rover_host_stop_cb)(rover_host_t *host, int status);

/* The host wants rover_host_interrupt() to be called in `ms` milliseconds: see
 * there. Replaces what it wanted before. Comes from within calls of this
 * header and from the loop, at most once in a budget's time. Call nothing of
 * the host from it. */
typedef void (*rover_host_alarm_cb)(rover_host_t *host, uint64_t ms);

/* The host is closed; its memory is freed right after this returns. */
typedef void (*rover_host_close_cb)(rover_host_t *host);

/* Zero means default in every field, so start from `= {0}`. */
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
  size_t memory;        /* bytes that its Lua state may have; 0: 256 MiB */
  unsigned budget;      /* ms that a call into it may take; 0: 1,000 */
  unsigned load_budget; /* the same for loading it; 0: 5,000 */
  int sandbox; /* nonzero: its code has no files, processes, environment, C
                  modules, luv, bytecode and debug library, and requires only
                  from its own folder and callosum.* */
  rover_host_log_cb log; /* NULL: log lines are lost */
  rover_host_stop_cb stop; /* NULL: host.stop() does nothing */
  rover_host_alarm_cb alarm; /* NULL: budgets are kept by counting, which about
                                doubles the time of a tight loop in Lua */
  void *data;            /* yours; see rover_host_data() */
} rover_host_options_t;

/* Ownership: free it with rover_host_close(), which needs the loop to run.
 * Errors: UV_ENOMEM. */
ROVER_EXTERN int rover_host_new(rover_host_t **host, uv_loop_t *loop,
                                const rover_host_options_t *options);

/* Loads the policy in the file `path`, with `argc` strings as its arguments
 * (`...` and host.args), and starts what it declares. Runs the script's body
 * before it returns. Errors: UV_EINVAL (the script could not be read or
 * compiled, raised an error or declares no rover; the log says what and
 * where), UV_EALREADY (a policy is loaded), UV_ENOMEM. */
ROVER_EXTERN int rover_host_load(rover_host_t *host, const char *path, int argc,
                                 char *const argv[]);

/* Loads the policy's file again, in the next turn of the loop, in a new Lua
 * state, and lets that take over: rovers of the same name keep their clock,
 * their attempts and their sockets, which the new policy decides about. If the
 * script fails, the old policy goes on as if nothing had been tried. The log
 * tells the outcome. Asking again before that is harmless. `trigger` is a word
 * for the log that says what asked. Errors: UV_EINVAL (no policy is loaded). */
ROVER_EXTERN int rover_host_reload(rover_host_t *host, const char *trigger);

/* A rover that a policy has declared. All of it lives for the callback. */
typedef struct rover_host_declaration_s {
  const char *name;
  const rover_t *rover; /* for its interval and servers */
  int starts;           /* whether it was started */
} rover_host_declaration_t;

typedef void (*rover_host_declaration_cb)(
    rover_host_t *host, const rover_host_declaration_t *declaration, void *arg);

/* Loads the policy as rover_host_load() does, calls `cb` for each rover it
 * declares before it returns, and throws it away: nothing is started, nothing
 * connects. Errors: UV_EINVAL, UV_ENOMEM as for rover_host_load(), UV_EALREADY
 * when the host is closing. */
ROVER_EXTERN int rover_host_check(rover_host_t *host, const char *path,
                                  int argc, char *const argv[],
                                  rover_host_declaration_cb cb, void *arg);

/* Runs the policy's unload handlers, closes its rovers and sockets, and calls
 * back when all is gone. `cb` may be NULL. Not from within the log callback.
 * Errors: UV_EALREADY when it is closing already (harmless; `cb` is then not
 * called). */
ROVER_EXTERN int rover_host_close(rover_host_t *host, rover_host_close_cb cb);

ROVER_EXTERN void *rover_host_data(const rover_host_t *host);

/* Interrupts the policy if its time is over. For programs that set `alarm`: to
 * be called from a signal handler, on the thread that runs the host's loop,
 * once the time that the host asked for has passed. The signal must not go
 * elsewhere: a SIGEV_THREAD_ID timer sees to it. Returns in how many
 * milliseconds to call it again, or 0 for not until the host asks. The one
 * function here that is safe in a signal handler; not after the host's
 * close_cb. */
ROVER_EXTERN uint64_t rover_host_interrupt(rover_host_t *host);

/* -- Counters ------------------------------------------------------------- */

typedef struct rover_host_stats_s {
  uint64_t generation;     /* policies loaded so far */
  uint64_t failed_reloads; /* after which the old policy went on */
  uint64_t script_errors;  /* raised by the policy's code and caught */
} rover_host_stats_t;

ROVER_EXTERN void rover_host_stats_get(const rover_host_t *host,
                                       rover_host_stats_t *stats);

#ifdef __cplusplus
}
#endif
#endif
