#include "reading.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct discover__reading *reading_of(uv_work_t *work) {
  return (struct discover__reading *)((char *)work -
                                      offsetof(struct discover__reading, work));
}

/* Of the servers, in whatever order they are listed. */
static uint64_t hash_of(const struct discover__list *list) {
  const uint64_t factor = UINT64_C(0x100000001b3);
  uint64_t sum = list->count + 1;

  for (size_t i = 0; i < list->count; i++) {
    const struct discover__entry *entry = &list->entries[i];
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (const char *c = entry->host; *c; c++)
      hash = (hash ^ (unsigned char)*c) * factor;
    hash = (hash ^ (uint64_t)entry->port) * factor;
    hash = (hash ^ entry->weight) * factor;
    sum += hash ^ hash >> 29;
  }
  return sum;
}

static int read_lines(struct discover__reading *r, char *bytes, size_t length) {
  char *end = bytes + length, *stop;
  int status = 1;

  for (char *line = bytes; line < end; line = stop + 1) {
    stop = memchr(line, '\n', (size_t)(end - line));
    if (!stop) stop = end;
    *stop = '\0';
    struct discover__part part = {line, (size_t)(stop - line), NULL};
    if (part.length == 0) continue;
    int read =
        r->read(r->config, &part, &r->found, r->message, sizeof r->message);
    if (read < 0) return read;
    if (read == 0) status = 0;
  }
  return status;
}

static int read_whole(struct discover__reading *r, const char *bytes,
                      size_t length) {
  struct discover__part part = {bytes, length, *r->index ? r->index : NULL};

  discover__groups_clear(&r->found.groups);
  return r->read(r->config, &part, &r->found, r->message, sizeof r->message);
}

static int make_list(struct discover__reading *r) {
  int err = discover__groups_list(&r->found.groups, &r->list);

  if (err == UV_E2BIG)
    snprintf(r->message, sizeof r->message, "more than %d servers",
             ROVER_SOURCE_SERVERS_MAX);
  if (err < 0) return err;
  uint64_t hash = hash_of(r->list);
  if (hash != r->found.hash) {
    r->found.hash = hash;
    return 0;
  }
  free(r->list);
  r->list = NULL;
  return 1;
}

static void on_work(uv_work_t *work) {
  struct discover__reading *r = reading_of(work);
  size_t length;
  char *bytes = discover__buffer_join(&r->bytes, &length);

  if (!bytes) r->status = UV_ENOMEM;
  else if (r->is_whole) r->status = read_whole(r, bytes, length);
  else r->status = read_lines(r, bytes, length);
  free(bytes);
  if (r->status == 0) r->status = make_list(r);
  if (!r->keeps) discover__groups_clear(&r->found.groups);
}

static void on_done(uv_work_t *work, int status) {
  struct discover__reading *reading = reading_of(work);

  if (status < 0) reading->status = status;
  reading->done(reading);
}

int discover__reading_start(struct discover__reading *reading,
                            uv_loop_t *loop) {
  return uv_queue_work(loop, &reading->work, on_work, on_done);
}

void discover__reading_cancel(struct discover__reading *reading) {
  uv_cancel((uv_req_t *)&reading->work);
}

void discover__reading_free(struct discover__reading *reading) {
  discover__groups_clear(&reading->found.groups);
  discover__config_unref(reading->config);
  free(reading->list);
  discover__buffer_clear(&reading->bytes);
  free(reading);
}
