#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* How often what could not be written is tried again, and how long at most at
 * the end. */
enum { RETRY_MS = 20, FLUSH_MS = 500 };

/* The length of the UTF-8 sequence at `s`, of at most `left` bytes, or 0 if it
 * is none (RFC 3629, 4). */
static size_t utf8_length(const unsigned char *s, size_t left) {
  size_t length = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2
                : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;
  if (length == 0 || length > left) return 0;
  for (size_t i = 1; i < length; i++)
    if ((s[i] & 0xc0) != 0x80) return 0;
  if (s[0] == 0xe0 && s[1] < 0xa0) return 0;
  if (s[0] == 0xed && s[1] > 0x9f) return 0;
  if (s[0] == 0xf0 && s[1] < 0x90) return 0;
  if (s[0] == 0xf4 && s[1] > 0x8f) return 0;
  return length;
}

/* Writes the text as the inside of a JSON string (RFC 8259, 7): on one line,
 * valid UTF-8 whatever it holds, and without control characters. */
static void escape(FILE *out, rover_host_text_t text) {
  const unsigned char *s = (const unsigned char *)text.bytes;

  for (size_t i = 0; i < text.length;) {
    size_t length = utf8_length(s + i, text.length - i);
    if (length == 0) fputs("\\ufffd", out);
    else if (s[i] == '"' || s[i] == '\\') fprintf(out, "\\%c", s[i]);
    else if (s[i] == '\n') fputs("\\n", out);
    else if (s[i] == '\r') fputs("\\r", out);
    else if (s[i] == '\t') fputs("\\t", out);
    else if (s[i] < 0x20 || s[i] == 0x7f) fprintf(out, "\\u%04x", s[i]);
    else if (s[i] == 0xc2 && s[i + 1] < 0xa0) /* U+0080 to U+009F */
      fprintf(out, "\\u%04x", s[i + 1]);
    else fwrite(s + i, 1, length, out);
    i += length ? length : 1;
  }
}

static void quote(FILE *out, rover_host_text_t text) {
  putc('"', out);
  escape(out, text);
  putc('"', out);
}

static bool is_plain(rover_host_text_t text) {
  for (size_t i = 0; i < text.length; i++) {
    char c = text.bytes[i];
    if (c <= ' ' || c == '"' || c == '\\' || c == '=' || c >= 0x7f)
      return false;
  }
  return text.length > 0;
}

static void put_text(FILE *out, const char *time, const char *level,
                     const rover_host_log_t *log) {
  fprintf(out, "%s %-5s ", time, level);
  escape(out, log->message);
  for (size_t i = 0; i < log->field_count; i++) {
    const rover_host_field_t *field = &log->fields[i];
    putc(' ', out);
    escape(out, field->key);
    putc('=', out);
    if (is_plain(field->value)) fputs(field->value.bytes, out);
    else quote(out, field->value);
  }
}

static void put_json(FILE *out, const char *time, const char *level,
                     const rover_host_log_t *log) {
  static const char *const own[] = {"time", "level", "message"};

  fprintf(out, "{\"time\":\"%s\",\"level\":\"%s\",\"message\":", time, level);
  quote(out, log->message);
  for (size_t i = 0; i < log->field_count; i++) {
    const rover_host_field_t *field = &log->fields[i];
    fputs(",\"", out);
    /* A field of the name of one of ours gets one more underscore. */
    const char *bare = field->key.bytes + strspn(field->key.bytes, "_");
    for (size_t j = 0; j < sizeof own / sizeof *own; j++)
      if (!strcmp(bare, own[j])) putc('_', out);
    escape(out, field->key);
    fputs("\":", out);
    if (field->type == ROVER_HOST_STRING) quote(out, field->value);
    else fputs(field->value.bytes, out);
  }
  putc('}', out);
}

/* Writes the line, or returns false. */
static bool write_line(struct cli_options *options,
                       const rover_host_log_t *log) {
  static const char *const levels[] = {"debug", "info", "warn", "error"};
  char *line = NULL, date[32], stamp[48];
  size_t length = 0;
  struct timespec now;
  struct tm utc;

  clock_gettime(CLOCK_REALTIME, &now);
  gmtime_r(&now.tv_sec, &utc);
  strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &utc);
  snprintf(stamp, sizeof stamp, "%s.%03ldZ", date, now.tv_nsec / 1000000);

  FILE *out = open_memstream(&line, &length);
  if (!out) return false;
  (options->log_json ? put_json : put_text)(out, stamp, levels[log->level],
                                            log);
  putc('\n', out);
  /* In one write, so that lines of several processes do not mix. */
  bool written = fclose(out) == 0 &&
                 cli_output_put(&options->output, line, length);
  free(line);
  return written;
}

/* Tells, where they are missing, that lines were lost. Until that is written,
 * no other line is. */
static bool tell_lost(struct cli_options *options) {
  static const char message[] = "log lines lost";
  struct cli_output *output = &options->output;
  char count[24];

  if (output->lost == 0) return true;
  int length = snprintf(count, sizeof count, "%zu", output->lost);
  rover_host_field_t field = {{"count", 5}, {count, (size_t)length},
                              ROVER_HOST_NUMBER};
  if (!write_line(options, &(rover_host_log_t){ROVER_HOST_WARN,
                                               {message, sizeof message - 1},
                                               &field, 1}))
    return false;
  output->lost = 0;
  return true;
}

static void on_retry(uv_timer_t *timer) {
  struct cli_options *options = timer->data;
  if (!cli_output_flush(&options->output, 0) || !tell_lost(options)) return;
  if (options->output.length == 0) uv_timer_stop(timer);
}

void cli_log_open(struct cli_options *options, uv_loop_t *loop) {
  cli_output_open(&options->output);
  uv_timer_init(loop, &options->log_timer);
  uv_unref((uv_handle_t *)&options->log_timer);
  options->log_timer.data = options;
}

void cli_log_close(struct cli_options *options) {
  uint64_t deadline = uv_hrtime() / 1000000 + FLUSH_MS;

  if (cli_output_flush(&options->output, deadline) && tell_lost(options))
    cli_output_flush(&options->output, deadline);
  cli_output_close(&options->output);
  uv_close((uv_handle_t *)&options->log_timer, NULL);
}

void cli_log(rover_host_t *host, const rover_host_log_t *log) {
  struct cli_options *options = rover_host_data(host);

  if (log->level < options->log_level) return;
  if (!tell_lost(options) || !write_line(options, log)) options->output.lost++;
  if (options->output.length > 0 &&
      !uv_is_active((uv_handle_t *)&options->log_timer))
    uv_timer_start(&options->log_timer, on_retry, RETRY_MS, RETRY_MS);
}
