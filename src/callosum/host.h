/* callosum/host.h - runs a policy: a Lua script that decides about the sockets
 * of its rovers.
 *
 * The host creates a Lua state for the policy, provides the modules
 * callosum.rover, .relay, .front, .discover and .host, loads the script, and
 * runs its rovers on the caller's loop. It never prints, exits, touches
 * signals, or chooses or runs a loop; it reports through the callbacks below.
 * The rules of <callosum/rover.h> about units, strings, errors, threads,
 * callbacks, structs and signals apply here too.
 */
#ifndef CALLOSUM_HOST_H
#define CALLOSUM_HOST_H

#include <callosum/discover.h>
#include <callosum/front.h>
#include <callosum/relay.h>
#include <callosum/rover.h>
#include <callosum/workers.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rover_host_s rover_host_t;

struct lua_State; /* of <lua.h>, which programs without `open` do not need */

/* Any function here may be called from any callback, and from any C function
 * that a policy's code calls; a call that is not possible there fails with an
 * error code. The host closes once all of these have returned. */

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

/* May contain any byte, including NUL; a NUL follows the last one. */
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
  const rover_host_field_t *fields; /* in the order to show them */
  size_t field_count;
} rover_host_log_t;

/* A log line of the host or its policy. `log` is valid during the callback.
 * Unlike most callbacks, this one may come from within any call of this
 * header. */
typedef void (*rover_host_log_cb)(rover_host_t *host,
                                  const rover_host_log_t *log);

/* -- Policies ------------------------------------------------------------- */

/* `L` is the state of a policy that is about to be loaded, reloaded or checked:
 * Lua's libraries are open, the host's modules can be required, and the script
 * runs next. Set globals, or fill package.preload. Runs under `memory` and
 * `load_budget` in protected mode: an error raised here (lua_error()) fails the
 * load. The stack need not be cleaned up. Ownership: the state is the host's.
 * It is closed when its policy has ended, or at once if loading fails: free
 * what you put there in __gc, and do not keep the pointer, but ask
 * rover_host_state() for it. */
typedef void (*rover_host_open_cb)(rover_host_t *host, struct lua_State *L);

/* The policy's code raised an error, which was caught: in a handler, a timer,
 * a call of yours, or while it was being loaded. Both strings are valid during
 * the callback; `error` is cut after 64 KiB and shows a NUL as \0, and
 * `traceback` is NULL if there is none, as when memory runs out. The same was
 * logged, in the fields `error` and `traceback`. May come from within any call
 * of this header, and while the policy's code runs. */
typedef void (*rover_host_error_cb)(rover_host_t *host, const char *error,
                                    const char *traceback);

/* A reload begins: the new policy is about to be loaded. Comes from the loop.
 * `trigger` is that of the result, which comes later. */
typedef void (*rover_host_reloading_cb)(rover_host_t *host,
                                        const char *trigger);

/* The result of a reload, valid during the callback. */
typedef struct rover_host_reload_s {
  int status; /* 0; UV_EINVAL or UV_ENOMEM as of rover_host_load(), and the old
                 policy stays; or UV_ECANCELED if the host was closed first */
  const char *error;     /* what failed and where, or NULL */
  const char *trigger;   /* "watch", "host.reload()", or yours */
  uint64_t generation;   /* of the policy that is loaded now */
  double ms;             /* for which it blocked the loop, over all its turns */
  size_t adopted, closed; /* sockets that the new policy was asked about, and
                             how many of these are closed by now */
} rover_host_reload_t;

/* Comes from the loop, exactly once for each reload, whatever requested it, and
 * after its log line (a cancelled one has none). Requests that are made before
 * a reload begins are requests for that one. */
typedef void (*rover_host_reload_cb)(rover_host_t *host,
                                     const rover_host_reload_t *result);

/* -- A host --------------------------------------------------------------- */

/* The policy called host.stop(status), 0 to 255. It is up to you to close the
 * host. */
typedef void (*rover_host_stop_cb)(rover_host_t *host, int status);

/* Call rover_host_interrupt() in `ms` milliseconds: see there. Replaces the
 * request before it. Comes from within calls of this header and from the loop,
 * at most once within the time of a budget. */
