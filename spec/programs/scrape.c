/* A host for spec/metrics_spec.lua: runs a policy, and obeys the lines on its
 * standard input.
 *
 *   metrics [openmetrics] [all | none] [LIMIT] [quiet]
 *           writes a report with these options, or only its lines are counted, and
 *           then "== N us, N us, N lines": the most CPU time that one piece took,
 *           and that of all
 *   status [KEY=VALUE]...
 *           the same of a status report; KEY is rover, search, sort, order, offset
 *           or limit, where sort and order are numbers, or servers=none
 *   history [rover=NAME]
 *           the same of a history
 *   add ROVER ID HOST PORT
 *   steer ROVER ID none|pause|drain|drop MS
 *   drain MS
 *   resume  steers servers or the host, and writes the result, or an error's
 *           name; ROVER is - for the only one
 *   reload  reloads the policy, and writes "reload STATUS" once that is over
 *
 * What the host logs goes to standard error, message by message. It ends with
 * its input. */
#include <callosum/host.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static rover_host_t *host;
static uv_pipe_t input;
static char line[256];
static size_t length;

static void check(int status, const char *what) {
  if (status >= 0) return;
  fprintf(stderr, "%s: %s\n", what, uv_strerror(status));
  exit(1);
}

static rover_host_report_t *metrics(void) {
  rover_host_metrics_options_t options = {0};
  rover_host_report_t *report;

  options.openmetrics = strstr(line, "openmetrics") != NULL;
  if (strstr(line, "all")) options.servers = ROVER_HOST_SERVERS_ALL;
  if (strstr(line, "none")) options.servers = ROVER_HOST_SERVERS_NONE;
  options.server_limit = strtoul(line + strcspn(line, "0123456789"), NULL, 10);
  check(rover_host_metrics(host, &options, &report), "rover_host_metrics()");
  return report;
}

static rover_host_report_t *status(void) {
  rover_host_status_options_t options = {0};
  rover_host_report_t *report = NULL;
  char *word = strtok(line, " ");

  while ((word = strtok(NULL, " "))) {
    char *value = strchr(word, '=') + 1;
    unsigned long number = strtoul(value, NULL, 10);
    if (*word == 'r') options.rover = value;
    else if (!strncmp(word, "sea", 3)) options.search = value;
    else if (!strncmp(word, "ser", 3)) options.no_servers = 1;
    else if (*word == 's') options.sort = (rover_host_sort_t)number;
    else if (!strncmp(word, "or", 2))
      options.order = (rover_host_order_t)number;
    else if (*word == 'o') options.offset = number;
    else options.limit = number;
  }
  int err = rover_host_status(host, &options, &report);
  if (err < 0) printf("\"%s\"", uv_err_name(err));
  return report;
}

static rover_host_report_t *history(void) {
  rover_host_report_t *report = NULL;
  const char *name = strchr(line, '=');

  int err = rover_host_history(host, name ? name + 1 : NULL, &report);
  if (err < 0) printf("\"%s\"", uv_err_name(err));
  return report;
}

/* The next word of the line; "-" is NULL. */
static const char *word(void) {
  const char *text = strtok(NULL, " ");
  return text && strcmp(text, "-") != 0 ? text : NULL;
}

static void steer(void) {
  static const char *const ways[] = {"none", "pause", "drain", "drop"};
  const char *command = strtok(line, " "), *rover = word(), *id, *third;
  int err = 0, how = 0;

  if (!strcmp(command, "drain")) {
    err = rover_host_drain(host, strtoul(rover, NULL, 10));
  } else if (!strcmp(command, "resume")) {
    err = rover_host_resume(host);
  } else {
    id = word();
    third = word();
    unsigned long number = strtoul(word(), NULL, 10);
    if (!strcmp(command, "add")) {
      err = rover_host_server_add(host, rover, id, third, (int)number);
    } else {
      while (strcmp(ways[how], third) != 0) how++;
      err = rover_host_server_steer(host, rover, id, (rover_steer_t)how, number);
    }
  }
  if (err < 0) printf("steered %s\n", uv_err_name(err));
  else printf("steered %d\n", err);
  fflush(stdout);
}

