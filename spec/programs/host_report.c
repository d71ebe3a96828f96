/* The promises of <callosum/host.h> about reports and steering. */
#include "hosts.h"

static struct told told;
static rover_host_t *host;
static char text[1 << 20];

/* Reads a report, so many bytes at a time, and frees it. */
static const char *read_all(rover_host_report_t *report, size_t size) {
  size_t length = 0;
  int n;
  while ((n = rover_host_report_read(report, text + length, size)) > 0) {
    CHECK((size_t)n <= size);
    length += (size_t)n;
    CHECK(length + size < sizeof text);
  }
  EQUAL(0, n);
  EQUAL(0, rover_host_report_read(report, text + length, size));
  rover_host_report_free(report);
  text[length] = '\0';
  return text;
}

static rover_host_report_t *status(const char *rover) {
  rover_host_status_options_t options = {.rover = rover};
  rover_host_report_t *report;
  EQUAL(0, rover_host_status(host, &options, &report));
  return report;
}

static void one_rover(void) {
  rover_host_options_t options = telling(&told);
  options.history = 1;
  host = hosting(&told, &options);
  EQUAL(0, load(host, ROVER "r:on('connection', function()\n"
                            "host.log.info 'kept' end)\n"
                            "for _ = 1, 3 do r:connect() end"));
  UNTIL(count(&told, "log info kept") == 3);
}

static void reports_balance(void) {
  one_rover();
  const char *json = read_all(status(NULL), 4096);
  CHECK(strstr(json, "\"state\":\"running\",\"generation\":1,"));
  CHECK(strstr(json, "\"balance\":{\"servers\":1,\"connections\":3,"));
  CHECK(strstr(json, "\"verdict\":\"balanced\""));
  CHECK(strstr(json, "\"id\":\"s\",\"host\":\"127.0.0.1\","));
  EQUAL('\n', json[strlen(json) - 1]);
  rover_host_report_t *report;
  EQUAL(0, rover_host_metrics(host, NULL, &report));
  CHECK(strstr(read_all(report, 4096),
               "\ncallosum_rover_kept{rover=\"main\"} 3\n"));
  finish(host);
}

static void reads_in_pieces(void) {
  static char whole[sizeof text];
  one_rover();
  rover_host_report_t *one = status("main"), *other = status("main");
  strcpy(whole, read_all(one, sizeof text / 4));
  const char *pieces = read_all(other, 1);
  /* But for the times at which they were made. */
  SAME(strstr(whole, "\"rovers\""), strstr(pieces, "\"rovers\""));
  finish(host);
}

static void outlives_the_host(void) {
  one_rover();
  rover_host_report_t *report = status(NULL), *history, *unread = status(NULL);
  EQUAL(0, rover_host_history(host, NULL, &history));
  EQUAL(1, rover_host_server_steer(host, NULL, "s", ROVER_STEER_DROP, 0));
  finish(host);
  CHECK(strstr(read_all(report, 100), "\"id\":\"s\""));
  CHECK(strstr(read_all(history, 100), "\"rover\":\"main\""));
  rover_host_report_free(unread);
  rover_host_report_free(NULL);
}

static void on_decision(rover_host_t *of, const rover_host_decision_t *decision,
                        void *arg) {
  (void)of;
  (void)decision;
  (void)arg;
}

