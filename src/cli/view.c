#include "view.h"

#include <string.h>
#include <time.h>

#include "ask.h"
#include "text.h"

/* What GET /status says, in words: see callosum-rover(1) for its JSON. */

enum { TEXT = 512, NAME = 64, ADDRESS = 128, LONG = 300 };

/* A text of the answer, cleaned and cut. */
static const char *clean(const json_t *of, const char *name, char to[TEXT],
                         size_t columns) {
  const json_t *value = json_object_get(of, name);

  cli_text_clean(to, TEXT, cli_ask_text(of, name), json_string_length(value),
                 columns);
  return to;
}

static const char *plural(double count) { return count == 1 ? "" : "s"; }

/* 48 as "48", 3.4 as "3.4". */
static const char *brief(double value, char to[32]) {
  snprintf(to, 32, "%.1f", value);
  size_t length = strlen(to);
  if (length > 2 && !strcmp(to + length - 2, ".0")) to[length - 2] = '\0';
  return to;
}

static const char *duration(double seconds, char to[32]) {
  long s = seconds > 0 && seconds < 1e9 ? (long)seconds : 0;

  if (s < 120) snprintf(to, 32, "%ld s", s);
  else if (s < 7200) snprintf(to, 32, "%ld min", s / 60);
  else if (s < 172800)
    snprintf(to, 32, "%ld h %ld min", s / 3600, s % 3600 / 60);
  else snprintf(to, 32, "%ld days %ld h", s / 86400, s % 86400 / 3600);
  return to;
}

static const char *clock_of(double at, char to[32]) {
  time_t when = at > 0 && at < 1e11 ? (time_t)at : 0;
  struct tm local;

  if (!localtime_r(&when, &local) || !strftime(to, 32, "%H:%M:%S", &local))
    snprintf(to, 32, "?");
  return to;
}

/* -- Rovers ---------------------------------------------------------------- */

void cli_view_verdict(FILE *out, const json_t *rover, bool named) {
  const json_t *b = json_object_get(rover, "balance");
  double connections = cli_ask_number(b, "connections"),
         servers = cli_ask_number(b, "servers"),
         least = cli_ask_number(b, "least"), peak = cli_ask_number(b, "peak");
  bool has_ratio = connections > 0 && servers > 0;
  char text[TEXT];

  if (named) fprintf(out, "%s: ", clean(rover, "name", text, NAME));
  fprintf(out, "%s: ", clean(b, "verdict", text, NAME));
  if (has_ratio)
    fprintf(out, "peak to mean %.2f, ", cli_ask_number(b, "peakToMean"));
  fprintf(out, "%.0f connection%s to %.0f server%s", connections,
          plural(connections), servers, plural(servers));
  if (has_ratio && least == peak) fprintf(out, ", %.0f each", peak);
  else if (has_ratio) fprintf(out, ", %.0f to %.0f each", least, peak);
  else if (!json_is_true(json_object_get(rover, "started")))
    fputs(", and the rover is not started", out);
  putc('\n', out);
}

static void put_server(FILE *out, const json_t *s, int name_columns) {
  const json_t *slot = json_object_get(s, "lastSlot");
  bool by_hand = json_is_true(json_object_get(s, "byHand"));
  char id[TEXT], state[TEXT], last[32] = "-";

  size_t width = cli_text_clean(id, sizeof id, cli_ask_text(s, "id"),
                                json_string_length(json_object_get(s, "id")),
                                (size_t)name_columns);
  clean(s, "state", state, by_hand ? 10 : 11);
  if (by_hand) strcat(state, "*");
  if (json_is_number(slot))
    snprintf(last, sizeof last, "%.0f", json_number_value(slot));
  fprintf(out, "%s%*s %-11s %6.0f %5.1f%% %5.0f %5.0f %6.0f %5s %8.0f\n", id,
          name_columns - (int)width, "", state,
          cli_ask_number(s, "connections"), 100 * cli_ask_number(s, "share"),
          cli_ask_number(s, "kept"), cli_ask_number(s, "lent"),
          cli_ask_number(s, "joined"), last, cli_ask_number(s, "unreachable"));
}

/* How many columns the ids have. */
static int id_columns(int columns) {
  enum { OTHERS = 60, LEAST = 12, MOST = 60 };
  int rest = columns - OTHERS;
  return rest < LEAST ? LEAST : rest > MOST ? MOST : rest;
}

void cli_view_head(FILE *out, int columns) {
  fprintf(out, "%-*s %-11s %6s %6s %5s %5s %6s %5s %8s\n", id_columns(columns),
          "SERVER", "STATE", "CONN", "SHARE", "KEPT", "LENT", "JOINED", "SLOT",
          "UNREACH");
}

void cli_view_servers(FILE *out, const json_t *rover, int columns,
                      size_t rows) {
  const json_t *each;
  size_t i;

  json_array_foreach(json_object_get(rover, "servers"), i, each) {
    if (i == rows) break;
    put_server(out, each, id_columns(columns));
  }
}

/* -- What else is declared ------------------------------------------------- */

