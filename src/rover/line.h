/* Private to src/rover: the slot line. */
#ifndef ROVER_LINE_H
#define ROVER_LINE_H

#include <stddef.h>

enum { ROVER__LINE_MAX = 12 }; /* 10 digits, CR, LF */

/* Parses the `length` bytes read so far. Returns 0 and sets *slot if they
 * are the whole line; UV_EPROTO if no line begins like this; otherwise how many
 * more bytes can be read without passing the line's LF. */
int rover__line_parse(const char *line, size_t length, int *slot);

/* Writes `bytes` to `out`, escaped, in double quotes, with a NUL, and truncated
 * with "..." if they do not fit. `size` is at least 8. */
void rover__quote(char *out, size_t size, const char *bytes, size_t length);

#endif
