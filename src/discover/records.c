#include "records.h"

#include <stdlib.h>
#include <string.h>

#include <uv.h>

/* Grows by halves; a DNS message has room for a few thousand at most. */
static int reserve(struct discover__records *records) {
  size_t count = records->count;

  if (count & (count - 1)) return 0; /* not a power of two: there is room */
  struct discover__record *list =
      realloc(records->list, (count ? 2 * count : 1) * sizeof *list);
  if (!list) return UV_ENOMEM;
  records->list = list;
  return 0;
}

int discover__records_add(struct discover__records *records,
                          const struct discover__record *record, uint32_t ttl) {
  if (reserve(records) < 0) return UV_ENOMEM;
  char *host = strdup(record->host);
  if (!host) return UV_ENOMEM;
  if (records->count == 0 || ttl < records->ttl) records->ttl = ttl;
  records->list[records->count] = *record;
  records->list[records->count++].host = host;
  return 0;
}

void discover__records_free(struct discover__records *records) {
  for (size_t i = 0; i < records->count; i++) free(records->list[i].host);
  free(records->list);
  *records = (struct discover__records){0};
}
