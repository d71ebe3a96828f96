#include "internal.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a path leads to depends on every directory on the way to it, those
 * behind symlinks included. So each of these has a watch of the kernel's, and
 * anything that stirs in one of them is only a reason to look: to follow each
 * path anew, setting the watches again, and then to compare what is there now
 * with what was there before. As the watches are set before anything is looked
 * at, a change is either seen by the look or causes the next one. */

enum {
  /* Editors write in steps: what has changed is told once it has kept still
   * for this long... */
  QUIET_MS = 100,
  /* ...or has gone on changing for so many times that. */
  ROUNDS_MAX = 10,
  /* How often to look when something cannot be watched. */
  POLL_MS = 1000,
  /* How many files a policy can have us watch by requiring more and more. */
  FILES_MAX = 1000,
  LINKS_MAX = 40 /* as Linux: with more, a path leads nowhere */
};

/* What was at a path. Without padding, to be compared as bytes. */
struct stamp {
  int64_t err; /* the rest is 0 if there was nothing to be read */
  uint64_t dev, ino, size;
  int64_t seconds, nanoseconds;
};

struct file {
  char *path;
  struct stamp known; /* when last told, or added */
  struct stamp seen;  /* when last looked at */
};

struct node {
  uv_fs_event_t event; /* first: libuv gives us back its address */
  struct node *next;
  char path[];
};

struct host__watch {
  host__watch_callbacks_t callbacks;
  void *arg;
  void (*closed)(void *arg);
  uv_loop_t *loop;
  uv_timer_t timer;
  unsigned handles; /* of libuv, not yet closed */
  struct node *nodes;
  struct file *files;
  size_t count;
  int rounds;   /* looks since there is a change that nobody was told of */
  bool looking; /* a look is due within QUIET_MS */
  bool stirred; /* since the last look */
  bool failed;  /* this look could not watch all, ... */
  int err;      /* ... for this reason first, ... */
  char where[PATH_MAX]; /* ... here */
  bool polling; /* the one before could not */
  bool full;
};

/* -- Following a path ----------------------------------------------------- */

static void on_event(uv_fs_event_t *event, const char *name, int events,
                     int status);

static void on_closed(uv_handle_t *handle) {
  struct host__watch *watch = handle->data;
  if (handle != (uv_handle_t *)&watch->timer) free(handle);
  if (--watch->handles > 0) return;
  if (watch->closed) watch->closed(watch->arg);
  free(watch->files);
  free(watch);
}

static void close_nodes(struct node *node) {
  while (node) {
    struct node *next = node->next;
    uv_close((uv_handle_t *)&node->event, on_closed);
    node = next;
  }
}

static int observe(struct host__watch *watch, const char *path) {
  for (struct node *node = watch->nodes; node; node = node->next)
    if (!strcmp(node->path, path)) return 0;
  struct node *node = malloc(sizeof *node + strlen(path) + 1);
  if (!node) return UV_ENOMEM;
  strcpy(node->path, path);
  uv_fs_event_init(watch->loop, &node->event);
  uv_unref((uv_handle_t *)&node->event);
  node->event.data = watch;
  watch->handles++;
  int err = uv_fs_event_start(&node->event, on_event, path, 0);
  if (err < 0) {
    uv_close((uv_handle_t *)&node->event, on_closed);
    return err;
  }
  node->next = watch->nodes;
  watch->nodes = node;
  return 0;
}

/* What has gone meanwhile is told by the watch on the directory it was in. */
static void check(struct host__watch *watch, int err, const char *path) {
  if (err == 0 || err == UV_ENOENT || err == UV_ENOTDIR) return;
  if (watch->failed) return;
  watch->failed = true;
  watch->err = err;
  snprintf(watch->where, sizeof watch->where, "%s", path);
}

/* Returns the type of what is at the path, or a negative number. If it is a
 * symlink, its target goes to `target`, with `rest` behind it. */
