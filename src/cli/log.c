#include "log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Lines that could not be written are tried again, less and less often while
 * nothing is accepted, and at exit for at most FLUSH_MS. Losses of standard
 * output are reported at once, and then each second. */
enum { RETRY_MS = 20, RETRY_MAX_MS = 1000, FLUSH_MS = 250, REPORT_MS = 1000 };

/* The longest line, whatever a policy logs, and the length to which its texts
 * are cut before fields are omitted. */
enum { LINE_BYTES = 64 * 1024, TEXT_BYTES = 64 };

/* -- Escaping ------------------------------------------------------------- */

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

/* Writes the first character of `s` as it appears in a JSON string (RFC 8259,
 * 7): on one line, always valid UTF-8, and without control characters. */
static int escape_one(char out[8], const unsigned char *s, size_t length) {
  if (length == 0) return snprintf(out, 8, "\\ufffd");
  if (*s == '"' || *s == '\\') return snprintf(out, 8, "\\%c", *s);
  if (*s == '\n') return snprintf(out, 8, "\\n");
  if (*s == '\r') return snprintf(out, 8, "\\r");
  if (*s == '\t') return snprintf(out, 8, "\\t");
  if (*s < 0x20 || *s == 0x7f) return snprintf(out, 8, "\\u%04x", *s);
  if (*s == 0xc2 && s[1] < 0xa0) /* U+0080 to U+009F */
    return snprintf(out, 8, "\\u%04x", s[1]);
  memcpy(out, s, length);
  return (int)length;
}

/* Writes the text as the contents of a JSON string, unless `out` is NULL,
 * truncated to at most `most` bytes. Returns their number. */
static size_t escape(FILE *out, rover_host_text_t text, size_t most) {
  const unsigned char *s = (const unsigned char *)text.bytes;
  char bytes[8], cut[64];
  size_t written = 0;

  for (size_t i = 0; i < text.length;) {
    size_t length = utf8_length(s + i, text.length - i);
    size_t n = (size_t)escape_one(bytes, s + i, length);
    if (written + n > most) {
      n = (size_t)snprintf(cut, sizeof cut, "\u2026(cut; %zu bytes in all)",
                           text.length);
      if (out) fwrite(cut, 1, n, out);
      return written + n;
    }
    if (out) fwrite(bytes, 1, n, out);
    written += n;
    i += length ? length : 1;
  }
  return written;
}

static void quote(FILE *out, rover_host_text_t text, size_t most) {
  putc('"', out);
  escape(out, text, most);
  putc('"', out);
}

/* -- Lines ---------------------------------------------------------------- */

/* How much of an event is in its line: bytes of each text, and fields. */
struct part {
  size_t most, fields;
};

/* Whether that much fits in a line of JSON, which is longer than text. */
static bool fits(const rover_host_log_t *log, struct part part) {
  static const size_t frame = 128; /* names, time, level, number of fields */
  size_t length = frame + escape(NULL, log->message, part.most);

  for (size_t i = 0; i < part.fields && length <= LINE_BYTES; i++)
    length += escape(NULL, log->fields[i].key, part.most) +
              escape(NULL, log->fields[i].value, part.most) +
              strlen(",\"_\":\"\"");
  return length <= LINE_BYTES;
}

static struct part part_of(const rover_host_log_t *log) {
  struct part part = {LINE_BYTES, log->field_count};

  while (!fits(log, part)) {
    if (part.most > TEXT_BYTES) part.most -= part.most / 8;
    else part.fields -= part.fields / 8 + 1;
  }
  return part;
}

static bool is_plain(rover_host_text_t text, size_t most) {
  if (text.length > most) return false;
  for (size_t i = 0; i < text.length; i++) {
    char c = text.bytes[i];
    if (c <= ' ' || c == '"' || c == '\\' || c == '=' || c >= 0x7f)
      return false;
  }
  return text.length > 0;
}

