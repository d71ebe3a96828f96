#include "routes.h"

#include <stdio.h>
#include <string.h>

#include "json.h"
#include "page.h"

/* One table has all paths. Each is read, by GET or HEAD, which never changes
 * anything; or asks for a change, by POST, if the door's second check lets it
 * in. */

typedef void get_fn(struct admin__site *site, struct admin__conn *conn,
                    const struct admin__request *request);

static get_fn get_page, get_metrics;

static const struct route {
  const char *path;
  get_fn *get;
  admin__control_fn *post; /* if it is not read */
} routes[] = {
    {"/", get_page, NULL},
    {"/log", NULL, admin__control_log},
    {"/metrics", get_metrics, NULL},
    {"/reload", NULL, admin__control_reload},
};
enum { ROUTES = sizeof routes / sizeof *routes };

static void answer_text(struct admin__conn *conn, int status,
                        const char *text) {
  struct admin__answer answer = admin__answer_text(status, text);
  admin__conn_answer(conn, &answer);
}

/* -- What is read ---------------------------------------------------------- */

static int read_report(void *report, char *buffer, size_t size) {
  return rover_host_report_read(report, buffer, size);
}

static void free_report(void *report) { rover_host_report_free(report); }

/* What the host reports; `err` is what came of asking for it. */
static void answer_report(struct admin__conn *conn, int err,
                          rover_host_report_t *report, const char *type) {
  struct admin__answer answer = {
      .status = 200,
      .type = type,
      .body = {.read = read_report, .free = free_report, .data = report}};

  if (err < 0) answer_text(conn, 500, uv_strerror(err));
  else admin__conn_answer(conn, &answer);
}

/* Which servers have metrics; false if that is none of the words. */
static bool parse_servers(const struct admin__request *request,
                          rover_host_servers_t *servers) {
  char word[8] = "";

  int length =
      admin__query_get(request->query, "servers", word, sizeof word);
  if (length == -1) return true;
  *servers = !strcmp(word, "all") ? ROVER_HOST_SERVERS_ALL
                                  : ROVER_HOST_SERVERS_NONE;
  return !strcmp(word, "all") || !strcmp(word, "none");
}

static void get_metrics(struct admin__site *site, struct admin__conn *conn,
                        const struct admin__request *request) {
  rover_host_metrics_options_t o = {.server_limit = site->server_limit};
  rover_host_report_t *report = NULL;

  o.openmetrics =
      admin__text_accepts(request->accept, "application/openmetrics-text");
  o.servers = site->server_limit > 0 ? ROVER_HOST_SERVERS_FEW
                                     : ROVER_HOST_SERVERS_NONE;
  if (!parse_servers(request, &o.servers)) {
    answer_text(conn, 400, "servers is all or none");
    return;
  }
  int err = rover_host_metrics(site->host, &o, &report);
  answer_report(conn, err, report,
                o.openmetrics ? ROVER_HOST_OPENMETRICS_TYPE
                              : ROVER_HOST_METRICS_TYPE);
}

/* Its script and style are told by their hashes, so a browser runs nothing
 * else. */
static void get_page(struct admin__site *site, struct admin__conn *conn,
                     const struct admin__request *request) {
  char lines[1024];
  struct admin__answer answer = {
      .status = 200,
      .type = "text/html; charset=utf-8",
      .lines = lines,
      .body = admin__body_of((const char *)admin__page, admin__page_size)};
  (void)site;
  (void)request;

  snprintf(lines, sizeof lines, "Content-Security-Policy: %s\r\n",
           admin__page_policy);
  admin__conn_answer(conn, &answer);
}

/* -- Which it is ----------------------------------------------------------- */

static void refuse_path(struct admin__conn *conn) {
  char text[256] = "there is nothing at this path, but at";
  size_t used = strlen(text);

  for (const struct route *each = routes; each < routes + ROUTES; each++)
    used += (size_t)snprintf(text + used, sizeof text - used, "%s %s",
                             each > routes ? "," : "", each->path);
  answer_text(conn, 404, text);
}

static void refuse_method(struct admin__conn *conn, bool is_read) {
  struct admin__answer answer = admin__answer_text(
      405, is_read ? "this is read, by GET" : "this is asked for by POST");

  answer.lines = is_read ? "Allow: GET, HEAD\r\n" : "Allow: POST\r\n";
  admin__conn_answer(conn, &answer);
}

static void control(struct admin__site *site, struct admin__conn *conn,
                    const struct admin__request *request,
                    admin__control_fn *post) {
  const char *why;

  int status =
      admin__door_check_control(admin__conn_door(conn), request, &why);
  if (status == 0) {
    post(&site->control, conn, request);
    return;
  }
  struct admin__answer answer = admin__json_error(status, why);
  admin__conn_answer(conn, &answer);
}

void admin__routes_respond(struct admin__site *site, struct admin__conn *conn,
                           const struct admin__request *request) {
  bool reads =
      request->method == ADMIN_GET || request->method == ADMIN_HEAD;
  const struct route *route = routes;

  while (route < routes + ROUTES &&
         !admin__text_is(request->path, route->path))
    route++;
  if (route == routes + ROUTES) refuse_path(conn);
  else if (route->get && reads) route->get(site, conn, request);
  else if (route->post && request->method == ADMIN_POST)
    control(site, conn, request, route->post);
  else refuse_method(conn, route->get != NULL);
}
