#include "file.h"

#include <stdlib.h>

#include "read.h"
#include "watch.h"

/* Files are read in threads of libuv's pool, of which there are few. A file may
 * lie on a mount that hangs, and then reading it hangs, whatever the source's
 * timeout: so it is read once at a time. Who polls meanwhile waits until it has
 * been read, since that may have been before the latest change, and then once
 * more. */

struct file {
  rover_source_t *source;
  struct discover__watch *watch;
  struct discover__task *task;   /* the one under way, or NULL */
  bool awaited;                  /* ... by a poll */
  bool again;                    /* it is to be read once more */
  bool is_fresh;                 /* see poll() */
  struct discover__stamp stamp;  /* of the text last passed on */
  unsigned refs;                 /* watch, and tasks */
};

static const char *path_of(const struct file *file) {
  return discover__config_get(discover__source_config(file->source), "path");
}

static void unref(struct file *file) {
  rover_source_t *source = file->source;
  if (--file->refs > 0) return;
  free(file);
  discover__source_provider_closed(source);
}

static void on_changed(void *arg, const char *path) {
  (void)path;
  discover__source_wake(((struct file *)arg)->source);
}

/* It is polled each second then, and at the source's interval in any case. */
static void on_trouble(void *arg, int err, const char *path) {
  (void)arg, (void)err, (void)path;
}

static int open_file(void **provider, rover_source_t *source) {
  static const discover__watch_callbacks_t callbacks = {on_changed, on_trouble};
  struct file *file = calloc(1, sizeof *file);
  if (!file) return UV_ENOMEM;
  file->source = source;
  int err = discover__watch_new(&file->watch, discover__source_loop(source),
                                &callbacks, file);
  if (err == 0) {
    err = discover__watch_set(file->watch, path_of(file));
    if (err < 0) discover__watch_close(file->watch, NULL);
  }
  if (err < 0) {
    free(file);
    return err;
  }
  file->refs = 1;
  *provider = file;
  return 0;
}

static void start(struct file *file);

static void on_read(struct discover__task *task) {
  struct file *file = task->data;
  bool awaited = file->awaited, again = file->again;

  file->task = NULL;
  file->awaited = file->again = false;
  if (awaited && again) {
    start(file);
  } else if (awaited) {
    char *bytes = task->bytes;
    if (task->status == 1) {
      discover__source_same(file->source);
    } else if (task->status < 0) {
      discover__source_failed(file->source, task->status, task->message);
    } else {
      task->bytes = NULL;
      file->stamp = task->stamp;
      discover__source_text(file->source, bytes, task->length, 0);
    }
  }
  discover__task_free(task);
  unref(file);
}

static void start(struct file *file) {
  struct discover__task *task;
  int err = discover__task_new(&task, path_of(file));

  if (err == 0) {
    task->what = DISCOVER__READ;
    task->data = file;
    task->done = on_read;
    if (file->is_fresh) task->stamp = file->stamp;
    err = discover__task_start(discover__source_loop(file->source), task);
    if (err < 0) discover__task_free(task);
  }
  if (err < 0) {
    discover__source_failed(file->source, err, uv_strerror(err));
    return;
  }
  file->task = task;
  file->awaited = true;
  file->refs++;
}

static void poll_file(void *provider, bool is_fresh) {
  struct file *file = provider;

  file->is_fresh = is_fresh;
  if (!file->task) start(file);
  else file->awaited = file->again = true;
}

static void stop_file(void *provider) {
  struct file *file = provider;
  file->awaited = false; /* whoever comes late is not heard */
}

static void on_watch_closed(void *arg) { unref(arg); }

static void close_file(void *provider) {
  struct file *file = provider;
  stop_file(file);
  discover__watch_close(file->watch, on_watch_closed);
}

static const struct discover__option options[] = {
    {"path", DISCOVER__PATH, true}, {NULL, DISCOVER__TEXT, false}};

const struct discover__kind discover__file = {.name = "file",
                                              .interval = 30000,
                                              .options = options,
                                              .open = open_file,
                                              .poll = poll_file,
                                              .stop = stop_file,
                                              .close = close_file};
