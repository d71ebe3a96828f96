#include "options.h"

#include <ctype.h>
#include <getopt.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "signals.h"
#include "streams.h"

/* The command line. One table has all options: what is parsed, what --help
 * prints and, read from that, what the shell completes. Defaults are parsed as
 * if they were given. The options of a front are those of front.new(): the
 * engine's by its own table. They are only checked here, and given to the
 * script of `callosum-rover front` as NAME=VALUE. */

/* The commands, as in enum cli_command. `text` is a paragraph of --help, `ending`
 * another below the options: of one command alone. */
static const struct command {
  const char *operands, *text, *ending;
} about[] = {
    {"run [options] POLICY [ARGS...]",
     "run    runs a policy: a Lua script that decides which connections to keep\n",
     "SIGTERM and SIGINT shut down gracefully, a second one at once; SIGHUP reloads\n"
     "the policy, SIGUSR2 has a new process of the executable take over. Exit\n"
     "status: 0 success, 1 the policy or the run failed, 2 usage error.\n"},
    {"check [options] POLICY [ARGS...]",
     "check  loads a policy without the network, and prints what it declares\n",
     "Exit status: 0 success, 1 the policy failed, 2 usage error.\n"},
    {"front [options] LISTEN BACKEND",
     "front  gives slots, at LISTEN, for the server at BACKEND, which knows nothing\n"
     "       of Callosum; each is HOST:PORT, PORT or the path of a Unix socket, and\n"
     "       LISTEN may be fd:NAME, a socket of systemd's\n",
     "SIGTERM and SIGINT drain it, a second one ends it at once; SIGUSR2 has a new\n"
     "process of the executable take over. Exit status: 0 success, 1 it cannot\n"
     "listen, 2 usage error.\n"},
    {"serve [options] PORT... [-- COMMAND [ARGS...]]",
     "serve  runs a Callosum echo server on each PORT (0: any free one), to try\n"
     "       policies against; with a COMMAND, to which they forward nothing, runs\n"
     "       it once they listen, and exits when it does\n",
     "SIGTERM, SIGINT and SIGHUP end it. Exit status: that of the COMMAND; without\n"
     "one, 0 success, 1 it cannot listen; 2 usage error.\n"},
    {"simulate [options] POLICY... [-- ARGS...]",
     "simulate\n"
     "       runs a policy on hundreds of virtual hosts, with virtual servers and in\n"
     "       virtual time, and prints how they balance: see simulate --help\n",
     NULL},
};
enum { COMMANDS = sizeof about / sizeof *about };

enum { TEXT_COLUMN = 29, WIDTH = 80 };

static const char *const commands[] = {"run",   "check",    "front",
                                       "serve", "simulate", NULL};
enum {
  RUN = 1 << CLI_RUN,
  CHECK = 1 << CLI_CHECK,
  FRONT = 1 << CLI_FRONT,
  SERVE = 1 << CLI_SERVE,
  ALL = RUN | CHECK | FRONT | SERVE,
  NO_COMMAND = 1 << (CLI_SIMULATE + 1)
};

/* Where `name` is in the list, or -1. */
static int index_of(const char *name, const char *const names[]) {
  for (int i = 0; names[i]; i++)
    if (!strcmp(name, names[i])) return i;
  return -1;
}

/* -- Values: each is parsed into `at`, or false is returned ---------------- */

static bool is_flag(const char *text, void *at) {
  (void)text;
  *(int *)at = 1;
  return true;
}

static bool is_text(const char *text, void *at) {
  *(const char **)at = text;
  return true;
}

/* Adds it to a list that has room. */
static bool is_listed(const char *text, void *at) {
  const char **list = *(const char ***)at;
  while (*list) list++;
  *list = text;
  return *text != '\0';
}

static bool is_seconds(const char *text, void *at) {
  char *end;
  double seconds = strtod(text, &end);
  if (*end || end == text || !(seconds > 0 && seconds <= 1e9)) return false;
  *(double *)at = seconds;
  return true;
}

