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

#include "check.h"
#include "run.h"
#include "signals.h"
#include "streams.h"

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

/* serve is implemented as a policy, whose arguments are the address, the
 * signals that the parent process ignored, and the operands. */
static int serve(struct cli_options *o) {
  int ports = 0;
  while (ports < o->argc && strcmp(o->argv[ports], "--") != 0) {
    if (!is_port(o->argv[ports]))
      cli_options_fail("a PORT is a number from 0 to 65535, not",
                       o->argv[ports]);
    ports++;
  }
  if (ports == 0) cli_options_fail("serve wants at least one PORT", NULL);
  if (ports == o->argc - 1) cli_options_fail("no COMMAND behind --", NULL);
  bool has_command = ports < o->argc;
  if (!o->host.lua_path) {
    fputs("callosum-rover: cannot serve: its Lua modules are not in " INSTALLED
          " from where it is; install it anew\n", stderr);
    return EXIT_FAILURE;
  }

  char script[PATH_MAX + 64], ignored[128];
  snprintf(script, sizeof script, "%s/callosum/serve.lua", o->host.lua_path);
  cli_signals_list(ignored, sizeof ignored);
  char **argv = calloc((size_t)o->argc + 3, sizeof *argv);
  if (!argv) {
    perror("callosum-rover");
    return EXIT_FAILURE;
  }
  argv[0] = script;
  argv[1] = (char *)o->address;
  argv[2] = ignored;
  memcpy(argv + 3, o->argv, (size_t)o->argc * sizeof *argv);
  o->argv = argv;
  o->argc += 3;
  o->host.rover_optional = 1;
  int status = cli_run(o, has_command);
  free(argv);
  return status;
}

int main(int argc, char **argv) {
  struct cli_options o;
  char lua_path[PATH_MAX + 32];

  cli_signals_open();
  cli_streams_open();
  cli_options_parse(&o, argc, argv);
  o.host.lua_path = find_lua_path(lua_path, sizeof lua_path);
  if (o.command == CLI_SERVE) return serve(&o);
  if (o.command == CLI_CHECK) return cli_check(&o);
  /* libuv allows half of its threads to look names up, and a name whose DNS
   * server is silent occupies one for long. */
  setenv("UV_THREADPOOL_SIZE", "16", 0);
  return cli_run(&o, false);
}
