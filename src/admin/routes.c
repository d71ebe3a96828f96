#include "routes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "page.h"
#include "query.h"

enum {
  SERVERS_MAX = 1000, /* of each rover, in one answer */
  LARGE_MAX = 8       /* reports that may have more, at a time */
};

/* One table has all paths. Each is read, by GET or HEAD, which never changes
 * anything; or asks for a change, by POST, if the door's second check lets it
 * in. */

typedef void get_fn(struct admin__site *site, struct admin__conn *conn,
                    const struct admin__request *request);

static get_fn get_page, get_history, get_metrics, get_status;

static const struct route {
  const char *path;
  get_fn *get;
  admin__control_fn *post; /* if it is not read */
} routes[] = {
    {"/", get_page, NULL},
    {"/drain", NULL, admin__control_drain},
    {"/history", get_history, NULL},
    {"/log", NULL, admin__control_log},
    {"/metrics", get_metrics, NULL},
    {"/reload", NULL, admin__control_reload},
    {"/resume", NULL, admin__control_resume},
    {"/servers", NULL, admin__control_add},
    {ADMIN_CONTROL_SERVERS, NULL, admin__control_steer}, /* and more */
    {"/status", get_status, NULL},
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

/* A report that may have all servers, which takes memory for as long as it is
 * read. */
struct large {
  struct admin__site *site;
  rover_host_report_t *report;
};

static int read_large(void *data, char *buffer, size_t size) {
  const struct large *large = data;
  return rover_host_report_read(large->report, buffer, size);
}

static void free_large(void *data) {
  struct large *large = data;
  large->site->large--;
  rover_host_report_free(large->report);
  free(large);
}

/* Answers if there are too many. */
static bool is_crowded(struct admin__site *site, struct admin__conn *conn) {
  struct admin__answer answer;

  if (site->large < LARGE_MAX) return false;
  answer = admin__answer_text(503, "too many are still reading the metrics of "
                                   "all servers: try again, or ask without "
                                   "these, by ?servers=none");
  answer.lines = "Retry-After: 1\r\n";
  admin__conn_answer(conn, &answer);
  return true;
}

/* What the host reports; `err` is what came of asking for it. */
static void answer_report(struct admin__conn *conn, int err,
                          rover_host_report_t *report, const char *type) {
  struct admin__answer answer = {
      .status = 200,
      .type = type,
      .body = {.read = read_report, .free = free_report, .data = report}};

  if (err == UV_ENOENT)
    answer_text(conn, 404, "there is no rover of that name");
  else if (err < 0) answer_text(conn, 500, uv_strerror(err));
  else admin__conn_answer(conn, &answer);
}

static void answer_large(struct admin__site *site, struct admin__conn *conn,
                         rover_host_report_t *report, const char *type) {
  struct large *large = malloc(sizeof *large);
  struct admin__answer answer = {
      .status = 200,
      .type = type,
      .body = {.read = read_large, .free = free_large, .data = large}};

  if (!large) {
    rover_host_report_free(report);
    answer_text(conn, 500, uv_strerror(UV_ENOMEM));
    return;
  }
  *large = (struct large){site, report};
  site->large++;
  admin__conn_answer(conn, &answer);
}

/* Answers if a parameter is wrong. */
static bool is_refused(struct admin__conn *conn,
                       const struct admin__query *query) {
  if (query->why[0]) answer_text(conn, 400, query->why);
  return query->why[0] != '\0';
}

static void get_metrics(struct admin__site *site, struct admin__conn *conn,
                        const struct admin__request *request) {
  static const char *const names[] = {"servers", NULL};
  static const char *const servers[] = {"all", "none", NULL};
  static const rover_host_servers_t which[] = {
      ROVER_HOST_SERVERS_ALL, ROVER_HOST_SERVERS_NONE, ROVER_HOST_SERVERS_FEW};
  struct admin__query query = admin__query_open(request, names);
  rover_host_metrics_options_t o = {.server_limit = site->server_limit};
  rover_host_report_t *report = NULL;

  o.openmetrics =
      admin__text_accepts(request->accept, "application/openmetrics-text");
  o.servers = which[admin__query_word(&query, "servers", servers,
                                      site->server_limit > 0 ? 2 : 1)];
  if (is_refused(conn, &query)) return;
  const char *type = o.openmetrics ? ROVER_HOST_OPENMETRICS_TYPE
                                   : ROVER_HOST_METRICS_TYPE;
  bool is_large =
      o.servers == ROVER_HOST_SERVERS_ALL ||
      (o.servers == ROVER_HOST_SERVERS_FEW && o.server_limit > SERVERS_MAX);
  if (is_large && is_crowded(site, conn)) return;
  int err = rover_host_metrics(site->host, &o, &report);
  if (is_large && err == 0) answer_large(site, conn, report, type);
  else answer_report(conn, err, report, type);
}

static void get_status(struct admin__site *site, struct admin__conn *conn,
                       const struct admin__request *request) {
  static const char *const names[] = {"rover", "search", "servers", "sort",
                                      "order", "offset", "limit",   NULL};
  static const char *const servers[] = {"all", "none", NULL};
  /* As the constants of <callosum/host.h>. */
  static const char *const sorts[] = {"connections", "id",          "share",
                                      "slot",        "unreachable", NULL};
  static const char *const orders[] = {"asc", "desc", NULL};
  struct admin__query query = admin__query_open(request, names);
  char rover[ROVER_ID_MAX + 1], search[ROVER_ID_MAX + 1];
  rover_host_report_t *report = NULL;

  rover_host_status_options_t o = {
      .rover = admin__query_text(&query, "rover", rover, sizeof rover),
      .search = admin__query_text(&query, "search", search, sizeof search),
      .no_servers = admin__query_word(&query, "servers", servers, 0),
      .sort = (rover_host_sort_t)admin__query_word(&query, "sort", sorts, 0),
      .order =
          (rover_host_order_t)(admin__query_word(&query, "order", orders, -1) +
                               1),
      .offset = admin__query_number(&query, "offset", SIZE_MAX / 2),
      .limit = admin__query_number(&query, "limit", SERVERS_MAX)};
  if (is_refused(conn, &query)) return;
  int err = rover_host_status(site->host, &o, &report);
  answer_report(conn, err, report, "application/json");
}

static void get_history(struct admin__site *site, struct admin__conn *conn,
                        const struct admin__request *request) {
  static const char *const names[] = {"rover", NULL};
  struct admin__query query = admin__query_open(request, names);
  char name[ROVER_ID_MAX + 1];
  rover_host_report_t *report = NULL;

  const char *rover = admin__query_text(&query, "rover", name, sizeof name);
  if (is_refused(conn, &query)) return;
  int err = rover_host_history(site->host, rover, &report);
  answer_report(conn, err, report, "application/json");
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

  int status = admin__door_check_control(admin__conn_door(conn), request, &why);
  if (status == 0 && site->control.held[0]) {
    status = 409;
    why = site->control.held;
  }
  if (status == 0) {
    post(&site->control, conn, request);
    return;
  }
  struct admin__answer answer = admin__json_error(status, why);
  admin__conn_answer(conn, &answer);
}

/* A path that ends in a slash stands for all below it. */
static bool is_at(struct admin__text path, const char *at) {
  size_t length = strlen(at);
  return admin__text_is(path, at) ||
         (length > 1 && at[length - 1] == '/' && path.length > length &&
          !memcmp(path.bytes, at, length));
}

void admin__routes_respond(struct admin__site *site, struct admin__conn *conn,
                           const struct admin__request *request) {
  bool reads = request->method == ADMIN_GET || request->method == ADMIN_HEAD;
  const struct route *route = routes;

  while (route < routes + ROUTES && !is_at(request->path, route->path)) route++;
  if (route == routes + ROUTES) refuse_path(conn);
  else if (route->get && reads) route->get(site, conn, request);
  else if (route->post && request->method == ADMIN_POST)
    control(site, conn, request, route->post);
  else refuse_method(conn, route->get != NULL);
}
