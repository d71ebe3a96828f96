/* Private to src/discover: a text that grows, as of a URL. */
#ifndef DISCOVER_TEXT_H
#define DISCOVER_TEXT_H

#include <stdbool.h>
#include <stddef.h>

struct discover__text {
  char *bytes; /* ends with a NUL, unless nothing was added */
  size_t length;
  bool failed; /* there was no memory for something */
};

void discover__text_add(struct discover__text *text, const char *part);
void discover__text_add_number(struct discover__text *text,
                               unsigned long long number);

/* As a part of a URL. */
void discover__text_add_escaped(struct discover__text *text, const char *part);

/* In base64. */
void discover__text_add_base64(struct discover__text *text, const void *bytes,
                               size_t length);

void discover__text_free(struct discover__text *text);

/* Decodes base64, in new memory, with a NUL behind it; or NULL. */
char *discover__text_decode(const char *base64, size_t *length);

#endif
