#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <openssl/bio.h>

enum { NAME_MAX_SHOWN = 120 };

void tls__text_begin(struct tls__text *text, char *bytes, size_t size) {
  *text = (struct tls__text){.bytes = bytes, .size = bytes ? size : 0};
  if (bytes) *bytes = '\0';
}

void tls__text_add(struct tls__text *text, const char *format, ...) {
  if (text->length + 1 >= text->size) return;
  size_t room = text->size - text->length;
  va_list args;
  va_start(args, format);
  int n = vsnprintf(text->bytes + text->length, room, format, args);
  va_end(args);
  if (n > 0) text->length += (size_t)n < room ? (size_t)n : room - 1;
}

void tls__text_quote(struct tls__text *text, const void *bytes, size_t length,
                     size_t most) {
  const unsigned char *at = bytes;

  tls__text_add(text, "\"");
  for (size_t i = 0; i < length; i++) {
    if (i == most) {
      tls__text_add(text, "...");
      break;
    }
    if (at[i] == '\r') tls__text_add(text, "\\r");
    else if (at[i] == '\n') tls__text_add(text, "\\n");
    else if (at[i] == '"' || at[i] == '\\') tls__text_add(text, "\\%c", at[i]);
    else if (at[i] < 0x20 || at[i] > 0x7e)
      tls__text_add(text, "\\x%02x", at[i]);
    else tls__text_add(text, "%c", at[i]);
  }
  tls__text_add(text, "\"");
}

void tls__text_name(struct tls__text *text, const X509_NAME *name) {
  BIO *bio =
      name && X509_NAME_entry_count(name) > 0 ? BIO_new(BIO_s_mem()) : NULL;
  char *bytes = NULL;
  long length = 0;

  if (bio && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) >= 0)
    length = BIO_get_mem_data(bio, &bytes);
  if (length > 0) tls__text_quote(text, bytes, (size_t)length, NAME_MAX_SHOWN);
  else tls__text_add(text, "without a subject");
  BIO_free(bio);
}

int64_t tls__date(const ASN1_TIME *date) {
  struct tm tm;
  if (!date || !ASN1_TIME_to_tm(date, &tm)) return INT64_MAX;
  return (int64_t)timegm(&tm);
}

void tls__text_date(struct tls__text *text, const ASN1_TIME *date) {
  struct tm tm;
  char bytes[32];
  if (date && ASN1_TIME_to_tm(date, &tm) &&
      strftime(bytes, sizeof bytes, "%Y-%m-%d %H:%M:%S UTC", &tm) > 0)
    tls__text_add(text, "%s", bytes);
  else tls__text_add(text, "an unreadable date");
}
