/* What a policy logs and raises, and the lines that become of it: each is one
 * line of valid UTF-8, in JSON too, and tells what was said.
 *
 * Input: a letter for the function (d, i, w: that of callosum.host's log; else
 * error() is called), and two values, as value.c reads them: message and
 * fields. */
/* For its static functions. NOLINTNEXTLINE(bugprone-suspicious-include) */
#include "cli/log.c"

#include "fuzz.h"

#include <lauxlib.h>
#include <unistd.h>

/* -- Reading lines --------------------------------------------------------- */

enum { NO_CHARACTER = 0x110000 };

/* Takes a character, or a byte that is none. */
static uint32_t take_utf8(struct input *in) {
  static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  struct input at = *in;
  uint8_t first = take_byte(&at);
  int length = first < 0x80         ? 1
               : first >> 5 == 0x06 ? 2
               : first >> 4 == 0x0e ? 3
               : first >> 3 == 0x1e ? 4
                                    : 0;
  uint32_t code = length == 1 ? first : first & (0x7fu >> length);

  for (int i = 1; i < length; i++) {
    uint8_t byte = take_byte(&at);
    if (byte >> 6 != 2) length = 0;
    code = code << 6 | (byte & 0x3f);
  }
  if (length == 0 || code < least[length] || code > 0x10ffff ||
      (code >= 0xd800 && code <= 0xdfff)) {
    take_byte(in);
    return NO_CHARACTER;
  }
  *in = at;
  return code;
}

static void expect(struct input *line, const char *text) {
  for (; *text; text++) check(take_byte(line) == (uint8_t)*text);
}

static uint32_t take_escape(struct input *line) {
  static const char escapes[] = "\"\"\\\\n\nr\rt\t"; /* letter, meaning */
  uint8_t letter = take_byte(line);
  char hex[5] = "", *end;

  for (const char *e = escapes; *e; e += 2)
    if ((uint8_t)*e == letter) return (uint32_t)e[1];
  check(letter == 'u');
  take(line, hex, 4);
  uint32_t code = (uint32_t)strtoul(hex, &end, 16);
  check(end == hex + 4 && (code < 0xd800 || code > 0xdfff));
  return code;
}

/* The next characters of the line are those of the text. */
static void expect_escaped(struct input *line, rover_host_text_t text) {
  struct input in = {(const uint8_t *)text.bytes, text.length};

  while (in.left > 0) {
    uint32_t said = take_utf8(&in), shown = take_utf8(line);
    check(shown >= ' ' && !(shown >= 0x7f && shown < 0xa0) && shown != '"');
    check(shown != NO_CHARACTER);
    if (shown == '\\') shown = take_escape(line);
    check(shown == (said == NO_CHARACTER ? 0xfffd : said));
  }
}

static void expect_string(struct input *line, rover_host_text_t text) {
  expect(line, "\"");
  expect_escaped(line, text);
  expect(line, "\"");
}

static size_t skip_digits(const char **at) {
  size_t count = strspn(*at, "0123456789");
  *at += count;
  return count;
}

/* RFC 8259, 6. */
static bool is_json_number(const char *at) {
  if (*at == '-') at++;
  bool zero = *at == '0';
  size_t digits = skip_digits(&at);
  if (digits == 0 || (zero && digits > 1)) return false;
  if (*at == '.' && (at++, skip_digits(&at) == 0)) return false;
  if (*at == 'e' || *at == 'E') {
    at++;
    if (*at == '+' || *at == '-') at++;
    if (skip_digits(&at) == 0) return false;
  }
  return *at == 0;
}

/* A key is shown as it is, or with one more underscore, which ours and what
 * those become need, so that no two are the same. */
static void expect_key(struct input *line, rover_host_text_t key) {
  static const char *const own[] = {"time", "level", "message"};
  size_t underscores = strspn(key.bytes, "_");

  expect(line, "\"");
  if (line->left > underscores && line->bytes[underscores] == '_') {
    take_byte(line);
  } else {
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
      check(strcmp(key.bytes + underscores, own[i]) != 0);
  }
  expect_escaped(line, key);
  expect(line, "\":");
}

