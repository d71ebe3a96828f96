#include "options.h"

#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "help.h"
#include "items.h"
#include "signals.h"

/* Parses the command line, by the table in items.c, and says what is wrong with
 * it. */

_Noreturn static void fail_value(const struct cli_item *item,
                                 const char *value) {
  char what[120];
  const char *kind =
      item->is_right == cli_is_number ? "a number" : "an integer";
  double most = item->most < UINT32_MAX ? item->most : UINT32_MAX;

  if (item->wants || item->is_right == cli_is_any ||
      item->is_right == cli_is_list)
    snprintf(what, sizeof what, "--%s wants %s, not", cli_item_name(item),
             item->wants ? item->wants : "a value");
  else if (item->least > 0 && item->least < 1)
    snprintf(what, sizeof what, "--%s wants %s from 1/%g to %g, not",
             cli_item_name(item), kind, 1 / item->least, most);
  else
    snprintf(what, sizeof what, "--%s wants %s from %.10g to %.10g, not",
             cli_item_name(item), kind, item->least, most);
  cli_options_fail(what, value);
}

static void add_setting(struct cli_options *options,
                        const struct cli_item *item, const char *value) {
  size_t size = strlen(item->name) + strlen(value) + 2;
  char *text = malloc(size);

  if (!text) {
    perror("callosum-rover");
    exit(EXIT_FAILURE);
  }
  snprintf(text, size, "%s=%s", item->name, value);
  options->settings[options->setting_count++] = text;
}

static void set(struct cli_options *options, const struct cli_item *item,
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

/* -- What is wrong --------------------------------------------------------- */

/* The one that is given; CLI_COMMANDS until it is known. */
static enum cli_command given_command = CLI_COMMANDS;

_Noreturn void cli_options_fail(const char *what, const char *value) {
  cli_signals_plain();
  fprintf(stderr, "callosum-rover: %s%s%s%s\n", what, value ? " '" : "",
          value ? value : "", value ? "'" : "");
  cli_help_usage(stderr, given_command);
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

/* The name that is most like the first `length` bytes, or NULL. */
static const char *nearest(const char *given, size_t length,
                           const char *const names[]) {
  const char *near = NULL;
  size_t best = 0;

  for (; *names; names++) {
    size_t like = likeness(given, length, *names);
    if (like <= best) continue;
    best = like;
    near = *names;
  }
  return near;
}

_Noreturn void cli_options_no_such(const char *noun, const char *given,
                                   const char *const names[]) {
  const char *near = nearest(given, strlen(given), names);
  char what[500];

  if (near)
    snprintf(what, sizeof what, "no such %s: '%.200s', nearest is '%s'", noun,
             given, near);
  else snprintf(what, sizeof what, "no such %s: '%.200s'", noun, given);
  cli_options_fail(what, NULL);
}

_Noreturn static void fail_unknown(const char *given,
                                   const struct option known[]) {
  const char *name = given + strspn(given, "-"), *names[CLI_ITEMS_MAX + 1];
  char what[500];
  int count = 0;

  for (; known[count].name; count++) names[count] = known[count].name;
  names[count] = NULL;
  const char *near = nearest(name, strcspn(name, "="), names);
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

static const struct cli_item *by_letter(int letter) {
  for (int i = 0; i < cli_item_count; i++)
    if (cli_items[i].letter == letter) return &cli_items[i];
  return NULL;
}

/* Parses the options of these commands, and leaves the operands in `argc` and
 * `argv`. check takes those of run, which have no effect, so that a command line
 * is checked as it is run. */
static void parse(struct cli_options *o, unsigned of) {
  enum { FIRST = 256 }; /* no letter */
  struct option known[CLI_ITEMS_MAX + 1] = {0}, *next = known;
  /* "+": stops at the first operand; ":": getopt prints no messages. */
  char letters[2 * CLI_ITEMS_MAX + 3] = "+:", *letter = letters + 2;
  unsigned taken = of == 1 << CLI_CHECK ? of | 1 << CLI_RUN : of;
  int c;

  for (int i = 0; i < cli_item_count; i++) {
    const struct cli_item *item = &cli_items[i];
    if (!(item->commands & taken)) continue;
    *next++ = (struct option){cli_item_name(item), item->argument != NULL, NULL,
                              item->letter ? item->letter : FIRST + i};
    if (item->letter) *letter++ = item->letter;
    if (item->letter && item->argument) *letter++ = ':';
  }
  optind = 0; /* restart getopt */
  while ((c = getopt_long(o->argc, o->argv, letters, known, NULL)) != -1) {
    const struct cli_item *item =
        c < FIRST ? by_letter(c) : &cli_items[c - FIRST];
    if (c == 'h') cli_help(of);
    if (c == 'V') cli_help_version();
    if (!item) fail(c, o->argv[optind - 1], known);
    set(o, item, optarg);
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
  for (int i = 0; i < cli_item_count; i++)
    if (cli_items[i].preset && cli_items[i].parse)
      set(o, &cli_items[i], cli_items[i].preset);
  parse(o, CLI_NO_COMMAND);
  if (o->argc == 0) cli_options_fail("a command is missing", NULL);
  int command = cli_index_of(o->argv[0], cli_commands);
  if (command < 0) cli_options_no_such("command", o->argv[0], cli_commands);
  o->command = given_command = (enum cli_command)command;
  if (o->command == CLI_SIMULATE) return;
  parse(o, 1u << command);
  if (o->argc == 0 && (o->command == CLI_RUN || o->command == CLI_CHECK))
    cli_options_fail("a POLICY is missing", NULL);
  if (*o->host.allow_paths && !o->host.sandbox)
    cli_options_fail("--allow-path wants --sandbox beside it", NULL);
  if (o->host.allow_http && !o->host.sandbox)
    cli_options_fail("--allow-http wants --sandbox beside it", NULL);
}
