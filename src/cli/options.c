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
 * if they were given. */

static const char usage[] =
    "usage: callosum-rover run [options] POLICY [ARGS...]\n"
    "       callosum-rover check [options] POLICY [ARGS...]\n"
    "       callosum-rover serve [options] PORT... [-- COMMAND [ARGS...]]\n"
    "       callosum-rover --help | --version\n";

static const char about[] =
    "\n"
    "Keeps a client's TCP connections balanced over a fleet of Callosum servers.\n"
    "\n"
    "run    runs a policy: a Lua script that decides which connections to keep\n"
    "check  loads a policy without the network, and prints what it declares\n"
    "serve  runs a Callosum echo server on each PORT (0: any free one), to try\n"
    "       policies against; with a COMMAND, to which they forward nothing, runs\n"
    "       it once they listen, and exits when it does\n"
    "\n";

static const char ending[] =
    "\n"
    "Logs go to standard error, one event per line. SIGTERM and SIGINT shut down\n"
    "gracefully, a second one at once. Exit status: 0 success, 1 the policy or\n"
    "the run failed, 2 usage error.\n";

enum { TEXT_COLUMN = 22 };
#define INDENT "                      "

static const char *const commands[] = {"run", "check", "serve", NULL};
enum {
  RUN = 1 << CLI_RUN,
  CHECK = 1 << CLI_CHECK,
  SERVE = 1 << CLI_SERVE,
  ALL = RUN | CHECK | SERVE,
  NO_COMMAND = 1 << (CLI_SERVE + 1)
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

#define LEVELS "debug, info, warn or error"
static bool is_level(const char *text, void *at) {
  static const char *const levels[] = {"debug", "info", "warn", "error", NULL};
  *(int *)at = index_of(text, levels);
  return *(int *)at >= 0;
}

#define FORMATS "text or json"
static bool is_format(const char *text, void *at) {
  *(bool *)at = !strcmp(text, "json");
  return *(bool *)at || !strcmp(text, "text");
}

/* -- The table ------------------------------------------------------------- */

static const struct item {
  const char *name, *argument, *preset; /* NULL: none */
  unsigned commands;
  bool (*parse)(const char *text, void *at);
  size_t at;         /* in struct cli_options */
  const char *wants; /* the valid values, for messages */
  const char *text;
} items[] = {
#define AT(field) offsetof(struct cli_options, field)
#define MS_WANTED "milliseconds above 0"
    {"budget", "MS", "1000", RUN | CHECK, is_ms, AT(host.budget), MS_WANTED,
     "time limit of a call into the policy"},
    {"for", "SECONDS", NULL, RUN, is_seconds, AT(seconds),
     "a number of seconds above 0", "stop after that time"},
    {"host", "HOST", "127.0.0.1", SERVE, is_text, AT(address), NULL,
     "the address to listen on"},
    {"load-budget", "MS", "5000", RUN | CHECK, is_ms, AT(host.load_budget),
     MS_WANTED, "time limit of loading the policy"},
    {"log-format", "FMT", "text", ALL, is_format, AT(log_json), FORMATS,
     FORMATS},
    {"log-level", "LEVEL", "info", ALL, is_level, AT(log_level), LEVELS,
     LEVELS},
    {"memory", "SIZE", "256M", RUN | CHECK, is_size, AT(host.memory),
     "bytes, or a number with K, M or G",
     "the policy's memory: bytes, or K, M, G"},
    {"sandbox", NULL, NULL, RUN | CHECK, is_flag, AT(host.sandbox), NULL,
     "keep the policy from files, processes, luv,\n" INDENT
     "C modules and all modules but its own and callosum.*"},
    {"watch", NULL, NULL, RUN, is_flag, AT(host.watch), NULL,
     "reload when the script or a module from its\n" INDENT "folder changes"},
    /* These two have short forms as well. */
    {"help", NULL, NULL, ALL | NO_COMMAND, NULL, 0, NULL, "print this"},
    {"version", NULL, NULL, ALL | NO_COMMAND, NULL, 0, NULL,
     "print the version"},
};
enum { COUNT = sizeof items / sizeof *items, HELP = COUNT - 2, VERSION };

static void set(struct cli_options *options, const struct item *item,
                const char *value) {
  char what[80];
  if (item->parse(value, (char *)options + item->at)) return;
  snprintf(what, sizeof what, "--%s wants %s, not", item->name, item->wants);
  cli_options_fail(what, value);
}

/* -- Help ------------------------------------------------------------------ */

static void print_commands(unsigned of) {
  const char *before = "";
  for (int i = 0; commands[i]; i++) {
    if (!(of & 1u << i)) continue;
    printf("%s%s", before, commands[i]);
    before = ", ";
  }
  fputs(": ", stdout);
}

static void print_item(const struct item *item) {
  const char *letter = item == &items[HELP]      ? "-h, "
                       : item == &items[VERSION] ? "-V, "
                                                 : "";
  int width = printf("  %s--%s %s", letter, item->name,
                     item->argument ? item->argument : "");
  printf("%*s", TEXT_COLUMN - width, "");
  if ((item->commands & ALL) != ALL) print_commands(item->commands);
  fputs(item->text, stdout);
  if (item->preset) printf(" (%s)", item->preset);
  putchar('\n');
}

_Noreturn static void help(void) {
  cli_signals_plain();
  printf("%s%s", usage, about);
  for (const struct item *each = items; each < items + COUNT; each++)
    print_item(each);
  fputs(ending, stdout);
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
  fprintf(stderr, "callosum-rover: %s%s%s%s\n%s", what, value ? " '" : "",
          value ? value : "", value ? "'" : "", usage);
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
 * `argv`. */
static void parse(struct cli_options *o, unsigned of) {
  enum { FIRST = 256 }; /* no letter */
  struct option known[COUNT + 1] = {0}, *next = known;
  int c;

  for (int i = 0; i < COUNT; i++) {
    if (!(items[i].commands & of)) continue;
    *next++ = (struct option){items[i].name, items[i].argument != NULL, NULL,
                              FIRST + i};
  }
  optind = 0; /* restart getopt */
  /* "+": stops at the first operand; ":": getopt prints no messages. */
  while ((c = getopt_long(o->argc, o->argv, "+:hV", known, NULL)) != -1) {
    if (c == 'h' || c == FIRST + HELP) help();
    if (c == 'V' || c == FIRST + VERSION) version();
    if (c < FIRST) fail(c, o->argv[optind - 1], known);
    set(o, &items[c - FIRST], optarg);
  }
  o->argc -= optind;
  o->argv += optind;
}

void cli_options_parse(struct cli_options *o, int argc, char **argv) {
  *o = (struct cli_options){.argc = argc, .argv = argv};
  for (int i = 0; i < COUNT; i++)
    if (items[i].preset) set(o, &items[i], items[i].preset);
  parse(o, NO_COMMAND);
  if (o->argc == 0) cli_options_fail("a command is missing", NULL);
  int command = index_of(o->argv[0], commands);
  if (command < 0) cli_options_fail("no such command:", o->argv[0]);
  o->command = (enum cli_command)command;
  parse(o, 1u << command);
  if (o->argc == 0 && o->command != CLI_SERVE)
    cli_options_fail("a POLICY is missing", NULL);
}
