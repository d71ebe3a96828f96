#include "link.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What would end a word, or is "%", is written as % and two hex digits. */

void cli_link_put(FILE *out, const char *word) {
  fputs(word && *word ? " " : " %", out);
  for (; word && *word; word++) {
    unsigned char byte = (unsigned char)*word;
    if (byte <= ' ' || byte == '%' || byte > '~') fprintf(out, "%%%02x", byte);
    else putc(byte, out);
  }
}

static int digit(char c) {
  return isdigit((unsigned char)c) ? c - '0' : c - 'a' + 10;
}

/* In place. */
static void decode(char *word) {
  char *to = word;

  for (; *word; word++) {
    if (*word != '%') {
      *to++ = *word;
    } else if (isxdigit((unsigned char)word[1]) &&
               isxdigit((unsigned char)word[2])) {
      *to++ = (char)(digit(word[1]) * 16 + digit(word[2]));
      word += 2;
    }
  }
  *to = '\0';
}

static void deliver(char *line, cli_link_cb cb, void *data) {
  char *words[CLI_LINK_WORDS] = {NULL};

  for (int i = 0; i < CLI_LINK_WORDS && line; i++)
    words[i] = strsep(&line, " ");
  for (int i = 0; i < CLI_LINK_WORDS && words[i]; i++) decode(words[i]);
  cb(data, words);
}

bool cli_link_feed(struct cli_link *in, const char *bytes, size_t length,
                   cli_link_cb cb, void *data) {
  for (size_t i = 0; i < length; i++) {
    if (in->length == sizeof in->line) return false;
    if (bytes[i] != '\n') {
      in->line[in->length++] = bytes[i];
      continue;
    }
    in->line[in->length] = '\0';
    in->length = 0;
    deliver(in->line, cb, data);
  }
  return true;
}

long cli_link_number(const char *word) {
  char *end;

  if (!word || !isdigit((unsigned char)*word)) return -1;
  errno = 0;
  long number = strtol(word, &end, 10);
  return *end || errno ? -1 : number;
}