static void put_place(FILE *out, const char *noun, const json_t *of) {
  char name[TEXT], address[TEXT];

  fprintf(out, "%s %s at %s: ", noun, clean(of, "name", name, NAME),
          clean(of, "address", address, ADDRESS));
}

void cli_view_relays(FILE *out, const json_t *status) {
  const json_t *each;
  size_t i;

  json_array_foreach(json_object_get(status, "relays"), i, each) {
    const json_t *stats = json_object_get(each, "stats");
    put_place(out, "relay", each);
    fprintf(out, "%.0f joined, %.0f waiting\n",
            cli_ask_number(stats, "running"), cli_ask_number(stats, "waiting"));
  }
}

void cli_view_fronts(FILE *out, const json_t *status) {
  const json_t *each;
  size_t i;

  json_array_foreach(json_object_get(status, "fronts"), i, each) {
    double open = cli_ask_number(json_object_get(each, "stats"), "open");
    put_place(out, "front", each);
    fprintf(out, "%.0f connection%s, backend %s%s\n", open, plural(open),
            json_is_true(json_object_get(each, "backendUp")) ? "up" : "DOWN",
            json_is_true(json_object_get(each, "draining")) ? ", draining"
                                                            : "");
  }
}

void cli_view_pools(FILE *out, const json_t *status) {
  const json_t *each;
  char name[TEXT];
  size_t i;

  json_array_foreach(json_object_get(status, "pools"), i, each) {
    fprintf(out, "pool %s: %.0f idle, %.0f leased, %.0f waiting\n",
            clean(each, "name", name, NAME), cli_ask_number(each, "idle"),
            cli_ask_number(each, "leased"), cli_ask_number(each, "waiting"));
  }
}

/* As one line: there may be many, and they have like shares. Nothing before one
 * is needed. */
void cli_view_workers(FILE *out, const json_t *status) {
  const json_t *workers = json_object_get(status, "workers"), *each;
  double started = 0, failed = 0, pairs = 0, cpu = 0;
  char time[32];
  size_t i;

  json_array_foreach(workers, i, each) {
    started += json_is_true(json_object_get(each, "started"));
    failed += cli_ask_number(each, "failed");
    pairs += cli_ask_number(each, "pairs");
    cpu += cli_ask_number(each, "cpu");
  }
  if (started + failed == 0) return;
  fprintf(out, "workers: %.0f of %zu started, %.0f pair%s, %s s of CPU",
          started, json_array_size(workers), pairs, plural(pairs),
          brief(cpu / 1e6, time));
  if (failed > 0) fprintf(out, ", %.0f FAILED to start", failed);
  putc('\n', out);
}

/* -- The host -------------------------------------------------------------- */

void cli_view_host(FILE *out, const json_t *status) {
  const json_t *policy = json_object_get(status, "policy");
  double now = cli_ask_number(status, "now"),
         errors = cli_ask_number(policy, "errors");
  char state[TEXT], version[TEXT], path[TEXT], up[32], since[32], memory[32];

  fprintf(
      out, "%s: generation %.0f, up %s, process %.0f, version %s\n",
      clean(status, "state", state, NAME), cli_ask_number(status, "generation"),
      duration(cli_ask_number(status, "uptime"), up),
      cli_ask_number(status, "pid"), clean(status, "version", version, NAME));
  if (!json_is_object(policy)) return;
  fprintf(out, "policy %s: loaded %s ago, %s of %.0f MiB, %.0f error%s\n",
          clean(policy, "path", path, LONG),
          duration(now - cli_ask_number(policy, "loadedAt"), since),
          brief(cli_ask_number(policy, "memory") / 1048576, memory),
          cli_ask_number(policy, "memoryLimit") / 1048576, errors,
          plural(errors));
}

void cli_view_reloads(FILE *out, const json_t *status) {
  const json_t *reloads = json_object_get(status, "reloads"),
               *failure = json_object_get(reloads, "lastFailure");
  double succeeded = cli_ask_number(reloads, "succeeded"),
         failed = cli_ask_number(reloads, "failed");

  if (succeeded + failed == 0) return;
  fprintf(out, "reloads: %.0f succeeded, %.0f failed", succeeded, failed);
  if (json_is_object(failure)) {
    char why[TEXT], at[32];
    fprintf(out, "; the last that failed, at %s: %s",
            clock_of(cli_ask_number(failure, "at"), at),
            clean(failure, "error", why, LONG));
  }
  putc('\n', out);
}

void cli_view_errors(FILE *out, const json_t *status, size_t rows) {
  const json_t *errors = json_object_get(status, "errors"), *each;
  char level[TEXT], message[TEXT], detail[TEXT], at[32];
  size_t i;

  json_array_foreach(errors, i, each) {
    double count = cli_ask_number(each, "count");
    if (i == rows) break;
    fprintf(out, "%s %-5s %s", clock_of(cli_ask_number(each, "at"), at),
            clean(each, "level", level, 8),
            clean(each, "message", message, 80));
    if (*cli_ask_text(each, "detail"))
      fprintf(out, " %s", clean(each, "detail", detail, 160));
    if (count > 1) fprintf(out, " (%.0f times)", count);
    putc('\n', out);
  }
}
