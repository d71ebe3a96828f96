#include "top.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ask.h"
#include "screen.h"
#include "streams.h"
#include "text.h"
#include "view.h"

/* top: asks again and again, and shows what it is told: on a terminal in place,
 * and by keys in another order; elsewhere as text, one update after another.
 * When the host does not answer, what it has said last stays to be seen, below a
 * line that says so, until it is back. */

/* A host that is blocked by its policy is not waited for as long as elsewhere,
 * since keys wait as well. */
enum {
  SECONDS = 2,
  TARGET = 1024,
  PAGE = 1000,
  PLAIN_ROWS = 20,
  PLAIN_COLUMNS = 80,
  OTHERS = 4
};

struct rates {
  double now, attempts, unreachable, errors;
};

struct top {
  const struct cli_options *options;
  bool drawn; /* on a terminal */
  const char *sort;
  size_t rover;             /* which one is shown */
  struct cli_reply reply;   /* the last answer, ... */
  bool has_answer;          /* ... if there is one */
  char gone[CLI_WHY];       /* why there is none now, or "" */
  double gone_at;           /* unix seconds */
  struct rates last, rates; /* of the rover that is shown; per second */
  char of[128];             /* its name */
};

static double unix_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* -- Asking ---------------------------------------------------------------- */

static const json_t *rovers_of(const struct top *top) {
  return json_object_get(top->reply.json, "rovers");
}

static const json_t *rover_of(const struct top *top) {
  return json_array_get(rovers_of(top), top->rover);
}

static double per_second(double now, double before, double seconds) {
  return seconds > 0 && now >= before ? (now - before) / seconds : 0;
}

/* From this answer and the one before, if that was about the same rover. */
static void measure(struct top *top) {
  const json_t *rover = rover_of(top), *stats = json_object_get(rover, "stats");
  const char *name = cli_ask_text(rover, "name");
  struct rates now = {
      cli_ask_number(top->reply.json, "now"), cli_ask_number(stats, "attempts"),
      cli_ask_number(stats, "unreachable"), cli_ask_number(stats, "errors")};
  double seconds = now.now - top->last.now;

  if (strncmp(name, top->of, sizeof top->of - 1) != 0 || top->last.now == 0)
    top->rates = (struct rates){0};
  else if (seconds >= 0.2) /* a key has asked sooner: too short to tell */
    top->rates = (struct rates){
        0, per_second(now.attempts, top->last.attempts, seconds),
        per_second(now.unreachable, top->last.unreachable, seconds),
        per_second(now.errors, top->last.errors, seconds)};
  else return;
  top->last = now;
  snprintf(top->of, sizeof top->of, "%s", name);
}

static int ask(struct top *top) {
  const struct cli_options *o = top->options;
  struct cli_reply reply;
  char target[TARGET] = "/status";
  char limit[32];
  int columns, rows;

  cli_screen_size(&columns, &rows);
  if (!top->drawn && rows < PLAIN_ROWS) rows = PLAIN_ROWS;
  if (o->limit > 0) rows = (int)o->limit;
  snprintf(limit, sizeof limit, "%d", rows < PAGE ? rows : PAGE);
  cli_ask_add(target, TARGET, "rover", o->rover);
  cli_ask_add(target, TARGET, "sort", top->sort);
  cli_ask_add(target, TARGET, "limit", limit);
  int status = cli_ask(o, "GET", target, NULL, SECONDS, &reply);
  if (status != EXIT_SUCCESS) {
    if (!top->gone[0]) top->gone_at = unix_now();
    cli_text_clean(top->gone, sizeof top->gone, reply.why, strlen(reply.why),
                   sizeof top->gone);
    cli_ask_free(&reply);
    return status;
  }
  if (top->has_answer) cli_ask_free(&top->reply);
  top->reply = reply;
  top->has_answer = true;
  top->gone[0] = '\0';
  if (top->rover >= json_array_size(rovers_of(top))) top->rover = 0;
  measure(top);
  return status;
}

/* -- Showing --------------------------------------------------------------- */

static void put_gone(const struct top *top, FILE *out) {
  time_t at = (time_t)top->gone_at;
  struct tm local;
  char since[16] = "";

  if (!top->gone[0]) return;
  if (localtime_r(&at, &local))
    strftime(since, sizeof since, "%H:%M:%S", &local);
  fprintf(out, "%sNO ANSWER since %s: this is what it said before\n",
          top->drawn ? CLI_SCREEN_REVERSE : "", since);
  fprintf(out, "%s\n", top->gone);
}

static void put_rover(const struct top *top, FILE *out) {
  const json_t *rover = rover_of(top), *stats = json_object_get(rover, "stats");
  size_t count = json_array_size(rovers_of(top));

  if (!rover) {
    fputs("the policy has no rover\n", out);
    return;
  }
  if (top->drawn) fputs(CLI_SCREEN_BOLD, out);
  cli_view_verdict(out, rover, count > 1 || top->options->rover);
  fprintf(out,
          "attempts %.1f/s, unreachable %.1f/s, errors %.1f/s, in flight "
          "%.0f",
          top->rates.attempts, top->rates.unreachable, top->rates.errors,
          cli_ask_number(stats, "inFlight"));
  if (count > 1) fprintf(out, "; rover %zu of %zu", top->rover + 1, count);
  putc('\n', out);
}