static int step(const char *path, const char *rest, char target[PATH_MAX]) {
  uv_fs_t request;
  int type = uv_fs_lstat(NULL, &request, path, NULL);
  if (type >= 0) type = (int)(request.statbuf.st_mode & S_IFMT);
  uv_fs_req_cleanup(&request);
  if (type != S_IFLNK) return type;
  int err = uv_fs_readlink(NULL, &request, path, NULL);
  const char *link = request.ptr;
  if (err >= 0 && snprintf(target, PATH_MAX, "%s/%s", link, rest) >= PATH_MAX)
    err = UV_ENAMETOOLONG;
  uv_fs_req_cleanup(&request);
  return err < 0 ? err : type;
}

/* Watches each directory in which a component of the path is looked up, as far
 * as the path leads, and the file at its end: it may be written by another of
 * its names, or be a mount of its own, and its directory hears of neither.
 *
 * `at` is where we are, free of symlinks, the root being "", and `rest` where
 * to go from there. A relative path is walked as it is, as it is opened. */
static void follow(struct host__watch *watch, const char *path) {
  char at[PATH_MAX] = ".", next[PATH_MAX], buffers[2][PATH_MAX];
  const char *rest = path;

  for (int links = 0; links < LINKS_MAX;) {
    if (*rest == '/') *at = '\0';
    rest += strspn(rest, "/");
    size_t length = strcspn(rest, "/");
    if (length == 0) return;
    const char *name = rest;
    rest += length + strspn(rest + length, "/");
    if (length == 1 && *name == '.') continue;

    const char *directory = *at ? at : "/";
    check(watch, observe(watch, directory), directory);
    if (snprintf(next, sizeof next, "%s/%.*s", at, (int)length, name) >=
        (int)sizeof next) {
      check(watch, UV_ENAMETOOLONG, path);
      return;
    }
    int type = step(next, rest, buffers[links % 2]);
    if (type == S_IFLNK) {
      rest = buffers[links++ % 2];
      continue;
    }
    if (type < 0) {
      if (type == UV_ENAMETOOLONG || type == UV_ENOMEM)
        check(watch, type, path);
      return;
    }
    strcpy(at, next);
    if (type == S_IFDIR) continue;
    int err = observe(watch, at);
    /* Once it may be read, its directory tells. */
    if (err != UV_EACCES) check(watch, err, at);
    return;
  }
}

/* -- Looking -------------------------------------------------------------- */

static struct stamp stamp(const char *path) {
  struct stamp now = {0};
  uv_fs_t request;

  now.err = uv_fs_stat(NULL, &request, path, NULL);
  if (now.err == 0) {
    const uv_stat_t *stat = &request.statbuf;
    now.dev = stat->st_dev;
    now.ino = stat->st_ino;
    now.size = stat->st_size;
    now.seconds = stat->st_mtim.tv_sec;
    now.nanoseconds = stat->st_mtim.tv_nsec;
  }
  uv_fs_req_cleanup(&request);
  if (now.err < 0) return now;
  int err = uv_fs_access(NULL, &request, path, R_OK, NULL);
  uv_fs_req_cleanup(&request);
  if (err < 0) now = (struct stamp){.err = err};
  return now;
}

static bool same(const struct stamp *one, const struct stamp *other) {
  return memcmp(one, other, sizeof *one) == 0;
}

/* Sets all watches anew. For a directory that is watched already the kernel
 * gives out the watch it has, so that the new ones may come before the old ones
 * go; telling which of these still watch what they should is not possible, as a
 * new directory may even have the inode number of the old one. */
static void set_watches(struct host__watch *watch) {
  struct node *old = watch->nodes;
  watch->nodes = NULL;
  watch->failed = false;
  for (size_t i = 0; i < watch->count; i++) follow(watch, watch->files[i].path);
  close_nodes(old);
  watch->polling = watch->failed;
}

/* Tells whether there is a change that nobody was told of, and it is time. */
static bool look(struct host__watch *watch) {
  bool moved = false, differs = false;

  set_watches(watch);
  for (size_t i = 0; i < watch->count; i++) {
    struct file *file = &watch->files[i];
    struct stamp now = stamp(file->path);
    if (!same(&now, &file->seen)) moved = true;
    if (!same(&now, &file->known)) differs = true;
    file->seen = now;
  }
  watch->rounds = differs ? watch->rounds + 1 : 0;
  if (!differs || (moved && watch->rounds < ROUNDS_MAX)) return false;
  for (size_t i = 0; i < watch->count; i++)
    watch->files[i].known = watch->files[i].seen;
  watch->rounds = 0;
  return true;
}