static bool is_ms(const char *text, void *at) {
  char *end;
  unsigned long ms = strtoul(text, &end, 10);
  if (!isdigit((unsigned char)*text) || *end || ms == 0 || ms > 1000000000)
    return false;
  *(unsigned *)at = (unsigned)ms;
  return true;
}

static bool is_count(const char *text, void *at) {
  char *end;
  unsigned long count = strtoul(text, &end, 10);
  if (!isdigit((unsigned char)*text) || *end || count > 1000000000)
    return false;
  *(unsigned *)at = (unsigned)count;
  return true;
}

static bool is_size(const char *text, void *at) {
  static const char units[] = "KMG";
  char *end;
  unsigned long long size = strtoull(text, &end, 10);
  const char *unit = *end ? strchr(units, *end) : NULL;
  int shift = unit ? 10 * (int)(unit - units + 1) : 0;
  if (unit) end++;
  if (!isdigit((unsigned char)*text) || *end || size == 0 ||
      size > (SIZE_MAX / 2) >> shift)
    return false;
  *(size_t *)at = (size_t)size << shift;
  return true;
}

static bool is_mode(const char *text, void *at) {
  char *end;
  unsigned long mode = strtoul(text, &end, 8);
  if (!isdigit((unsigned char)*text) || *end || mode == 0 || mode > 0777)
    return false;
  *(int *)at = (int)mode;
  return true;
}

#define LEVELS "debug, info, warn or error"
bool cli_options_level(const char *name, int *level) {
  static const char *const levels[] = {"debug", "info", "warn", "error", NULL};
  *level = index_of(name, levels);
  return *level >= 0;
}

static bool is_level(const char *text, void *at) {
  return cli_options_level(text, at);
}

#define FORMATS "text or json"
static bool is_format(const char *text, void *at) {
  *(bool *)at = !strcmp(text, "json");
  return *(bool *)at || !strcmp(text, "text");
}

/* -- Values of a front: whether they are right ----------------------------- */

static bool is_integer(const char *text, double least, double most) {
  char *end;
  unsigned long long value = strtoull(text, &end, 10);
  return isdigit((unsigned char)*text) && !*end && (double)value >= least &&
         (double)value <= most;
}

static bool is_number(const char *text, double least, double most) {
  char *end;
  double value = strtod(text, &end);
  return isdigit((unsigned char)*text) && !*end && value >= least &&
         value <= most;
}

static bool is_any(const char *text, double least, double most) {
  (void)least;
  (void)most;
  return *text != '\0';
}

/* At least one, with commas or blanks between them. */
static bool is_list(const char *text, double least, double most) {
  (void)least;
  (void)most;
  return text[strspn(text, ", \t\n")] != '\0';
}

/* When a connection is joined. */
#define WHENS "data, kept or slot"
static bool is_when(const char *text, double least, double most) {
  static const char *const whens[] = {"data", "kept", "slot", NULL};
  (void)least;
  (void)most;
  return index_of(text, whens) >= 0;
}

#define VERSIONS "v1 or v2"
static bool is_version(const char *text, double least, double most) {
  (void)least;
  (void)most;
  return !strcmp(text, "v1") || !strcmp(text, "v2");
}

/* Options of the engine, by kind. Zero, where it is no count of them, is no
 * deadline, or off. The one factor is the weight, which serve has as well. */
#define OF_FRONT(of, right)                                                    \
  .commands = FRONT, .argument = (of), .is_right = (right)
#define OF_MS(from) OF_FRONT("MS", is_integer), .least = from
#define OF_TIMEOUT(from) OF_FRONT("MS", is_integer)
#define OF_SECONDS(from) OF_FRONT("SECONDS", is_integer)
#define OF_COUNT(from) OF_FRONT("COUNT", is_integer), .least = from
#define OF_FACTOR(from)                                                        \
  .commands = FRONT | SERVE, .argument = "NUMBER", .is_right = is_number,      \
  .least = from
#define OF_FLAG(from) OF_FRONT(NULL, is_any)
#define OF_PROXY(from) OF_FRONT("VERSION", is_version), .wants = VERSIONS

/* -- The table ------------------------------------------------------------- */