static void put_text(FILE *out, const char *time, const char *level,
                     const rover_host_log_t *log) {
  struct part part = part_of(log);

  fprintf(out, "%s %-5s ", time, level);
  escape(out, log->message, part.most);
  for (size_t i = 0; i < part.fields; i++) {
    const rover_host_field_t *field = &log->fields[i];
    putc(' ', out);
    escape(out, field->key, part.most);
    putc('=', out);
    if (is_plain(field->value, part.most)) fputs(field->value.bytes, out);
    else quote(out, field->value, part.most);
  }
  if (part.fields < log->field_count)
    fprintf(out, " fieldsCut=%zu", log->field_count - part.fields);
}

static void put_json(FILE *out, const char *time, const char *level,
                     const rover_host_log_t *log) {
  static const char *const own[] = {"time", "level", "message"};
  struct part part = part_of(log);

  fprintf(out, "{\"time\":\"%s\",\"level\":\"%s\",\"message\":", time, level);
  quote(out, log->message, part.most);
  for (size_t i = 0; i < part.fields; i++) {
    const rover_host_field_t *field = &log->fields[i];
    fputs(",\"", out);
    /* A field with the name of one of ours gets an underscore more. */
    const char *bare = field->key.bytes + strspn(field->key.bytes, "_");
    for (size_t j = 0; j < sizeof own / sizeof *own; j++)
      if (!strcmp(bare, own[j])) putc('_', out);
    escape(out, field->key, part.most);
    fputs("\":", out);
    if (field->type == ROVER_HOST_STRING) quote(out, field->value, part.most);
    else fputs(field->value.bytes, out);
  }
  if (part.fields < log->field_count)
    fprintf(out, ",\"fieldsCut\":%zu", log->field_count - part.fields);
  putc('}', out);
}

/* Writes the line, or returns false. */
static bool write_line(struct cli_log *log, const rover_host_log_t *event) {
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
  (log->json ? put_json : put_text)(out, stamp, levels[event->level], event);
  putc('\n', out);
  /* In a single write, so that lines of several processes do not mix. */
  bool written = fclose(out) == 0 &&
                 cli_output_put(&log->errors, line, length, true) == length;
  free(line);
  return written;
}

static bool write_count(struct cli_log *log, const char *message,
                        size_t lines) {
  char count[24];
  int length = snprintf(count, sizeof count, "%zu", lines);
  rover_host_field_t field = {{"count", 5}, {count, (size_t)length},
                              ROVER_HOST_NUMBER};
  return write_line(log, &(rover_host_log_t){ROVER_HOST_WARN,
                                             {message, strlen(message)},
                                             &field, 1});
}

/* Reports lost lines in the place where they are missing. Until that is
 * written, nothing else is. */
static bool report_lost(struct cli_log *log) {
  size_t lost = log->errors.lost;
  if (lost > 0 && !write_count(log, "log lines lost", lost)) return false;
  log->errors.lost -= lost;
  return true;
}

/* -- What is left to do --------------------------------------------------- */

static void take_care(struct cli_log *log);

static void on_retry(uv_timer_t *timer) {
  struct cli_log *log = timer->data;

  uv_mutex_lock(&log->mutex);
  size_t before = log->errors.length + log->printed.length;
  bool flushed = cli_output_flush(&log->errors, 0);
  cli_output_flush(&log->printed, 0);
  bool moves = log->errors.length + log->printed.length < before;
  if (flushed) report_lost(log);
  uv_mutex_unlock(&log->mutex);
  log->retry_ms *= 2;
  if (moves) log->retry_ms = RETRY_MS;
  else if (log->retry_ms > RETRY_MAX_MS) log->retry_ms = RETRY_MAX_MS;
  take_care(log);
}

static bool report_printed(struct cli_log *log) {
  if (log->printed.lost == 0 || !report_lost(log) ||
      !write_count(log, "output lines lost", log->printed.lost))
    return false;
  log->printed.lost = 0;
  return true;
}

static void on_report(uv_timer_t *timer) {
  struct cli_log *log = timer->data;

  uv_mutex_lock(&log->mutex);
  bool reported = report_printed(log);
  uv_mutex_unlock(&log->mutex);
  if (reported) uv_timer_start(timer, on_report, REPORT_MS, 0);
}

