#include "help.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "items.h"
#include "signals.h"
#include "streams.h"

/* What --help prints, of all commands or of one, and --version. */

const char *const cli_commands[] = {"run",      "check",  "front",  "serve",
                                    "simulate", "status", "top",    "servers",
                                    "reload",   "drain",  "resume", NULL};

#define ASKED                                                                     \
  "Exit status: 0 done, 1 the host refused, or it failed there, 2 usage error,\n" \
  "3 no host answers at that address.\n"

/* The commands, as in enum cli_command. `text` is a paragraph of --help, `ending`
 * another below the options: of one command alone. */
static const struct command {
  const char *operands, *text, *ending;
} about[CLI_COMMANDS] = {
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
    {"status [options]",
     "status tells whether a running host's connections are balanced, and the rest\n"
     "       of how it is\n",
     ASKED},
    {"top [options]",
     "top    shows that again and again: the keys c, s, u and i sort the servers by\n"
     "       connections, slot, unreachable and id, r shows the next rover, q quits\n",
     ASKED},
    {"servers [options] [ACTION]",
     "servers\n"
     "       lists all servers, or steers one: add ID HOST:PORT, drop ID, pause ID,\n"
     "       drain ID, resume ID; what is dropped stays dropped until resumed or added\n",
     ASKED},
    {"reload [options]",
     "reload has a running host reload its policy, and tells what has come of it\n",
     ASKED},
    {"drain [options]",
     "drain  has the fronts of a running host refuse new connections, and end those\n"
     "       that they have\n",
     ASKED},
    {"resume [options]", "resume has them give slots again\n", ASKED},
};
enum { TEXT_COLUMN = 29, WIDTH = 80 };

/* -- Help ------------------------------------------------------------------ */

static bool has_all(unsigned of) {
  unsigned all = CLI_NO_COMMAND - 1u - (1u << CLI_SIMULATE);
  return (of & all) == all;
}

/* What goes before the text: the commands that have the option, if not all. */
static void put_commands(char *text, size_t size, unsigned of) {
  size_t used = 0;
  for (int i = 0; !has_all(of) && cli_commands[i]; i++)
    if (of & 1u << i)
      used += (size_t)snprintf(text + used, size - used, "%s%s",
                               used ? ", " : "", cli_commands[i]);
  if (used) snprintf(text + used, size - used, ": ");
}

/* The engine's texts are sentences, with C's names of other options. */
static void put_text(char *text, size_t size, const struct cli_item *item) {
  size_t used = strlen(text);
  const char *preset = item->preset;

  if (item->is_right && item->wants && strcmp(item->wants, item->text) != 0)
    used += (size_t)snprintf(text + used, size - used, "%s: ", item->wants);
  snprintf(text + used, size - used, "%s", item->text);
  if (item->is_right) text[used] = (char)tolower((unsigned char)text[used]);
  for (char *at = text + used; item->is_right && *at; at++)
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
static void print_item(const struct cli_item *item, bool with_commands) {
  char text[512] = "";
  char letter[5] = {'-', item->letter, ',', ' '};
  int width = printf("  %s--%s %s", item->letter ? letter : "",
                     cli_item_name(item), item->argument ? item->argument : "");
  printf("%*s", TEXT_COLUMN - width, "");
  if (with_commands) put_commands(text, sizeof text, item->commands);
  put_text(text, sizeof text, item);
  print_words(text);
}

void cli_help_usage(FILE *out, enum cli_command command) {
  if (command < CLI_COMMANDS) {
    fprintf(out,
            "usage: callosum-rover %s\n"
            "       callosum-rover %s --help\n",
            about[command].operands, cli_commands[command]);
    return;
  }
  for (int i = 0; i < CLI_COMMANDS; i++)
    fprintf(out, "%s callosum-rover %s\n", i == 0 ? "usage:" : "      ",
            about[i].operands);
  fputs("       callosum-rover --help | --version\n", out);
}

_Noreturn void cli_help(unsigned of) {
  bool all = of == CLI_NO_COMMAND, asks = (of >> CLI_STATUS) & 63;
  const char *ending = about[CLI_RUN].ending;

  cli_signals_plain();
  if (all) {
    cli_help_usage(stdout, CLI_COMMANDS);
    fputs(
        "\nKeeps a client's TCP connections balanced over a fleet of Callosum "
        "servers.\n\n",
        stdout);
  }
  for (int i = 0; i < CLI_COMMANDS; i++) {
    if (all) fputs(about[i].text, stdout);
    else if (of == 1u << i) {
      printf("usage: callosum-rover %s\n\n%s", about[i].operands,
             about[i].text);
      ending = about[i].ending;
    }
  }
  putchar('\n');
  for (const struct cli_item *each = cli_items;
       each < cli_items + cli_item_count; each++)
    if (all || each->commands & of) print_item(each, all);
  printf("\n%s%s",
         asks || of == 1u << CLI_CHECK
             ? ""
             : "Logs go to standard error, one event per line.\n",
         ending);
  exit(cli_streams_end());
}

_Noreturn void cli_help_version(void) {
  cli_signals_plain();
  puts("callosum-rover " ROVER_VERSION_STRING);
  exit(cli_streams_end());
}
