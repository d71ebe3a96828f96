/* Private to src/admin: an answer on its way, as bytes of HTTP. */
#ifndef ADMIN_WRITER_H
#define ADMIN_WRITER_H

#include "answer.h"

struct admin__gzip;

struct admin__writer {
  struct admin__answer answer;
  bool head_only, is_old; /* for HEAD; for HTTP/1.0 */
  bool closes;            /* the connection ends with this answer */
  bool begun, chunked;
  bool ended;      /* nothing is left to be read from the body, ... */
  bool done;       /* ... or written */
  size_t position; /* in body.bytes */
  struct admin__gzip *gzip;
  char *raw;   /* a piece of the body, ... */
  char *bytes; /* ... and as it is sent */
};

/* How an answer is to be sent. */
struct admin__terms {
  bool head_only, is_old, closes, gzip;
};

/* Begins. Ownership: the answer is the writer's, which has to be freed. Errors:
 * UV_ENOMEM. */
int admin__writer_begin(struct admin__writer *writer,
                        const struct admin__answer *answer,
                        const struct admin__terms *terms);

/* Makes what is to be sent next, which is valid until the next call. Returns
 * its length; 0 once all has been sent; or UV_ECANCELED: the answer cannot be
 * completed. */
long admin__writer_next(struct admin__writer *writer, const char **bytes);

void admin__writer_free(struct admin__writer *writer);

#endif