static bool has_work(const struct cli_log *log) {
  return log->errors.length > 0 || log->printed.length > 0 ||
         log->printed.lost > 0;
}

static void take_care(struct cli_log *log) {
  uv_mutex_lock(&log->mutex);
  bool queued = log->errors.length > 0 || log->printed.length > 0;
  bool lost = log->printed.lost > 0;
  uv_mutex_unlock(&log->mutex);
  if (!queued) log->retry_ms = RETRY_MS;
  else if (!uv_is_active((uv_handle_t *)&log->retry))
    uv_timer_start(&log->retry, on_retry, log->retry_ms, 0);
  if (lost && !uv_is_active((uv_handle_t *)&log->report))
    uv_timer_start(&log->report, on_report, 0, 0);
}

static void on_care(uv_async_t *care) { take_care(care->data); }

/* -- Life ----------------------------------------------------------------- */

int cli_log_open(struct cli_log *log, uv_loop_t *loop, int level, bool json) {
  uv_handle_t *handles[] = {(uv_handle_t *)&log->retry,
                            (uv_handle_t *)&log->report,
                            (uv_handle_t *)&log->care};

  *log = (struct cli_log){.level = level, .json = json};
  int err = uv_mutex_init(&log->mutex);
  if (err == 0) err = uv_async_init(loop, &log->care, on_care);
  if (err < 0) return err;
  uv_timer_init(loop, &log->retry);
  uv_timer_init(loop, &log->report);
  for (size_t i = 0; i < sizeof handles / sizeof *handles; i++) {
    handles[i]->data = log;
    uv_unref(handles[i]);
  }
  log->retry_ms = RETRY_MS;
  cli_output_open(&log->errors, STDERR_FILENO);
  cli_output_open(&log->printed, STDOUT_FILENO);
  log->open = true;
  return 0;
}

void cli_log_set_level(struct cli_log *log, int level) {
  log->level = level;
}

void cli_log_close(struct cli_log *log) {
  uint64_t deadline = uv_hrtime() / 1000000 + FLUSH_MS;

  uv_mutex_lock(&log->mutex);
  log->open = false;
  if (!cli_output_flush(&log->printed, deadline))
    cli_output_drop(&log->printed);
  report_printed(log);
  deadline += FLUSH_MS;
  if (cli_output_flush(&log->errors, deadline) && report_lost(log))
    cli_output_flush(&log->errors, deadline);
  cli_output_close(&log->printed);
  cli_output_close(&log->errors);
  uv_mutex_unlock(&log->mutex);
  uv_close((uv_handle_t *)&log->retry, NULL);
  uv_close((uv_handle_t *)&log->report, NULL);
  uv_close((uv_handle_t *)&log->care, NULL);
}

/* -- Lines and text ------------------------------------------------------- */

void cli_log_event(struct cli_log *log, const rover_host_log_t *event) {
  if ((int)event->level < log->level) return;
  uv_mutex_lock(&log->mutex);
  if (!report_lost(log) || !write_line(log, event)) log->errors.lost++;
  uv_mutex_unlock(&log->mutex);
  take_care(log);
}

/* Returns 0 or an errno. */
static int put_text_as_is(struct cli_log *log, struct cli_output *output,
                          const char *text, size_t length) {
  size_t taken = 0;

  if (output != &log->errors || report_lost(log))
    taken = cli_output_put(output, text, length, false);
  int err = taken < length && errno != EAGAIN ? errno : 0;
  cli_output_lose(output, text + taken, length - taken);
  return err;
}

int cli_log_text(struct cli_log *log, struct cli_output *output,
                 const char *text, size_t length) {
  int err = 0;

  uv_mutex_lock(&log->mutex);
  if (log->open) {
    err = put_text_as_is(log, output, text, length);
    if (has_work(log)) uv_async_send(&log->care);
  }
  uv_mutex_unlock(&log->mutex);
  return err;
}
