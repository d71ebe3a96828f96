#include "watch.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* If there is no memory, an element that is added is marked as lost. */
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(element) ((element)->lost = true)
#include <uthash.h>

/* What a path leads to depends on every directory on the way, those behind
 * symlinks included. So each of these is watched by the kernel, and an event
 * there, under a name that a path leads through, causes a check: each path is
 * followed anew, which sets the watches again, and then the file there is
 * compared with the one before. As watches are set before anything is compared,
 * a change is either seen by the check or causes the next one. */

enum {
  /* Editors write in steps: a change is reported once nothing has changed for
   * this long... */
  QUIET_MS = 100,
  /* ...or at the latest after that many times QUIET_MS. */
  ROUNDS_MAX = 10,
  /* How often to check when something cannot be watched. */
  POLL_MS = 1000,
  /* How many files are watched, however many a policy requires. */
  FILES_MAX = 1000,
  /* After so many events of other names there is a check all the same: the
   * kernel's queue may have overflowed (16384), which libuv does not report. */
  OTHERS_MAX = 1000,
  LINKS_MAX = 40 /* as in Linux; with more, opening fails with ELOOP */
};

/* The state of the file at a path. Has no padding, so it is compared as
 * bytes. */
struct stamp {
  int64_t err; /* the rest is 0 if nothing could be read */
  uint64_t dev, ino, size;
  int64_t seconds, nanoseconds;
};

struct file {
  UT_hash_handle hh;
  bool lost;
  struct stamp known; /* when last reported, or added */
  struct stamp seen;  /* when last checked */
  char path[];
};

/* A directory, or a file, that the kernel watches. */
struct node {
  uv_fs_event_t event; /* first: libuv gives us back its address */
  UT_hash_handle hh;
  bool lost;
  bool whole; /* a path ends at this directory: whatever is in it matters */
  char path[];
};

/* A name that is looked up in one of the directories, as a path. */
struct step {
  UT_hash_handle hh;
  bool lost;
  char path[];
};

struct discover__watch {
  discover__watch_callbacks_t callbacks;
  void *arg;
  void (*closed)(void *arg);
  uv_loop_t *loop;
  uv_timer_t timer;
  unsigned handles; /* of libuv, not yet closed */
  struct node *nodes; /* these three by path */
  struct step *steps;
  struct file *files;
  int others;   /* events of other names since the last check */
  int rounds;   /* checks since the first unreported change */
  bool looking; /* a check is due within QUIET_MS */
  bool stirred; /* an event came since the last check */
  bool failed;  /* this check could not watch everything, ... */
  int err;      /* ... for this reason first, ... */
  char where[PATH_MAX]; /* ... here */
  bool polling; /* the check before could not */
  bool full;
};

/* -- Following a path ----------------------------------------------------- */

static void on_event(uv_fs_event_t *event, const char *name, int events,
                     int status);

static void on_closed(uv_handle_t *handle) {
  struct discover__watch *watch = handle->data;
  if (handle != (uv_handle_t *)&watch->timer) free(handle);
  if (--watch->handles > 0) return;
  if (watch->closed) watch->closed(watch->arg);
  free(watch);
}

/* The table is freed first; its elements stay linked. */

static void clear_files(struct discover__watch *watch) {
  struct file *file = watch->files, *next;
  HASH_CLEAR(hh, watch->files);
  for (; file; file = next) {
    next = file->hh.next;
    free(file);
  }
}

static void clear_steps(struct discover__watch *watch) {
  struct step *step = watch->steps, *next;
  HASH_CLEAR(hh, watch->steps);
  for (; step; step = next) {
    next = step->hh.next;
    free(step);
  }
}

static void close_nodes(struct node *node) {
  struct node *nodes = node;
  HASH_CLEAR(hh, nodes);
  for (; node; node = node->hh.next)
    uv_close((uv_handle_t *)&node->event, on_closed);
}

