#include "run.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "admin.h"
#include "alarm.h"
#include "log.h"
#include "passed.h"
#include "predecessor.h"
#include "service.h"
#include "signals.h"
#include "streams.h"
#include "successor.h"

/* run, front and serve: a host on a loop, until a signal, the time of --for or
 * the policy itself stops it, or another process has taken over. Stopping closes
 * the host, then the handles of this file, so that the loop ends by itself; if
 * that takes too long, the process exits all the same. */

/* How long an orderly stop may take, apart from unload handlers and clients of
 * relays, before the process exits all the same. Only work in libuv's threads
 * takes any time: a look-up in the system's resolver, or a request that the
 * policy made to luv. */
enum { STOP_MS = 2000 };

/* How often to see whether clients still wait, once another process has taken
 * over. */
enum { WAITING_MS = 20 };

/* Indices of the signals that are watched. */
enum { SIGNALS = 4 };
static const int signums[SIGNALS] = {SIGINT, SIGTERM, SIGHUP, SIGUSR2};
static const char *const signames[SIGNALS] = {"SIGINT", "SIGTERM", "SIGHUP",
                                              "SIGUSR2"};

struct run {
  const struct cli_options *options;
  uv_loop_t loop;
  rover_host_t *host;
  uv_signal_t signals[SIGNALS];
  uv_timer_t limit;    /* of --for */
  uv_timer_t deadline; /* of stopping */
  uv_timer_t settled;  /* a policy has been loaded */
  uv_timer_t leaving;  /* while clients wait, and another process serves */
  struct cli_successor successor;
  struct cli_service service;
  bool hangup;  /* SIGHUP has come while a successor is being started */
  bool left;    /* the successor serves */
  bool stopping;
  bool signalled; /* a signal has asked to stop */
  int status;
};

/* Static, since a stream that writes to it may outlive main(). */
static struct cli_log run_log;

static bool is_text(rover_host_text_t text, const char *other) {
  return text.length == strlen(other) && !memcmp(text.bytes, other, text.length);
}

static rover_host_field_t field_of(const char *key, const char *value,
                                   rover_host_type_t type) {
  return (rover_host_field_t){
      {key, key ? strlen(key) : 0}, {value, value ? strlen(value) : 0}, type};
}

/* `key` may be NULL. */
static void say(rover_host_level_t level, const char *message, const char *key,
                const char *value, rover_host_type_t type) {
  rover_host_field_t field = field_of(key, value, type);
  cli_log_event(&run_log, &(rover_host_log_t){level, {message, strlen(message)},
                                          &field, key != NULL});
}

static void count_clients(rover_host_t *host, const rover_host_front_t *f,
                          void *arg) {
  rover_front_stats_t stats;
  (void)host;
  rover_front_stats_get(f->front, &stats);
  *(uint64_t *)arg += stats.open;
}

/* The options of a front are those that it was started with. */
static void log_stayed(rover_host_t *host) {
  static const rover_host_visitor_t each = {.front = count_clients};
  uint64_t clients = 0;
  char number[24];

  rover_host_each(host, &each, &clients);
  snprintf(number, sizeof number, "%llu", (unsigned long long)clients);
  say(ROVER_HOST_INFO, "reloaded, with the same options and clients", "clients",
      number, ROVER_HOST_NUMBER);
}

/* The scripts behind serve and front are nobody's policies: these commands log
 * themselves how they have started, and why they cannot is an error of their
 * own. */
static void log_own(rover_host_t *host, const rover_host_log_t *event) {
  rover_host_log_t own = *event;

  if (is_text(event->message, "policy loaded")) return;
  if (is_text(event->message, "policy reloaded")) {
    log_stayed(host);
    return;
  }
  if (is_text(event->message, "cannot load policy")) {
    while (own.field_count > 0 && !is_text(own.fields->key, "error")) {
      own.fields++;
      own.field_count--;
    }
    if (own.field_count > 0) {
      own.message = own.fields->value;
      own.field_count = 0; /* what follows is the traceback */
    }
  }
  cli_log_event(&run_log, &own);
}

static void on_log(rover_host_t *host, const rover_host_log_t *event) {
  const struct run *run = rover_host_data(host);
  enum cli_command command = run->options->command;

  if (command == CLI_SERVE || command == CLI_FRONT) log_own(host, event);
  else cli_log_event(&run_log, event);
}

static void close_all(struct run *run) {
  uv_handle_t *handles[] = {
      (uv_handle_t *)&run->limit, (uv_handle_t *)&run->deadline,
      (uv_handle_t *)&run->settled, (uv_handle_t *)&run->leaving};
  for (int i = 0; i < SIGNALS; i++)
    cli_signals_close(&run->signals[i], signums[i]);
  for (size_t i = 0; i < sizeof handles / sizeof *handles; i++)
    uv_close(handles[i], NULL);
  cli_service_close(&run->service);
}

