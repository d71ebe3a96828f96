#include "exposition.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A family begins with lines that describe it, after which come its samples, a
 * line each: NAME{LABELS} VALUE. The two formats differ in little: OpenMetrics
 * has units, does not count _total as part of a counter's name, and has a line
 * at the end. */

static void add(struct rover__exposition *out, const char *string) {
  rover__text_string(out->text, string);
}

/* -- Numbers -------------------------------------------------------------- */

/* The shortest text that is read as this number again, with a point, whatever
 * the locale has. */
static void add_number(struct rover__exposition *out, double number) {
  char text[40]; /* no double needs more digits than 17 */

  if (isnan(number)) {
    add(out, "NaN");
    return;
  }
  if (isinf(number)) {
    add(out, number > 0 ? "+Inf" : "-Inf");
    return;
  }
  for (int digits = 15; digits <= 17; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, number);
    if (strtod(text, NULL) == number) break;
  }
  size_t whole = strspn(text, "-+0123456789e");
  rover__text_add(out->text, text, whole);
  if (!text[whole]) return;
  add(out, ".");
  add(out, text + whole + strcspn(text + whole, "0123456789"));
}

/* -- Strings -------------------------------------------------------------- */

/* How many bytes the character at `bytes` has, or 0 if it is not valid UTF-8. */
static size_t character(const unsigned char *bytes, size_t length) {
  unsigned char first = bytes[0];
  size_t size = first < 0x80   ? 1
                : first < 0xc2 ? 0
                : first < 0xe0 ? 2
                : first < 0xf0 ? 3
                : first < 0xf5 ? 4
                               : 0;
  if (size == 0 || size > length) return 0;
  for (size_t i = 1; i < size; i++)
    if ((bytes[i] & 0xc0) != 0x80) return 0;
  unsigned char second = size > 1 ? bytes[1] : 0;
  bool wrong = (first == 0xe0 && second < 0xa0) || /* overlong */
               (first == 0xed && second > 0x9f) || /* a surrogate */
               (first == 0xf0 && second < 0x90) ||
               (first == 0xf4 && second > 0x8f);
  return wrong ? 0 : size;
}

static bool is_plain(unsigned char byte) {
  return byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
}

/* With what the formats escape, and without what no reader accepts. */
void rover__expose_value(struct rover__text *text, const char *string,
                         size_t length) {
  const unsigned char *bytes = (const unsigned char *)string;
  char hex[8];

  for (size_t i = 0, size; i < length; i += size) {
    for (size = 0; i + size < length && is_plain(bytes[i + size]);) size++;
    if (size > 0) {
      rover__text_add(text, bytes + i, size);
      continue;
    }
    size = character(bytes + i, length - i);
    if (bytes[i] == '\n') {
      rover__text_string(text, "\\n");
    } else if (bytes[i] == '"' || bytes[i] == '\\') {
      rover__text_string(text, "\\");
      rover__text_add(text, bytes + i, 1);
    } else if (size == 0 || bytes[i] < 0x20 || bytes[i] == 0x7f) {
      snprintf(hex, sizeof hex, "\\\\x%02x", bytes[i]);
      rover__text_string(text, hex);
      size = 1;
    } else {
      rover__text_add(text, bytes + i, size);
    }
  }
}

void rover__expose_label(struct rover__text *labels, const char *name,
                         const char *value, size_t length) {
  if (labels->length > 0) rover__text_string(labels, ",");
  rover__text_string(labels, name);
  rover__text_string(labels, "=\"");
  rover__expose_value(labels, value, length);
  rover__text_string(labels, "\"");
}

/* -- Families ------------------------------------------------------------- */

static const char *suffix(const struct rover__family *family) {
  return family->type == ROVER__COUNTER ? "_total" : "";
}

/* The unit that the name ends with, or NULL. */
static const char *unit(const struct rover__family *family) {
  static const char *const units[] = {"seconds", "bytes", NULL};
  size_t length = strlen(family->name);

  for (int i = 0; units[i]; i++) {
    size_t size = strlen(units[i]);
    const char *end = family->name + length - size;
    if (length > size && end[-1] == '_' && !strcmp(end, units[i]))
      return units[i];
  }
  return NULL;
}

static void begin(struct rover__exposition *out, const char *what,
                  const struct rover__family *family) {
  add(out, what);
  add(out, family->name);
  if (!out->open) add(out, suffix(family));
  add(out, " ");
}

