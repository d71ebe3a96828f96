#include "steer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ask.h"
#include "streams.h"
#include "text.h"

/* reload: one request, and what has come of it in words. */

enum { RELOAD_SECONDS = 60 };

static void print_clean(FILE *out, const char *text, size_t length) {
  char clean[4096];

  cli_text_clean(clean, sizeof clean, text, length, sizeof clean);
  fprintf(out, "%s\n", clean);
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
