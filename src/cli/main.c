#include "cli.h"

#include <ctype.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/auxv.h>
#endif

static const char usage[] =
    "usage: callosum-rover run [options] POLICY [ARGS...]\n"
    "       callosum-rover check [options] POLICY [ARGS...]\n"
    "       callosum-rover serve [options] PORT... [-- COMMAND [ARGS...]]\n"
    "       callosum-rover --help | --version\n";

static const char help[] =
    "\n"
    "Keeps a client's TCP connections balanced over a fleet of Callosum servers.\n"
    "\n"
    "run    runs a policy: a Lua script that decides which connections to keep\n"
    "check  loads a policy without the network, and prints what it declares\n"
    "serve  is a Callosum server on each PORT (0: any free one), to try policies\n"
    "       against, and sends back what it is sent; with a COMMAND, which has no\n"
    "       part in that, runs it once they listen and ends with it\n"
    "\n"
    "  --budget MS         run, check: what a call into the policy may take (1000)\n"
    "  --for SECONDS       run: stop after that time\n"
    "  --host HOST         serve: the address to listen on (127.0.0.1)\n"
    "  --load-budget MS    run, check: what loading the policy may take (5000)\n"
    "  --log-format FMT    text or json (text)\n"
    "  --log-level LEVEL   debug, info, warn or error (info)\n"
    "  --memory SIZE       run, check: bytes of the policy's Lua state (256M);\n"
    "                      SIZE may end in K, M or G\n"
    "  --sandbox           run, check: keep the policy from files, processes, luv,\n"
    "                      C modules and all modules but its own and callosum.*\n"
    "  --watch             run: reload when the script or a module from its\n"
    "                      folder changes\n"
    "  -h, --help          print this\n"
    "  -V, --version       print the version\n"
    "\n"
    "Logs go to standard error, one event a line. SIGTERM and SIGINT stop in\n"
    "order, a second one at once. Exit status: 0 fine, 1 the policy or the run\n"
    "failed, 2 wrong usage.\n";

_Noreturn static void fail_usage(const char *what, const char *value) {
  cli_signals_plain();
  fprintf(stderr, "callosum-rover: %s%s%s%s\n%s", what, value ? " '" : "",
          value ? value : "", value ? "'" : "", usage);
  exit(EXIT_USAGE);
}

/* Where `name` is in the list, or -1. */
static int index_of(const char *name, const char *const names[]) {
  for (int i = 0; names[i]; i++)
    if (!strcmp(name, names[i])) return i;
  return -1;
}

static double parse_seconds(const char *text) {
  char *end;
  double seconds = strtod(text, &end);
  if (*end || end == text || !(seconds > 0 && seconds <= 1e9))
    fail_usage("--for wants a number of seconds above 0, not", text);
  return seconds;
}

static unsigned parse_ms(const char *option, const char *text) {
  char *end, what[64];
  unsigned long ms = strtoul(text, &end, 10);
  if (isdigit((unsigned char)*text) && !*end && ms > 0 && ms <= 1000000000)
    return (unsigned)ms;
  snprintf(what, sizeof what, "%s wants milliseconds above 0, not", option);
  fail_usage(what, text);
}

static size_t parse_size(const char *text) {
  static const char units[] = "KMG";
  char *end;
  unsigned long long size = strtoull(text, &end, 10);
  const char *unit = *end ? strchr(units, *end) : NULL;
  int shift = unit ? 10 * (int)(unit - units + 1) : 0;
  if (unit) end++;
  if (!isdigit((unsigned char)*text) || *end || size == 0 ||
      size > (SIZE_MAX / 2) >> shift)
    fail_usage("--memory wants bytes, or a number with K, M or G, not", text);
  return (size_t)size << shift;
}

static rover_host_level_t parse_level(const char *text) {
  static const char *const levels[] = {"debug", "info", "warn", "error", NULL};
  int level = index_of(text, levels);
  if (level < 0)
    fail_usage("--log-level wants debug, info, warn or error, not", text);
  return (rover_host_level_t)level;
}

static bool parse_format(const char *text) {
  static const char *const formats[] = {"text", "json", NULL};
  int format = index_of(text, formats);
  if (format < 0) fail_usage("--log-format wants text or json, not", text);
  return format == 1;
}

enum {
  FOR = 256,
  HOST,
  LOG_FORMAT,
  LOG_LEVEL,
  MEMORY,
  BUDGET,
  LOAD_BUDGET,
  SANDBOX,
  WATCH
};
#define LIMITS                                                                 \
  {"memory", required_argument, NULL, MEMORY},                                 \
      {"budget", required_argument, NULL, BUDGET},                             \
      {"load-budget", required_argument, NULL, LOAD_BUDGET}, {                 \
    "sandbox", no_argument, NULL, SANDBOX                                      \
  }
#define COMMON                                                                 \
  {"log-format", required_argument, NULL, LOG_FORMAT},                         \
      {"log-level", required_argument, NULL, LOG_LEVEL},                       \
      {"help", no_argument, NULL, 'h'},                                        \
      {"version", no_argument, NULL, 'V'}, {                                   \
    NULL, 0, NULL, 0                                                           \
  }

static const struct option no_options[] = {
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0}};
static const struct option run_options[] = {
    {"for", required_argument, NULL, FOR},
    {"watch", no_argument, NULL, WATCH},
    LIMITS, COMMON};
static const struct option check_options[] = {LIMITS, COMMON};
static const struct option serve_options[] = {
    {"host", required_argument, NULL, HOST}, COMMON};

static int print(const char *text, const char *more) {
  cli_signals_plain();
  printf("%s%s", text, more);
  return cli_streams_end();
}

/* What getopt_long() found wrong, in words that are the same with every C
 * library. */