static void end_log(void) {
  cli_streams_restore();
  cli_log_close(&run_log);
}

static void on_host_closed(rover_host_t *host) {
  struct run *run = rover_host_data(host);
  cli_alarm_close();
  cli_admin_close();
  end_log();
  cli_successor_close(&run->successor);
  cli_predecessor_close();
  close_all(run);
}

static void on_deadline(uv_timer_t *timer) {
  struct run *run = timer->data;
  rover_host_stats_t stats;

  rover_host_stats_get(run->host, &stats);
  if (stats.draining > 0) {
    uv_timer_start(timer, on_deadline, STOP_MS, 0);
    return;
  }
  say(ROVER_HOST_WARN, "leaving though a request has not ended", NULL,
      NULL, 0);
  cli_admin_close(); /* the files of its sockets go */
  end_log();
  /* exit() would wait for libuv's threads. */
  fflush(NULL);
  _exit(run->status);
}

/* The host begins to close now; time spent in unload handlers does not
 * count. */
static void on_closing(uv_timer_t *timer) {
  uv_update_time(timer->loop);
  uv_timer_start(timer, on_deadline, STOP_MS, 0);
}

static void stop(struct run *run, int status) {
  if (run->stopping) return;
  run->stopping = true;
  run->status = status;
  cli_service_stopping(&run->service);
  if (!run->left) cli_successor_close(&run->successor);
  rover_host_close(run->host, on_host_closed);
  uv_timer_start(&run->deadline, on_closing, 0, 0);
}

static void on_stop(rover_host_t *host, int status) {
  stop(rover_host_data(host), status);
}

static void on_limit(uv_timer_t *timer) { stop(timer->data, 0); }

/* -- What was loaded ------------------------------------------------------ */

/* Attempts in flight mean that the policy makes them itself, by connect(). */
static void warn_idle(rover_host_t *host, const rover_host_rover_t *rover,
                      void *arg) {
  char message[320];
  rover_stats_t stats;
  (void)host;
  (void)arg;
  rover_stats_get(rover->rover, &stats);
  if (rover->starts || stats.in_flight > 0) return;
  snprintf(message, sizeof message,
           "rover '%s' is not started: it makes no attempts", rover->name);
  say(ROVER_HOST_WARN, message, NULL, NULL, 0);
}

/* The script behind front cannot: what it declares listens once it has run, and
 * only then is known what port 0 became. */
static void log_listening(rover_host_t *host, const rover_host_front_t *front,
                          void *arg) {
  static const char message[] = "listening";
  const rover_address_t *a = &rover_front_options(front->front)->address;
  char port[12];
  (void)host;
  (void)arg;
  snprintf(port, sizeof port, "%d", a->port);
  rover_host_field_t fields[] = {
      field_of(a->path ? "path" : "host", a->path ? a->path : a->host,
               ROVER_HOST_STRING),
      field_of("port", port, ROVER_HOST_NUMBER)};
  cli_log_event(&run_log, &(rover_host_log_t){ROVER_HOST_INFO,
                                          {message, sizeof message - 1}, fields,
                                          a->path ? 1 : 2});
}

/* Runs in the turn after a policy was loaded, since that may have asked to
 * stop. */
static void on_settled(uv_timer_t *timer) {
  struct run *run = timer->data;
  static const rover_host_visitor_t policy = {.rover = warn_idle},
                                    front = {.front = log_listening};
  if (run->stopping) return;
  rover_host_each(run->host,
                  run->options->command == CLI_FRONT ? &front : &policy, NULL);
}

static void on_reloading(rover_host_t *host, const char *trigger) {
  struct run *run = rover_host_data(host);
  cli_service_reloading(&run->service, trigger);
  cli_admin_reloading();
}

static void on_error(rover_host_t *host, const char *error,
                     const char *traceback) {
  (void)host;
  (void)error;
  cli_admin_error(traceback);
}

/* `why` is NULL once they are not any more. */
static void hold_reloads(struct run *run, const char *why) {
  rover_host_hold_reloads(run->host, why);
  cli_admin_hold(why);
}

static void on_reload(rover_host_t *host, const rover_host_reload_t *result) {
  struct run *run = rover_host_data(host);
  cli_signals_unblock();
  cli_service_reloaded(&run->service, result);
  cli_admin_reloaded(result);
  if (result->status == 0) uv_timer_start(&run->settled, on_settled, 0, 0);
}

/* -- Another process takes over -------------------------------------------- */

static const char taken_over[] = "another process has taken over";

static void count_waiting(rover_host_t *host, const rover_host_relay_t *r,
                          void *arg) {
  uint64_t *waiting = arg;
  rover_relay_stats_t stats;
  (void)host;
  rover_relay_stats_get(r->relay, &stats);
  *waiting += stats.waiting + stats.handshaking;
}

