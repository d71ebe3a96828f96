/* Requests: where one ends does not depend on the pieces that it comes in, and
 * nobody can hide one in another.
 *
 * Input: a byte for a place to cut at; then what a client sends. */
#include "admin/door.h"
#include "admin/request.h"
#include "fuzz.h"

#include <netinet/in.h>
#include <strings.h>

/* Of a copy that ends where its memory does, so that reading on is noticed. */
static int parse(const uint8_t *bytes, size_t length, char **copy,
                 struct admin__request *request) {
  const char *why = NULL;
  *copy = malloc(length ? length : 1);
  check(*copy);
  memcpy(*copy, bytes, length);
  int result = admin__request_parse(*copy, length, request, &why);
  check(result == 0 || result == 1 ||
        (result <= -400 && result > -600 && why && *why));
  check(result != 1 || request->length <= length);
  return result;
}

static int try(const uint8_t *bytes, size_t length, size_t *end) {
  struct admin__request request;
  char *copy;
  int result = parse(bytes, length, &copy, &request);
  *end = request.length;
  free(copy);
  return result;
}

static bool is_within(struct admin__text text, const char *from,
                      size_t length) {
  return !text.bytes || (text.bytes >= from && text.length <= length &&
                         (size_t)(text.bytes - from) <= length - text.length);
}

/* How often the head has a line that begins like this, in any case, whatever
 * else is in it. */
static int count(const char *head, size_t length, const char *name) {
  size_t size = strlen(name);
  int found = 0;
  for (size_t i = 0; i + size <= length; i++)
    found += i > 0 && head[i - 1] == '\n' && !strncasecmp(head + i, name, size);
  return found;
}

/* What is taken for one request must be one for everybody. */
static void judge_head(const struct admin__request *r, const char *from) {
  size_t head = (size_t)(r->body.bytes - from);
  long said = 0;

  check(head >= 4 && !memcmp(r->body.bytes - 4, "\r\n\r\n", 4));
  for (size_t i = 0; i < head; i++) {
    check(from[i] != 0);
    check((from[i] == '\n') == (i > 0 && from[i - 1] == '\r'));
  }
  check(count(from, head, "transfer-encoding:") == 0);
  check(count(from, head, "transfer-encoding ") == 0);
  check(count(from, head, "content-length ") == 0);
  check(count(from, head, " ") == 0 && count(from, head, "\t") == 0);
  int lengths = count(from, head, "content-length:");
  check(lengths <= 1);
  for (size_t i = 0; i < head && lengths; i++)
    if (!strncasecmp(from + i, "\ncontent-length:", 16)) {
      said = strtol(from + i + 16, NULL, 10);
      break;
    }
  check((size_t)said == r->body.length);
  check(r->body.length == 0 || r->method == ADMIN_POST);
}

/* Whoever looks at it stays within. */
static void visit(const struct admin__request *r, const char *from,
                  size_t length) {
  const struct admin__text all[] = {
      r->path,       r->query,           r->host,       r->origin,
      r->fetch_site, r->fetch_mode,      r->fetch_dest, r->accept,
      r->control,    r->accept_encoding, r->body};
  const char *const hosts[] = {"ops.example", NULL};
  struct admin__door door = {.hosts = hosts};
  struct sockaddr_in local = {.sin_family = AF_INET,
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  const char *why;
  char out[64];

  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    check(is_within(all[i], from, length));
  admin__text_accepts(r->accept_encoding, "gzip");
  check(admin__text_decode(r->path, out, sizeof out) < (int)sizeof out);
  check(admin__query_get(r->query, "a", out, sizeof out) < (int)sizeof out);
  int status = admin__door_check(&door, (struct sockaddr *)&local, r, &why);
  check(status == 0 || status == 400 || status == 403 || status == 421);
  if (status == 0) check(r->host.bytes && r->host.length > 0);
  door.is_unix = true;
  admin__door_check(&door, NULL, r, &why);
  check(admin__door_check_control(&door, r, &why) == 403);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  struct input in = {bytes, size};
  size_t cut = take_byte(&in), end, other;
  struct admin__request request;
  char *copy;

  for (;;) {
    int result = parse(in.bytes, in.left, &copy, &request);
    if (result == 1) {
      judge_head(&request, copy);
      visit(&request, copy, request.length);
    }
    end = request.length;
    free(copy);
    if (in.left == 0) return 0;
    size_t part = cut * in.left / 256;
    int before = try(in.bytes, part, &other);
    if (result == 1)
      check(before == (part >= end) && (!before || other == end));
    else check(before == 0 || before < 0);
    if (result == 0) check(before == 0);
    if (result != 1) return 0;
    in.bytes += end;
    in.left -= end;
  }
}
