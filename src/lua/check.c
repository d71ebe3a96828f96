#include "check.h"

#include <callosum/rover.h>

#include <ctype.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* -- Unknown names -------------------------------------------------------- */

enum { NAME_MAX_COMPARED = 32, PART_MIN = 3 };

/* The beginning of a name without case and underscores: MAX_SLOTS is
 * maxSlots. */
struct folded {
  char text[NAME_MAX_COMPARED + 1];
  size_t length;
};

static struct folded fold(const char *name) {
  struct folded f = {.length = 0};
  for (; *name && f.length < NAME_MAX_COMPARED; name++)
    if (*name != '_') f.text[f.length++] = (char)tolower((unsigned char)*name);
  return f;
}

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* The edit distance: how many letters to add, drop, change, or swap with the
 * next one. */
static size_t distance(const struct folded *a, const struct folded *b) {
  size_t row[NAME_MAX_COMPARED + 1][NAME_MAX_COMPARED + 1];

  for (size_t i = 0; i <= a->length; i++) row[i][0] = i;
  for (size_t j = 0; j <= b->length; j++) row[0][j] = j;
  for (size_t i = 1; i <= a->length; i++) {
    for (size_t j = 1; j <= b->length; j++) {
      const char *p = &a->text[i - 1], *q = &b->text[j - 1];
      size_t best = least(row[i - 1][j], row[i][j - 1]) + 1;
      best = least(best, row[i - 1][j - 1] + (*p != *q));
      if (i > 1 && j > 1 && *p == q[-1] && p[-1] == *q)
        best = least(best, row[i - 2][j - 2] + 1);
      row[i][j] = best;
    }
  }
  return row[a->length][b->length];
}

/* Whether one is part of the other, as interval of rovingInterval. */
static bool holds(const struct folded *a, const struct folded *b) {
  if (a->length < b->length) return holds(b, a);
  return b->length >= PART_MIN && strstr(a->text, b->text);
}

/* The name that was probably meant, or NULL: up to a third of its letters are
 * wrong, or it is the only one that contains `name` or is contained in it. */
static const char *nearest(const char *name, const char *const names[]) {
  const char *near = NULL, *part = NULL;
  size_t near_by = 0, parts = 0;
  struct folded wrong = fold(name);

  for (; *names; names++) {
    struct folded known = fold(*names);
    size_t far = distance(&wrong, &known);
    size_t length = least(wrong.length, known.length);
    if (holds(&wrong, &known)) {
      part = *names;
      parts++;
    }
    if (far > length / 3 || (near && far >= near_by)) continue;
    near = *names;
    near_by = far;
  }
  return near ? near : parts == 1 ? part : NULL;
}

int rover__lua_misuse(lua_State *L, int arg, const char *format, ...) {
  va_list args;
  va_start(args, format);
  const char *message = lua_pushvfstring(L, format, args);
  va_end(args);
  return arg > 0 ? luaL_argerror(L, arg, message) : lua_error(L);
}

static int raise_unknown(lua_State *L, int arg, const char *what,
                         const char *name, const char *const names[]) {
  const char *near = nearest(name, names);
  if (near)
    return rover__lua_misuse(L, arg, "%s '%s', nearest is '%s'", what, name,
                             near);
  luaL_Buffer b;
  lua_pushfstring(L, "%s '%s', valid are ", what, name);
  luaL_buffinit(L, &b);
  for (const char *const *at = names; *at; at++) {
    if (at > names) luaL_addstring(&b, ", ");
    luaL_addstring(&b, *at);
  }
  luaL_pushresult(&b);
  lua_concat(L, 2);
  return rover__lua_misuse(L, arg, "%s", lua_tostring(L, -1));
}

/* -- Values --------------------------------------------------------------- */

/* Strings are shown in quotes, so that "1" is not taken for 1. */
int rover__lua_expected(lua_State *L, int index, int arg, const char *what,
                        const char *expected) {
  bool is_text = lua_type(L, index) == LUA_TSTRING;
  const char *got = luaL_tolstring(L, index, NULL);
  return rover__lua_misuse(L, arg,
                           is_text ? "%s%s%s expected, got '%s'"
                                   : "%s%s%s expected, got %s",
                           what ? what : "", what ? ": " : "", expected, got);
}

