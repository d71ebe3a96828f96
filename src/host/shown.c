#include "shown.h"

#include <lauxlib.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* The text of a value in the log. A table is shown by its contents, such as {1,
 * 'two', host='a', port=80}, up to these limits. */

enum { SHOWN_MAX = 1000, SHOWN_ENTRIES = 32, SHOWN_DEPTH = 4 };

struct shown {
  char text[SHOWN_MAX + sizeof "..."];
  size_t length;
  int depth;
};

static void put(struct shown *s, const char *bytes, size_t length) {
  if (s->length > SHOWN_MAX) return;
  size_t left = SHOWN_MAX - s->length;
  memcpy(s->text + s->length, bytes, length < left ? length : left);
  s->length += length < left ? length : left;
  if (length <= left) return;
  memcpy(s->text + s->length, "...", 3);
  s->length += 3;
}

static void put_string(struct shown *s, const char *string) {
  put(s, string, strlen(string));
}

static bool has_text(lua_State *L, int value) {
  bool has = luaL_getmetafield(L, value, "__tostring") != LUA_TNIL;
  if (has) lua_pop(L, 1);
  return has;
}

static void put_table(lua_State *L, struct shown *s, int table);

static void put_value(lua_State *L, struct shown *s, int value) {
  if (lua_istable(L, value) && !has_text(L, value)) {
    put_table(L, s, value);
    return;
  }
  size_t length;
  bool quoted = lua_type(L, value) == LUA_TSTRING;
  const char *bytes = quoted ? lua_tolstring(L, value, &length)
                             : luaL_tolstring(L, value, &length);
  if (quoted) put_string(s, "'");
  put(s, bytes, length);
  if (quoted) put_string(s, "'");
  else lua_pop(L, 1);
}

/* Before each entry. Returns whether there is room for it. */
static bool begin_entry(struct shown *s, int count) {
  if (count > 0) put_string(s, ", ");
  if (count < SHOWN_ENTRIES && s->length <= SHOWN_MAX) return true;
  put_string(s, "...");
  return false;
}

struct name {
  const char *text;
  int place; /* in a table that anchors it: a __tostring may remove it */
};

static int by_text(const void *a, const void *b) {
  const struct name *one = a, *other = b;
  return strcmp(one->text, other->text);
}

/* Collects the fields with names, and shows the others, except entries 1 to
 * *shown, which have been shown; updates *shown. The table that anchors the
 * names is on top. Returns the number of names. */
static int put_nameless(lua_State *L, struct shown *s, int table, int *shown,
                        struct name names[]) {
  int keep = lua_gettop(L), count = 0, first = *shown;

  for (lua_pushnil(L); lua_next(L, table); lua_settop(L, keep + 1)) {
    if (lua_isinteger(L, keep + 1) && lua_tointeger(L, keep + 1) >= 1 &&
        lua_tointeger(L, keep + 1) <= first)
      continue;
    if (lua_type(L, keep + 1) != LUA_TSTRING) {
      if (!begin_entry(s, (*shown)++)) break;
      put_string(s, "[");
      put_value(L, s, keep + 1);
      put_string(s, "]=");
      put_value(L, s, keep + 2);
    } else if (count <= SHOWN_ENTRIES) {
      names[count] = (struct name){lua_tostring(L, keep + 1), count + 1};
      lua_pushvalue(L, keep + 1);
      lua_rawseti(L, keep, ++count);
    } else {
      break;
    }
  }
  lua_settop(L, keep);
  return count;
}

/* The fields sorted by name, since the order of lua_next() varies. */
static void put_fields(lua_State *L, struct shown *s, int table, int shown) {
  struct name names[SHOWN_ENTRIES + 1];

  lua_newtable(L);
  int keep = lua_gettop(L);
  int count = put_nameless(L, s, table, &shown, names);
  qsort(names, (size_t)count, sizeof *names, by_text);
  for (int i = 0; i < count && begin_entry(s, shown++); i++) {
    put_string(s, names[i].text);
    put_string(s, "=");
    lua_rawgeti(L, keep, names[i].place);
    lua_rawget(L, table);
    put_value(L, s, keep + 1);
    lua_settop(L, keep);
  }
}

/* The limit of depth ends a table that contains itself. */
static void put_table(lua_State *L, struct shown *s, int table) {
  int top = lua_gettop(L);
  lua_Integer i = 0;

  if (s->depth == SHOWN_DEPTH) {
    put_string(s, "{...}");
    return;
  }
  luaL_checkstack(L, 8, "a table to log");
  s->depth++;
  put_string(s, "{");
  while (lua_rawgeti(L, table, i + 1) != LUA_TNIL && begin_entry(s, (int)i)) {
    put_value(L, s, top + 1);
    lua_settop(L, top);
    i++;
  }
  bool all = lua_isnil(L, top + 1);
  lua_settop(L, top);
  if (all) put_fields(L, s, table, (int)i);
  lua_settop(L, top);
  put_string(s, "}");
  s->depth--;
}

void host__push_shown(lua_State *L, int value) {
  struct shown s;

  if (!lua_istable(L, value) || has_text(L, value)) {
    luaL_tolstring(L, value, NULL);
    return;
  }
  s.length = 0;
  s.depth = 0;
  put_table(L, &s, value);
  lua_pushlstring(L, s.text, s.length);
}
