/* Private to src/cli: the parsed command line. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <callosum/host.h>

#include <stdbool.h>

/* An exit status, beside EXIT_SUCCESS and EXIT_FAILURE. */
enum { EXIT_USAGE = 2 };

enum cli_command { CLI_RUN, CLI_CHECK, CLI_FRONT, CLI_SERVE, CLI_SIMULATE };

struct cli_options {
  enum cli_command command;
  rover_host_options_t host; /* as far as the command line sets them */
  const char *address;       /* serve: where to listen */
  const char **admin;        /* run, front: addresses, ended by NULL */
  const char **admin_hosts;  /* the same of names */
  int admin_mode, admin_expose, admin_control;
  unsigned admin_server_series;
  double seconds;            /* run: duration; 0: until a signal */
  int quiet;                 /* check: print errors alone */
  int log_level;             /* a rover_host_level_t */
  bool log_json;
  char **settings; /* front, serve: options of Lua's, as NAME=VALUE */
  int setting_count;
  int argc; /* the operands: the script and its arguments, or ports; simulate:
               all, from its name on */
  char **argv;
  const char *executable; /* how this process was started, ... */
  char **command_line;    /* ... and its argv */
};

/* Exits after --help and --version, and on a usage error. */
void cli_options_parse(struct cli_options *options, int argc, char **argv);

/* Sets *level to the rover_host_level_t of that name; false if there is none. */
bool cli_options_level(const char *name, int *level);

/* Exits with a message (`value` may be NULL) and the usage. */
_Noreturn void cli_options_fail(const char *what, const char *value);

#endif
