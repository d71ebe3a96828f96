/* Private to src/cli: the parsed command line. */
#ifndef CLI_PARSED_H
#define CLI_PARSED_H

#include <callosum/host.h>

#include <stdbool.h>

enum cli_command {
  CLI_RUN,
  CLI_CHECK,
  CLI_FRONT,
  CLI_SERVE,
  CLI_SIMULATE,
  CLI_STATUS, /* this and what follows ask a running host */
  CLI_TOP,
  CLI_SERVERS,
  CLI_RELOAD,
  CLI_DRAIN,
  CLI_RESUME,
  CLI_COMMANDS
};

struct cli_options {
  enum cli_command command;
  rover_host_options_t host; /* as far as the command line sets them */
  const char *address;       /* serve: where to listen */
  const char **admin;        /* run, front: addresses, ended by NULL */
  const char **admin_hosts;  /* the same of names */
  int admin_mode, admin_expose, admin_control;
  unsigned admin_server_series;
  double seconds; /* run: duration; 0: until a signal */
  int quiet;      /* check: print errors alone */
  int log_level;  /* a rover_host_level_t */
  bool log_json;
  /* Those that ask a host. */
  const char *ask;   /* its address */
  const char *rover; /* or NULL */
  const char *sort;  /* a word */
  unsigned count;    /* top: updates; 0: no end */
  unsigned limit;    /* status, servers: how many; 0: a default */
  int json, once;
  double interval, over, timeout; /* seconds; 0: a default */
  char **settings; /* front, serve: options of Lua's, as NAME=VALUE */
  int setting_count;
  int argc; /* the operands: the script and its arguments, or ports; simulate:
               all, from its name on */
  char **argv;
  const char *executable; /* how this process was started, ... */
  char **command_line;    /* ... and its argv */
};

#endif
