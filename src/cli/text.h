/* Private to src/cli: text from elsewhere, made safe to show. */
#ifndef CLI_TEXT_H
#define CLI_TEXT_H

#include <stddef.h>

/* Writes at most `columns` characters of the text to `to`, as UTF-8 of one line
 * that no terminal takes for a command: whatever is no printable character is
 * written as its code, \x1b or \u202e. A text that does not fit ends with "~".
 * Returns how many columns it has; what does not fit in `size` is cut. */
size_t cli_text_clean(char *to, size_t size, const char *text, size_t length,
                      size_t columns);

#endif
