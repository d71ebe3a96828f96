#define _GNU_SOURCE /* dladdr */
#include "modules.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <uv.h>

/* The modules lie in libexec/callosum. Where that is follows from where this code
 * is: in the command, in libcallosum-host or in Lua's callosum/rover.so, in the
 * build folder or installed; or else in another program, and then in the usual
 * prefixes. */

static const char *const places[] = {
    "libexec/callosum",       /* the build folder */
    "../libexec/callosum",    /* bin, lib; callosum/ of the build folder */
    "../../libexec/callosum", /* lib/x86_64-linux-gnu */
    "../../../../libexec/callosum", /* lib/lua/5.4/callosum */
    "/usr/local/libexec/callosum",
    "/usr/libexec/callosum",
};

struct module {
  const char *file, *symbol, *what, *package;
};

/* Replaces a path by its folder. */
static bool cut_name(char *path) {
  char *slash = strrchr(path, '/');
  if (slash) *slash = '\0';
  return slash != NULL;
}

static bool find_in(const char *folder, const char *file, char path[PATH_MAX]) {
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    bool is_absolute = *places[i] == '/';
    int length =
        snprintf(path, PATH_MAX, "%s%s%s/%s", is_absolute ? "" : folder,
                 is_absolute ? "" : "/", places[i], file);
    if (length < PATH_MAX && access(path, F_OK) == 0) return true;
  }
  return false;
}

/* Of the program itself the linker knows only how it was called. */
static bool find(const char *file, char path[PATH_MAX]) {
  char folder[PATH_MAX];
  size_t size = sizeof folder;
  Dl_info own;

  if (dladdr((const void *)places, &own) && own.dli_fname &&
      strchr(own.dli_fname, '/') && realpath(own.dli_fname, folder) &&
      cut_name(folder) && find_in(folder, file, path))
    return true;
  return uv_exepath(folder, &size) == 0 && cut_name(folder) &&
         find_in(folder, file, path);
}

static const void *load(const struct module *module, char *message,
                        size_t size) {
  char path[PATH_MAX];

  if (!find(module->file, path)) {
    snprintf(message, size,
             "%s (libexec/callosum/%s) is not installed: install "
             "callosum-rover anew, with Debian's package %s",
             module->what, module->file, module->package);
    return NULL;
  }
  uv_lib_t library;
  void *symbol = NULL;
  if (uv_dlopen(path, &library) == 0 &&
      uv_dlsym(&library, module->symbol, &symbol) == 0)
    return symbol; /* and it stays */
  snprintf(message, size, "cannot load %s: %s; install Debian's package %s",
           module->what, uv_dlerror(&library), module->package);
  uv_dlclose(&library);
  return NULL;
}

const struct discover__resolver *discover__modules_resolver(char *message,
                                                            size_t size) {
  static const struct module module = {"resolver.so", "discover__resolver",
                                       "the resolver",
                                       "libc-ares2 (Debian 13: libcares2)"};
  return load(&module, message, size);
}

const struct discover__http *discover__modules_http(char *message,
                                                    size_t size) {
  static const struct module module = {"http.so", "discover__http",
                                       "the HTTP client",
                                       "libcurl4 (Debian 13: libcurl4t64)"};
  return load(&module, message, size);
}