static const struct item {
  const char *name, *argument, *preset; /* NULL: none */
  unsigned commands;
  bool (*parse)(const char *text, void *at);
  size_t at;         /* in struct cli_options */
  const char *wants; /* the valid values, for messages */
  const char *text;
  /* Of a front, which is named as in Lua, instead of the above: whether a value
   * is right, and the range of numbers. */
  bool (*is_right)(const char *text, double least, double most);
  double least, most;
} items[] = {
#define ITEM(n, a, p, of, parser, where, valid, words)                         \
  {                                                                            \
    .name = (n), .argument = (a), .preset = (p), .commands = (of),             \
    .parse = (parser), .at = (where), .wants = (valid), .text = (words)        \
  }
#define AT(field) offsetof(struct cli_options, field)
#define MS_WANTED "milliseconds above 0"
    ITEM("admin", "ADDRESS", NULL, RUN | FRONT, is_listed, AT(admin),
         "an address",
         "where the host can be seen and steered by HTTP: the path of a Unix "
         "socket, HOST:PORT or PORT; may be repeated"),
    ITEM("admin-control", NULL, NULL, RUN | FRONT, is_flag, AT(admin_control),
         NULL, "may be steered at a port, too, of this machine alone"),
    ITEM("admin-expose", NULL, NULL, RUN | FRONT, is_flag, AT(admin_expose),
         NULL, "other machines may see it"),
    ITEM("admin-host", "NAME", NULL, RUN | FRONT, is_listed, AT(admin_hosts),
         "a name",
         "what a browser may call this machine, beside localhost and its "
         "address; may be repeated"),
    ITEM("admin-mode", "OCTAL", "0600", RUN | FRONT, is_mode, AT(admin_mode),
         "octal permissions such as 0660",
         "permissions of such Unix sockets"),
    ITEM("admin-server-series", "N", "200", RUN | FRONT, is_count,
         AT(admin_server_series), "a number of servers",
         "the most servers a rover may have for each to have metrics of its "
         "own"),
    ITEM("allow-path", "FOLDER", NULL, RUN | CHECK, is_listed,
         AT(host.allow_paths), "a folder",
         "where a policy in the sandbox may have Unix sockets, beside its own "
         "folder; may be repeated"),
    ITEM("budget", "MS", "1000", RUN | CHECK, is_ms, AT(host.budget), MS_WANTED,
         "time limit of a call into the policy"),
    ITEM("for", "SECONDS", NULL, RUN | FRONT, is_seconds, AT(seconds),
         "a number of seconds above 0", "stop after that time"),
    ITEM("host", "HOST", "127.0.0.1", SERVE, is_text, AT(address), NULL,
         "the address to listen on"),
    ITEM("load-budget", "MS", "5000", RUN | CHECK, is_ms, AT(host.load_budget),
         MS_WANTED, "time limit of loading the policy"),
    ITEM("log-format", "FMT", "text", ALL, is_format, AT(log_json), FORMATS,
         FORMATS),
    ITEM("log-level", "LEVEL", "info", ALL, is_level, AT(log_level), LEVELS,
         LEVELS),
    ITEM("memory", "SIZE", "256M", RUN | CHECK, is_size, AT(host.memory),
         "bytes, or a number with K, M or G",
         "the policy's memory: bytes, or K, M, G"),
    ITEM("quiet", NULL, NULL, CHECK, is_flag, AT(quiet), NULL,
         "print nothing but errors"),
    ITEM("sandbox", NULL, NULL, RUN | CHECK, is_flag, AT(host.sandbox), NULL,
         "keep the policy from files, processes, luv, C modules and all "
         "modules but its own and callosum.*"),
    ITEM("watch", NULL, NULL, RUN, is_flag, AT(host.watch), NULL,
         "reload when the script or a module from its folder changes"),
    {.name = "allow",
     .argument = "CIDRS",
     .commands = FRONT,
     .is_right = is_list,
     .text = "who may connect: addresses and ranges such as 10.0.0.0/8, with "
             "commas between them; may be repeated"},
    {.name = "connectOn",
     .argument = "WHEN",
     .preset = "data",
     .commands = FRONT,
     .is_right = is_when,
     .wants = WHENS,
     .text = WHENS},
    {.name = "mode",
     .argument = "OCTAL",
     .preset = "0600",
     .commands = FRONT,
     .is_right = is_any,
     .text = "permissions of LISTEN if it is a path"},
    {.name = "trusted",
     .argument = "CIDRS",
     .commands = FRONT,
     .is_right = is_list,
     .text = "with --accept-proxy: who may connect, and send a PROXY header; "
             "written as for --allow"},
#define XX(type, field, kind, from, to, initial, lua, words)                   \
  {.name = (lua),                                                              \
   OF_##kind(from),                                                            \
   .most = (double)(to),                                                       \
   .preset = #initial,                                                         \
   .text = (words)},
    ROVER_FRONT_OPTIONS_MAP(XX)
#undef XX
    /* These two have short forms as well. */
    ITEM("help", NULL, NULL, ALL | NO_COMMAND, NULL, 0, NULL, "print this"),
    ITEM("version", NULL, NULL, ALL | NO_COMMAND, NULL, 0, NULL,
         "print the version"),
};
enum { COUNT = sizeof items / sizeof *items, HELP = COUNT - 2, VERSION };

