#include "steer.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ask.h"
#include "items.h"
#include "status.h"
#include "streams.h"
#include "text.h"

/* reload, servers, drain and resume: one request each, and what has come of it
 * in words. */

enum { SECONDS = 10, RELOAD_SECONDS = 60, TARGET = 4096 };

static void print_clean(FILE *out, const char *text, size_t length) {
  char clean[4096];

  cli_text_clean(clean, sizeof clean, text, length, sizeof clean);
  fprintf(out, "%s\n", clean);
}

/* Asks, and takes `body`. If the host has done it, the reply is to be freed;
 * otherwise it has been told why. */
static int post(const struct cli_options *o, const char *target, json_t *body,
                struct cli_reply *reply) {
  char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
  int status = cli_ask(o, "POST", target, text, SECONDS, reply);

  free(text);
  json_decref(body);
  if (status == EXIT_SUCCESS) return status;
  cli_ask_fail(reply, status);
  cli_ask_free(reply);
  return status;
}

static json_t *body_with_time(const struct cli_options *o) {
  if (!(o->over > 0)) return NULL;
  return json_pack("{s:I}", "ms", (json_int_t)(o->over * 1000));
}

/* -- reload ---------------------------------------------------------------- */

static void print_traceback(const struct cli_reply *reply) {
  const char *line = cli_ask_text(reply->json, "traceback");

  while (*line) {
    size_t length = strcspn(line, "\n"), tabs = strspn(line, "\t");
    if (tabs > length) tabs = length;
    fprintf(stderr, "%*s", 2 * (int)tabs, "");
    print_clean(stderr, line + tabs, length - tabs);
    line += length + (line[length] == '\n');
  }
}

static void print_reloaded(const json_t *json) {
  printf("policy reloaded generation=%.0f adopted=%.0f closed=%.0f ms=%.1f\n",
         cli_ask_number(json, "generation"), cli_ask_number(json, "adopted"),
         cli_ask_number(json, "closed"), cli_ask_number(json, "ms"));
}

int cli_steer_reload(const struct cli_options *o) {
  struct cli_reply reply;
  int status = cli_ask(o, "POST", "/reload", NULL, RELOAD_SECONDS, &reply);
  bool failed = status == EXIT_FAILURE && reply.answer.status == 422;

  if (o->json && (status == EXIT_SUCCESS || failed)) {
    cli_ask_print(&reply);
  } else if (status == EXIT_SUCCESS) {
    print_reloaded(reply.json);
  } else if (failed) {
    const json_t *error = json_object_get(reply.json, "error");
    fputs("callosum-rover: reload failed, the old policy goes on: ", stderr);
    print_clean(stderr, cli_ask_text(reply.json, "error"),
                json_string_length(error));
    print_traceback(&reply);
  } else {
    cli_ask_fail(&reply, status);
  }
  cli_ask_free(&reply);
  int lost = cli_streams_end();
  return status != EXIT_SUCCESS ? status : lost;
}

/* -- servers --------------------------------------------------------------- */

static const char *const actions[] = {"list",  "add",    "drop", "pause",
                                      "drain", "resume", NULL};
enum { LIST, ADD };

/* What has been done to the server, by action. */
static const char *const done[] = {
    "",
    "added",
    "dropped, until it is resumed or added by hand",
    "paused, until it is resumed",
    "draining: paused, and its connections are being ended",
    "resumed"};

/* HOST:PORT in parts; exits with a usage error if it is none. */
static json_t *make_server(const struct cli_options *o, const char *id,
                           const char *address) {
  const char *colon = strrchr(address, ':');
  bool quoted = colon && colon > address && *address == '[' && colon[-1] == ']';
  char *end = NULL;
  long port = colon && isdigit((unsigned char)colon[1])
                  ? strtol(colon + 1, &end, 10)
                  : 0;

  if (!end || *end || port < 1 || port > 65535 || colon == address)
    cli_options_fail("servers add wants ID and HOST:PORT, not", address);
  json_t *body = json_pack(
      "{s:s, s:s%, s:i}", "id", id, "host", address + quoted,
      (size_t)(colon - address) - 2 * (size_t)quoted, "port", (int)port);
  if (body && o->rover)
    json_object_set_new(body, "rover", json_string(o->rover));
  if (!body) cli_options_fail("ID and HOST are UTF-8, not", id);
  return body;
}

static int steer(const struct cli_options *o, int action) {
  const char *id = o->argv[1];
  char target[TARGET] = "/servers";
  struct cli_reply reply;
  json_t *body;

  if (action == ADD) {
    body = make_server(o, id, o->argv[2]);
  } else {
    strcat(target, "/");
    cli_client_encode(target, sizeof target - 16, id);
    strcat(target, "/");
    strcat(target, actions[action]);
    cli_ask_add(target, sizeof target, "rover", o->rover);
    body = body_with_time(o);
  }
  int status = post(o, target, body, &reply);
  if (status != EXIT_SUCCESS) return status;
  cli_ask_free(&reply);
  char name[1024];
  cli_text_clean(name, sizeof name, id, strlen(id), sizeof name);
  printf("%s: %s\n", name, done[action]);
  return cli_streams_end();
}

int cli_steer_servers(const struct cli_options *o) {
  if (o->argc == 0) return cli_status_servers(o);
  int action = cli_index_of(o->argv[0], actions);
  if (action < 0) cli_options_no_such("action", o->argv[0], actions);
  int wanted = action == LIST ? 1 : action == ADD ? 3 : 2;
  if (o->argc != wanted || (wanted > 1 && !*o->argv[1])) {
    char what[80];
    snprintf(what, sizeof what, "servers %s wants %s, and options before it",
             actions[action],
             wanted == 1   ? "nothing behind it"
             : wanted == 3 ? "ID and HOST:PORT"
                           : "one ID");
    cli_options_fail(what, NULL);
  }
  return action == LIST ? cli_status_servers(o) : steer(o, action);
}

/* -- The host -------------------------------------------------------------- */

static int post_alone(const struct cli_options *o, const char *target,
                      json_t *body, const char *said) {
  struct cli_reply reply;

  int status = post(o, target, body, &reply);
  if (status != EXIT_SUCCESS) return status;
  cli_ask_free(&reply);
  puts(said);
  return cli_streams_end();
}

int cli_steer_drain(const struct cli_options *o) {
  return post_alone(o, "/drain", body_with_time(o),
                    "draining: the fronts give no slots until resumed");
}

int cli_steer_resume(const struct cli_options *o) {
  return post_alone(o, "/resume", NULL, "resumed: the fronts give slots");
}
