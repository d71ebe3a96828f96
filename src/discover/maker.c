#include "maker.h"

#include <stdio.h>
#include <stdlib.h>

/* What is made at once, in no time, does not wait for one of libuv's few
 * threads. */
enum { AT_ONCE = 256 };

void discover__maker_init(struct discover__maker *maker, uv_loop_t *loop,
                          void *owner,
                          const struct discover__maker_events *events) {
  *maker =
      (struct discover__maker){.events = events, .owner = owner, .loop = loop};
}

static void on_made(struct discover__task *task) {
  struct discover__maker *maker = task->data;

  if (maker->awaited == task) {
    struct discover__list *list = task->status == 0 ? task->list : NULL;
    if (list) task->list = NULL;
    maker->awaited = NULL;
    maker->digest = task->digest;
    maker->events->made(maker->owner, list, task->status < 0 ? task->status : 0,
                        task->message, *task->note ? task->note : NULL);
  }
  discover__task_free(task);
  maker->events->release(maker->owner);
}

/* Ownership: the task is its own. */
static void start(struct discover__maker *maker, struct discover__task *task,
                  bool is_short) {
  int err = 0;

  task->data = maker;
  task->done = on_made;
  maker->events->hold(maker->owner);
  maker->awaited = task;
  if (is_short) discover__task_run(task);
  else err = discover__task_start(maker->loop, task);
  if (err == 0) return;
  maker->awaited = NULL;
  maker->events->made(maker->owner, NULL, err, uv_strerror(err), NULL);
  discover__task_free(task);
  maker->events->release(maker->owner);
}

static struct discover__task *task_new(struct discover__maker *maker) {
  struct discover__task *task;
  int err = discover__task_new(&task, NULL);

  if (err == 0) return task;
  maker->events->made(maker->owner, NULL, err, uv_strerror(err), NULL);
  return NULL;
}

void discover__maker_read(struct discover__maker *maker, char *bytes,
                          size_t length, int port) {
  struct discover__task *task = task_new(maker);

  if (!task) {
    free(bytes);
    return;
  }
  task->what = DISCOVER__PARSE;
  task->bytes = bytes;
  task->length = length;
  task->port = port;
  task->digest = maker->believed;
  start(maker, task, false);
}

void discover__maker_make(struct discover__maker *maker,
                          const struct discover__answer *answer) {
  struct discover__task *task = task_new(maker);

  if (!task) {
    answer->drop(answer->from);
    return;
  }
  task->what = DISCOVER__MAKE;
  task->answer = *answer;
  if (answer->note) snprintf(task->note, sizeof task->note, "%s", answer->note);
  start(maker, task, answer->count <= AT_ONCE);
}

void discover__maker_cancel(struct discover__maker *maker) {
  if (maker->awaited) discover__task_cancel(maker->awaited);
  maker->awaited = NULL;
}

void discover__maker_believe(struct discover__maker *maker) {
  maker->believed = maker->digest;
}

void discover__maker_forget(struct discover__maker *maker) {
  maker->believed = (struct discover__digest){0};
}
