#include "script.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../lua/error.h"

/* The text of a script or a module. Opening a FIFO or some devices blocks, so
 * only a regular file is opened, with O_NONBLOCK; and as the file at the path
 * may have been replaced meanwhile, it is checked again once it is open. */

enum { WHY_MAX = 128 };

static void describe(char why[WHY_MAX], int err) {
  if (err == EMFILE)
    snprintf(why, WHY_MAX, "%s", rover__lua_explain(UV_EMFILE));
  else if (strerror_r(err, why, WHY_MAX) != 0)
    snprintf(why, WHY_MAX, "error %d", err);
}

/* Returns true if it is a regular file, or says why not. */
static bool check_kind(char why[WHY_MAX], const struct stat *about) {
  const char *kind = "device";

  if (S_ISREG(about->st_mode)) return true;
  if (S_ISDIR(about->st_mode)) {
    describe(why, EISDIR);
    return false;
  }
  if (S_ISFIFO(about->st_mode)) kind = "FIFO";
  if (S_ISSOCK(about->st_mode)) kind = "socket";
  snprintf(why, WHY_MAX, "it is a %s, not a regular file", kind);
  return false;
}

enum { UNOPENED = -1, UNFIT = -2, ABSENT = -3 };

/* Returns a descriptor, or one of these, and why. */
static int open_file(const char *path, char why[WHY_MAX]) {
  struct stat about;

  if (stat(path, &about) < 0) {
    int err = errno;
    describe(why, err);
    return err == ENOENT || err == ENOTDIR ? ABSENT : UNOPENED;
  }
  if (!check_kind(why, &about)) return UNFIT;
  int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &about) < 0) {
    describe(why, errno);
    if (fd >= 0) close(fd);
    return UNOPENED;
  }
  if (check_kind(why, &about)) return fd;
  close(fd);
  return UNFIT;
}

static const char *what_failed(int fd) {
  return fd == UNFIT ? "cannot read" : "cannot open";
}

/* -- Loading -------------------------------------------------------------- */

struct text {
  int fd;
  int err;
  bool begun; /* a first line for the shell was skipped */
  char bytes[4096];
};

static ssize_t read_on(struct text *text) {
  ssize_t n;
  do n = read(text->fd, text->bytes, sizeof text->bytes);
  while (n < 0 && errno == EINTR);
  if (n < 0) text->err = errno;
  return n;
}

/* Returns where the script begins: after a byte order mark, and at the end of a
 * first line with '#', so that lines keep their numbers. */
static const char *skip_head(struct text *text, size_t *length) {
  static const char mark[] = "\xEF\xBB\xBF";
  const char *at = text->bytes;
  ssize_t n = read_on(text);

  if (n >= 3 && !memcmp(at, mark, 3)) {
    at += 3;
    n -= 3;
  }
  if (n > 0 && *at == '#') {
    const char *end;
    while (n > 0 && !(end = memchr(at, '\n', (size_t)n))) {
      at = text->bytes;
      n = read_on(text);
    }
    if (n > 0) {
      n -= end - at;
      at = end;
    }
    if (n > 1 && at[1] == *LUA_SIGNATURE) { /* let Lua recognize bytecode */
      n--;
      at++;
    }
  }
  *length = n > 0 ? (size_t)n : 0;
  return at;
}

static const char *read_text(lua_State *L, void *data, size_t *length) {
  struct text *text = data;
  (void)L;
  if (!text->begun) {
    text->begun = true;
    const char *at = skip_head(text, length);
    return *length > 0 ? at : NULL;
  }
  ssize_t n = read_on(text);
  *length = n > 0 ? (size_t)n : 0;
  return n > 0 ? text->bytes : NULL;
}

int host__script_load(lua_State *L, const char *path) {
  char why[WHY_MAX];
  struct text text = {.fd = -1};

  lua_pushfstring(L, "@%s", path);
  text.fd = open_file(path, why);
  if (text.fd < 0) {
    lua_pushfstring(L, "%s %s: %s", what_failed(text.fd), path, why);
    lua_remove(L, -2);
    return LUA_ERRFILE;
  }
  int status = lua_load(L, read_text, &text, lua_tostring(L, -1), "t");
  close(text.fd);
  if (text.err) {
    lua_pop(L, 1);
    describe(why, text.err);
    lua_pushfstring(L, "cannot read %s: %s", path, why);
    status = LUA_ERRFILE;
  }
  lua_remove(L, -2);
  return status;
}

/* -- Searching ------------------------------------------------------------ */

/* Returns whether there is a script at the path; if not, pushes the reason. */
static bool is_there(lua_State *L, const char *path) {
  char why[WHY_MAX];
  int fd = open_file(path, why);

  if (fd >= 0) close(fd);
  else if (fd == ABSENT) lua_pushfstring(L, "no file '%s'", path);
  else lua_pushfstring(L, "%s '%s': %s", what_failed(fd), path, why);
  return fd >= 0;
}

int host__script_search(lua_State *L,
                        void (*tried)(lua_State *L, const char *file)) {
  const char *name = luaL_checkstring(L, 1);
  const char *path = luaL_checkstring(L, 2);
  const char *sep = luaL_optstring(L, 3, ".");
  const char *rep = luaL_optstring(L, 4, LUA_DIRSEP);

  if (*sep && strchr(name, *sep)) name = luaL_gsub(L, name, sep, rep);
  path = luaL_gsub(L, path, LUA_PATH_MARK, name);
  lua_pushnil(L);
  lua_pushliteral(L, ""); /* the reasons, for all paths */
  while (*path) {
    size_t length = strcspn(path, LUA_PATH_SEP);
    const char *file = lua_pushlstring(L, path, length);
    if (tried) tried(L, file);
    if (is_there(L, file)) return 1;
    path += length + strspn(path + length, LUA_PATH_SEP);
    lua_remove(L, -2);
    if (*path) lua_pushliteral(L, "\n\t");
    lua_concat(L, *path ? 3 : 2);
  }
  return 2;
}