/* Clients that wait get the time that they have for that. */
static void on_leaving(uv_timer_t *timer) {
  static const rover_host_visitor_t visitor = {.relay = count_waiting};
  struct run *run = timer->data;
  uint64_t waiting = 0;

  rover_host_each(run->host, &visitor, &waiting);
  if (waiting == 0) stop(run, 0);
  else uv_timer_start(timer, on_leaving, WAITING_MS, 0);
}

/* Nobody accepts any more: whatever supervises this process can start
 * another. */
_Noreturn static void fail_too(const char *why) {
  say(ROVER_HOST_ERROR, "the process that has taken over has failed", "reason",
      why, ROVER_HOST_STRING);
  end_log();
  fflush(NULL);
  _exit(EXIT_FAILURE);
}

static void on_successor(void *data, int pid, const char *why) {
  struct run *run = data;
  bool hangup = run->hangup;
  char number[24];

  run->hangup = false;
  if (run->left && !run->signalled) fail_too(why);
  if (run->left) return;
  if (pid == 0) {
    say(ROVER_HOST_ERROR, "upgrade failed, this process goes on", "reason", why,
        ROVER_HOST_STRING);
    hold_reloads(run, NULL);
    return;
  }
  run->left = true;
  cli_service_left(&run->service);
  cli_admin_finish();
  hold_reloads(run, taken_over);
  snprintf(number, sizeof number, "%d", pid);
  say(ROVER_HOST_INFO, taken_over, "pid", number,
      ROVER_HOST_NUMBER);
  if (hangup) kill(pid, SIGHUP);
  on_leaving(&run->leaving);
}

/* Why there can be no upgrade now, or NULL. */
static const char *refusal(const struct run *run) {
  if (run->stopping || run->left) return "this process is ending";
  if (run->successor.state != CLI_SUCCESSOR_NONE) return "one is under way";
  if (cli_predecessor_is_there())
    return "the process before this one still has connections";
  if (getpid() == 1)
    return "this is process 1, and with it all others would end; replace the "
           "container";
  return NULL;
}

static void upgrade(struct run *run) {
  const char *why = refusal(run);
  if (why) {
    say(ROVER_HOST_WARN, "upgrade refused", "reason", why, ROVER_HOST_STRING);
    return;
  }
  int err = cli_successor_start(&run->successor, run->host, run->options,
                                on_successor, run);
  if (err < 0) {
    on_successor(run, 0, uv_strerror(err));
    return;
  }
  /* A new policy could open what the successor is about to open. */
  hold_reloads(run, "another process is being started");
  say(ROVER_HOST_INFO, "upgrading", "file", run->options->executable,
      ROVER_HOST_STRING);
}

static void on_predecessor(void *data, bool ended) {
  struct run *run = data;

  if (ended)
    say(ROVER_HOST_INFO, "the process before this one has ended", NULL, NULL,
        0);
  if (!run->service.is_main)
    cli_service_ready(&run->service, run->host, true);
}

/* Nothing is accepted before the loop runs. */
static int take_over(struct run *run) {
  char number[24];

  int err = cli_predecessor_take_over(run->host);
  snprintf(number, sizeof number, "%zu", cli_predecessor_lost());
  if (err == 0 && cli_predecessor_lost() > 0)
    say(ROVER_HOST_WARN,
        "some decisions by hand are lost: the policy has no such rover or "
        "front",
        "decisions", number, ROVER_HOST_NUMBER);
  if (err == 0) err = cli_predecessor_watch(run->host, on_predecessor, run);
  if (err < 0)
    say(ROVER_HOST_ERROR, "cannot take over from the process before this one",
        "error", uv_strerror(err), ROVER_HOST_STRING);
  return err;
}

/* -- Signals -------------------------------------------------------------- */

/* SIGHUP reloads, where there is something to reload; a successor that is being
 * started has perhaps read the old policy, and gets it, too. SIGUSR2 starts one. The others ask for
 * an orderly stop; the second one ends the process before this runs, see
 * signals.c. */
static void on_signal(uv_signal_t *handle, int signum) {
  struct run *run = handle->data;

  if (signum == SIGUSR2) {
    upgrade(run);
    return;
  }
  if (signum == SIGHUP && run->options->command != CLI_SERVE) {
    run->hangup = cli_successor_starts(&run->successor);
    if (rover_host_reload(run->host, "SIGHUP") < 0 && run->left)
      say(ROVER_HOST_INFO, "reload refused", "reason", taken_over,
          ROVER_HOST_STRING);
    return;
  }
  if (run->signalled) return;
  run->signalled = true;
  say(ROVER_HOST_INFO, "stopping", "signal",
      signames[handle - run->signals], ROVER_HOST_STRING);
  stop(run, 0);
}

