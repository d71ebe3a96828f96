/* The promises of <callosum/host.h> about reports. */
#include "hosts.h"

static struct told told;
static rover_host_t *host;

static void metrics_misuse(void) {
  rover_host_metrics_options_t options = {0};
  rover_host_report_t *untouched = (rover_host_report_t *)&told;
  rover_host_report_t *report = untouched;
  char byte;

  host = hosting(&told, NULL);
  EQUAL(UV_EINVAL, rover_host_metrics(NULL, NULL, &report));
  EQUAL(UV_EINVAL, rover_host_metrics(host, NULL, NULL));
  options.servers = ROVER_HOST_SERVERS_NONE + 1;
  EQUAL(UV_EINVAL, rover_host_metrics(host, &options, &report));
  for (size_t i = 0; i < sizeof(options.reserved); i++) {
    memset(&options, 0, sizeof options);
    memset((char *)options.reserved + i, 1, 1);
    EQUAL(UV_EINVAL, rover_host_metrics(host, &options, &report));
  }
  CHECK(report == untouched);
  EQUAL(0, rover_host_metrics(host, NULL, &report));
  EQUAL(UV_EINVAL, rover_host_report_read(NULL, &byte, 1));
  EQUAL(UV_EINVAL, rover_host_report_read(report, NULL, 1));
  EQUAL(UV_EINVAL, rover_host_report_read(report, &byte, 0));
  EQUAL(1, rover_host_report_read(report, &byte, 1));
  rover_host_report_free(report);
  rover_host_report_free(NULL);
  finish(host);
}

/* Reads what is left, in pieces of this size at most. */
static size_t read_all(rover_host_report_t *report, char *text, size_t size,
                       size_t piece) {
  size_t length = 0;
  int n;
  while ((n = rover_host_report_read(report, text + length,
                                     piece < size - length
                                         ? piece
                                         : size - length - 1)) > 0)
    length += (size_t)n;
  EQUAL(0, n);
  EQUAL(0, rover_host_report_read(report, text + length, 1)); /* it stays so */
  text[length] = '\0';
  return length;
}

static void metrics_pieces(void) {
  static char whole[1 << 18], parts[1 << 18];
  rover_host_report_t *report;

  host = hosting(&told, NULL);
  EQUAL(0, load(host, ROVER));
  EQUAL(0, rover_host_metrics(host, NULL, &report));
  size_t length = read_all(report, whole, sizeof whole, sizeof whole);
  rover_host_report_free(report);
  CHECK(strstr(whole, "\ncallosum_rover_attempts_total{rover=\"main\"} 0\n"));
  for (size_t piece = 1; piece < 5000; piece = piece * 3 + 1) {
    EQUAL(0, rover_host_metrics(host, NULL, &report));
    EQUAL(length, read_all(report, parts, sizeof parts, piece));
    SAME(whole, parts);
    rover_host_report_free(report);
  }
  finish(host);
}

static void metrics_outlive(void) {
  static char text[1 << 18];
  rover_host_report_t *report;

  host = hosting(&told, NULL);
  EQUAL(0, load(host, ROVER));
  EQUAL(0, rover_host_metrics(host, NULL, &report));
  EQUAL(10, rover_host_report_read(report, text, 10));
  finish(host);
  read_all(report, text, sizeof text, sizeof text);
  CHECK(strstr(text, "\ncallosum_rover_attempts_total{rover=\"main\"} 0\n"));
  rover_host_report_free(report);
}

const struct check checks[] = {
    {"rover_host_metrics()", "and reading return UV_EINVAL for what is NULL or "
                             "makes no sense, and change nothing",
     metrics_misuse},
    {"a report", "is the same however it is read", metrics_pieces},
    {"a report", "may be read when its host has closed", metrics_outlive},
    {NULL, NULL, NULL}};
