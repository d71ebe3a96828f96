#include "reading.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static struct discover__reading *reading_of(uv_work_t *work) {
  return (struct discover__reading *)((char *)work -
                                      offsetof(struct discover__reading, work));
}

static void on_work(uv_work_t *work) {
  struct discover__reading *r = reading_of(work);
  r->status = r->read(r->config, r->answer.bytes, r->answer.length, &r->found);
}

static void on_done(uv_work_t *work, int status) {
  struct discover__reading *reading = reading_of(work);
  if (status < 0) reading->status = status;
  reading->done(reading);
}

/* Of `from`, which may be NULL, to `*at`, which goes on behind it. */
static const char *copy(char **at, const char *from, size_t length) {
  char *to = *at;

  if (!from) return NULL;
  memcpy(to, from, length);
  to[length] = '\0';
  *at += length + 1;
  return to;
}

static size_t size_of(const char *text) { return text ? strlen(text) : 0; }

int discover__reading_start(struct discover__reading **out, uv_loop_t *loop,
                            struct discover__config *config,
                            const struct discover__reply *answer,
                            discover__read_cb read, void *data,
                            void (*done)(struct discover__reading *reading)) {
  size_t url = strlen(answer->url), index = size_of(answer->consul_index);
  struct discover__reading *made = calloc(1, sizeof *made);
  char *at = malloc(answer->length + url + index + 3);

  if (!made || !at) {
    free(made);
    free(at);
    return UV_ENOMEM;
  }
  made->texts = at;
  made->answer =
      (struct discover__reply){.code = answer->code, .length = answer->length};
  made->answer.bytes = copy(&at, answer->bytes, answer->length);
  made->answer.url = copy(&at, answer->url, url);
  made->answer.consul_index = copy(&at, answer->consul_index, index);
  made->config = discover__config_ref(config);
  made->read = read;
  made->data = data;
  made->done = done;
  int err = uv_queue_work(loop, &made->work, on_work, on_done);
  if (err < 0) discover__reading_free(made);
  else *out = made;
  return err;
}

void discover__reading_free(struct discover__reading *reading) {
  discover__groups_clear(&reading->found.groups);
  discover__config_unref(reading->config);
  free(reading->texts);
  free(reading);
}
