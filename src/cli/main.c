#include <ctype.h>
#include <limits.h>
#include <lua.h> /* for LUA_VDIR, "5.4" */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/auxv.h>
#endif

#include "admin.h"
#include "ask.h"
#include "check.h"
#include "passed.h"
#include "predecessor.h"
#include "run.h"
#include "service.h"
#include "signals.h"
#include "simulate.h"
#include "status.h"
#include "steer.h"
#include "streams.h"
#include "top.h"

/* The command: finds its Lua modules, and runs the command of the command
 * line. */

/* Writes the path of the command's file, without links. Without /proc, it is
 * the path that the kernel was given. */
static bool find_exe(char exe[PATH_MAX]) {
  size_t length = PATH_MAX;
  if (uv_exepath(exe, &length) == 0) return true;
#ifdef AT_EXECFN
  const char *asked = (const char *)getauxval(AT_EXECFN);
  return asked && realpath(asked, exe);
#else
  return false;
#endif
}

/* As what this process was started, to start another one: with its links, as
 * these may lead elsewhere by then. */
static const char *own_path(char *const argv[]) {
#ifdef AT_EXECFN
  static char path[PATH_MAX];
  const char *asked = (const char *)getauxval(AT_EXECFN);
  size_t length;

  if (!asked || *asked == '/') return asked ? asked : argv[0];
  if (getcwd(path, sizeof path)) {
    length = strlen(path);
    snprintf(path + length, sizeof path - length, "/%s", asked);
    return path;
  }
#endif
  return argv[0];
}

#define INSTALLED "../share/lua/" LUA_VDIR

/* Our Lua modules lie beside the command: installed, in share/lua/5.4; in the
 * source tree, in lua. Returns NULL if they do not. */
static const char *find_lua_path(char *path, size_t size) {
  static const char *const places[] = {INSTALLED, "../lua", "../../lua"};
  char exe[PATH_MAX], probe[2 * PATH_MAX];

  if (!find_exe(exe)) return NULL;
  *strrchr(exe, '/') = '\0';
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    snprintf(path, size, "%s/%s", exe, places[i]);
    snprintf(probe, sizeof probe, "%s/callosum/server.lua", path);
    if (access(probe, R_OK) == 0) return path;
  }
  return NULL;
}

static bool is_port(const char *text) {
  char *end;
  long port = strtol(text, &end, 10);
  return isdigit((unsigned char)*text) && !*end && strlen(text) <= 5 &&
         port <= 65535;
}

/* Runs a policy of ours. Its arguments are so many others, and the operands. */
static int run_own(struct cli_options *o, const char *name,
                   char *const others[], int count, bool owns_signals) {
  char script[PATH_MAX + 64];

  if (!o->host.lua_path) {
    fprintf(stderr, "callosum-rover: cannot %s: its Lua modules are not in "
                    INSTALLED " from where it is; install it anew\n", name);
    return EXIT_FAILURE;
  }
  snprintf(script, sizeof script, "%s/callosum/%s.lua", o->host.lua_path, name);
  size_t before = (size_t)count + 1, operands = (size_t)o->argc;
  char **argv = calloc(before + operands, sizeof *argv);
  if (!argv) {
    perror("callosum-rover");
    return EXIT_FAILURE;
  }
  argv[0] = script;
  for (int i = 0; i < count; i++) argv[i + 1] = others[i];
  memcpy(argv + before, o->argv, operands * sizeof *argv);
  o->argv = argv;
  o->argc = (int)(before + operands);
  o->host.rover_optional = 1;
  int status = cli_run(o, owns_signals);
  free(argv);
  return status;
}

/* What was given last for the one setting that serve has. */
static char *weight_of(const struct cli_options *o) {
  static char one[] = "1";
  return o->setting_count > 0
             ? strchr(o->settings[o->setting_count - 1], '=') + 1
             : one;
}

static int serve(struct cli_options *o) {
  int ports = 0;
  while (ports < o->argc && strcmp(o->argv[ports], "--") != 0) {
    if (ports > 0 && *o->argv[ports] == '-')
      cli_options_fail("serve wants options before its PORTs; behind them is",
                       o->argv[ports]);
    if (!is_port(o->argv[ports]))
      cli_options_fail("a PORT is a number from 0 to 65535, not",
                       o->argv[ports]);
    ports++;
  }
  if (ports == 0) cli_options_fail("serve wants at least one PORT", NULL);
  if (ports == o->argc - 1) cli_options_fail("no COMMAND behind --", NULL);
  char ignored[128]; /* signals that the parent process had us ignore */
  cli_signals_list(ignored, sizeof ignored);
  char *const others[] = {(char *)o->address, weight_of(o), ignored};
  return run_own(o, "serve", others, 3, ports < o->argc);
}

static int front(struct cli_options *o) {
  if (o->argc != 2)
    cli_options_fail("front wants LISTEN and BACKEND, with options before them",
                     NULL);
  return run_own(o, "stand", o->settings, o->setting_count, false);
}

/* Commands that ask a running host. They end by signals as others do. */
static int ask(struct cli_options *o) {
  cli_signals_plain();
  if (o->argc > 0 && o->command != CLI_SERVERS)
    cli_options_fail("this command has no operands, but behind it is",
                     o->argv[0]);
  cli_ask_check(o);
  switch (o->command) {
    case CLI_STATUS: return cli_status(o);
    case CLI_TOP: return cli_top(o);
    case CLI_SERVERS: return cli_steer_servers(o);
    case CLI_RELOAD: return cli_steer_reload(o);
    case CLI_DRAIN: return cli_steer_drain(o);
    default: return cli_steer_resume(o);
  }
}

int main(int argc, char **argv) {
  static struct cli_options o; /* what it points to lives as long */
  static char lua_path[PATH_MAX + 32];

  cli_signals_open();
  cli_passed_open();
  cli_predecessor_open();
  cli_service_open();
  cli_streams_open();
  cli_options_parse(&o, argc, argv);
  if (o.command == CLI_SIMULATE)
    return cli_simulate(find_exe(lua_path) ? lua_path : NULL, o.argv);
  if (o.command >= CLI_STATUS) return ask(&o);
  cli_admin_check(&o);
  o.executable = own_path(argv);
  o.command_line = argv;
  o.host.lua_path = find_lua_path(lua_path, sizeof lua_path);
  if (o.command == CLI_SERVE) return serve(&o);
  if (o.command == CLI_FRONT) return front(&o);
  if (o.command == CLI_CHECK) return cli_check(&o);
  /* libuv allows half of its threads to look names up, and a name whose DNS
   * server is silent occupies one for long. */
  setenv("UV_THREADPOOL_SIZE", "16", 0);
  return cli_run(&o, false);
}