static void wants_valid_arguments(void) {
  rover_host_status_options_t o = {.rover = "other"};
  rover_host_report_t *report;
  char byte;

  one_rover();
  EQUAL(UV_EINVAL, rover_host_status(NULL, NULL, &report));
  EQUAL(UV_EINVAL, rover_host_status(host, NULL, NULL));
  EQUAL(UV_ENOENT, rover_host_status(host, &o, &report));
  o = (rover_host_status_options_t){.limit = 1001};
  EQUAL(UV_EINVAL, rover_host_status(host, &o, &report));
  o = (rover_host_status_options_t){.sort = (rover_host_sort_t)5};
  EQUAL(UV_EINVAL, rover_host_status(host, &o, &report));
  o = (rover_host_status_options_t){.order = (rover_host_order_t)3};
  EQUAL(UV_EINVAL, rover_host_status(host, &o, &report));
  o = (rover_host_status_options_t){.reserved = {1}};
  EQUAL(UV_EINVAL, rover_host_status(host, &o, &report));
  EQUAL(UV_EINVAL, rover_host_history(NULL, NULL, &report));
  EQUAL(UV_EINVAL, rover_host_history(host, NULL, NULL));
  EQUAL(UV_ENOENT, rover_host_history(host, "other", &report));
  report = status(NULL);
  EQUAL(UV_EINVAL, rover_host_report_read(NULL, &byte, 1));
  EQUAL(UV_EINVAL, rover_host_report_read(report, NULL, 1));
  EQUAL(UV_EINVAL, rover_host_report_read(report, &byte, 0));
  rover_host_report_free(report);
  EQUAL(UV_EINVAL, rover_host_server_steer(host, NULL, NULL, 0, 0));
  EQUAL(UV_EINVAL, rover_host_server_steer(NULL, NULL, "s", 0, 0));
  EQUAL(UV_EINVAL, rover_host_server_add(host, NULL, NULL, "127.0.0.1", 1));
  EQUAL(UV_EINVAL, rover_host_server_add(host, NULL, "t", NULL, 1));
  EQUAL(UV_EINVAL, rover_host_drain(NULL, 0));
  EQUAL(UV_EINVAL, rover_host_drain(host, ROVER_MS_MAX + 1));
  EQUAL(UV_EINVAL, rover_host_resume(NULL));
  EQUAL(UV_EINVAL, rover_host_decisions(NULL, on_decision, NULL));
  EQUAL(UV_EINVAL, rover_host_decisions(host, NULL, NULL));
  EQUAL(UV_EINVAL, rover_host_decide(host, NULL));
  rover_host_decision_t decision = {.rover = "main", .id = "s"};
  EQUAL(UV_EINVAL, rover_host_decide(host, &decision));
  decision.address = "127.0.0.1";
  EQUAL(UV_EINVAL, rover_host_decide(NULL, &decision));
  EQUAL(UV_EINVAL, rover_host_decide(host, &decision)); /* nothing */
  decision.id = "t";
  decision.added = 1;
  EQUAL(UV_EINVAL, rover_host_decide(host, &decision)); /* port 0 */
  decision.how = (rover_steer_t)(ROVER_STEER_DROP + 1);
  EQUAL(UV_EINVAL, rover_host_decide(host, &decision));
  decision = (rover_host_decision_t){.rover = "none", .id = "t",
                                     .address = "127.0.0.1", .port = 1,
                                     .added = 1};
  EQUAL(UV_ENOENT, rover_host_decide(host, &decision));
  decision.reserved[0] = 1;
  EQUAL(UV_EINVAL, rover_host_decide(host, &decision));
  finish(host);
}

static void without_policy(void) {
  host = hosting(&told, NULL);
  CHECK(strstr(read_all(status(NULL), 4096),
               "\"policy\":null,\"reloads\":{\"succeeded\":0,"));
  EQUAL(UV_ENOENT, rover_host_server_steer(host, NULL, "s", 0, 0));
  rover_host_report_t *report;
  EQUAL(UV_ENOTSUP, rover_host_history(host, NULL, &report));
  EQUAL(UV_ENOENT, rover_host_drain(host, 0));
  EQUAL(0, rover_host_resume(host));
  EQUAL(0, rover_host_close(host, on_host_closed));
  CHECK(strstr(read_all(status(NULL), 4096), "\"state\":\"stopping\""));
  EQUAL(UV_EINVAL, rover_host_drain(host, 0));
  EQUAL(UV_EINVAL, rover_host_server_steer(host, NULL, "s", 0, 0));
  UNTIL(told.closes);
}

/* From within the policy's code, its rover's being closed in it. */
static int l_report(lua_State *L) {
  (void)L;
  CHECK(strstr(read_all(status(NULL), 512), "\"rovers\":[{\"name\":\"main\""));
  EQUAL(1, rover_host_server_steer(host, NULL, "s", ROVER_STEER_PAUSE, 0));
  EQUAL(1, rover_host_server_steer(host, NULL, "s", ROVER_STEER_NONE, 0));
  note(&told, "reported");
  return 0;
}

static void within_the_policy(void) {
  host = hosting(&told, NULL);
  called = l_report;
  EQUAL(0, load(host, ROVER "r:on('connection', call)\n"
                            "r:on('added', call) r:start()"));
  UNTIL(count(&told, "reported") >= 2);
  called = NULL;
  finish(host);
}

const struct check checks[] = {
    {"a status", "has the balance of each rover", reports_balance},
    {"a report", "is the same in pieces of any size", reads_in_pieces},
    {"a report", "may be read and freed after the host", outlives_the_host},
    {"reports and steering", "want valid arguments", wants_valid_arguments},
    {"reports and steering", "are possible without a policy", without_policy},
    {"reports and steering", "are possible within the policy's code",
     within_the_policy},
    {NULL, NULL, NULL}};