/* NULL if it is not a string of 1 to `max` bytes without a NUL. */
static const char *text_of(lua_State *L, int index, size_t max) {
  size_t length = 0;
  const char *text =
      lua_type(L, index) == LUA_TSTRING ? lua_tolstring(L, index, &length) : "";
  bool right = length > 0 && length <= max && strlen(text) == length;
  return right ? text : NULL;
}

const char *rover__lua_check_text(lua_State *L, int index, int arg, size_t max,
                                  const char *what) {
  const char *text = text_of(L, index, max), *got = luaL_typename(L, index);

  if (text) return text;
  if (lua_type(L, index) == LUA_TSTRING)
    got = lua_rawlen(L, index) ? "one that is too long or contains NUL"
                               : "an empty one";
  rover__lua_misuse(L, arg, "%s: string of 1 to %d bytes expected, got %s",
                    what, (int)max, got);
  return NULL;
}

static bool is_integer(lua_State *L, int index, lua_Integer min,
                       lua_Integer max, lua_Integer *value) {
  int exact = 0;
  *value = 0;
  if (lua_type(L, index) == LUA_TNUMBER)
    *value = lua_tointegerx(L, index, &exact);
  return exact && *value >= min && *value <= max;
}

lua_Integer rover__lua_check_integer(lua_State *L, int index, int arg,
                                     const char *what, lua_Integer min,
                                     lua_Integer max) {
  lua_Integer value;
  if (!is_integer(L, index, min, max, &value))
    rover__lua_expected(L, index, arg, what,
                        lua_pushfstring(L, "integer from %I to %I", min, max));
  return value;
}

double rover__lua_check_number(lua_State *L, int index, int arg,
                               const char *what, double least, double most) {
  double value =
      lua_type(L, index) == LUA_TNUMBER ? lua_tonumber(L, index) : least - 1;
  char expected[64];
  if (value >= least && value <= most) return value;
  snprintf(expected, sizeof expected, "number from %g to %g", least, most);
  rover__lua_expected(L, index, arg, what, expected);
  return value;
}

uint64_t rover__lua_check_ms(lua_State *L, int arg, const char *what,
                             lua_Integer min) {
  lua_settop(L, arg);
  return (uint64_t)rover__lua_check_integer(L, arg, arg, what, min,
                                            ROVER__LUA_COUNT_MAX);
}

/* -1 if it is none of them. */
static int place_of(lua_State *L, int index, const char *const names[]) {
  if (lua_type(L, index) != LUA_TSTRING) return -1;
  const char *key = lua_tostring(L, index);
  for (int i = 0; names[i]; i++)
    if (!strcmp(key, names[i])) return i;
  return -1;
}

int rover__lua_check_key(lua_State *L, int index, int arg, const char *what,
                         const char *const names[]) {
  int place = place_of(L, index, names);
  if (place >= 0) return place;

  if (lua_type(L, index) == LUA_TSTRING) lua_pushvalue(L, index);
  else lua_pushfstring(L, "[%s]", luaL_tolstring(L, index, NULL));
  return raise_unknown(L, arg, what, lua_tostring(L, -1), names);
}

/* A rover may be given a million servers, so the texts of messages are made
 * only when something is wrong. */
