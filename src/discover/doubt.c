#include "doubt.h"

#include <stdio.h>

bool discover__doubt_begins(struct discover__doubt *doubt,
                            const rover_source_options_t *options, size_t gone,
                            size_t of) {
  doubt->is_open = false;
  return (double)gone > options->max_drop * (double)of;
}

static bool is_like(const struct discover__doubt *doubt, size_t gone,
                    size_t alike) {
  size_t either = doubt->gone + gone - alike;
  return (double)alike >= 0.9 * (double)either;
}

bool discover__doubt_ends(struct discover__doubt *doubt,
                          const rover_source_options_t *options, size_t gone,
                          size_t of, size_t alike, bool is_asked) {
  if (is_asked && doubt->count > 0 && !is_like(doubt, gone, alike))
    doubt->count = 0;
  doubt->gone = gone;
  doubt->of = of;
  doubt->is_open =
      doubt->count + 1 < options->confirm || (!is_asked && doubt->count > 0);
  return !doubt->is_open;
}

bool discover__doubt_count(struct discover__doubt *doubt,
                           const rover_source_options_t *options, bool is_asked,
                           char *what, size_t size) {
  if (!is_asked && doubt->count > 0) return false;
  doubt->count++;
  snprintf(what, size,
           "%zu of its %zu servers are gone at once: asking again before they "
           "go (%u of %u)",
           doubt->gone, doubt->of, doubt->count, options->confirm);
  return true;
}

void discover__doubt_settle(struct discover__doubt *doubt) {
  doubt->count = 0;
  doubt->is_open = false;
}
