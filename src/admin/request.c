#include "request.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

/* Requests of HTTP/1.1 (RFC 9112), as strictly as possible: what two programs
 * could read in two ways is refused, so that nobody can hide a request in
 * another one. So lines end in CR LF, header lines are not folded, a body has
 * one Content-Length in digits, only a POST may have one, and there are no
 * other transfer codings. */

bool admin__text_is(struct admin__text text, const char *other) {
  return text.bytes && text.length == strlen(other) &&
         !memcmp(text.bytes, other, text.length);
}

bool admin__text_is_folded(struct admin__text text, const char *other) {
  return text.bytes && text.length == strlen(other) &&
         !strncasecmp(text.bytes, other, text.length);
}

static struct admin__text trim(struct admin__text text) {
  while (text.length > 0 && (*text.bytes == ' ' || *text.bytes == '\t')) {
    text.bytes++;
    text.length--;
  }
  while (text.length > 0 && (text.bytes[text.length - 1] == ' ' ||
                             text.bytes[text.length - 1] == '\t'))
    text.length--;
  return text;
}

/* Takes what is before the first `separator`, or all. */
static struct admin__text take(struct admin__text *rest, char separator) {
  const char *end = memchr(rest->bytes, separator, rest->length);
  struct admin__text first = *rest;

  if (end) {
    first.length = (size_t)(end - first.bytes);
    rest->bytes = end + 1;
    rest->length -= first.length + 1;
  } else {
    rest->bytes += rest->length;
    rest->length = 0;
  }
  return first;
}

/* "q=0", "q=0.000" */
static bool is_refused(struct admin__text parameter) {
  parameter = trim(parameter);
  if (parameter.length < 3 || tolower((unsigned char)*parameter.bytes) != 'q' ||
      parameter.bytes[1] != '=')
    return false;
  for (size_t i = 2; i < parameter.length; i++)
    if (parameter.bytes[i] != '0' && parameter.bytes[i] != '.') return false;
  return true;
}

bool admin__text_accepts(struct admin__text list, const char *token) {
  bool accepts = false;

  while (list.length > 0) {
    struct admin__text item = take(&list, ',');
    struct admin__text name = trim(take(&item, ';'));
    if (!admin__text_is_folded(name, token)) continue;
    accepts = true;
    while (item.length > 0)
      if (is_refused(take(&item, ';'))) return false;
  }
  return accepts;
}

/* -- Percent signs --------------------------------------------------------- */