/* Of what else is declared, as many lines as there are room for. */
static void put_others(const struct top *top, FILE *out) {
  char *text = NULL;
  size_t length;
  FILE *all = open_memstream(&text, &length);

  if (!all) return;
  cli_view_pools(all, top->reply.json);
  cli_view_relays(all, top->reply.json);
  cli_view_fronts(all, top->reply.json);
  cli_view_workers(all, top->reply.json);
  if (fclose(all) == 0) {
    const char *line = text;
    for (int count = 0; *line && (count < OTHERS || !top->drawn); count++) {
      size_t whole = strcspn(line, "\n") + 1;
      fwrite(line, 1, whole, out);
      line += whole;
    }
  }
  free(text);
}

static int count_lines(const char *text) {
  int count = 0;
  for (; *text; text++) count += *text == '\n';
  return count;
}

/* The servers get what the rest leaves. */
static void put_servers(const struct top *top, FILE *out, const char *above,
                        int columns, int rows) {
  const json_t *rover = rover_of(top);
  size_t count = json_array_size(json_object_get(rover, "servers"));
  int room = top->drawn ? rows - count_lines(above) - 3 : PLAIN_ROWS;

  if (top->options->limit > 0 && room > (int)top->options->limit)
    room = (int)top->options->limit;
  if (room <= 0) room = 0;
  putc('\n', out);
  if (top->drawn) fputs(CLI_SCREEN_REVERSE, out);
  cli_view_head(out, columns);
  cli_view_servers(out, rover, columns, (size_t)room);
  for (int i = (int)count; top->drawn && i < room; i++) putc('\n', out);
  double left = cli_ask_number(rover, "serverCount") -
                ((double)count < room ? (double)count : room);
  if (top->drawn)
    fprintf(out, "sort: c connections  s slot  u unreachable  i id   %sq quit",
            json_array_size(rovers_of(top)) > 1 ? "r rover  " : "");
  if (left > 0) fprintf(out, "%s%.0f more", top->drawn ? "   " : "and ", left);
  if (top->drawn || left > 0) putc('\n', out);
}

static void show(const struct top *top) {
  char *above = NULL, *below = NULL;
  size_t length;
  int columns = PLAIN_COLUMNS, rows = 0;

  if (!top->has_answer) return;
  if (top->drawn) cli_screen_size(&columns, &rows);
  FILE *out = open_memstream(&above, &length);
  if (!out) return;
  put_gone(top, out);
  put_rover(top, out);
  cli_view_host(out, top->reply.json);
  cli_view_errors(out, top->reply.json, 1);
  put_others(top, out);
  if (fclose(out) == 0 && (out = open_memstream(&below, &length))) {
    fputs(above, out);
    put_servers(top, out, above, columns, rows);
    if (fclose(out) == 0 && top->drawn) cli_screen_draw(below);
    else if (below) fputs(below, stdout);
  }
  free(below);
  free(above);
}

/* -- Keys ------------------------------------------------------------------ */

/* Waits for the next update. Returns false to end. */
static bool wait_for(struct top *top) {
  static const struct {
    char key;
    const char *sort;
  } sorts[] = {
      {'c', "connections"}, {'s', "slot"}, {'u', "unreachable"}, {'i', "id"}};
  int key = cli_screen_key(top->options->interval);

  for (size_t i = 0; i < sizeof sorts / sizeof *sorts; i++)
    if (key == sorts[i].key) top->sort = sorts[i].sort;
  if (key == 'r' && json_array_size(rovers_of(top)) > 0)
    top->rover = (top->rover + 1) % json_array_size(rovers_of(top));
  return key != 'q' && key != 'Q' && key != CLI_SCREEN_GONE;
}

static void sleep_for(double seconds) {
  struct timespec time = {.tv_sec = (time_t)seconds};

  time.tv_nsec = (long)((seconds - (double)time.tv_sec) * 1e9);
  nanosleep(&time, NULL);
}

/* Until the next update. Returns false to end. */
static bool await_next(struct top *top) {
  if (top->drawn) return wait_for(top);
  if (fflush(stdout) != 0) return false; /* which the end tells */
  sleep_for(top->options->interval);
  putchar('\n');
  return true;
}

/* The terminal is not touched before there is something to show. */
static int watch(struct top *top) {
  unsigned count = top->options->once ? 1 : top->options->count;
  int status = ask(top);

  if (top->has_answer) top->drawn = !top->options->once && cli_screen_open();
  for (unsigned i = 1;; i++) {
    if (status == EXIT_SUCCESS || top->drawn) show(top);
    else fprintf(stderr, "callosum-rover: %s\n", top->gone);
    if (!top->has_answer || i == count) return status;
    if (!await_next(top)) return EXIT_SUCCESS;
    status = ask(top);
  }
}

int cli_top(const struct cli_options *o) {
  static struct top top;

  top.options = o;
  top.sort = o->sort;
  int status = watch(&top);
  if (top.drawn) cli_screen_close();
  if (top.has_answer) cli_ask_free(&top.reply);
  int lost = cli_streams_end();
  return status != EXIT_SUCCESS ? status : lost;
}
