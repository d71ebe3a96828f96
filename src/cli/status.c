#include "status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ask.h"
#include "screen.h"
#include "streams.h"
#include "view.h"

/* status: whether the connections are balanced, in the first line, and then
 * whatever else an operator asks next. servers: all of them, in pages of what
 * the host gives at a time. */

enum {
  SECONDS = 10,
  TARGET = 1024,
  SOME = 10,
  ERRORS = 5,
  PAGE = 1000,
  FILE_COLUMNS = 120
};

/* Of a line: a file has room for long ids. */
static int columns(void) {
  int count = FILE_COLUMNS, rows;
  if (isatty(STDOUT_FILENO)) cli_screen_size(&count, &rows);
  return count;
}

static void make_target(const struct cli_options *o, char target[TARGET],
                        size_t offset, size_t limit) {
  char number[32];

  snprintf(target, TARGET, "/status");
  cli_ask_add(target, TARGET, "rover", o->rover);
  cli_ask_add(target, TARGET, "sort", o->sort);
  snprintf(number, sizeof number, "%zu", limit);
  cli_ask_add(target, TARGET, "limit", number);
  snprintf(number, sizeof number, "%zu", offset);
  if (offset > 0) cli_ask_add(target, TARGET, "offset", number);
}

/* -- status ---------------------------------------------------------------- */

static void print_servers(const json_t *rover, bool named, size_t limit) {
  double count = cli_ask_number(rover, "serverCount");
  size_t shown = json_array_size(json_object_get(rover, "servers"));

  if (shown == 0) return;
  putchar('\n');
  if (named) cli_view_verdict(stdout, rover, true);
  cli_view_head(stdout, columns());
  cli_view_servers(stdout, rover, columns(), limit);
  if (count > (double)shown)
    printf("and %.0f more, which \"callosum-rover servers\" lists\n",
           count - (double)shown);
}

static void print_status(const json_t *status, size_t limit) {
  const json_t *rovers = json_object_get(status, "rovers"), *each;
  bool several = json_array_size(rovers) > 1;
  size_t i;

  json_array_foreach(rovers, i, each) {
    cli_view_verdict(stdout, each, several);
  }
  json_array_foreach(rovers, i, each) { print_servers(each, several, limit); }
  if (json_array_size(rovers) > 0) putchar('\n');
  cli_view_pools(stdout, status);
  cli_view_relays(stdout, status);
  cli_view_fronts(stdout, status);
  cli_view_workers(stdout, status);
  cli_view_host(stdout, status);
  cli_view_reloads(stdout, status);
  if (json_array_size(json_object_get(status, "errors")) == 0) return;
  puts("last warnings and errors:");
  cli_view_errors(stdout, status, ERRORS);
}

int cli_status(const struct cli_options *o) {
  size_t limit = o->limit > 0 ? o->limit : SOME;
  struct cli_reply reply;
  char target[TARGET];

  make_target(o, target, 0, limit < PAGE ? limit : PAGE);
  int status = cli_ask(o, "GET", target, NULL, SECONDS, &reply);
  if (status != EXIT_SUCCESS) cli_ask_fail(&reply, status);
  else if (o->json) cli_ask_print(&reply);
  else print_status(reply.json, limit);
  cli_ask_free(&reply);
  int lost = cli_streams_end();
  return status != EXIT_SUCCESS ? status : lost;
}

/* -- servers --------------------------------------------------------------- */

/* The rover whose servers are listed: the only one, unless one was named. */
static const json_t *choose(const struct cli_options *o,
                            struct cli_reply *reply) {
  const json_t *rovers = json_object_get(reply->json, "rovers");
  size_t count = json_array_size(rovers), used = 0;

  if (count == 1) return json_array_get(rovers, 0);
  if (count == 0) {
    snprintf(reply->why, sizeof reply->why,
             o->rover ? "there is no rover '%.100s'"
                      : "the policy has no rover",
             o->rover ? o->rover : "");
    return NULL;
  }
  used = (size_t)snprintf(reply->why, sizeof reply->why,
                          "the policy has several rovers; choose by --rover:");
  for (size_t i = 0; i < count && used < sizeof reply->why; i++)
    used += (size_t)snprintf(reply->why + used, sizeof reply->why - used,
                             "%s %s", i > 0 ? "," : "",
                             cli_ask_text(json_array_get(rovers, i), "name"));
  return NULL;
}

/* Returns how many there are behind the page, or -1. */
static double print_page(const struct cli_options *o, struct cli_reply *reply,
                         size_t offset, size_t limit) {
  const json_t *rover = choose(o, reply);

  if (!rover) return -1;
  if (offset == 0) cli_view_head(stdout, columns());
  cli_view_servers(stdout, rover, columns(), limit);
  size_t count = json_array_size(json_object_get(rover, "servers"));
  if (count == 0) return 0;
  return cli_ask_number(rover, "serverCount") - (double)(offset + count);
}

int cli_status_servers(const struct cli_options *o) {
  size_t wanted = o->limit > 0 ? o->limit : SIZE_MAX, offset = 0, page;
  char target[TARGET];
  double left = 1;
  int status = EXIT_SUCCESS;

  for (; left > 0 && status == EXIT_SUCCESS && offset < wanted;
       offset += page) {
    struct cli_reply reply;
    page = wanted - offset < PAGE ? wanted - offset : PAGE;
    make_target(o, target, offset, page);
    status = cli_ask(o, "GET", target, NULL, SECONDS, &reply);
    if (status == EXIT_SUCCESS && o->json) {
      cli_ask_print(&reply);
      left = 0;
    } else if (status == EXIT_SUCCESS) {
      left = print_page(o, &reply, offset, page);
      if (left < 0) status = EXIT_FAILURE;
    }
    if (status != EXIT_SUCCESS) cli_ask_fail(&reply, status);
    cli_ask_free(&reply);
  }
  int lost = cli_streams_end();
  return status != EXIT_SUCCESS ? status : lost;
}