/* The name of an option: "maxClients" is max-clients here. */
static const char *name_of(const struct item *item) {
  static char names[COUNT][32];
  char *name = names[item - items], *to = name;

  if (*name) return name;
  for (const char *from = item->name; *from; from++) {
    if (isupper((unsigned char)*from)) *to++ = '-';
    *to++ = (char)tolower((unsigned char)*from);
  }
  return name;
}

_Noreturn static void fail_value(const struct item *item, const char *value) {
  char what[120];
  const char *kind = item->is_right == is_number ? "a number" : "an integer";
  double most = item->most < UINT32_MAX ? item->most : UINT32_MAX;

  if (item->wants || item->is_right == is_any || item->is_right == is_list)
    snprintf(what, sizeof what, "--%s wants %s, not", name_of(item),
             item->wants ? item->wants : "a value");
  else
    snprintf(what, sizeof what, "--%s wants %s from %.10g to %.10g, not",
             name_of(item), kind, item->least, most);
  cli_options_fail(what, value);
}

static void add_setting(struct cli_options *options, const struct item *item,
                        const char *value) {
  size_t size = strlen(item->name) + strlen(value) + 2;
  char *text = malloc(size);

  if (!text) {
    perror("callosum-rover");
    exit(EXIT_FAILURE);
  }
  snprintf(text, size, "%s=%s", item->name, value);
  options->settings[options->setting_count++] = text;
}

static void set(struct cli_options *options, const struct item *item,
                const char *value) {
  if (item->is_right) {
    if (!item->argument) value = "true";
    double most = item->most < UINT32_MAX ? item->most : UINT32_MAX;
    if (!item->is_right(value, item->least, most)) fail_value(item, value);
    add_setting(options, item, value);
    return;
  }
  if (!item->parse(value, (char *)options + item->at)) fail_value(item, value);
}

/* -- Help ------------------------------------------------------------------ */

/* What goes before the text: the commands that have the option, if not all. */
static void put_commands(char *text, size_t size, unsigned of) {
  size_t used = 0;
  for (int i = 0; (of & ALL) != ALL && commands[i]; i++)
    if (of & 1u << i)
      used += (size_t)snprintf(text + used, size - used, "%s%s",
                               used ? ", " : "", commands[i]);
  if (used) snprintf(text + used, size - used, ": ");
}

