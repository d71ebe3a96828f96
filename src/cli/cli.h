/* Private to src/cli: what its files share. */
#ifndef CLI_H
#define CLI_H

#include <callosum/host.h>

#include <stdbool.h>
#include <time.h>

/* See alarm.c. */
struct cli_alarm {
  rover_host_t *host;
  timer_t timer;
  bool open;
};

/* Standard output or error. See output.c. */
struct cli_output {
  int stream; /* its descriptor in the process, ... */
  int fd;     /* ... and that of ours */
  bool is_socket;
  bool may_block;
  bool sent_within; /* the last byte written ends no line */
  bool gap;         /* something was lost since the last text that was not */
  bool lost_within; /* the last byte lost ends no line */
  bool overflown;   /* nothing is queued until there is room for much */
  char *queue;      /* what could not be written yet */
  size_t length;
  size_t lost; /* lines, wholly or not, that nobody was told of yet */
};

void cli_output_open(struct cli_output *output, int stream);
/* Writes or queues text, and never waits. A line begins as such, whatever came
 * before. Returns how much was taken; the rest is lost, and the caller's to
 * count; errno is EAGAIN where nobody reads. */
size_t cli_output_put(struct cli_output *output, const char *text,
                      size_t length, bool is_line);
/* Counts the lines in text that was lost. */
void cli_output_lose(struct cli_output *output, const char *text,
                     size_t length);
/* Writes the queue, waiting until the deadline (ms of uv_hrtime()) at most.
 * Returns false if something is left. */
bool cli_output_flush(struct cli_output *output, uint64_t deadline);
/* Loses the queue. */
void cli_output_drop(struct cli_output *output);
void cli_output_close(struct cli_output *output);

/* The log, and what it goes to. See log.c. */
struct cli_log {
  struct cli_output errors;  /* standard error */
  struct cli_output printed; /* standard output, unless that is the same file */
  bool open;
  uv_mutex_t mutex; /* of all above */
  uv_timer_t retry; /* while something is queued */
  uint64_t retry_ms;
  uv_timer_t tell; /* of what standard output has lost */
  uv_async_t care; /* something was left to do, perhaps by another thread */
};

/* Exit codes beside 0. */
enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* What the command line says. */
struct cli_options {
  bool serve;          /* the command is serve */
  bool signals_theirs; /* the script sees to SIGINT and SIGTERM itself */
  const char *address; /* serve: where to listen */
  double seconds;      /* run: for how long; 0: until a signal */
  bool watch;          /* run: reload when its files change */
  size_t memory;        /* limits as in rover_host_options_t, 0: its default */
  unsigned budget;
  unsigned load_budget;
  bool sandbox;
  struct cli_alarm alarm;
  rover_host_level_t log_level;
  bool log_json;
  struct cli_log log;
  const char *lua_path; /* the folder of our Lua modules */
  const char *script;
  int argc; /* the script's arguments */
  char **argv;
  struct run *run; /* see run.c */
};

/* Puts text to one of the log's outputs, as it is, from any thread. What is lost
 * is counted. Returns 0, also where nobody reads, or an errno. */
int cli_log_text(struct cli_options *options, struct cli_output *output,
                 const char *text, size_t length);

/* The log callback: standard error, one line an event. The host's data is the
 * options. */
void cli_log(rover_host_t *host, const rover_host_log_t *log);

/* Before the first line, and in the host's close_cb: waits for a moment while
 * lines cannot be written. */
int cli_log_open(struct cli_options *options, uv_loop_t *loop);
void cli_log_close(struct cli_options *options);

/* -- The standard streams, see streams.c -- */

void cli_streams_open(void);
/* At the end of what a command prints. Returns the exit code. */
int cli_streams_end(void);
/* Has what others write, Lua above all, go where the log goes; and no more, with
 * what is in buffers. */
void cli_streams_route(struct cli_options *options);
void cli_streams_restore(void);

/* The host's options, as far as they follow from the command line; opens the
 * alarm. */
rover_host_options_t cli_host_options(struct cli_options *options);

/* -- The process's signals, see signals.c -- */

/* The first thing in main(). Until more is said, SIGTERM and SIGINT end the
 * process, and SIGHUP does nothing. */
void cli_signals_open(void);
/* From now on SIGHUP ends it too. */
void cli_signals_plain(void);
/* From now on it ends by none for what it writes. Whether SIGHUP is one of those
 * of which the second ends it. */
void cli_signals_running(bool hangup_stops);
/* Starts the watcher; the second signal of those to stop does not go there, but
 * ends the process at once. */
int cli_signals_forward(uv_signal_t *to, uv_signal_cb cb, int signum);
/* Whether the parent had it ignored; and the numbers of all such, with blanks
 * between. */
bool cli_signals_ignored(int signum);
const char *cli_signals_list(char *text, size_t size);

/* Makes ready to give a host its alarms, and returns what to ask for them, or
 * NULL if there can be none. Close it in the host's close_cb. */
rover_host_alarm_cb cli_alarm_open(struct cli_alarm *alarm);
void cli_alarm_close(struct cli_alarm *alarm);

/* Each returns the exit code. */
int cli_run(struct cli_options *options);
int cli_check(struct cli_options *options);

#endif
