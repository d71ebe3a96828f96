#define _GNU_SOURCE /* dladdr */
#include "modules.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <uv.h>

#include "../tls/functions.h"

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

/* The modules lie in libexec/callosum, and TLS beside the other libraries. Where
 * that is follows from where this code is: in the command, in libcallosum-host or
 * in Lua's callosum/rover.so, in the build folder or installed; or else in
 * another program, and then in the usual prefixes. */

static const char *const places[] = {
    "libexec/callosum",       /* the build folder */
    "../libexec/callosum",    /* bin, lib; callosum/ of the build folder */
    "../../libexec/callosum", /* lib/x86_64-linux-gnu */
    "../../../../libexec/callosum", /* lib/lua/5.4/callosum */
    "/usr/local/libexec/callosum",
    "/usr/libexec/callosum",
    NULL,
};

/* The system's linker knows where else libraries lie. */
static const char *const libraries[] = {
    ".",        /* the build folder; lib */
    "..",       /* callosum/ of the build folder */
    "../lib",   /* bin */
    "../../..", /* lib/lua/5.4/callosum */
    NULL,
};

struct module {
  const char *const *places;
  const char *file, *symbol, *what, *package;
};

/* Replaces a path by its folder. */
static bool cut_name(char *path) {
  char *slash = strrchr(path, '/');
  if (slash) *slash = '\0';
  return slash != NULL;
}

static bool find_in(const char *folder, const struct module *module,
                    char path[PATH_MAX]) {
  for (const char *const *place = module->places; *place; place++) {
    bool is_absolute = **place == '/';
    int length =
        snprintf(path, PATH_MAX, "%s%s%s/%s", is_absolute ? "" : folder,
                 is_absolute ? "" : "/", *place, module->file);
    if (length < PATH_MAX && access(path, F_OK) == 0) return true;
  }
  return false;
}

/* Of the program itself the linker knows only how it was called. */
static bool find(const struct module *module, char path[PATH_MAX]) {
  char folder[PATH_MAX];
  size_t size = sizeof folder;
  Dl_info own;

  if (dladdr((const void *)places, &own) && own.dli_fname &&
      strchr(own.dli_fname, '/') && realpath(own.dli_fname, folder) &&
      cut_name(folder) && find_in(folder, module, path))
    return true;
  return uv_exepath(folder, &size) == 0 && cut_name(folder) &&
         find_in(folder, module, path);
}

/* The linker says why only in a text. */
int discover__modules_status(void) {
  int fd = open("/", O_RDONLY | O_CLOEXEC);
  if (fd < 0 && errno == EMFILE) return UV_EMFILE;
  if (fd >= 0) close(fd);
  return UV_ENOENT;
}

/* `advice` is what to do where it fails: "install". */
static const void *load(const struct module *module, const char *path,
                        const char *advice, char *message, size_t size) {
  uv_lib_t library;
  void *symbol = NULL;
  if (uv_dlopen(path, &library) == 0 &&
      uv_dlsym(&library, module->symbol, &symbol) == 0)
    return symbol; /* and it stays */
  if (discover__modules_status() == UV_EMFILE)
    snprintf(message, size,
             "cannot load %s: too many open files; raise this process's limit "
             "(ulimit -n)",
             module->what);
  else
    snprintf(message, size, "cannot load %s: %s; %s Debian's package %s",
             module->what, uv_dlerror(&library), advice, module->package);
  uv_dlclose(&library);
  return NULL;
}

static const void *find_and_load(const struct module *module, char *message,
                                 size_t size) {
  char path[PATH_MAX];
  if (find(module, path)) return load(module, path, "install", message, size);
  snprintf(message, size,
           "%s (libexec/callosum/%s) is not installed: install "
           "callosum-rover anew, with Debian's package %s",
           module->what, module->file, module->package);
  return NULL;
}

const struct discover__resolver *discover__modules_resolver(char *message,
                                                            size_t size) {
  static const struct module module = {places, "resolver.so",
                                       "discover__resolver", "the resolver",
                                       "libc-ares2 (Debian 13: libcares2)"};
  return find_and_load(&module, message, size);
}

const struct discover__http *discover__modules_http(char *message,
                                                    size_t size) {
  static const struct module module = {places, "http.so", "discover__http",
                                       "the HTTP client",
                                       "libcurl4 (Debian 13: libcurl4t64)"};
  return find_and_load(&module, message, size);
}

const struct tls__functions *discover__modules_tls(char *message, size_t size) {
  static const struct module module = {
      libraries, "libcallosum-tls.so." TEXT(ROVER_VERSION_MAJOR),
      "tls__functions", "libcallosum-tls", "libssl3 (Debian 13: libssl3t64)"};
  static const struct module of_rock = {.places = libraries,
                                        .file = "libcallosum-tls.so"};
  char path[PATH_MAX];
  const char *advice = "install";
  if (!find(&module, path) && !find(&of_rock, path)) {
    snprintf(path, sizeof path, "%s", module.file);
    advice = "install callosum-rover anew, with";
  }
  const struct tls__functions *tls = load(&module, path, advice, message, size);
  if (!tls || tls->version == ROVER_VERSION_HEX) return tls;
  snprintf(message, size,
           "libcallosum-tls is not of version %s, as what loads it: install "
           "callosum-rover anew",
           ROVER_VERSION_STRING);
  return NULL;
}