static int observe(struct discover__watch *watch, const char *path) {
  struct node *node;
  HASH_FIND_STR(watch->nodes, path, node);
  if (node) return 0;
  node = malloc(sizeof *node + strlen(path) + 1);
  if (!node) return UV_ENOMEM;
  strcpy(node->path, path);
  node->lost = node->whole = false;
  uv_fs_event_init(watch->loop, &node->event);
  uv_unref((uv_handle_t *)&node->event);
  node->event.data = watch;
  watch->handles++;
  int err = uv_fs_event_start(&node->event, on_event, path, 0);
  if (err == 0) {
    HASH_ADD_STR(watch->nodes, path, node);
    if (node->lost) err = UV_ENOMEM;
  }
  if (err < 0) uv_close((uv_handle_t *)&node->event, on_closed);
  return err;
}

/* The path leads through this one. */
static int add_step(struct discover__watch *watch, const char *path) {
  struct step *step;
  HASH_FIND_STR(watch->steps, path, step);
  if (step) return 0;
  step = malloc(sizeof *step + strlen(path) + 1);
  if (!step) return UV_ENOMEM;
  strcpy(step->path, path);
  step->lost = false;
  HASH_ADD_STR(watch->steps, path, step);
  if (!step->lost) return 0;
  free(step);
  return UV_ENOMEM;
}

/* Whether an event of that name may change where a path leads, or what is
 * there: it is about the file or directory itself, or about a name looked up in
 * it. */
static bool matters(const struct discover__watch *watch, const struct node *node,
                    const char *name) {
  char path[PATH_MAX];
  struct step *step;

  const char *slash = strrchr(node->path, '/');
  if (node->whole || !name || !*name || !strcmp(name, slash ? slash + 1 : node->path))
    return true;
  if (snprintf(path, sizeof path, "%s/%s",
               strcmp(node->path, "/") != 0 ? node->path : "",
               name) >= (int)sizeof path)
    return true;
  HASH_FIND_STR(watch->steps, path, step);
  return step != NULL;
}

/* If a file has vanished meanwhile, the watch on its directory reports that. */
static void check(struct discover__watch *watch, int err, const char *path) {
  if (err == 0 || err == UV_ENOENT || err == UV_ENOTDIR) return;
  if (watch->failed) return;
  watch->failed = true;
  watch->err = err;
  snprintf(watch->where, sizeof watch->where, "%s", path);
}

/* Returns the type of what is at the path, or a negative number. If it is a
 * symlink, writes its target and `rest` to `target`. */
