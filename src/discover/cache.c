#include "cache.h"

#include <stdlib.h>
#include <string.h>

#include "read.h"

void discover__cache_init(struct discover__cache *cache, uv_loop_t *loop,
                          void *owner,
                          const struct discover__cache_events *events,
                          const char *path) {
  *cache = (struct discover__cache){
      .events = events, .owner = owner, .loop = loop, .path = path};
}

bool discover__cache_move(struct discover__cache *cache, const char *path) {
  const char *old = cache->path;

  cache->path = path;
  if (!path || (old && !strcmp(path, old))) return false;
  cache->stored = false;
  cache->failure = 0;
  return true;
}

static struct discover__task *
task_new(struct discover__cache *cache,
         void (*done)(struct discover__task *task)) {
  struct discover__task *task;

  if (!cache->path || discover__task_new(&task, cache->path) < 0) return NULL;
  task->data = cache;
  task->done = done;
  return task;
}

static bool start(struct discover__cache *cache, struct discover__task *task) {
  if (discover__task_start(cache->loop, task) < 0) {
    discover__task_free(task);
    return false;
  }
  cache->events->hold(cache->owner);
  return true;
}

static void on_loaded(struct discover__task *task) {
  struct discover__cache *cache = task->data;
  struct discover__list *list = task->status == 0 ? task->list : NULL;

  if (cache->loading) {
    cache->loading = false;
    if (list) task->list = NULL;
    cache->events->loaded(cache->owner, list,
                          task->status == UV_ENOENT ? 0 : task->status,
                          task->message);
  }
  discover__task_free(task);
  cache->events->release(cache->owner);
}

bool discover__cache_load(struct discover__cache *cache) {
  struct discover__task *task = task_new(cache, on_loaded);

  if (!task) return false;
  task->what = DISCOVER__LOAD;
  cache->loading = start(cache, task);
  return cache->loading;
}

void discover__cache_cancel(struct discover__cache *cache) {
  cache->loading = false;
}

static void on_stored(struct discover__task *task) {
  struct discover__cache *cache = task->data;
  struct discover__list *next = cache->next;
  bool is_news = task->status < 0 && task->status != cache->failure;

  cache->storing = false;
  cache->next = NULL;
  cache->failure = task->status < 0 ? task->status : 0;
  if (task->status < 0) cache->stored = false;
  if (next) discover__cache_store(cache, next);
  if (is_news) cache->events->failed(cache->owner, task->status, task->message);
  discover__task_free(task);
  cache->events->release(cache->owner);
}

bool discover__cache_lacks(const struct discover__cache *cache) {
  return cache->path && !cache->stored;
}

void discover__cache_store(struct discover__cache *cache,
                           struct discover__list *list) {
  struct discover__task *task;

  if (cache->path && cache->storing) {
    free(cache->next);
    cache->next = list;
    cache->stored = true;
    return;
  }
  task = task_new(cache, on_stored);
  if (!task) {
    cache->stored = false;
    free(list);
    return;
  }
  task->what = DISCOVER__STORE;
  task->list = list;
  cache->storing = cache->stored = start(cache, task);
}