_Noreturn static void fail_option(int c, char **argv,
                                  const struct option options[]) {
  char what[80];
  const struct option *option = options;

  while (option->name && option->val != optopt) option++;
  if (c == ':')
    snprintf(what, sizeof what, "option '--%s' requires an argument",
             option->name);
  else if (optopt != 0 && option->name)
    snprintf(what, sizeof what, "option '--%s' doesn't allow an argument",
             option->name);
  else if (optopt != 0)
    snprintf(what, sizeof what, "invalid option -- '%c'", optopt);
  else
    fail_usage("unrecognized option", argv[optind - 1]);
  fail_usage(what, NULL);
}

/* Returns the index of the first operand. */
static int parse_options(struct cli_options *o, int argc, char **argv,
                         const struct option options[]) {
  int c;

  optind = 0; /* begin anew */
  /* "+": what follows the first operand is not ours; ":": nor are messages
   * getopt's. */
  while ((c = getopt_long(argc, argv, "+:hV", options, NULL)) != -1) {
    switch (c) {
      case FOR: o->seconds = parse_seconds(optarg); break;
      case HOST: o->address = optarg; break;
      case LOG_FORMAT: o->log_json = parse_format(optarg); break;
      case MEMORY: o->memory = parse_size(optarg); break;
      case BUDGET: o->budget = parse_ms("--budget", optarg); break;
      case LOAD_BUDGET:
        o->load_budget = parse_ms("--load-budget", optarg);
        break;
      case SANDBOX: o->sandbox = true; break;
      case LOG_LEVEL: o->log_level = parse_level(optarg); break;
      case WATCH: o->watch = true; break;
      case 'h': exit(print(usage, help));
      case 'V':
        exit(print("callosum-rover " ROVER_VERSION_STRING "\n", ""));
      default: fail_option(c, argv, options);
    }
  }
  return optind;
}

/* Writes the path of the command's file, without links. Where there is no /proc,
 * it is what the kernel was asked to run. */
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

/* Our Lua modules lie beside the command: installed, in share/lua/5.4; in the
 * source tree, in lua. Returns NULL if they do not. */
static const char *find_lua_path(char *path, size_t size) {
  static const char *const places[] = {"../share/lua/5.4", "../lua",
                                       "../../lua"};
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

rover_host_options_t cli_host_options(struct cli_options *o) {
  return (rover_host_options_t){.lua_path = o->lua_path,
                                .rover_optional = o->serve,
                                .memory = o->memory,
                                .budget = o->budget,
                                .load_budget = o->load_budget,
                                .sandbox = o->sandbox,
                                .log = cli_log,
                                .data = o,
                                .alarm = cli_alarm_open(&o->alarm)};
}

static bool is_port(const char *text) {
  char *end;
  long port = strtol(text, &end, 10);
  return isdigit((unsigned char)*text) && !*end && strlen(text) <= 5 &&
         port <= 65535;
}

/* serve is a policy of ours, whose arguments are the address, the signals that
 * our parent had us ignore, and the operands. */
static int serve(struct cli_options *o, int argc, char **argv) {
  int ports = 0;
  while (ports < argc && strcmp(argv[ports], "--") != 0) {
    if (!is_port(argv[ports]))
      fail_usage("a PORT is a number from 0 to 65535, not", argv[ports]);
    ports++;
  }
  if (ports == 0) fail_usage("serve wants at least one PORT", NULL);
  if (ports == argc - 1) fail_usage("no COMMAND behind --", NULL);
  o->signals_theirs = ports < argc;
  if (!o->lua_path) {
    fputs("callosum-rover: cannot serve: its Lua modules are not in "
          "../share/lua/5.4 from where it is; install it anew\n", stderr);
    return EXIT_FAILED;
  }

  char script[PATH_MAX + 32], ignored[128];
  snprintf(script, sizeof script, "%s/callosum/serve.lua", o->lua_path);
  o->script = script;
  o->argc = argc + 2;
  o->argv = calloc((size_t)argc + 3, sizeof *o->argv);
  if (!o->argv) {
    perror("callosum-rover");
    return EXIT_FAILED;
  }
  o->argv[0] = (char *)o->address;
  o->argv[1] = (char *)cli_signals_list(ignored, sizeof ignored);
  memcpy(o->argv + 2, argv, (size_t)argc * sizeof *argv);
  int status = cli_run(o);
  free(o->argv);
  o->argv = NULL;
  o->script = NULL;
  return status;
}

int main(int argc, char **argv) {
  static const char *const commands[] = {"run", "check", "serve", NULL};
  static const struct option *const options[] = {run_options, check_options,
                                                 serve_options};
  /* Static, since streams that go there may outlive main(). */
  static struct cli_options o = {.address = "127.0.0.1",
                                 .log_level = ROVER_HOST_INFO};
  char lua_path[PATH_MAX + 32];

  cli_signals_open();
  cli_streams_open();
  int first = parse_options(&o, argc, argv, no_options);
  if (first == argc) fail_usage("a command is missing", NULL);
  int command = index_of(argv[first], commands);
  if (command < 0) fail_usage("no such command:", argv[first]);
  argc -= first;
  argv += first;
  first = parse_options(&o, argc, argv, options[command]);
  argc -= first;
  argv += first;

  o.lua_path = find_lua_path(lua_path, sizeof lua_path);
  o.serve = command == 2;
  if (o.serve) return serve(&o, argc, argv);
  if (argc == 0) fail_usage("a POLICY is missing", NULL);
  o.script = argv[0];
  o.argc = argc - 1;
  o.argv = argv + 1;
  if (command != 0) return cli_check(&o);
  /* libuv lets half of its threads look names up, and one whose DNS server is
   * silent holds one for long. */
  setenv("UV_THREADPOOL_SIZE", "16", 0);
  return cli_run(&o);
}
