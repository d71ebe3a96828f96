/* Private to src/admin: a request, parsed where it lies. */
#ifndef ADMIN_REQUEST_H
#define ADMIN_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

/* The most bytes of a request line with its header, and of a body. */
enum { ADMIN_HEAD_MAX = 8192, ADMIN_BODY_MAX = 8192 };

/* Part of the request, or NULL. */
struct admin__text {
  const char *bytes;
  size_t length;
};

enum admin__method { ADMIN_GET, ADMIN_HEAD, ADMIN_POST, ADMIN_OTHER_METHOD };

struct admin__request {
  enum admin__method method;
  struct admin__text path, query; /* as sent: with percent signs */
  struct admin__text host, origin, fetch_site, fetch_mode, fetch_dest, accept,
      accept_encoding, control;
  struct admin__text body;
  int minor;       /* of HTTP/1.x */
  bool keeps_open; /* more requests may follow on the connection */
  size_t length;   /* all of it, and empty lines before it */
};

/* Parses the first request in `bytes`. Returns 1, or 0 if it is not whole yet;
 * or, as a negative number, the HTTP status to answer with, and why: then where
 * the request ends is unknown. Never reads beyond the first request's end. */
int admin__request_parse(const char *bytes, size_t length,
                         struct admin__request *request, const char **why);

/* Whether it is this text; the second one in any case of letters. */
bool admin__text_is(struct admin__text text, const char *other);
bool admin__text_is_folded(struct admin__text text, const char *other);

/* Whether a list, separated by commas, has this token with a quality above
 * 0. */
bool admin__text_accepts(struct admin__text list, const char *token);

/* Copies the value of a parameter in a query, without percent signs. Returns
 * its length, -1 if it is not there, or -2 if it is malformed, has a NUL or
 * does not fit. */
int admin__query_get(struct admin__text query, const char *name, char *out,
                     size_t size);

/* The same for a whole text, such as a part of a path. */
int admin__text_decode(struct admin__text text, char *out, size_t size);

#endif