typedef void (*rover_host_alarm_cb)(rover_host_t *host, uint64_t ms);

/* The host is closed; its memory is freed right after this returns. */
typedef void (*rover_host_close_cb)(rover_host_t *host);

typedef struct rover_host_options_s {
  const char *lua_path; /* the folder of callosum/pool.lua and the other modules
                           in Lua; NULL: Lua's own path is searched */
  int rover_optional; /* nonzero: a script need not declare a rover or front */
  int watch; /* nonzero: reload when the script changes, or a module that it
                required from its own folder. Where the kernel cannot watch
                these, a warning is logged and they are checked each second. */
  /* Limits of each policy. Exceeding one raises an error in the script, which
   * is logged and counted; host and rovers carry on. Times are wall-clock
   * times. A single long C function, such as string.find with a hostile
   * pattern, cannot be interrupted: the call ends once it has returned. */
  size_t memory;        /* bytes that its Lua state may allocate, for which the
                           process holds at most 1.5 times as many; and as many
                           again for its rovers: servers, attempts and pending
                           writes; 0: 256 MiB */
  unsigned budget;      /* ms that a call into it may take, and from 1,000 on
                           10 ms more; 0: 1,000 */
  unsigned load_budget; /* the same for loading it; 0: 5,000 */
  int sandbox; /* nonzero: no files, processes, environment, C modules, luv,
                  bytecode or debug library, modules only callosum.* and those
                  of its own folder, paths of relays, fronts and sources only in
                  that folder or in allow_paths, and no HTTP */
  /* Callbacks; each may be NULL. */
  rover_host_open_cb open;
  rover_host_log_cb log;
  rover_host_error_cb error;
  rover_host_reload_cb reload;
  rover_host_stop_cb stop; /* NULL: host.stop() does nothing */
  rover_host_alarm_cb alarm; /* NULL: budgets are enforced by counting
                                instructions, which makes a tight loop in Lua
                                about twice as slow */
  void *data;                /* yours; see rover_host_data() */
  const char *const *allow_paths; /* NULL, or folders, ended by NULL: where a
                                     policy in the sandbox may have sockets,
                                     and files of sources */
  rover_host_reloading_cb reloading; /* may be NULL, too */
  int history; /* nonzero: note what rover_host_history() reports */
  int allow_http; /* nonzero: a policy in the sandbox may have sources that speak
                     HTTP, to whatever address */
  unsigned threads; /* in which joined connections of relays and fronts are
                       copied, see <callosum/workers.h>, at most
                       ROVER_WORKERS_MAX; 0: none, the loop does that */
  uint64_t reserved[4]; /* 0 */
} rover_host_options_t;

/* Creates a host on `loop`; `options` NULL means defaults. Ownership: free it
 * with rover_host_close(), which needs the loop to run. Errors: UV_EINVAL (an
 * argument is NULL, too many threads, or `reserved` is not 0), UV_ENOMEM, and
 * with threads UV_EMFILE. */
ROVER_EXTERN int rover_host_new(rover_host_t **host, uv_loop_t *loop,
                                const rover_host_options_t *options);

/* A socket that listens already: whoever started this process has opened it. */
typedef struct rover_host_socket_s {
  int fd;
  const char *fd_name;     /* what has that fdName listens on it; or NULL */
  const char *path;        /* where the file of a Unix socket is, if not where
                           getsockname() says; or NULL */
  const char *noun, *name; /* "front", "main": that which listened on it in the
                              process before this one, for which it also stands
                              for port 0; or NULL */
  uint64_t reserved[4];    /* 0 */
} rover_host_socket_t;

/* Gives the host a socket, for the policy that is loaded next: the relay or
 * front that is to listen at its address, or has its fdName, listens on it and
 * not on one of its own. The file of a Unix socket stays at the end. Once a
 * policy is loaded, sockets that nothing listens on are closed, and a warning
 * is logged. Ownership: `fd` is the host's if this succeeds; the rest is
 * copied. Errors: UV_EINVAL (an argument is NULL, `reserved` is not 0, the host
 * is closing), UV_EALREADY (a policy is loaded), UV_ENOMEM. */
