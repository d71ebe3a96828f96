/* Private to src/lua and src/host: metrics as text, in Prometheus' format 0.0.4
 * or in that of OpenMetrics 1.0. */
#ifndef LUA_EXPOSITION_H
#define LUA_EXPOSITION_H

#include "text.h"

/* A family of metrics. A counter's name has no _total: that is added. */
struct rover__family {
  enum rover__metric_type { ROVER__COUNTER, ROVER__GAUGE, ROVER__HISTOGRAM } type;
  const char *name, *help;
};

struct rover__exposition {
  struct rover__text *text;
  bool open; /* OpenMetrics */
};

/* Appends a label to a list of them, which is to be passed to those below. What
 * is not UTF-8, and control characters, become \xNN. */
void rover__expose_label(struct rover__text *labels, const char *name,
                         const char *value, size_t length);

/* Appends the lines before a family's samples. */
void rover__expose_family(struct rover__exposition *out,
                          const struct rover__family *family);

/* Append a sample; `labels` may be empty. */
void rover__expose_count(struct rover__exposition *out,
                         const struct rover__family *family,
                         const struct rover__text *labels, uint64_t value);
void rover__expose_number(struct rover__exposition *out,
                          const struct rover__family *family,
                          const struct rover__text *labels, double value);

/* What a histogram shows. */
struct rover__distribution {
  const double *bounds; /* the highest value of each bucket but the last */
  const uint64_t *counts;
  size_t buckets;
  double sum;
};
void rover__expose_histogram(struct rover__exposition *out,
                             const struct rover__family *family,
                             const struct rover__text *labels,
                             const struct rover__distribution *values);

/* Appends a label's value, as in its list. */
void rover__expose_value(struct rover__text *text, const char *value,
                         size_t length);

/* For many samples that differ only in their last label. The first appends what
 * precedes its value to a prefix, the second the sample, with what
 * rover__expose_value() has made of the value. */
void rover__expose_prefix(struct rover__text *prefix,
                          const struct rover__family *family,
                          const struct rover__text *labels, const char *label);
void rover__expose_after(struct rover__exposition *out,
                         const struct rover__text *prefix, const char *value,
                         size_t length, uint64_t count);

/* Appends the last line, if the format has one. */
void rover__expose_end(struct rover__exposition *out);

#endif
