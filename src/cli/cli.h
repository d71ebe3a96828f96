/* Private to src/cli: what its files share. */
#ifndef CLI_H
#define CLI_H

#include <callosum/host.h>

#include <stdbool.h>

/* Exit codes beside 0. */
enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* What the command line says. */
struct cli_options {
  bool serve;          /* the command is serve */
  bool signals_theirs; /* the script sees to SIGINT and SIGTERM itself */
  const char *address; /* serve: where to listen */
  double seconds;      /* run: for how long; 0: until a signal */
  rover_host_level_t log_level;
  bool log_json;
  const char *lua_path; /* the folder of our Lua modules */
  const char *script;
  int argc; /* the script's arguments */
  char **argv;
  struct run *run; /* see run.c */
};

/* The log callback: standard error, one line an event. The host's data is the
 * options. */
void cli_log(rover_host_t *host, const rover_host_log_t *log);

/* Each returns the exit code. */
int cli_run(struct cli_options *options);
int cli_check(struct cli_options *options);

#endif