ROVER_EXTERN int rover_host_pass(rover_host_t *host,
                                 const rover_host_socket_t *passed);

/* Loads the policy in the file `path`, with `argc` strings as its arguments
 * (`...` and host.args), and starts what it declares. The script has run when
 * this returns. From now on the host keeps some descriptors in reserve, a
 * quarter of the limit but 64 at most, so that a policy that has used up all
 * others can be replaced. Errors: UV_EINVAL (the script is not a regular file,
 * could not be read or compiled, raised an error, or declares no rover and no
 * front: the log and the error callback say what and where; an argument is NULL
 * or the host is closing), UV_EALREADY (a policy is loaded, or being loaded),
 * UV_EBUSY (finalizers are running, of one that could not be loaded or was
 * checked), UV_ENOMEM (the process's or the policy's). */
ROVER_EXTERN int rover_host_load(rover_host_t *host, const char *path, int argc,
                                 char *const argv[]);

/* Loads the policy's file again in the next turn of the loop, in a new Lua
 * state, which takes over: rovers of the same name keep their clock, their
 * attempts and their sockets, about which the new policy decides. If the script
 * fails, the old policy stays as if nothing had been tried. Deciding about all
 * sockets takes as many turns of the loop as it needs, a fraction of a
 * millisecond each; meanwhile the old policy is no longer called and another
 * reload waits. The result comes by the reload callback; asking again before
 * that is harmless. `trigger` is a word or two about what requested it, cut
 * after 31 bytes. Errors: UV_EINVAL (no policy is loaded, the host is closing,
 * `trigger` is NULL). */
ROVER_EXTERN int rover_host_reload(rover_host_t *host, const char *trigger);

/* Holds back reloads, whatever requests them, and logs each request together
 * with `why`, which is cut after 63 bytes. With `why` NULL, they are no longer
 * held back, and one that has been requested meanwhile begins. */
ROVER_EXTERN void rover_host_hold_reloads(rover_host_t *host, const char *why);

/* -- What a policy declares ----------------------------------------------- */

/* A rover, relay, front or source of a policy, valid during the callback. */
typedef struct rover_host_rover_s {
  const char *name;
  const rover_t *rover; /* for its interval, servers and counters */
  int starts;           /* whether it was started */
} rover_host_rover_t;

typedef struct rover_host_relay_s {
  const char *name;
  rover_relay_t *relay; /* the policy's: for its options and counters, and to
                           pass it on to another process */
} rover_host_relay_t;

typedef struct rover_host_front_s {
  const char *name;
  rover_front_t *front; /* the same */
} rover_host_front_t;

typedef struct rover_host_source_s {
  const char *name;
  const rover_source_t *source; /* for its options and counters */
} rover_host_source_t;

/* A file of an option `tls`, with certificates. */
typedef struct rover_host_certificate_s {
  const char *file;
  int64_t expires; /* the first of them: seconds since 1970 */
} rover_host_certificate_t;

typedef void (*rover_host_rover_cb)(rover_host_t *host,
                                    const rover_host_rover_t *rover, void *arg);
typedef void (*rover_host_relay_cb)(rover_host_t *host,
                                    const rover_host_relay_t *relay, void *arg);
typedef void (*rover_host_front_cb)(rover_host_t *host,
                                    const rover_host_front_t *front, void *arg);

typedef void (*rover_host_source_cb)(rover_host_t *host,
                                     const rover_host_source_t *source,
                                     void *arg);
typedef void (*rover_host_certificate_cb)(
    rover_host_t *host, const rover_host_certificate_t *certificate, void *arg);

/* Called for each of them; any may be NULL. */
typedef struct rover_host_visitor_s {
  rover_host_rover_cb rover;
  rover_host_relay_cb relay;
  rover_host_front_cb front;
  rover_host_source_cb source;
  rover_host_certificate_cb certificate;
  void (*reserved[3])(void); /* NULL */
} rover_host_visitor_t;

