#include "ask.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

/* A request, and what came of it in terms of an exit status. What the host says
 * is shown cleaned: it repeats ids and errors that come from elsewhere. */

void cli_ask_check(struct cli_options *o) {
  char message[200];

  if (!o->ask) o->ask = getenv("CALLOSUM_ADMIN");
  if (!o->ask || !*o->ask)
    cli_options_fail(
        "which host? --admin ADDRESS, or CALLOSUM_ADMIN, is one of "
        "its --admin, such as /run/callosum/NAME/admin.sock",
        NULL);
  const char *wrong = cli_client_check(o->ask);
  if (!wrong) return;
  snprintf(message, sizeof message, "--admin %s, not", wrong);
  cli_options_fail(message, o->ask);
}

/* JSON, or a sentence as text. */
static void keep_error(struct cli_reply *reply) {
  const char *error = json_string_value(json_object_get(reply->json, "error"));
  const char *body = reply->answer.body;

  if (error) snprintf(reply->why, sizeof reply->why, "%s", error);
  else if (*body)
    snprintf(reply->why, sizeof reply->why, "%.*s", (int)strcspn(body, "\r\n"),
             body);
  else
    snprintf(reply->why, sizeof reply->why, "the host answers with status %d",
             reply->answer.status);
}

int cli_ask(const struct cli_options *o, const char *method, const char *target,
            const char *body, double seconds, struct cli_reply *reply) {
  struct cli_request request = {.address = o->ask,
                                .method = method,
                                .target = target,
                                .body = body,
                                .ms = (unsigned)(seconds * 1000)};

  *reply = (struct cli_reply){0};
  if (o->timeout > 0 && o->timeout < 4e6)
    request.ms = (unsigned)(o->timeout * 1000);
  if (!cli_client_ask(&request, &reply->answer, reply->why))
    return reply->answer.refused ? EXIT_FAILURE : EXIT_NOBODY;
  reply->json = json_loadb(reply->answer.body, reply->answer.length,
                           JSON_ALLOW_NUL, NULL);
  if (reply->answer.status >= 200 && reply->answer.status < 300) {
    if (reply->json) return EXIT_SUCCESS;
    snprintf(reply->why, sizeof reply->why,
             "what answers at %.300s is no callosum-rover, or a much older or "
             "newer one: its answer is no JSON",
             o->ask);
    return EXIT_FAILURE;
  }
  keep_error(reply);
  return EXIT_FAILURE;
}

void cli_ask_free(struct cli_reply *reply) {
  json_decref(reply->json);
  free(reply->answer.body);
}

int cli_ask_fail(const struct cli_reply *reply, int status) {
  char clean[4 * CLI_WHY];

  cli_text_clean(clean, sizeof clean, reply->why, strlen(reply->why),
                 sizeof clean);
  fprintf(stderr, "callosum-rover: %s\n", clean);
  return status;
}

void cli_ask_print(const struct cli_reply *reply) {
  const struct cli_answer *answer = &reply->answer;

  fwrite(answer->body, 1, answer->length, stdout);
  if (answer->length > 0 && answer->body[answer->length - 1] != '\n')
    putchar('\n');
}

void cli_ask_add(char *target, size_t size, const char *name,
                 const char *value) {
  size_t used = strlen(target);

  if (!value) return;
  snprintf(target + used, size - used, "%c%s=", strchr(target, '?') ? '&' : '?',
           name);
  cli_client_encode(target, size, value);
}

const char *cli_ask_text(const json_t *of, const char *name) {
  const char *text = json_string_value(json_object_get(of, name));
  return text ? text : "";
}

double cli_ask_number(const json_t *of, const char *name) {
  return json_number_value(json_object_get(of, name));
}