/* The engine's texts are sentences, with C's names of other options. */
static void put_text(char *text, size_t size, const struct item *item) {
  size_t used = strlen(text);
  const char *preset = item->preset;

  if (item->is_right && item->wants && strcmp(item->wants, item->text) != 0)
    used += (size_t)snprintf(text + used, size - used, "%s: ", item->wants);
  snprintf(text + used, size - used, "%s", item->text);
  if (item->is_right) text[used] = (char)tolower((unsigned char)text[used]);
  for (char *at = text + used; *at; at++)
    if (*at == '_') *at = '-';
  used = strlen(text);
  if (text[used - 1] == '.') text[--used] = '\0';
  if (!preset || (item->is_right && !item->argument) ||
      !strcmp(preset, "UINT32_MAX") || !strcmp(preset, "0"))
    return;
  if (!strcmp(preset, "ROVER_NEVER")) preset = "never";
  snprintf(text + used, size - used, " (%s)", preset);
}

/* Prints words in lines that begin at that column. */
static void print_words(char *text) {
  int column = TEXT_COLUMN;

  for (char *word = strtok(text, " "); word; word = strtok(NULL, " ")) {
    int length = (int)strlen(word);
    if (column > TEXT_COLUMN && column + 1 + length > WIDTH) {
      printf("\n%*s", TEXT_COLUMN, "");
      column = TEXT_COLUMN;
    }
    column += printf("%s%s", column > TEXT_COLUMN ? " " : "", word);
  }
  putchar('\n');
}

/* With the commands that have it, if that is to be told. */
static void print_item(const struct item *item, bool with_commands) {
  char text[512] = "";
  const char *letter = item == &items[HELP]      ? "-h, "
                       : item == &items[VERSION] ? "-V, "
                                                 : "";
  int width = printf("  %s--%s %s", letter, name_of(item),
                     item->argument ? item->argument : "");
  printf("%*s", TEXT_COLUMN - width, "");
  if (with_commands) put_commands(text, sizeof text, item->commands);
  put_text(text, sizeof text, item);
  print_words(text);
}

static void print_usage(FILE *out) {
  for (int i = 0; i < COMMANDS; i++)
    fprintf(out, "%s callosum-rover %s\n", i == 0 ? "usage:" : "      ",
            about[i].operands);
  fputs("       callosum-rover --help | --version\n", out);
}

/* Of one command, or of all if `of` is NO_COMMAND. */
_Noreturn static void help(unsigned of) {
  bool all = of == NO_COMMAND;
  const char *ending = about[CLI_RUN].ending;

  cli_signals_plain();
  if (all) {
    print_usage(stdout);
    fputs(
        "\nKeeps a client's TCP connections balanced over a fleet of Callosum "
        "servers.\n\n",
        stdout);
  }
  for (int i = 0; i < COMMANDS; i++) {
    if (all) fputs(about[i].text, stdout);
    else if (of == 1u << i) {
      printf("usage: callosum-rover %s\n\n%s", about[i].operands,
             about[i].text);
      ending = about[i].ending;
    }
  }
  putchar('\n');
  for (const struct item *each = items; each < items + COUNT; each++)
    if (all || each->commands & of) print_item(each, all);
  printf("\n%s%s",
         of == CHECK ? "" : "Logs go to standard error, one event per line.\n",
         ending);
  exit(cli_streams_end());
}

_Noreturn static void version(void) {
  cli_signals_plain();
  puts("callosum-rover " ROVER_VERSION_STRING);
  exit(cli_streams_end());
}

/* -- What is wrong --------------------------------------------------------- */

_Noreturn void cli_options_fail(const char *what, const char *value) {
  cli_signals_plain();
  fprintf(stderr, "callosum-rover: %s%s%s%s\n", what, value ? " '" : "",
          value ? value : "", value ? "'" : "");
  print_usage(stderr);
  exit(EXIT_USAGE);
}

/* The number of letters in the common prefix and suffix of two names; 0 if that
 * is less than half of the longer name. */
static size_t likeness(const char *a, size_t m, const char *b) {
  size_t n = strlen(b), least = m < n ? m : n, most = m < n ? n : m;
  size_t before = 0, behind = 0;

  while (before < least && a[before] == b[before]) before++;
  while (before + behind < least && a[m - behind - 1] == b[n - behind - 1])
    behind++;
  return before + behind >= (most + 1) / 2 ? before + behind : 0;
}