/* Calls `visitor` for the rovers, the relays, the fronts, the sources and then
 * the files of certificates of the loaded policy, if any, before it returns.
 * Errors: UV_EINVAL (`host` or `visitor` is NULL, or `reserved` is not),
 * UV_ENOMEM (it was called for no certificate). */
ROVER_EXTERN int rover_host_each(rover_host_t *host,
                                 const rover_host_visitor_t *visitor,
                                 void *arg);

/* Loads the policy as rover_host_load() does, calls `visitor` (or NULL) for
 * what it declares, and discards it: nothing is started, nothing connects or
 * listens. Errors: as rover_host_load() and rover_host_each(), but a policy may
 * be loaded already, and UV_EBUSY from within its code or while one is loaded
 * or reloaded. */
ROVER_EXTERN int rover_host_check(rover_host_t *host, const char *path,
                                  int argc, char *const argv[],
                                  const rover_host_visitor_t *visitor,
                                  void *arg);

/* -- Calls into a policy -------------------------------------------------- */

/* The state of the policy that is loaded, for rover_host_call(), or NULL if
 * none is. Every successful reload creates a new one, so do not store it.
 * Outside of a function that the policy calls, nothing catches what Lua
 * raises on it, such as out of memory: push only what allocates nothing
 * (functions without upvalues, light userdata, numbers, booleans,
 * lua_rawgeti(), lua_rawgetp()), and do the rest in a C function called by
 * rover_host_call(). */
ROVER_EXTERN struct lua_State *rover_host_state(const rover_host_t *host);

/* Calls the function that lies below its `nargs` arguments on the stack of `L`,
 * a state that `open` was given or a thread of it. As with lua_pcall(), they
 * are popped, and `nresults` results (or all, if -1) are pushed. Unlike there,
 * the call has a budget (its caller's, if the policy called), and an error is
 * logged, counted and passed to the error callback, not pushed. Errors:
 * UV_EINVAL (it raised one), UV_ENOMEM, UV_ECANCELED (the policy has ended;
 * nothing was called); and, with nothing popped, UV_EINVAL for misuse: `host`
 * or `L` is NULL, `L` is of another host or suspended, a count is negative or
 * more than the stack holds. */
ROVER_EXTERN int rover_host_call(rover_host_t *host, struct lua_State *L,
                                 int nargs, int nresults);

/* -- The end, and what there is to ask ------------------------------------ */

/* From the next turn of the loop on, runs the policy's unload handlers, closes
 * its rovers and sockets, and calls back when all is closed. `cb` may be NULL.
 * Joined clients of its relays, and connections of its fronts, get the
 * drainTimeout of these first: see `draining` of rover_host_stats_t. Errors:
 * UV_EALREADY when it is closing already (harmless; `cb` is not called). */
ROVER_EXTERN int rover_host_close(rover_host_t *host, rover_host_close_cb cb);

ROVER_EXTERN void *rover_host_data(const rover_host_t *host);

/* The loop that it was made on. */
ROVER_EXTERN uv_loop_t *rover_host_loop(const rover_host_t *host);

/* The workers of the option `threads`, for their counters, or NULL. They belong
 * to the host, and stay the same over reloads. */
ROVER_EXTERN const rover_workers_t *rover_host_workers(const rover_host_t *host);

/* Interrupts the policy if its budget is spent. For programs that set `alarm`:
 * call it from a signal handler on the thread that runs the host's loop, once
 * the time that the host asked for has passed. The signal must reach that
 * thread: use a SIGEV_THREAD_ID timer. Returns after how many milliseconds to
 * call it again, or 0 for not until the host asks. The only function here that
 * is async-signal-safe; do not call it after the host's close callback. */
ROVER_EXTERN uint64_t rover_host_interrupt(rover_host_t *host);

/* -- Counters ------------------------------------------------------------- */

/* As ROVER_STATS_MAP of <callosum/rover.h>. */
#define ROVER_HOST_STATS_MAP(XX)                                               \
  XX(generation, GAUGE, "generation", "Policies loaded so far.")               \
  XX(failed_reloads, COUNTER, "failedReloads",                                 \
     "Reloads after which the old policy stayed.")                             \
  XX(script_errors, COUNTER, "scriptErrors",                                   \
     "Errors raised by the policy's code and caught.")                         \
  XX(draining, GAUGE, "draining",                                              \
     "Clients of closed relays that are still joined, and connections of "     \
     "closed fronts; the host closes after them.")

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

