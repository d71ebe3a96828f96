#include "control.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "query.h"

/* What can be asked of a host by POST. The body is a JSON object, where there
 * is something to be told; so is the answer. */

static void answer(struct admin__conn *conn, int status, json_t *json) {
  struct admin__answer a = admin__json_answer(status, json);
  admin__conn_answer(conn, &a);
}

static void refuse(struct admin__conn *conn, int status, const char *why) {
  struct admin__answer a = admin__json_error(status, why);
  admin__conn_answer(conn, &a);
}

/* Parses the body, which may have these fields, ended by NULL. Returns NULL
 * once it has answered. */
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
  if (rover_host_reload(control->host, "admin") < 0)
    refuse(conn, 409, "there is no policy: the host is starting or stopping");
  else *admin__conn_awaits(conn) = control->reloads ? NEXT_RELOAD : RELOAD;
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

static void tell(const struct admin__control *control, struct admin__conn *conn,
                 const rover_host_reload_t *result) {
  if (result->status == UV_ECANCELED) refuse(conn, 503, "the host is stopping");
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

/* -- Servers --------------------------------------------------------------- */

enum { DRAIN_MS = 30000 };

/* The name of a rover, in the body or, as ?rover=, behind the path. Returns
 * false once it has answered. */
static bool find_rover(struct admin__conn *conn,
                       const struct admin__request *request, json_t *body,
                       char *name, const char **rover) {
  static const char *const names[] = {"rover", NULL};
  struct admin__query query = admin__query_open(request, names);
  const json_t *field = json_object_get(body, "rover");

  *rover = admin__query_text(&query, "rover", name, ROVER_ID_MAX + 1);
  if (!query.why[0] && field && (*rover || !json_is_string(field)))
    snprintf(query.why, sizeof query.why, "rover is a name, and is given once");
  if (!*rover && field) *rover = json_string_value(field);
  if (query.why[0]) refuse(conn, 400, query.why);
  return !query.why[0];
}

/* A number of milliseconds in the body. Returns false once it has answered. */
static bool find_ms(struct admin__conn *conn, json_t *body, uint64_t *ms) {
  const json_t *field = json_object_get(body, "ms");
  json_int_t value = field ? json_integer_value(field) : DRAIN_MS;

  *ms = (uint64_t)value;
  if ((!field || json_is_integer(field)) && value >= 0 &&
      (uint64_t)value <= ROVER_MS_MAX)
    return true;
  refuse(conn, 400, "ms is a number of milliseconds");
  return false;
}

static void refuse_steering(struct admin__conn *conn, int err) {
  switch (err) {
    case 0:
      refuse(conn, 404, "the rover has no server of that id; see /status");
      break;
    case UV_ENOENT:
      refuse(conn, 404, "there is no rover of that name; see /status");
      break;
    case UV_EDESTADDRREQ:
      refuse(conn, 409, "there are several rovers: say which, by its name");
      break;
    case UV_EEXIST:
      refuse(conn, 409,
             "there is a server of that id at another address: choose another "
             "id, or, if it was added by hand, drop it first");
      break;
    case UV_ESRCH:
      refuse(conn, 409,
             "it is no longer held back, but no longer listed either: the "
             "policy or its source has dropped it; add it");
      break;
    case UV_EINVAL:
      refuse(conn, 409, "the host is starting or stopping");
      break;
    default: refuse(conn, 500, uv_strerror(err));
  }
}

/* "host:port", as sources have it. */
static void make_id(char *id, size_t size, const char *host, int port) {
  snprintf(id, size, strchr(host, ':') ? "[%s]:%d" : "%s:%d", host, port);
}

void admin__control_add(struct admin__control *control,
                        struct admin__conn *conn,
                        const struct admin__request *request) {
  static const char *const fields[] = {"rover", "id", "host", "port", NULL};
  char name[ROVER_ID_MAX + 1], id[ROVER_ID_MAX + 16];
  const char *rover;

  json_t *body = parse(conn, request, fields);
  if (!body) return;
  const char *host = json_string_value(json_object_get(body, "host"));
  const char *given = json_string_value(json_object_get(body, "id"));
  json_int_t port = json_integer_value(json_object_get(body, "port"));
  bool is_right = host && *host && strlen(host) <= ROVER_ID_MAX && port > 0 &&
                  port <= 65535 && (given || !json_object_get(body, "id"));
  if (!is_right)
    refuse(conn, 400,
           "a server has a host, a port from 1 to 65535 and perhaps an id");
  else if (find_rover(conn, request, body, name, &rover)) {
    if (given) snprintf(id, sizeof id, "%s", given);
    else make_id(id, sizeof id, host, (int)port);
    bool fits = *id && strlen(given ? given : id) <= ROVER_ID_MAX;
    int err =
        fits ? rover_host_server_add(control->host, rover, id, host, (int)port)
             : UV_EINVAL;
    if (!fits) refuse(conn, 400, "an id has 1 to 255 bytes");
    else if (err < 0) refuse_steering(conn, err);
    else answer(conn, 200, json_pack("{s:s}", "id", id));
  }
  json_decref(body);
}

/* Parses "ID/VERB", the rest of the path. Returns the verb, or -1. */
static int parse_server(const struct admin__request *request,
                        const char *const verbs[], char *id, size_t size) {
  struct admin__text rest = request->path;
  size_t before = strlen(ADMIN_CONTROL_SERVERS), length;

  rest.bytes += before;
  rest.length -= before;
  for (length = rest.length; length > 0 && rest.bytes[length - 1] != '/';)
    length--;
  struct admin__text verb = {rest.bytes + length, rest.length - length};
  rest.length = length > 0 ? length - 1 : 0;
  if (admin__text_decode(rest, id, size) < 1) return -1;
  for (int i = 0; verbs[i]; i++)
    if (admin__text_is(verb, verbs[i])) return i;
  return -1;
}

void admin__control_steer(struct admin__control *control,
                          struct admin__conn *conn,
                          const struct admin__request *request) {
  static const char *const verbs[] = {"resume", "pause", "drain", "drop", NULL};
  static const char *const states[] = {"resumed", "paused", "draining",
                                       "dropped"};
  static const rover_steer_t hows[] = {ROVER_STEER_NONE, ROVER_STEER_PAUSE,
                                       ROVER_STEER_DRAIN, ROVER_STEER_DROP};
  static const char *const fields[] = {"rover", "ms", NULL};
  static const char *const others[] = {"rover", NULL};
  char name[ROVER_ID_MAX + 1], id[ROVER_ID_MAX + 1];
  const char *rover;
  uint64_t ms = 0;

  int verb = parse_server(request, verbs, id, sizeof id);
  if (verb < 0) {
    refuse(conn, 404,
           "the path is /servers/ID/ and drop, pause, drain or "
           "resume, with the ID encoded as in a URL");
    return;
  }
  bool drains = hows[verb] == ROVER_STEER_DRAIN;
  json_t *body = parse(conn, request, drains ? fields : others);
  if (!body) return;
  if (find_rover(conn, request, body, name, &rover) &&
      (!drains || find_ms(conn, body, &ms))) {
    int found =
        rover_host_server_steer(control->host, rover, id, hows[verb], ms);
    if (found <= 0) refuse_steering(conn, found);
    else
      answer(conn, 200,
             json_pack("{s:o, s:s}", "id", admin__json_string(id), "state",
                       states[verb]));
  }
  json_decref(body);
}

/* -- The host -------------------------------------------------------------- */

void admin__control_drain(struct admin__control *control,
                          struct admin__conn *conn,
                          const struct admin__request *request) {
  static const char *const fields[] = {"ms", NULL};
  uint64_t ms;

  json_t *body = parse(conn, request, fields);
  if (!body) return;
  if (find_ms(conn, body, &ms)) {
    int err = rover_host_drain(control->host, ms);
    if (err == UV_ENOENT) refuse(conn, 409, "the policy has no front");
    else if (err < 0) refuse_steering(conn, err);
    else answer(conn, 200, json_pack("{s:s}", "state", "draining"));
  }
  json_decref(body);
}

void admin__control_resume(struct admin__control *control,
                           struct admin__conn *conn,
                           const struct admin__request *request) {
  static const char *const fields[] = {NULL};

  json_t *body = parse(conn, request, fields);
  if (!body) return;
  json_decref(body);
  int err = rover_host_resume(control->host);
  if (err < 0) refuse_steering(conn, err);
  else if (err == 0) refuse(conn, 409, "the host does not drain");
  else answer(conn, 200, json_pack("{s:s}", "state", "running"));
}