_Noreturn static void fail_unknown(const char *given,
                                   const struct option known[]) {
  const char *near = NULL, *name = given + strspn(given, "-");
  size_t length = strcspn(name, "="), best = 0;
  char what[500];

  for (const struct option *each = known; each->name; each++) {
    size_t like = likeness(name, length, each->name);
    if (like <= best) continue;
    best = like;
    near = each->name;
  }
  int used =
      snprintf(what, sizeof what, "unrecognized option '%.200s', ", given);
  if (near)
    snprintf(what + used, sizeof what - (size_t)used, "nearest is '--%s'",
             near);
  for (const char *joint = "valid are"; !near && known->name; known++) {
    used += snprintf(what + used, sizeof what - (size_t)used, "%s --%s", joint,
                     known->name);
    joint = ",";
  }
  cli_options_fail(what, NULL);
}

/* Reports an error of getopt_long() in words that do not depend on the C
 * library. */
_Noreturn static void fail(int c, const char *given,
                           const struct option known[]) {
  char what[80];
  const struct option *option = known;

  while (option->name && option->val != optopt) option++;
  if (c == ':')
    snprintf(what, sizeof what, "option '--%s' requires an argument",
             option->name);
  else if (optopt != 0 && option->name)
    snprintf(what, sizeof what, "option '--%s' doesn't allow an argument",
             option->name);
  else if (optopt != 0)
    snprintf(what, sizeof what, "invalid option -- '%c'", optopt);
  else fail_unknown(given, known);
  cli_options_fail(what, NULL);
}

/* -- Parsing --------------------------------------------------------------- */

/* Parses the options of these commands, and leaves the operands in `argc` and
 * `argv`. check takes those of run, which have no effect, so that a command line
 * is checked as it is run. */
static void parse(struct cli_options *o, unsigned of) {
  enum { FIRST = 256 }; /* no letter */
  struct option known[COUNT + 1] = {0}, *next = known;
  int c;

  for (int i = 0; i < COUNT; i++) {
    if (!(items[i].commands & (of == CHECK ? CHECK | RUN : of))) continue;
    *next++ = (struct option){name_of(&items[i]), items[i].argument != NULL,
                              NULL, FIRST + i};
  }
  optind = 0; /* restart getopt */
  /* "+": stops at the first operand; ":": getopt prints no messages. */
  while ((c = getopt_long(o->argc, o->argv, "+:hV", known, NULL)) != -1) {
    if (c == 'h' || c == FIRST + HELP) help(of);
    if (c == 'V' || c == FIRST + VERSION) version();
    if (c < FIRST) fail(c, o->argv[optind - 1], known);
    set(o, &items[c - FIRST], optarg);
  }
  o->argc -= optind;
  o->argv += optind;
}

void cli_options_parse(struct cli_options *o, int argc, char **argv) {
  *o = (struct cli_options){.argc = argc, .argv = argv};
  o->settings = calloc((size_t)argc + 1, sizeof *o->settings);
  o->host.allow_paths = calloc((size_t)argc + 1, sizeof *o->host.allow_paths);
  o->admin = calloc((size_t)argc + 1, sizeof *o->admin);
  o->admin_hosts = calloc((size_t)argc + 1, sizeof *o->admin_hosts);
  if (!o->settings || !o->host.allow_paths || !o->admin || !o->admin_hosts) {
    perror("callosum-rover");
    exit(EXIT_FAILURE);
  }
  for (int i = 0; i < COUNT; i++)
    if (items[i].preset && items[i].parse) set(o, &items[i], items[i].preset);
  parse(o, NO_COMMAND);
  if (o->argc == 0) cli_options_fail("a command is missing", NULL);
  int command = index_of(o->argv[0], commands);
  if (command < 0) cli_options_fail("no such command:", o->argv[0]);
  o->command = (enum cli_command)command;
  if (o->command == CLI_SIMULATE) return;
  parse(o, 1u << command);
  if (o->argc == 0 && (o->command == CLI_RUN || o->command == CLI_CHECK))
    cli_options_fail("a POLICY is missing", NULL);
  if (*o->host.allow_paths && !o->host.sandbox)
    cli_options_fail("--allow-path wants --sandbox beside it", NULL);
}