/* Of this process, in ns. */
static uint64_t cpu_time(void) {
  struct timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void write_report(rover_host_report_t *(*make)(void)) {
  static char piece[16 * 1024];
  uint64_t most = 0, all = 0, lines = 0;
  bool quiet = strstr(line, "quiet") != NULL;
  uint64_t from = cpu_time(), took;
  rover_host_report_t *report = make();
  int n = 0;

  do {
    if (!report) break;
    n = rover_host_report_read(report, piece, sizeof piece);
    took = cpu_time() - from;
    all += took;
    if (took > most) most = took;
    check(n, "rover_host_report_read()");
    for (int i = 0; i < n; i++) lines += piece[i] == '\n';
    if (!quiet) fwrite(piece, 1, (size_t)n, stdout);
    from = cpu_time();
  } while (n > 0);
  rover_host_report_free(report);
  took = cpu_time() - from;
  if (took > most) most = took;
  printf("== %llu us, %llu us, %llu lines\n",
         (unsigned long long)most / 1000,
         (unsigned long long)(all + took) / 1000, (unsigned long long)lines);
  fflush(stdout);
}

static void on_reload(rover_host_t *of, const rover_host_reload_t *result) {
  (void)of;
  printf("reload %d\n", result->status);
  fflush(stdout);
}

static void on_log(rover_host_t *of, const rover_host_log_t *log) {
  (void)of;
  fprintf(stderr, "%s", log->message.bytes);
  for (size_t i = 0; i < log->field_count; i++)
    fprintf(stderr, " %s=%s", log->fields[i].key.bytes,
            log->fields[i].value.bytes);
  fputc('\n', stderr);
}

static void obey(void) {
  if (!strncmp(line, "metrics", 7)) write_report(metrics);
  else if (!strncmp(line, "status", 6)) write_report(status);
  else if (!strncmp(line, "history", 7)) write_report(history);
  else if (!strncmp(line, "add ", 4) || !strncmp(line, "steer ", 6) ||
           !strncmp(line, "drain ", 6) || !strcmp(line, "resume"))
    steer();
  else if (!strcmp(line, "reload")) check(rover_host_reload(host, "test"), line);
  else check(UV_EINVAL, line);
}

static void give(uv_handle_t *handle, size_t size, uv_buf_t *buffer) {
  static char byte;
  (void)handle;
  (void)size;
  *buffer = uv_buf_init(&byte, 1);
}

static void on_input(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer) {
  if (n < 0) {
    uv_close((uv_handle_t *)stream, NULL);
    rover_host_close(host, NULL);
    return;
  }
  if (n == 0 || length + 1 == sizeof line) return;
  if (*buffer->base != '\n') {
    line[length++] = *buffer->base;
    return;
  }
  line[length] = '\0';
  length = 0;
  obey();
}

int main(int argc, char *argv[]) {
  uv_loop_t loop;
  rover_host_options_t options = {.log = on_log, .reload = on_reload};

  if (argc < 3) return 2;
  options.lua_path = argv[1];
  options.history = getenv("HISTORY") != NULL;
  options.sandbox = getenv("SANDBOX") != NULL;
  options.threads = getenv("THREADS") ? 2 : 0;
  check(uv_loop_init(&loop), "loop");
  check(rover_host_new(&host, &loop, &options), "host");
  check(uv_pipe_init(&loop, &input, 0), "pipe");
  check(uv_pipe_open(&input, STDIN_FILENO), "pipe");
  check(rover_host_load(host, argv[2], argc - 3, argv + 3), argv[2]);
  check(uv_read_start((uv_stream_t *)&input, give, on_input), "input");
  puts("loaded");
  fflush(stdout);
  uv_run(&loop, UV_RUN_DEFAULT);
  check(uv_loop_close(&loop), "the end");
  return 0;
}
