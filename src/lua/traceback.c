#include "traceback.h"

#include <stdio.h>
#include <string.h>

/* How many levels of a deep stack are shown, at its top and at its bottom. */
enum { TOP_LEVELS = 10, BOTTOM_LEVELS = 11 };

struct lines {
  char *end;
  size_t left;
};

/* Skips what snprintf() has written, or as much as there was room for. */
static void advance(struct lines *lines, int length) {
  size_t written = (size_t)length < lines->left ? (size_t)length
                   : lines->left > 0            ? lines->left - 1
                                                : 0;
  lines->end += written;
  lines->left -= written;
}
#define ADD(lines, ...)                                                        \
  advance(lines, snprintf((lines)->end, (lines)->left, __VA_ARGS__))

static void add_level(struct lines *lines, const lua_Debug *ar) {
  ADD(lines, "\n\t%s:", ar->short_src);
  if (ar->currentline > 0) ADD(lines, "%d:", ar->currentline);
  if (!strcmp(ar->namewhat, "global"))
    ADD(lines, " in function '%.60s'", ar->name);
  else if (*ar->namewhat) ADD(lines, " in %s '%.60s'", ar->namewhat, ar->name);
  else if (*ar->what == 'm') ADD(lines, " in main chunk");
  else if (*ar->what == 'C') ADD(lines, " in ?");
  else ADD(lines, " in function <%s:%d>", ar->short_src, ar->linedefined);
  if (ar->istailcall) ADD(lines, "\n\t(...tail calls...)");
}

/* How many levels the stack has. */
static int count_levels(lua_State *L) {
  lua_Debug ar;
  int low = 0, high = 1; /* level `high` does not exist, those below `low` do */

  while (lua_getstack(L, high, &ar)) {
    low = high;
    high *= 2;
  }
  while (low < high) {
    int middle = low + (high - low) / 2;
    if (lua_getstack(L, middle, &ar)) low = middle + 1;
    else high = middle;
  }
  return low;
}

void rover__lua_traceback(lua_State *L, int level, char *text, size_t size) {
  struct lines lines = {text, size};
  lua_Debug ar;
  int count = count_levels(L);
  int skipped = count - level - TOP_LEVELS - BOTTOM_LEVELS;
  int gap = skipped > 0 ? level + TOP_LEVELS : count;

  ADD(&lines, "stack traceback:");
  for (; lua_getstack(L, level, &ar); level++) {
    if (level == gap) {
      ADD(&lines, "\n\t...\t(skipping %d levels)", skipped);
      level += skipped - 1;
      continue;
    }
    lua_getinfo(L, "Slnt", &ar);
    add_level(&lines, &ar);
  }
}

static const char own_title[] = "\npick's ";

int rover__lua_add_traceback(lua_State *L) {
  char text[ROVER__LUA_TRACEBACK_MAX];

  if (lua_type(L, 1) != LUA_TSTRING) return 1;
  rover__lua_traceback(L, 1, text, sizeof text);
  lua_pushstring(L, own_title);
  lua_pushstring(L, text);
  lua_concat(L, 3);
  return 1;
}

const char *rover__lua_own_traceback(const char *text, size_t *length) {
  static const char title[] = "\npick's stack traceback:\n";
  size_t left = *length, size = sizeof title - 1;

  for (const char *at = text; left >= size; at++, left--) {
    if (memcmp(at, title, size) != 0) continue;
    *length = (size_t)(at - text);
    return at + sizeof own_title - 1;
  }
  return NULL;
}
