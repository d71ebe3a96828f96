/* Private to src/discover and src/host: reports when files change. */
#ifndef DISCOVER_WATCH_H
#define DISCOVER_WATCH_H

#include <uv.h>

struct discover__watch;

typedef struct discover__watch_callbacks_s {
  /* The files at `path`, and perhaps at others, have changed, or have become
   * readable or unreadable. Of a directory, names were added or removed. Changes
   * within 100 ms are reported once. May call anything here, which may free
   * `path`. */
  void (*changed)(void *arg, const char *path);
  /* The directory or file `path` cannot be watched, so everything is checked
   * each second instead; with `err` 0, no longer so. UV_E2BIG: this path and
   * any that follow are not watched. Must not close the watch; with UV_E2BIG,
   * which comes from within discover__watch_add(), must not call anything here. */
  void (*trouble)(void *arg, int err, const char *path);
} discover__watch_callbacks_t;

/* Does not keep the loop alive. Errors: UV_ENOMEM. */
int discover__watch_new(struct discover__watch **watch, uv_loop_t *loop,
                    const discover__watch_callbacks_t *callbacks, void *arg);

/* Watches this file instead of the ones before; it need not exist. Detects
 * changes from here on, so call it before the file is read. The path is copied.
 * On failure (UV_ENOMEM), those before are still watched. */
int discover__watch_set(struct discover__watch *watch, const char *path);

/* Watches one more; nothing changes if it is watched already. Errors:
 * UV_ENOMEM, UV_E2BIG. */
int discover__watch_add(struct discover__watch *watch, const char *path);

/* After this only `closed` is called, right before the memory is freed. */
void discover__watch_close(struct discover__watch *watch, void (*closed)(void *arg));

#endif
