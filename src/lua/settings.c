#include "settings.h"

#include <stdlib.h>
#include <string.h>

#include "../discover/provider.h"

enum { TEXT_MAX = 4096 };

static const struct rover__lua_option common[] = {
    {.name = "name"},
    {.name = "port"},
    {.name = "family"},
    {.name = "cache"},
#define XX(type, field, kind, least, most, initial, lua, text)                 \
  {lua, ROVER__LUA_##kind, (double)(least), (double)(most),                    \
   offsetof(rover_source_options_t, field)},
    ROVER_SOURCE_OPTIONS_MAP(XX)
#undef XX
};

static const rover_source_options_t defaults = {
#define XX(type, field, kind, least, most, initial, lua, text) .field = (initial),
    ROVER_SOURCE_OPTIONS_MAP(XX)
#undef XX
};

/* -- Values --------------------------------------------------------------- */

static void check_path(lua_State *L, const char *what, const char *path) {
  rover__lua_check_path(L, rover__lua_of(L), 1, what, path);
}

static void put(lua_State *L, struct rover__lua_settings *r, const char *key,
                const char *value) {
  if (r->count == sizeof r->all / sizeof *r->all) luaL_argerror(L, 1, "too many settings");
  r->all[r->count++] = (struct discover__setting){key, value};
}

static int by_value(const void *a, const void *b) {
  const struct discover__setting *one = a, *other = b;
  return strcmp(one->value, other->value);
}

/* The header at -2 and -1 as a line, which it leaves on the stack. */
static const char *push_header(lua_State *L, const char *what) {
  static const char token[] =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
      "!#$%&'*+-.^_`|~";
  int value = lua_gettop(L), key = value - 1;
  const char *name = rover__lua_check_text(
      L, key, 1, ROVER_ID_MAX, lua_pushfstring(L, "%s: name", what));
  const char *text = rover__lua_check_text(
      L, value, 1, TEXT_MAX, lua_pushfstring(L, "%s: %s", what, name));
  if (name[strspn(name, token)])
    rover__lua_misuse(L, 1, "%s: not the name of a header: '%s'", what, name);
  if (strpbrk(text, "\r\n"))
    rover__lua_misuse(L, 1, "%s: %s: more than one line", what, name);
  return lua_pushfstring(L, "%s: %s", name, text);
}

/* Of a table at the top. The order in which Lua has them is no one's. */
static void read_headers(lua_State *L, const char *what, struct rover__lua_settings *r) {
  int table = lua_gettop(L);
  size_t from = r->count;

  if (!lua_istable(L, table))
    rover__lua_misuse(L, 1, "%s: table by name expected, got %s", what,
                      luaL_typename(L, table));
  for (lua_pushnil(L); lua_next(L, table);) {
    luaL_checkstack(L, 10, what);
    int value = lua_gettop(L);
    const char *line = push_header(L, what);
    lua_insert(L, value - 1); /* line, name, value, texts of messages */
    lua_settop(L, value);
    put(L, r, what, line);
  }
  qsort(r->all + from, r->count - from, sizeof *r->all, by_value);
}

static void read_tls(lua_State *L, const char *what, struct rover__lua_settings *r) {
  static const char *const fields[] = {"ca", "cert", "key", "serverName", NULL};
  static const char *const keys[] = {"tls.ca", "tls.cert", "tls.key",
                                     "tls.serverName"};
  int table = lua_gettop(L);

  if (!lua_istable(L, table))
    rover__lua_misuse(L, 1, "%s: table expected, got %s", what,
                      luaL_typename(L, table));
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1))
    rover__lua_check_key(L, lua_gettop(L) - 1, 1, "tls: unknown field", fields);
  for (int i = 0; fields[i]; i++) {
    if (lua_getfield(L, table, fields[i]) == LUA_TNIL) continue;
    const char *text =
        rover__lua_check_text(L, lua_gettop(L), 1, TEXT_MAX, keys[i]);
    if (strcmp(fields[i], "serverName") != 0) check_path(L, keys[i], text);
    put(L, r, keys[i], text);
  }
}

static void read_own(lua_State *L, const struct discover__option *o,
                     struct rover__lua_settings *r) {
  luaL_checkstack(L, 20, o->name);
  bool is_given = lua_getfield(L, 1, o->name) != LUA_TNIL;
  int at = lua_gettop(L);

  if (!is_given && !o->required) return;
  switch (o->type) {
    case DISCOVER__FLAG:
      if (!lua_isboolean(L, at))
        rover__lua_misuse(L, 1, "%s: boolean expected, got %s", o->name,
                          luaL_typename(L, at));
      if (lua_toboolean(L, at)) put(L, r, o->name, "1");
      break;
    case DISCOVER__HEADERS: read_headers(L, o->name, r); break;
    case DISCOVER__TLS: read_tls(L, o->name, r); break;
    case DISCOVER__PATH:
    case DISCOVER__TEXT: {
      const char *text = rover__lua_check_text(L, at, 1, TEXT_MAX, o->name);
      if (o->type == DISCOVER__PATH) check_path(L, o->name, text);
      put(L, r, o->name, text);
    }
  }
}

static int check_family(lua_State *L, int index) {
  const char *text =
      lua_type(L, index) == LUA_TSTRING ? lua_tostring(L, index) : "";

  if (!strcmp(text, "auto")) return 0;
  if (!strcmp(text, "ipv4")) return 4;
  if (!strcmp(text, "ipv6")) return 6;
  return rover__lua_expected(L, index, 1, "family", "'auto', 'ipv4' or 'ipv6'");
}

/* -- All of them ---------------------------------------------------------- */

static void check_names(lua_State *L, const struct discover__kind *kind,
                        const struct rover__lua_kind *object,
                        rover_source_options_t *out) {
  struct rover__lua_option known[ROVER__LUA_OPTIONS_MAX];
  size_t count = sizeof common / sizeof *common;

  memcpy(known, common, sizeof common);
  for (const struct discover__option *o = kind->options; o->name; o++)
    known[count++] = (struct rover__lua_option){.name = o->name};
  known[count] = (struct rover__lua_option){.name = NULL};
  rover__lua_object_check_new(L, object, known, out);
}

void rover__lua_check_settings(lua_State *L, const struct discover__kind *kind,
                               const struct rover__lua_kind *object,
                               struct rover__lua_settings *out) {
  rover_source_options_t *options = &out->options;

  *options = defaults;
  out->count = 0;
  if (kind->http && rover__lua_of(L)->no_http)
    luaL_error(L,
               "discover.%s speaks HTTP, which is not allowed in the sandbox; "
               "where it is to be, run with --allow-http",
               kind->name);
  check_names(L, kind, object, options);
  if (options->interval == 0) options->interval = kind->interval;
  for (const struct discover__option *o = kind->options; o->name; o++)
    read_own(L, o, out);
  luaL_checkstack(L, 20, "options");
  if (lua_getfield(L, 1, "port") != LUA_TNIL)
    options->port =
        (int)rover__lua_check_integer(L, lua_gettop(L), 1, "port", 1, 65535);
  if (lua_getfield(L, 1, "family") != LUA_TNIL)
    options->family = check_family(L, lua_gettop(L));
  if (lua_getfield(L, 1, "cache") == LUA_TNIL) return;
  options->cache = rover__lua_check_text(L, lua_gettop(L), 1, TEXT_MAX, "cache");
  check_path(L, "cache", options->cache);
}