static int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = (char)tolower((unsigned char)c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int admin__text_decode(struct admin__text text, char *out, size_t size) {
  size_t length = 0;

  for (size_t i = 0; i < text.length; i++) {
    int c = (unsigned char)text.bytes[i];
    if (c == '%') {
      int high = i + 2 < text.length ? digit(text.bytes[i + 1]) : -1;
      int low = i + 2 < text.length ? digit(text.bytes[i + 2]) : -1;
      if (high < 0 || low < 0) return -2;
      c = high * 16 + low;
      i += 2;
    }
    if (c == 0 || length + 1 >= size) return -2;
    out[length++] = (char)c;
  }
  out[length] = '\0';
  return (int)length;
}

int admin__query_get(struct admin__text query, const char *name, char *out,
                     size_t size) {
  while (query.length > 0) {
    struct admin__text value = take(&query, '&');
    struct admin__text key = take(&value, '=');
    if (admin__text_is(key, name)) return admin__text_decode(value, out, size);
  }
  return -1;
}

/* -- Lines ----------------------------------------------------------------- */

static bool is_token(struct admin__text text) {
  static const char others[] = "!#$%&'*+-.^_`|~";

  for (size_t i = 0; i < text.length; i++) {
    unsigned char c = (unsigned char)text.bytes[i];
    if (!isalnum(c) && (c == 0 || !strchr(others, c))) return false;
  }
  return text.length > 0;
}

/* Visible characters; with `blanks` also blanks, tabs and what is not ASCII. */
static bool is_printable(struct admin__text text, bool blanks) {
  for (size_t i = 0; i < text.length; i++) {
    unsigned char c = (unsigned char)text.bytes[i];
    bool blank = c == ' ' || c == '\t' || c >= 0x80;
    if (blank ? !blanks : c < 0x21 || c == 0x7f) return false;
  }
  return true;
}

/* Takes a line from `*at` on. Returns as admin__request_parse(). */
static int next_line(const char **at, const char *end, struct admin__text *line,
                     const char **why) {
  size_t left = (size_t)(end - *at);
  const char *lf = memchr(*at, '\n', left);

  if (!lf) return 0;
  *line = (struct admin__text){*at, (size_t)(lf - *at)};
  *at = lf + 1;
  if (line->length > 0 && lf[-1] == '\r') {
    line->length--;
    if (is_printable(*line, true)) return 1;
    *why = "the request has control characters";
  } else {
    *why = "lines of a request end in CR LF";
  }
  return -400;
}

static int parse_method(struct admin__text name, struct admin__request *r,
                        const char **why) {
  static const char *const names[] = {"GET", "HEAD", "POST"};

  r->method = ADMIN_GET;
  while (r->method < ADMIN_OTHER_METHOD &&
         !admin__text_is(name, names[r->method]))
    r->method++;
  if (is_token(name)) return 1;
  *why = "this is not HTTP";
  return -400;
}

static int parse_request_line(struct admin__text line, struct admin__request *r,
                              const char **why) {
  int result = parse_method(take(&line, ' '), r, why);

  if (result < 0) return result;
  r->query = take(&line, ' ');
  r->path = take(&r->query, '?');
  if (line.length != 8 || memcmp(line.bytes, "HTTP/", 5) != 0 ||
      !isdigit((unsigned char)line.bytes[5]) || line.bytes[6] != '.' ||
      !isdigit((unsigned char)line.bytes[7])) {
    *why = "this is not HTTP/1.1";
    return -400;
  }
  if (line.bytes[5] != '1') {
    *why = "use HTTP/1.1";
    return -505;
  }
  r->minor = line.bytes[7] == '0' ? 0 : 1;
  r->keeps_open = r->minor > 0;
  if (r->path.length > 0 && *r->path.bytes == '/' &&
      is_printable(r->path, false) && is_printable(r->query, false))
    return 1;
  *why = "ask for a path, such as /metrics";
  return -400;
}

/* -- Header lines ---------------------------------------------------------- */

struct seen {
  struct admin__text length, coding, expect;
  bool closes, keeps;
};

/* Of those that may come once only, where to keep the value. */
static struct admin__text *known(struct admin__request *r, struct seen *seen,
                                 struct admin__text name) {
  const struct {
    const char *name;
    struct admin__text *at;
  } names[] = {{"accept", &r->accept},
               {"accept-encoding", &r->accept_encoding},
               {"callosum-control", &r->control},
               {"content-length", &seen->length},
               {"expect", &seen->expect},
               {"host", &r->host},
               {"origin", &r->origin},
               {"sec-fetch-dest", &r->fetch_dest},
               {"sec-fetch-mode", &r->fetch_mode},
               {"sec-fetch-site", &r->fetch_site},
               {"transfer-encoding", &seen->coding}};

  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (admin__text_is_folded(name, names[i].name)) return names[i].at;
  return NULL;
}

/* Lists, which may be in several lines. */
static bool is_list(struct admin__text name) {
  return admin__text_is_folded(name, "accept") ||
         admin__text_is_folded(name, "accept-encoding");
}

static int parse_header(struct admin__text line, struct admin__request *r,
                        struct seen *seen, const char **why) {
  struct admin__text value = line, name = take(&value, ':');

  if (name.length == line.length || !is_token(name)) {
    *why = "a header line begins with a name and a colon";
    return -400;
  }
  value = trim(value);
  if (admin__text_is_folded(name, "connection")) {
    seen->closes = seen->closes || admin__text_accepts(value, "close");
    seen->keeps = seen->keeps || admin__text_accepts(value, "keep-alive");
    return 1;
  }
  struct admin__text *at = known(r, seen, name);
  if (at && at->bytes && !is_list(name)) {
    *why = "a header line is repeated";
    return -400;
  }
  if (at && !at->bytes) *at = value;
  return 1;
}

/* -- The body -------------------------------------------------------------- */

/* Returns its length, or as admin__request_parse(). */
static int body_length(const struct admin__request *r, const struct seen *seen,
                       const char **why) {
  struct admin__text text = seen->length;
  int length = 0;

  if (seen->coding.bytes) {
    *why = "send a Content-Length, and no Transfer-Encoding";
    return text.bytes ? -400 : -501;
  }
  if (!text.bytes) return 0;
  *why = "Content-Length is not a number";
  if (text.length == 0) return -400;
  for (size_t i = 0; i < text.length; i++) {
    if (!isdigit((unsigned char)text.bytes[i])) return -400;
    if (length <= ADMIN_BODY_MAX) length = length * 10 + text.bytes[i] - '0';
  }
  *why = "the body is too long";
  if (length > ADMIN_BODY_MAX) return -413;
  *why = "only a POST has a body";
  return length > 0 && r->method != ADMIN_POST ? -400 : length;
}

/* Without the empty lines that some programs send after a body. */
static const char *skip_empty(const char *at, const char *end) {
  while (end - at >= 2 && at[0] == '\r' && at[1] == '\n') at += 2;
  return at;
}

static int parse_head(const char **at, const char *end,
                      struct admin__request *r, struct seen *seen,
                      const char **why) {
  struct admin__text line;

  int result = next_line(at, end, &line, why);
  if (result == 1) result = parse_request_line(line, r, why);
  while (result == 1) {
    result = next_line(at, end, &line, why);
    if (result == 1 && line.length == 0) return 1;
    if (result == 1) result = parse_header(line, r, seen, why);
  }
  return result;
}

/* The limit counts empty lines before the request, so that nobody can send
 * these for ever. */
static int too_long(const char *bytes, const char *end, const char **why) {
  const char *first = skip_empty(bytes, end);

  if (end - bytes < ADMIN_HEAD_MAX) return 0;
  *why = "the request line or the header is too long";
  return memchr(first, '\n', (size_t)(end - first)) ? -431 : -414;
}

int admin__request_parse(const char *bytes, size_t length,
                         struct admin__request *r, const char **why) {
  const char *end = bytes + length;
  size_t within = length < ADMIN_HEAD_MAX ? length : ADMIN_HEAD_MAX;
  const char *head = bytes + within, *at = skip_empty(bytes, head);
  struct seen seen = {0};

  *r = (struct admin__request){0};
  int result = parse_head(&at, head, r, &seen, why);
  if (result == 0) result = too_long(bytes, head, why);
  if (result <= 0) return result;
  if (seen.closes) r->keeps_open = false;
  else if (seen.keeps) r->keeps_open = true;
  int body = body_length(r, &seen, why);
  if (body < 0) return body;
  if (seen.expect.bytes) {
    *why = "send the body at once, without Expect";
    return -417;
  }
  r->body = (struct admin__text){at, (size_t)body};
  r->length = (size_t)(at - bytes) + (size_t)body;
  return end - at < body ? 0 : 1;
}