static void on_timer(uv_timer_t *timer);

static void look_in(struct host__watch *watch, uint64_t ms) {
  uv_timer_start(&watch->timer, on_timer, ms, 0);
}

/* However much stirs, there is one look in QUIET_MS. It is not left out when
 * none of the names that libuv gives us matters: it drops the kernel's word
 * that the queue of events has run over, and all that reaches us then may be
 * events of other files. */
static void on_timer(uv_timer_t *timer) {
  struct host__watch *watch = timer->data;
  bool polled = watch->polling;
  watch->looking = watch->stirred;
  watch->stirred = false;
  bool due = look(watch);
  if (watch->rounds > 0) watch->looking = true;
  if (watch->looking) look_in(watch, QUIET_MS);
  else if (watch->polling) look_in(watch, POLL_MS);
  /* Last, since the callbacks may have other files watched. */
  if (watch->polling && !polled)
    watch->callbacks.trouble(watch->arg, watch->err, watch->where);
  else if (polled && !watch->polling)
    watch->callbacks.trouble(watch->arg, 0, NULL);
  if (due) watch->callbacks.changed(watch->arg);
}

static void look_soon(struct host__watch *watch) {
  if (watch->looking) return;
  watch->looking = true;
  look_in(watch, 0);
}

static void on_event(uv_fs_event_t *event, const char *name, int events,
                     int status) {
  struct host__watch *watch = event->data;
  (void)name;
  (void)events;
  (void)status;
  watch->stirred = true;
  look_soon(watch);
}

/* -- What is watched ------------------------------------------------------ */

int host__watch_new(struct host__watch **out, uv_loop_t *loop,
                    const host__watch_callbacks_t *callbacks, void *arg) {
  struct host__watch *watch = calloc(1, sizeof *watch);
  if (!watch) return UV_ENOMEM;
  watch->callbacks = *callbacks;
  watch->arg = arg;
  watch->loop = loop;
  uv_timer_init(loop, &watch->timer);
  uv_unref((uv_handle_t *)&watch->timer);
  watch->timer.data = watch;
  watch->handles = 1;
  *out = watch;
  return 0;
}

static void clear(struct host__watch *watch) {
  while (watch->count > 0) free(watch->files[--watch->count].path);
  watch->full = false;
}

int host__watch_add(struct host__watch *watch, const char *path) {
  for (size_t i = 0; i < watch->count; i++)
    if (!strcmp(watch->files[i].path, path)) return 0;
  if (watch->count == FILES_MAX) {
    if (!watch->full) watch->callbacks.trouble(watch->arg, UV_E2BIG, path);
    watch->full = true;
    return UV_E2BIG;
  }
  size_t size = (watch->count + 1) * sizeof *watch->files;
  struct file *files = realloc(watch->files, size);
  if (!files) return UV_ENOMEM;
  watch->files = files;
  struct file file = {.path = strdup(path)};
  if (!file.path) return UV_ENOMEM;
  file.known = file.seen = stamp(path);
  files[watch->count++] = file;
  look_soon(watch);
  return 0;
}

int host__watch_set(struct host__watch *watch, const char *path) {
  struct file *file = malloc(sizeof *file);
  char *copy = strdup(path);
  if (!file || !copy) {
    free(file);
    free(copy);
    return UV_ENOMEM;
  }
  clear(watch);
  free(watch->files);
  *file = (struct file){.path = copy};
  file->known = file->seen = stamp(path);
  watch->files = file;
  watch->count = 1;
  look_soon(watch);
  return 0;
}

void host__watch_close(struct host__watch *watch, void (*closed)(void *arg)) {
  watch->closed = closed;
  clear(watch);
  close_nodes(watch->nodes);
  uv_close((uv_handle_t *)&watch->timer, on_closed);
}