struct rover__lua_address rover__lua_check_server(lua_State *L, int index,
                                                  int arg, const char *id) {
  enum { HOST, PORT, WEIGHT, TLS };
  static const char *const fields[] = {"host", "port", "weight", "tls", NULL};
  int at = lua_gettop(L) + 1; /* the key, and then the value that is checked */
  const char *host = NULL;
  lua_Integer port = 0, weight = 0;
  bool has_port = false, plain = false, secured = false;

  if (!lua_istable(L, index))
    rover__lua_misuse(L, arg,
                      "server '%s': table {host=, port=} expected, got %s", id,
                      luaL_typename(L, index));
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    int field = place_of(L, at, fields);
    if (field == HOST) host = text_of(L, at + 1, ROVER_HOST_MAX);
    else if (field == PORT) has_port = is_integer(L, at + 1, 1, 65535, &port);
    else if (field == WEIGHT && is_integer(L, at + 1, 0, UINT32_MAX, &weight))
      continue;
    else if (field == TLS && (lua_istable(L, at + 1) || lua_isboolean(L, at + 1))) {
      secured = lua_toboolean(L, at + 1);
      plain = !secured;
    } else if (field == TLS)
      rover__lua_expected(L, at + 1, arg,
                          lua_pushfstring(L, "server '%s': tls", id),
                          "table or boolean");
    else if (field == WEIGHT)
      rover__lua_check_integer(L, at + 1, arg,
                               lua_pushfstring(L, "server '%s': weight", id), 0,
                               UINT32_MAX);
    else
      rover__lua_check_key(L, at, arg,
                           lua_pushfstring(L, "server '%s': unknown field", id),
                           fields);
  }
  if (!has_port || !host) {
    lua_pushstring(L, fields[has_port ? HOST : PORT]);
    lua_rawget(L, index);
  }
  if (!has_port)
    rover__lua_check_integer(
        L, at, arg, lua_pushfstring(L, "server '%s': port", id), 1, 65535);
  if (!host)
    rover__lua_check_text(L, at, arg, ROVER_HOST_MAX,
                          lua_pushfstring(L, "server '%s': host", id));
  return (struct rover__lua_address){host, (int)port, (unsigned)weight, plain,
                                     secured};
}

/* In a call with a colon, the argument is the module itself. */
void rover__lua_check_options_table(lua_State *L, int index, int arg,
                                    const char *module) {
  if (!lua_istable(L, index))
    rover__lua_misuse(L, arg, "table expected, got %s",
                      luaL_typename(L, index));
  lua_pushliteral(L, "new");
  if (lua_rawget(L, index) == LUA_TFUNCTION)
    rover__lua_misuse(L, arg,
                      "call it with a dot, not a colon: %s.new { ... }",
                      module);
  lua_pop(L, 1);
}

uv_buf_t *rover__lua_check_buffers(lua_State *L, int arg, uv_buf_t *one,
                                   unsigned *count, size_t *bytes) {
  if (lua_type(L, arg) == LUA_TSTRING) {
    one->base = (char *)lua_tolstring(L, arg, bytes);
    one->len = *bytes;
    *count = 1;
    return one;
  }
  if (!lua_istable(L, arg))
    luaL_typeerror(L, arg, "string or array of strings");
  size_t length = lua_rawlen(L, arg);
  luaL_argcheck(L, length <= 1 << 20, arg, "more than 1048576 strings");

  uv_buf_t *buffers = lua_newuserdatauv(L, length * sizeof *buffers + 1, 0);
  *bytes = 0;
  for (size_t i = 0; i < length; i++) {
    lua_rawgeti(L, arg, (lua_Integer)i + 1);
    if (lua_type(L, -1) != LUA_TSTRING)
      rover__lua_misuse(
          L, arg, "string or array of strings expected, got %s at index %d",
          luaL_typename(L, -1), (int)i + 1);
    buffers[i].base = (char *)lua_tolstring(L, -1, &buffers[i].len);
    *bytes += buffers[i].len;
    lua_pop(L, 1); /* the argument keeps it */
  }
  *count = (unsigned)length;
  return buffers;
}

/* -- Options -------------------------------------------------------------- */

static void check_type(lua_State *L, const struct rover__lua_option *o,
                       int type) {
  if (lua_type(L, 3) != type)
    rover__lua_misuse(L, 1, "%s: %s expected, got %s", o->name,
                      lua_typename(L, type), luaL_typename(L, 3));
}