/* serve's script handles signals for the command that it runs. */
static int watch_signals(struct run *run, bool owns_signals) {
  bool serves = run->options->command == CLI_SERVE;
  int err = 0;

  for (int i = 0; i < SIGNALS; i++) {
    uv_signal_init(&run->loop, &run->signals[i]);
    run->signals[i].data = run;
  }
  cli_signals_running(serves);
  if (owns_signals) {
    cli_signals_plain();
    return 0;
  }
  for (int i = 0; i < SIGNALS && err == 0; i++) {
    /* Under nohup(1), SIGHUP must not end serve. */
    if (serves && signums[i] == SIGHUP && cli_signals_ignored(SIGHUP))
      continue;
    if (serves && signums[i] == SIGUSR2) continue;
    err = cli_signals_forward(&run->signals[i], on_signal, signums[i]);
  }
  return err;
}

/* -- A run ---------------------------------------------------------------- */

static int start(struct run *run, bool owns_signals) {
  const struct cli_options *options = run->options;
  rover_host_options_t o = options->host;

  int err = uv_loop_init(&run->loop);
  if (err < 0) return err;
  err = cli_log_open(&run_log, &run->loop, options->log_level, options->log_json);
  if (err < 0) return err;
  cli_streams_route(&run_log);
  uv_timer_init(&run->loop, &run->limit);
  uv_timer_init(&run->loop, &run->deadline);
  uv_timer_init(&run->loop, &run->settled);
  uv_timer_init(&run->loop, &run->leaving);
  run->limit.data = run->deadline.data = run->settled.data = run;
  run->leaving.data = run;
  cli_service_init(&run->service, &run->loop, options->argv[0],
                   cli_predecessor_is_there());
  o.history = *options->admin != NULL;
  o.log = on_log;
  o.stop = on_stop;
  o.reloading = on_reloading;
  o.reload = on_reload;
  o.error = on_error;
  o.alarm = cli_alarm_open();
  o.data = run;
  err = watch_signals(run, owns_signals);
  if (err == 0) err = rover_host_new(&run->host, &run->loop, &o);
  if (err == 0) {
    err = cli_passed_give(run->host);
    if (err == 0) err = cli_predecessor_give(run->host);
    if (err < 0) rover_host_close(run->host, NULL);
  }
  if (err < 0) {
    end_log();
    close_all(run);
  }
  return err;
}

/* Each connection takes a descriptor. Soft limits are low for the sake of
 * select(), which is not used here. */
static void raise_limit(void) {
  struct rlimit limit;
  char got[24];

  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return;
  rlim_t before = limit.rlim_cur;
  limit.rlim_cur = limit.rlim_max;
  if (before == limit.rlim_max || setrlimit(RLIMIT_NOFILE, &limit) < 0)
    limit.rlim_cur = before;
  snprintf(got, sizeof got, "%llu", (unsigned long long)limit.rlim_cur);
  say(limit.rlim_cur > before ? ROVER_HOST_INFO : ROVER_HOST_DEBUG,
      "descriptors", "limit", got, ROVER_HOST_NUMBER);
}

static void begin(struct run *run) {
  double seconds = run->options->seconds;

  cli_signals_unblock();
  if (take_over(run) < 0) {
    stop(run, EXIT_FAILURE);
    return;
  }
  uv_update_time(&run->loop); /* loading may have taken long */
  if (!cli_predecessor_is_there())
    cli_service_ready(&run->service, run->host, false);
  uv_timer_start(&run->settled, on_settled, 0, 0);
  if (seconds > 0)
    uv_timer_start(&run->limit, on_limit, (uint64_t)(seconds * 1000), 0);
}

static const char *advice(const struct cli_options *options, int err) {
  if (err != UV_EMFILE) return "";
  return options->host.threads > 1
             ? "; raise the limit (ulimit -n), or lower --threads"
             : "; raise the limit (ulimit -n)";
}

int cli_run(const struct cli_options *options, bool owns_signals) {
  struct run run = {.options = options};
  int err = start(&run, owns_signals);

  if (err < 0) {
    fprintf(stderr, "callosum-rover: cannot start: %s%s\n", uv_strerror(err),
            advice(options, err));
    return EXIT_FAILURE;
  }
  raise_limit();
  if (cli_admin_open(run.host, options, &run_log, cli_predecessor_admin) < 0 ||
      rover_host_load(run.host, options->argv[0], options->argc - 1,
                      options->argv + 1) < 0)
    stop(&run, EXIT_FAILURE);
  else begin(&run);
  uv_run(&run.loop, UV_RUN_DEFAULT);
  err = uv_loop_close(&run.loop);
  if (err < 0) {
    fprintf(stderr, "callosum-rover: the loop did not close: %s\n",
            uv_strerror(err));
    return EXIT_FAILURE;
  }
  return run.status;
}