static void expect_json(struct input *line, const rover_host_log_t *log) {
  expect(line, "{\"time\":\"TIME\",\"level\":\"LEVEL\",\"message\":");
  expect_string(line, log->message);
  for (size_t i = 0; i < log->field_count; i++) {
    const rover_host_field_t *field = &log->fields[i];
    expect(line, ",");
    expect_key(line, field->key);
    if (field->type == ROVER_HOST_STRING) {
      expect_string(line, field->value);
      continue;
    }
    const char *value = field->value.bytes;
    expect(line, value);
    if (field->type == ROVER_HOST_NUMBER) check(is_json_number(value));
    else check(!strcmp(value, "true") || !strcmp(value, "false"));
  }
  expect(line, "}");
}

static void expect_text(struct input *line, const rover_host_log_t *log) {
  expect(line, "TIME LEVEL ");
  expect_escaped(line, log->message);
  for (size_t i = 0; i < log->field_count; i++) {
    expect(line, " ");
    expect_escaped(line, log->fields[i].key);
    expect(line, "=");
    bool quoted = line->left > 0 && *line->bytes == '"';
    (quoted ? expect_string : expect_escaped)(line, log->fields[i].value);
    check(quoted || (*line->bytes <= ' ' && log->fields[i].value.length > 0));
  }
}

/* -- The target ------------------------------------------------------------ */

typedef void (*put_fn)(FILE *, const char *, const char *,
                       const rover_host_log_t *);
typedef void (*expect_fn)(struct input *, const rover_host_log_t *);

static void check_line(put_fn put, expect_fn expect_line,
                       const rover_host_log_t *log) {
  char *line;
  size_t length;
  FILE *out = open_memstream(&line, &length);

  check(out);
  put(out, "TIME", "LEVEL", log);
  putc('\n', out);
  fclose(out);
  struct input in = {(const uint8_t *)line, length};
  expect_line(&in, log);
  check(in.left == 1 && *in.bytes == '\n');
  free(line);
}

static void on_log(rover_host_t *host, const rover_host_log_t *log) {
  (void)host;
  check_line(put_text, expect_text, log);
  check_line(put_json, expect_json, log);
}

static int l_say(lua_State *L) {
  struct input *in = lua_touserdata(L, 1);
  uint8_t letter = take_byte(in);
  const char *level = letter == 'd' ? "debug" : letter == 'i' ? "info" : "warn";

  lua_getglobal(L, "require");
  lua_pushliteral(L, "callosum.host");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "log");
  lua_getfield(L, -1, level);
  push_value(L, in, 10); /* message */
  if (letter != 'd' && letter != 'i' && letter != 'w') return lua_error(L);
  push_value(L, in, 10); /* message, fields */
  lua_call(L, 2, 0);
  return 0;
}

static uv_loop_t loop;
static rover_host_t *host;
static lua_State *L;

static void on_open(rover_host_t *opened, lua_State *state) {
  (void)opened;
  L = state;
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  static const rover_host_options_t options = {
      .rover_optional = 1, .open = on_open, .log = on_log};
  (void)argc;
  (void)argv;
  char empty[] = "/tmp/fuzz-log.XXXXXX";
  int fd = mkstemp(empty);
  check(fd >= 0);
  close(fd);
  uv_loop_init(&loop);
  check(rover_host_new(&host, &loop, &options) == 0);
  check(rover_host_load(host, empty, 0, NULL) == 0);
  unlink(empty);
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  struct input in = {bytes, size};
  lua_pushcfunction(L, l_say);
  lua_pushlightuserdata(L, &in);
  rover_host_call(host, L, 1, 0);
  check(lua_gettop(L) == 0);
  lua_gc(L, LUA_GCCOLLECT);
  return 0;
}