/* -- Reports -------------------------------------------------------------- */

/* A text about the host and what its policy declares, to be read in pieces, so
 * that a long one does not hold up the loop. Nothing of the policy's runs for
 * it. */
typedef struct rover_host_report_s rover_host_report_t;

/* Writes the next bytes of the text to `buffer`, no more than 64 KiB at a time,
 * which takes less than a millisecond. Returns how many, or 0 at the end.
 * Errors: UV_EINVAL (NULL, or a size of 0), UV_ENOMEM. */
ROVER_EXTERN int rover_host_report_read(rover_host_report_t *report,
                                        char *buffer, size_t size);

/* NULL does nothing. */
ROVER_EXTERN void rover_host_report_free(rover_host_report_t *report);

/* Of a report with metrics, for HTTP's Content-Type: in Prometheus' text format
 * 0.0.4, and with `openmetrics`. */
#define ROVER_HOST_METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"
#define ROVER_HOST_OPENMETRICS_TYPE                                            \
  "application/openmetrics-text; version=1.0.0; charset=utf-8"

typedef enum {
  ROVER_HOST_SERVERS_FEW, /* of rovers with at most server_limit servers */
  ROVER_HOST_SERVERS_ALL,
  ROVER_HOST_SERVERS_NONE
} rover_host_servers_t;

typedef struct rover_host_metrics_options_s {
  int openmetrics;              /* nonzero: in the format of OpenMetrics 1.0 */
  rover_host_servers_t servers; /* which servers have metrics of their own */
  size_t server_limit;          /* 0: 200 */
  uint64_t reserved[6];         /* 0 */
} rover_host_metrics_options_t;

/* Makes a report with the metrics of the host and what its policy declares:
 * counters, and gauges as they are now. callosum-policy(5) lists them.
 * `options` NULL means defaults. Ownership: free it with
 * rover_host_report_free(), also after the host has closed. Errors: UV_EINVAL
 * (`host` or `report` is NULL, an option is none of those above, or `reserved`
 * is not 0), UV_ENOMEM. */
ROVER_EXTERN int
rover_host_metrics(rover_host_t *host,
                   const rover_host_metrics_options_t *options,
                   rover_host_report_t **report);

/* -- Status --------------------------------------------------------------- */

/* The order of servers. Of those that are equal, the lower id comes first. */
typedef enum {
  ROVER_HOST_BY_CONNECTIONS,
  ROVER_HOST_BY_ID,
  ROVER_HOST_BY_SHARE,
  ROVER_HOST_BY_SLOT, /* the last one that it gave */
  ROVER_HOST_BY_UNREACHABLE
} rover_host_sort_t;

typedef enum {
  ROVER_HOST_ORDER, /* ascending by id, descending by anything else */
  ROVER_HOST_ASCENDING,
  ROVER_HOST_DESCENDING
} rover_host_order_t;

typedef struct rover_host_status_options_s {
  const char *rover;  /* the name of one, or NULL: of all */
  const char *search; /* NULL, or what the ids of servers contain */
  int no_servers;     /* nonzero: leave the servers out */
  rover_host_sort_t sort;
  rover_host_order_t order;
  size_t offset, limit; /* which of each rover's servers, in that order; at most
                           1,000; 0: 100 */
  uint64_t reserved[6]; /* 0 */
} rover_host_status_options_t;

/* Makes a report of the host as it is now, as one line of JSON, which
 * callosum-status(5) describes field by field. It takes time in proportion to
 * the servers and the kept sockets: a few milliseconds for 10,000 and 100,000
 * of them. `options` NULL means defaults. Ownership: free it with
 * rover_host_report_free(), also after the host has closed. Errors: UV_EINVAL
 * (`host` or `report` is NULL, an option is none of those above, or `reserved`
 * is not 0), UV_ENOENT (there is no rover of that name), UV_ENOMEM. */
