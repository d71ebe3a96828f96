#include "sources.h"

#include <string.h>

#include "../discover/watch.h"
#include "later.h"
#include "say.h"

/* The files that are watched: the policy's script, what it requires from its
 * own folder, and the certificates and keys of `tls`, wherever they are. They
 * are those of the last attempt to load it, so that the policy is reloaded once
 * the cause of a failure is repaired. */

/* -- The watch ------------------------------------------------------------ */

static void on_changed(void *arg, const char *path) {
  host__log(arg, ROVER_HOST_INFO, "file changed",
            HOST__FIELDS(host__string("file", path)));
  host__reload_soon(arg, "watch");
}

static const char *advice(int err) {
  if (err == UV_ENOSPC)
    return "out of inotify watches: raise fs.inotify.max_user_watches";
  if (err == UV_EMFILE)
    return "too many open files, or fs.inotify.max_user_instances is too low";
  return uv_strerror(err);
}

static void on_trouble(void *arg, int err, const char *path) {
  if (err == 0)
    host__log(arg, ROVER_HOST_INFO, "watching for changes again", NULL);
  else if (err == UV_E2BIG)
    host__log(arg, ROVER_HOST_WARN,
              "too many files: not watching this one and others",
              HOST__FIELDS(host__string("file", path)));
  else
    host__log(arg, ROVER_HOST_WARN,
              "cannot watch for changes: polling every second",
              HOST__FIELDS(host__string("file", path),
                           host__string("error", advice(err))));
}

int host__sources_open(rover_host_t *host) {
  static const discover__watch_callbacks_t callbacks = {on_changed, on_trouble};
  if (!host->options.watch) return 0;
  int err = discover__watch_new(&host->watch, host->loop, &callbacks, host);
  if (err == 0) host->handles++;
  return err;
}

int host__sources_set(rover_host_t *host) {
  return host->watch ? discover__watch_set(host->watch, host->script->path) : 0;
}

static void on_closed(void *arg) { host__unref(arg); }

void host__sources_close(rover_host_t *host) {
  if (host->watch) discover__watch_close(host->watch, on_closed);
  host->watch = NULL;
}

/* -- What is read --------------------------------------------------------- */

static const char *strip(const char *path) {
  while (path[0] == '.' && path[1] == '/') path += 2;
  return path;
}

static bool in_folder_of(const char *path, const char *script) {
  path = strip(path);
  script = strip(script);
  const char *slash = strrchr(script, '/');
  if (slash) return !strncmp(path, script, (size_t)(slash + 1 - script));
  return *path != '/' && strncmp(path, "../", 3) != 0;
}

int host__sources_add(rover_host_t *host, const char *file) {
  /* A policy that failed to load may still run finalizers. */
  if (!host->watch || !host->script) return 0;
  if (!in_folder_of(file, host->script->path)) return 0;
  return discover__watch_add(host->watch, file);
}

void host__sources_read(rover__lua_t *lua, const char *file) {
  rover_host_t *host = host__policy_of(lua->L)->host;
  if (!host->watch || !host->script) return;
  int err = discover__watch_add(host->watch, file);
  if (err < 0 && err != UV_E2BIG) on_trouble(host, err, file);
}
