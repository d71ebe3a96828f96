#include "control.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

/* What can be asked of a host by POST. The body is a JSON object, where there is
 * something to be told; so is the answer. */

static void answer(struct admin__conn *conn, int status, json_t *json) {
  struct admin__answer a = admin__json_answer(status, json);
  admin__conn_answer(conn, &a);
}

static void refuse(struct admin__conn *conn, int status, const char *why) {
  struct admin__answer a = admin__json_error(status, why);
  admin__conn_answer(conn, &a);
}

/* Parses the body, which may have these fields, ended by NULL. Returns NULL once
 * it has answered. */
static json_t *parse(struct admin__conn *conn,
                     const struct admin__request *request,
                     const char *const fields[]) {
  char why[256];
  const char *key;
  json_t *value;

  json_t *body = admin__json_parse(request, why, sizeof why);
  if (!body) {
    refuse(conn, 400, why);
    return NULL;
  }
  json_object_foreach(body, key, value) {
    size_t i = 0;
    while (fields[i] && strcmp(fields[i], key) != 0) i++;
    if (fields[i]) continue;
    int used = snprintf(why, sizeof why, "there is no field '%.40s'; ", key);
    used += snprintf(why + used, sizeof why - (size_t)used, "%s",
                     fields[0] ? "valid are" : "the body may be left out");
    for (i = 0; fields[i]; i++)
      used += snprintf(why + used, sizeof why - (size_t)used, "%s %s",
                       i > 0 ? "," : "", fields[i]);
    refuse(conn, 400, why);
    json_decref(body);
    return NULL;
  }
  return body;
}

/* -- Reload ---------------------------------------------------------------- */

/* For what a connection waits. */
enum { NOTHING, RELOAD, NEXT_RELOAD };

/* One that is under way has perhaps read the old script: who asks now gets the
 * result of the next. */
void admin__control_reload(struct admin__control *control,
                           struct admin__conn *conn,
                           const struct admin__request *request) {
  static const char *const fields[] = {NULL};

  json_t *body = parse(conn, request, fields);
  if (!body) return;
  json_decref(body);
  if (control->held[0]) refuse(conn, 409, control->held);
  else if (rover_host_reload(control->host, "admin") < 0)
    refuse(conn, 409, "there is no policy: the host is starting or stopping");
  else
    *admin__conn_awaits(conn) = control->reloads ? NEXT_RELOAD : RELOAD;
}

void admin__control_reloading(struct admin__control *control) {
  control->reloads = true;
}

void admin__control_failed(struct admin__control *control,
                           const char *traceback) {
  if (!control->reloads) return;
  free(control->traceback);
  control->traceback = traceback ? strdup(traceback) : NULL;
}

static void tell(const struct admin__control *control,
                 struct admin__conn *conn, const rover_host_reload_t *result) {
  if (result->status == UV_ECANCELED)
    refuse(conn, 503, "the host is stopping");
  else if (result->status < 0)
    answer(conn, 422,
           json_pack("{s:o, s:o}", "error", admin__json_string(result->error),
                     "traceback", admin__json_string(control->traceback)));
  else
    answer(conn, 200,
           json_pack("{s:I, s:I, s:I, s:f}", "generation",
                     (json_int_t)result->generation, "adopted",
                     (json_int_t)result->adopted, "closed",
                     (json_int_t)result->closed, "ms", result->ms));
}

void admin__control_reloaded(struct admin__control *control,
                             const rover_host_reload_t *result) {
  struct admin__conn *conn = admin__conn_next(control->conns, NULL), *next;

  control->reloads = false;
  for (; conn; conn = next) {
    int *awaits = admin__conn_awaits(conn);
    next = admin__conn_next(control->conns, conn);
    if (*awaits == NEXT_RELOAD) *awaits = RELOAD;
    else if (*awaits == RELOAD) tell(control, conn, result);
  }
  admin__control_clear(control);
}

void admin__control_clear(struct admin__control *control) {
  free(control->traceback);
  control->traceback = NULL;
}

/* -- Log ------------------------------------------------------------------- */

void admin__control_log(struct admin__control *control,
                        struct admin__conn *conn,
                        const struct admin__request *request) {
  static const char *const fields[] = {"level", NULL};

  json_t *body = parse(conn, request, fields);
  if (!body) return;
  const char *level = json_string_value(json_object_get(body, "level"));
  if (level && control->set_level(control->data, level))
    answer(conn, 200, json_pack("{s:s}", "level", level));
  else refuse(conn, 400, "level is debug, info, warn or error");
  json_decref(body);
}