ROVER_EXTERN int
rover_host_status(rover_host_t *host,
                  const rover_host_status_options_t *options,
                  rover_host_report_t **report);

/* Makes a report of the last ten minutes of a rover, with a point every 2 s,
 * and of the last reloads, as one line of JSON, which callosum-status(5)
 * describes. `rover` NULL means the policy's first one. Points are noted from
 * the first rover_host_load() on, for up to 16 rovers, in 120 KB at most.
 * Ownership: as of rover_host_status(). Errors: UV_EINVAL (`host` or `report`
 * is NULL), UV_ENOTSUP (the option `history` is not set), UV_ENOENT (there is
 * no rover of that name), UV_ENOMEM. */
ROVER_EXTERN int rover_host_history(rover_host_t *host, const char *rover,
                                    rover_host_report_t **report);

/* -- Steering by hand ----------------------------------------------------- */

/* What these decide about the servers of a rover holds, whatever the policy,
 * its successors in reloads, or sources do with them, as long as policies have
 * a rover of that name: see rover_server_steer(). The policy notices nothing
 * but that, and the event `added` of a server that is asked again. `rover` NULL
 * means the policy's only one. Each logs a line. Errors: UV_ENOENT (there is no
 * such rover), UV_EDESTADDRREQ (`rover` is NULL, and there are several), and
 * UV_EINVAL (`host` or `id` is NULL; the host is closing). */

/* Adds a server, or undoes what was decided about one that is there. It stays
 * until it is dropped, be it by the policy's dropServer(). Errors: also those
 * of rover_server_add(), and UV_EEXIST if there is one of that id at another
 * address, unless that was added and dropped by hand. */
ROVER_EXTERN int rover_host_server_add(rover_host_t *host, const char *rover,
                                       const char *id, const char *address,
                                       int port);

/* Steers a server as rover_server_steer() does. Returns 1, or 0 if the rover
 * does not know the id. Errors: also those of rover_server_steer(). */
ROVER_EXTERN int rover_host_server_steer(rover_host_t *host, const char *rover,
                                         const char *id, rover_steer_t how,
                                         uint64_t ms);

/* Takes the machine out of service: the fronts of the policy, and of those that
 * replace it, are drained as rover_front_drain() does, until the host is
 * resumed. Rovers and relays go on, since they serve programs of this machine,
 * which may still have something to finish. Errors: UV_EINVAL (`host` is NULL;
 * `ms` above ROVER_MS_MAX; when closing), UV_ENOENT (the policy has no
 * front). */
ROVER_EXTERN int rover_host_drain(rover_host_t *host, uint64_t ms);

/* Undoes that, but for the fronts that the policy itself drains. Returns 1, or
 * 0 if the host was not drained. Errors: UV_EINVAL (`host` is NULL; when
 * closing). */
ROVER_EXTERN int rover_host_resume(rover_host_t *host);

/* Something that was decided by any of these. */
typedef struct rover_host_decision_s {
  const char *rover; /* the name of the server's; NULL: the host is drained */
  const char *id, *address; /* of the server */
  int port;
  int added;         /* whether it was added */
  rover_steer_t how; /* it is steered */
  uint64_t ms;       /* left of a drain */
  uint64_t reserved[4];
} rover_host_decision_t;

/* Calls `cb` for each that holds, so that another host can be told of it. `cb`
 * must not call the host. Errors: UV_EINVAL (`host` or `cb` is NULL). */
typedef void (*rover_host_decision_cb)(rover_host_t *host,
                                       const rover_host_decision_t *decision,
                                       void *arg);
ROVER_EXTERN int rover_host_decisions(rover_host_t *host,
                                      rover_host_decision_cb cb, void *arg);

/* Decides the same here. It holds also for a server that the policy or its
 * sources only have later. Logs a line. Errors: as of the function that has
 * decided it, and UV_EINVAL (`decision` is NULL, says nothing, or has another
 * `reserved` than 0). */
ROVER_EXTERN int rover_host_decide(rover_host_t *host,
                                   const rover_host_decision_t *decision);

#ifdef __cplusplus
}
#endif
#endif
