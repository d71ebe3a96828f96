#include "writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uv.h>

#include "gzip.h"

/* The life of a writer: it takes a piece of the body at a time, compresses it
 * where that is wanted, and puts in front what HTTP wants there: of the first,
 * the header; where the length of the whole is not known by then, that of the
 * piece. So an answer takes as much memory as one piece, however long it is and
 * however slowly it is read. */

enum {
  PIECE = 64 * 1024,
  FRONT = 2048, /* for the header and the length of a chunk ... */
  BACK = 16,    /* ... and what ends it */
  GZIP_LEAST = 1024,
  PULL_NS = 1000000 /* after which a piece is not filled up */
};

/* Over all of them: what a browser is to keep to. */
#define ALWAYS                                                                 \
  "Cache-Control: no-store\r\n"                                                \
  "Cross-Origin-Resource-Policy: same-origin\r\n"                              \
  "Referrer-Policy: no-referrer\r\n"                                           \
  "X-Content-Type-Options: nosniff\r\n"                                        \
  "X-Frame-Options: DENY\r\n"

int admin__writer_begin(struct admin__writer *w,
                        const struct admin__answer *answer,
                        const struct admin__terms *terms) {
  *w = (struct admin__writer){.answer = *answer,
                              .head_only = terms->head_only,
                              .is_old = terms->is_old,
                              .closes = terms->closes};
  w->raw = malloc(PIECE);
  w->bytes = malloc(FRONT + admin__gzip_bound(PIECE) + BACK);
  if (!w->raw || !w->bytes) return UV_ENOMEM;
  bool is_short = !answer->body.read && answer->body.length < GZIP_LEAST;
  if (terms->gzip && !is_short) w->gzip = admin__gzip_new();
  return 0;
}

void admin__writer_free(struct admin__writer *w) {
  admin__answer_free(&w->answer);
  admin__gzip_free(w->gzip);
  free(w->raw);
  free(w->bytes);
  *w = (struct admin__writer){0};
}

/* -- The body -------------------------------------------------------------- */

static int read_some(struct admin__writer *w, char *to, size_t size) {
  const struct admin__body *body = &w->answer.body;

  if (body->read) return body->read(body->data, to, size);
  size_t left = body->length - w->position;
  size_t length = left < size ? left : size;
  if (length > 0) memcpy(to, body->bytes + w->position, length);
  w->position += length;
  return (int)length;
}

/* Returns how many bytes are in `raw` now, or an error. */
static long pull(struct admin__writer *w) {
  uint64_t until = uv_hrtime() + PULL_NS;
  size_t length = 0;

  while (length < PIECE && !w->ended) {
    int n = read_some(w, w->raw + length, PIECE - length);
    if (n < 0) return n;
    w->ended = n == 0;
    length += (size_t)n;
    if (length > 0 && uv_hrtime() > until) break;
  }
  return (long)length;
}

/* Puts the next piece of the body, as it is sent, to `to`. */
static long pull_coded(struct admin__writer *w, char *to) {
  long length = pull(w);

  if (length < 0) return length;
  if (w->gzip && !w->begun && w->ended && length < GZIP_LEAST) {
    admin__gzip_free(w->gzip);
    w->gzip = NULL;
  }
  if (w->gzip)
    return admin__gzip_put(w->gzip, w->raw, (size_t)length, w->ended, to,
                           admin__gzip_bound(PIECE));
  memcpy(to, w->raw, (size_t)length);
  return length;
}

/* -- The header ------------------------------------------------------------ */

/* As HTTP has it, whatever the locale is. */
static int put_date(char *out, size_t size) {
  static const char days[][4] = {"Sun", "Mon", "Tue", "Wed",
                                 "Thu", "Fri", "Sat"};
  static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  time_t now = time(NULL);
  struct tm t;

  gmtime_r(&now, &t);
  return snprintf(out, size, "Date: %s, %02d %s %04d %02d:%02d:%02d GMT\r\n",
                  days[t.tm_wday], t.tm_mday, months[t.tm_mon],
                  t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec);
}

static void put(char *out, size_t size, size_t *used, const char *text) {
  int length = snprintf(out + *used, size - *used, "%s", text);
  *used += (size_t)length < size - *used ? (size_t)length : size - *used - 1;
}

/* Writes the header, of an answer whose body has `length` bytes as it is sent,
 * or more if that is unknown. */
static size_t put_header(struct admin__writer *w, char *out, size_t size,
                         size_t length) {
  const struct admin__answer *answer = &w->answer;
  const char *type = answer->type ? answer->type : "text/plain; charset=utf-8";
  bool is_known = w->ended || (!answer->body.read && !w->gzip);
  size_t used = 0;
  char line[256];

  if (is_known && !w->ended) length = answer->body.length;
  w->chunked = !is_known && !w->is_old;
  if (!is_known && w->is_old) w->closes = true;
  snprintf(line, sizeof line, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\n",
           answer->status, admin__answer_reason(answer->status), type);
  put(out, size, &used, line);
  if (is_known) snprintf(line, sizeof line, "Content-Length: %zu\r\n", length);
  else snprintf(line, sizeof line, "Transfer-Encoding: chunked\r\n");
  if (is_known || w->chunked) put(out, size, &used, line);
  if (w->gzip) put(out, size, &used, "Content-Encoding: gzip\r\n");
  if (w->closes) put(out, size, &used, "Connection: close\r\n");
  else if (w->is_old) put(out, size, &used, "Connection: keep-alive\r\n");
  put_date(line, sizeof line);
  put(out, size, &used, line);
  put(out, size, &used, ALWAYS);
  if (answer->lines) put(out, size, &used, answer->lines);
  put(out, size, &used, "\r\n");
  return used;
}

/* -- Pieces ---------------------------------------------------------------- */

/* Copies `text` to before `at`, and returns where it begins. */
static char *prepend(char *at, const char *text, size_t length) {
  at -= length;
  memcpy(at, text, length);
  return at;
}

long admin__writer_next(struct admin__writer *w, const char **bytes) {
  char *body = w->bytes + FRONT, *at = body, *end, front[FRONT - 32];

  if (w->done) return 0;
  long length = pull_coded(w, body);
  if (length < 0) return UV_ECANCELED;
  end = body + length;
  size_t header =
      w->begun ? 0 : put_header(w, front, sizeof front, (size_t)length);
  if (w->chunked && length > 0) {
    char size[24];
    int digits = snprintf(size, sizeof size, "%lx\r\n", (unsigned long)length);
    at = prepend(at, size, (size_t)digits);
    memcpy(end, "\r\n", 2);
    end += 2;
  }
  if (w->chunked && w->ended) {
    memcpy(end, "0\r\n\r\n", 5);
    end += 5;
  }
  w->done = w->ended || w->head_only;
  w->begun = true;
  if (w->head_only) at = end = body;
  at = prepend(at, front, header);
  *bytes = at;
  return end - at;
}