static int look_up(const char *path, const char *rest,
                   char target[PATH_MAX]) {
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

static void observe_whole(struct discover__watch *watch, const char *path) {
  struct node *node;
  check(watch, observe(watch, path), path);
  HASH_FIND_STR(watch->nodes, path, node);
  if (node) node->whole = true;
}

/* Watches each directory in which a component of the path is looked up, as far
 * as the path leads, and the file or directory at its end: a file may be written
 * through another name, or be a mount point, neither of which causes an event in
 * its directory.
 *
 * `at` is where we are, without symlinks, "" being the root, and `rest` the way
 * from there. A relative path is followed as it is, as it is opened. */
static void follow(struct discover__watch *watch, const char *path) {
  char at[PATH_MAX] = ".", next[PATH_MAX], buffers[2][PATH_MAX];
  const char *rest = path;

  for (int links = 0; links < LINKS_MAX;) {
    if (*rest == '/') *at = '\0';
    rest += strspn(rest, "/");
    size_t length = strcspn(rest, "/");
    if (length == 0) {
      observe_whole(watch, *at ? at : "/");
      return;
    }
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
    check(watch, add_step(watch, next), path);
    int type = look_up(next, rest, buffers[links % 2]);
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
    /* When it becomes readable, its directory reports that. */
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
 * returns the same watch, so the new ones can be set before the old ones are
 * removed. There is no way to know which old watches are still on the right
 * directory: a new one may even have the inode number of the old one. */
static void set_watches(struct discover__watch *watch) {
  struct node *old = watch->nodes;
  watch->nodes = NULL;
  watch->failed = false;
  watch->others = 0;
  clear_steps(watch);
  for (struct file *file = watch->files; file; file = file->hh.next)
    follow(watch, file->path);
  close_nodes(old);
  watch->polling = watch->failed;
}

/* Returns a path at which there is an unreported change that is due to be
 * reported, or NULL. */
static const char *look(struct discover__watch *watch) {
  const char *differs = NULL;
  bool moved = false;

  set_watches(watch);
  for (struct file *file = watch->files; file; file = file->hh.next) {
    struct stamp now = stamp(file->path);
    if (!same(&now, &file->seen)) moved = true;
    if (!differs && !same(&now, &file->known)) differs = file->path;
    file->seen = now;
  }
  watch->rounds = differs ? watch->rounds + 1 : 0;
  if (!differs || (moved && watch->rounds < ROUNDS_MAX)) return NULL;
  for (struct file *file = watch->files; file; file = file->hh.next)
    file->known = file->seen;
  watch->rounds = 0;
  return differs;
}

static void on_timer(uv_timer_t *timer);

static void look_in(struct discover__watch *watch, uint64_t ms) {
  uv_timer_start(&watch->timer, on_timer, ms, 0);
}

/* However many events there are, there is one check per QUIET_MS. */
static void on_timer(uv_timer_t *timer) {
  struct discover__watch *watch = timer->data;
  bool polled = watch->polling;
  watch->looking = watch->stirred;
  watch->stirred = false;
  const char *due = look(watch);
  if (watch->rounds > 0) watch->looking = true;
  if (watch->looking) look_in(watch, QUIET_MS);
  else if (watch->polling) look_in(watch, POLL_MS);
  /* Last, since the callbacks may change what is watched. */
  if (watch->polling && !polled)
    watch->callbacks.trouble(watch->arg, watch->err, watch->where);
  else if (polled && !watch->polling)
    watch->callbacks.trouble(watch->arg, 0, NULL);
  if (due) watch->callbacks.changed(watch->arg, due);
}

static void look_soon(struct discover__watch *watch) {
  if (watch->looking) return;
  watch->looking = true;
  look_in(watch, 0);
}

static void on_event(uv_fs_event_t *event, const char *name, int events,
                     int status) {
  struct discover__watch *watch = event->data;
  (void)events;
  if (status == 0 && !matters(watch, (struct node *)event, name) &&
      ++watch->others < OTHERS_MAX)
    return;
  watch->stirred = true;
  look_soon(watch);
}

/* -- What is watched ------------------------------------------------------ */

int discover__watch_new(struct discover__watch **out, uv_loop_t *loop,
                    const discover__watch_callbacks_t *callbacks, void *arg) {
  struct discover__watch *watch = calloc(1, sizeof *watch);
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

/* Errors: UV_ENOMEM. */
static int add(struct file **files, const char *path) {
  struct file *file = calloc(1, sizeof *file + strlen(path) + 1);
  if (!file) return UV_ENOMEM;
  strcpy(file->path, path);
  file->known = file->seen = stamp(path);
  HASH_ADD_STR(*files, path, file);
  if (!file->lost) return 0;
  free(file);
  return UV_ENOMEM;
}

int discover__watch_add(struct discover__watch *watch, const char *path) {
  struct file *file;
  HASH_FIND_STR(watch->files, path, file);
  if (file) return 0;
  if (HASH_COUNT(watch->files) == FILES_MAX) {
    if (!watch->full) watch->callbacks.trouble(watch->arg, UV_E2BIG, path);
    watch->full = true;
    return UV_E2BIG;
  }
  int err = add(&watch->files, path);
  if (err == 0) look_soon(watch);
  return err;
}

int discover__watch_set(struct discover__watch *watch, const char *path) {
  struct file *files = NULL;
  int err = add(&files, path);
  if (err < 0) return err;
  clear_files(watch);
  watch->files = files;
  watch->full = false;
  look_soon(watch);
  return 0;
}

void discover__watch_close(struct discover__watch *watch, void (*closed)(void *arg)) {
  watch->closed = closed;
  clear_files(watch);
  clear_steps(watch);
  close_nodes(watch->nodes);
  watch->nodes = NULL;
  uv_close((uv_handle_t *)&watch->timer, on_closed);
}
