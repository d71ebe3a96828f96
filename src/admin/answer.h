/* Private to src/admin: the answer to a request. */
#ifndef ADMIN_ANSWER_H
#define ADMIN_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

/* A body is made in pieces, as its reader takes them in. `read` does little at
 * a time; it returns how many bytes there are now, or 0 at the end. With `read`
 * NULL, the body is `bytes`. */
struct admin__body {
  int (*read)(void *data, char *buffer, size_t size);
  void (*free)(void *data); /* or NULL; called once */
  void *data;
  const char *bytes;
  size_t length;
};

struct admin__answer {
  int status;
  const char *type;  /* of the body; NULL: plain text */
  const char *lines; /* more header lines, each with its CR LF, or NULL; need
                        not live longer than admin__conn_answer() */
  struct admin__body body;
};

/* The reason phrase of a status. */
const char *admin__answer_reason(int status);

/* Bytes that live as long as the program, and a copy of text. The latter is
 * empty if there is no memory. */
struct admin__body admin__body_of(const char *bytes, size_t length);
struct admin__body admin__body_copy(const char *text);

/* Plain text, one sentence and a newline. */
struct admin__answer admin__answer_text(int status, const char *sentence);

void admin__answer_free(struct admin__answer *answer);

#endif