/* Prometheus' format has quotation marks in a help as they are. */
static void add_help(struct rover__exposition *out, const char *help) {
  while (!out->open && strchr(help, '"')) {
    size_t length = strcspn(help, "\"");
    rover__expose_value(out->text, help, length);
    add(out, "\"");
    help += length + 1;
  }
  rover__expose_value(out->text, help, strlen(help));
}

void rover__expose_family(struct rover__exposition *out,
                          const struct rover__family *family) {
  static const char *const types[] = {"counter\n", "gauge\n", "histogram\n"};

  begin(out, "# HELP ", family);
  add_help(out, family->help);
  add(out, "\n");
  begin(out, "# TYPE ", family);
  add(out, types[family->type]);
  if (!out->open || !unit(family)) return;
  begin(out, "# UNIT ", family);
  add(out, unit(family));
  add(out, "\n");
}

/* -- Samples -------------------------------------------------------------- */

static void begin_sample(struct rover__exposition *out,
                         const struct rover__family *family, const char *end,
                         const struct rover__text *labels) {
  add(out, family->name);
  add(out, end);
  if (labels->failed) out->text->failed = true;
  if (labels->length > 0) {
    add(out, "{");
    rover__text_add(out->text, labels->bytes, labels->length);
    add(out, "}");
  }
  add(out, " ");
}

static void end_sample(struct rover__exposition *out, uint64_t value) {
  rover__text_count(out->text, value);
  add(out, "\n");
}

void rover__expose_count(struct rover__exposition *out,
                         const struct rover__family *family,
                         const struct rover__text *labels, uint64_t value) {
  begin_sample(out, family, suffix(family), labels);
  end_sample(out, value);
}

void rover__expose_number(struct rover__exposition *out,
                          const struct rover__family *family,
                          const struct rover__text *labels, double value) {
  begin_sample(out, family, suffix(family), labels);
  add_number(out, value);
  add(out, "\n");
}

void rover__expose_prefix(struct rover__text *prefix,
                          const struct rover__family *family,
                          const struct rover__text *labels, const char *label) {
  rover__text_string(prefix, family->name);
  rover__text_string(prefix, suffix(family));
  rover__text_string(prefix, "{");
  rover__text_add(prefix, labels->bytes, labels->length);
  rover__text_string(prefix, labels->length > 0 ? "," : "");
  rover__text_string(prefix, label);
  rover__text_string(prefix, "=\"");
}

void rover__expose_after(struct rover__exposition *out,
                         const struct rover__text *prefix, const char *value,
                         size_t length, uint64_t count) {
  if (prefix->failed) out->text->failed = true;
  rover__text_add(out->text, prefix->bytes, prefix->length);
  rover__text_add(out->text, value, length);
  rover__text_add(out->text, "\"} ", 3);
  end_sample(out, count);
}

/* Whole ones have a point as well: readers compare bounds as text. */
static void add_bound(struct rover__exposition *out, double bound) {
  size_t before = out->text->length;
  add_number(out, bound);
  if (out->text->failed || isinf(bound)) return;
  const char *digits = out->text->bytes + before;
  size_t length = out->text->length - before;
  if (!memchr(digits, '.', length) && !memchr(digits, 'e', length))
    add(out, ".0");
}

void rover__expose_histogram(struct rover__exposition *out,
                             const struct rover__family *family,
                             const struct rover__text *labels,
                             const struct rover__distribution *values) {
  uint64_t total = 0;

  for (size_t i = 0; i < values->buckets; i++) {
    bool is_last = i + 1 == values->buckets;
    total += values->counts[i];
    add(out, family->name);
    add(out, "_bucket{");
    rover__text_add(out->text, labels->bytes, labels->length);
    add(out, labels->length > 0 ? ",le=\"" : "le=\"");
    add_bound(out, is_last ? INFINITY : values->bounds[i]);
    add(out, "\"} ");
    end_sample(out, total);
  }
  begin_sample(out, family, "_sum", labels);
  add_number(out, values->sum);
  add(out, "\n");
  begin_sample(out, family, "_count", labels);
  end_sample(out, total);
}

void rover__expose_end(struct rover__exposition *out) {
  if (out->open) add(out, "# EOF\n");
}