/* Of the PROXY protocol. */
static int check_version(lua_State *L, const char *name) {
  const char *text = lua_type(L, 3) == LUA_TSTRING ? lua_tostring(L, 3) : "";

  if (!strcmp(text, "v1")) return 1;
  if (!strcmp(text, "v2")) return 2;
  if (!lua_isboolean(L, 3) || lua_toboolean(L, 3))
    rover__lua_expected(L, 3, 1, name, "'v1', 'v2' or false");
  return 0;
}

/* Stores the value at index 3 in `field`. */
static void set_option(lua_State *L, const struct rover__lua_option *o,
                       void *field) {
  lua_Integer most = o->most < ROVER__LUA_COUNT_MAX ? (lua_Integer)o->most
                                                    : ROVER__LUA_COUNT_MAX;
  lua_Integer value;

  switch (o->kind) {
    case ROVER__LUA_MS:
      *(uint64_t *)field = (uint64_t)rover__lua_check_integer(
          L, 3, 1, o->name, (lua_Integer)o->least, most);
      break;
    case ROVER__LUA_TIMEOUT:
      value = rover__lua_check_integer(L, 3, 1, o->name, 0, most);
      *(uint64_t *)field = value > 0 ? (uint64_t)value : ROVER_NEVER;
      break;
    case ROVER__LUA_SECONDS:
      value = rover__lua_check_integer(L, 3, 1, o->name, 0, most);
      *(int *)field = value > 0 ? (int)value : -1;
      break;
    case ROVER__LUA_COUNT:
      *(unsigned *)field = (unsigned)rover__lua_check_integer(
          L, 3, 1, o->name, (lua_Integer)o->least, most);
      break;
    case ROVER__LUA_FRACTION:
    case ROVER__LUA_FACTOR:
      *(double *)field =
          rover__lua_check_number(L, 3, 1, o->name, o->least, o->most);
      break;
    case ROVER__LUA_SEED:
      value = rover__lua_check_integer(L, 3, 1, o->name, LUA_MININTEGER,
                                       LUA_MAXINTEGER);
      /* To the engine, 0 means none given. */
      *(uint64_t *)field = value ? (uint64_t)value : UINT64_C(1) << 63 | 1;
      break;
    case ROVER__LUA_FLAG:
      check_type(L, o, LUA_TBOOLEAN);
      *(int *)field = lua_toboolean(L, 3);
      break;
    case ROVER__LUA_PROXY: *(int *)field = check_version(L, o->name); break;
    case ROVER__LUA_FUNCTION: check_type(L, o, LUA_TFUNCTION); break;
    case ROVER__LUA_OTHER: break;
  }
}

void rover__lua_check_options(lua_State *L,
                              const struct rover__lua_option options[],
                              void *out) {
  const char *names[ROVER__LUA_OPTIONS_MAX + 1];
  size_t count = 0;

  do names[count] = options[count].name;
  while (names[count++]);
  for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
    int i = rover__lua_check_key(L, 2, 1, "unknown option", names);
    set_option(L, &options[i], (char *)out + options[i].offset);
  }
}

/* -- Types ---------------------------------------------------------------- */

enum { TYPE = 1 }; /* where a metatable has the address of its name */

void rover__lua_new_type(lua_State *L, const char *type) {
  luaL_newmetatable(L, type);
  lua_pushlightuserdata(L, (void *)(uintptr_t)type);
  lua_rawseti(L, -2, TYPE);
}

static void *test_type(lua_State *L, int index, const char *type) {
  void *value = lua_touserdata(L, index);
  if (!value || !lua_getmetatable(L, index)) return NULL;
  lua_rawgeti(L, -1, TYPE);
  bool is = lua_touserdata(L, -1) == type;
  lua_pop(L, 2);
  return is ? value : NULL;
}

bool rover__lua_is_type(lua_State *L, int index, const char *type) {
  return test_type(L, index, type) != NULL;
}

void *rover__lua_check_type(lua_State *L, int index, const char *type) {
  void *value = test_type(L, index, type);
  return value ? value : luaL_checkudata(L, index, type); /* raises */
}
