#include "trust.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "say.h"

/* A user who can write to a policy's file, or replace it, can run code in this
 * process. Root can anyway. */

/* Writes to `out` who can, and what to do about it; returns false if nobody
 * can. */
static bool name_writers(const char *path, char *out, size_t size) {
  struct stat s;

  if (stat(path, &s) < 0) return false; /* loading reports the error */
  /* In a sticky directory users can replace only their own files. */
  bool sticky = S_ISDIR(s.st_mode) && s.st_mode & S_ISVTX;
  if (s.st_uid != 0 && s.st_uid != geteuid())
    snprintf(out, size, "%s belongs to user %u: chown it", path,
             (unsigned)s.st_uid);
  else if (s.st_mode & S_IWOTH && !sticky)
    snprintf(out, size, "everybody can write %s: chmod o-w", path);
  else if (s.st_mode & S_IWGRP && !sticky && s.st_gid != 0 &&
           s.st_gid != getegid())
    snprintf(out, size, "group %u can write %s: chmod g-w", (unsigned)s.st_gid,
             path);
  else
    return false;
  return true;
}

static bool name_writers_of_folder(const char *path, char *out, size_t size) {
  char folder[PATH_MAX];
  const char *slash = strrchr(path, '/');
  int length = slash ? (int)(slash - path) : 0;

  snprintf(folder, sizeof folder, "%.*s%s", length, path,
           length > 0 ? "" : slash ? "/" : ".");
  return name_writers(folder, out, size);
}

void host__trust(rover_host_t *host, const char *path) {
  char reason[PATH_MAX + 64], real[PATH_MAX];

  if (name_writers(path, reason, sizeof reason) ||
      name_writers_of_folder(path, reason, sizeof reason) ||
      (realpath(path, real) &&
       name_writers_of_folder(real, reason, sizeof reason)))
    host__log(host, ROVER_HOST_WARN, "others can change what the policy runs",
              HOST__FIELDS(host__string("file", path),
                           host__string("reason", reason)));
}
