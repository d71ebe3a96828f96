#include "paths.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A policy in the sandbox names paths in the folder of its script, and in those
 * that are allowed. What counts is where symbolic links lead; a policy cannot
 * make any. Of a path that is not there yet, as a socket to listen at is not,
 * what there is of it counts. */

/* -- A list --------------------------------------------------------------- */

bool host__paths_keep(const char *const **paths) {
  size_t count = 0, size = sizeof **paths;

  const char *const *from = *paths;

  if (!from) return true;
  for (; from[count]; count++) size += sizeof *from + strlen(from[count]) + 1;
  const char **own = malloc(size);
  *paths = own;
  if (!own) return false;
  char *text = (char *)&own[count + 1];
  for (size_t i = 0; i < count; i++) {
    own[i] = strcpy(text, from[i]);
    text += strlen(text) + 1;
  }
  own[count] = NULL;
  return true;
}

/* -- Where a path leads --------------------------------------------------- */

/* Writes it from the root on, without a slash at the end; returns false if it
 * is too long. */
static bool make_absolute(const char *path, char out[PATH_MAX]) {
  size_t used = 0;

  if (*path != '/') {
    if (!getcwd(out, PATH_MAX - 1)) return false;
    used = strlen(out);
    out[used++] = '/';
  }
  if (used + strlen(path) >= PATH_MAX) return false;
  strcpy(out + used, path);
  used += strlen(path);
  while (used > 1 && out[used - 1] == '/') out[--used] = '\0';
  return true;
}

/* Takes away the last name, if nothing at all has it. */
static bool cut_missing(char *path) {
  struct stat there;
  char *slash = strrchr(path, '/');

  if (errno != ENOENT || lstat(path, &there) == 0 || !slash ||
      !strcmp(slash, "/.") || !strcmp(slash, "/.."))
    return false;
  *slash = '\0';
  return true;
}

/* Writes where it leads, or returns false if that cannot be said. The root is
 * empty. */
static bool resolve(const char *path, char out[PATH_MAX]) {
  char whole[PATH_MAX], found[PATH_MAX];

  if (!make_absolute(path, whole)) return false;
  strcpy(found, whole);
  while (!realpath(*found ? found : "/", out))
    if (!cut_missing(found)) return false;
  if (!strcmp(out, "/")) *out = '\0';
  const char *missing = whole + strlen(found);
  if (strlen(out) + strlen(missing) >= PATH_MAX) return false;
  strcat(out, missing);
  return true;
}

/* -- Whether it may be named ---------------------------------------------- */

static bool is_in(const char *folder, const char *resolved) {
  char real[PATH_MAX];

  if (!resolve(folder, real)) return false;
  size_t length = strlen(real);
  return !strncmp(resolved, real, length) && resolved[length] == '/';
}

static bool may_name(rover__lua_t *lua, const char *path) {
  const struct host__policy *policy = host__policy_of(lua->L);
  const char *const *allowed = policy->host->options.allow_paths;
  char resolved[PATH_MAX];

  if (!resolve(path, resolved)) return false;
  if (is_in(policy->folder, resolved)) return true;
  for (; allowed && *allowed; allowed++)
    if (is_in(*allowed, resolved)) return true;
  return false;
}

int host__paths_confine(struct host__policy *policy, const char *script) {
  const char *slash = strrchr(script, '/');

  policy->folder =
      slash ? strndup(script, (size_t)(slash + 1 - script)) : strdup(".");
  if (!policy->folder) return UV_ENOMEM;
  policy->lua->may_name = may_name;
  return 0;
}
