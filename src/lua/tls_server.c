#include "tls_server.h"

#include <stdio.h>
#include <string.h>

#include "../tls/functions.h"
#include "check.h"
#include "tls.h"

static const char *const fields[] = {
    "cert", "key",        "ca",       "verify",           "names",
    "crl",  "minVersion", "sessions", "handshakeTimeout", NULL};

/* -- Values --------------------------------------------------------------- */

/* The place of the field's text among `values`; 0 if there is none. */
static int check_choice(lua_State *L, int index, const char *field,
                        const char *const values[], const char *expected) {
  if (lua_getfield(L, index, field) == LUA_TNIL) return 0;
  int at = lua_gettop(L), i = 1;
  const char *given = lua_type(L, at) == LUA_TSTRING ? lua_tostring(L, at) : "";

  while (values[i] && strcmp(given, values[i]) != 0) i++;
  if (values[i]) return i;
  return rover__lua_expected(L, at, 1, lua_pushfstring(L, "tls: %s", field),
                             expected);
}

static int check_verify(lua_State *L, int index) {
  static const char *const values[] = {[ROVER_TLS_VERIFY_DEFAULT] = "",
                                       [ROVER_TLS_VERIFY_NONE] = "none",
                                       [ROVER_TLS_VERIFY_OPTIONAL] = "optional",
                                       [ROVER_TLS_VERIFY_REQUIRE] = "require",
                                       NULL};
  return check_choice(L, index, "verify", values,
                      "'require', 'optional' or 'none'");
}

static int check_version(lua_State *L, int index) {
  static const char *const values[] = {"", "1.2", "1.3", NULL};
  static const int versions[] = {0, 0x0303, 0x0304};
  return versions[check_choice(L, index, "minVersion", values,
                               "'1.2' or '1.3'")];
}

/* NULL, or a list that is left on the stack. */
static const char *const *check_names(lua_State *L, int index) {
  static const char expected[] = "array of strings such as 'app.example'";

  if (lua_getfield(L, index, "names") == LUA_TNIL) return NULL;
  int table = lua_gettop(L);
  if (!lua_istable(L, table))
    rover__lua_expected(L, table, 1, "tls: names", expected);
  size_t length = lua_rawlen(L, table), count = 0;
  const char **list = lua_newuserdatauv(L, (length + 1) * sizeof *list, 0);
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
    int top = lua_gettop(L);
    if (count == length || !lua_isinteger(L, top - 1))
      rover__lua_expected(L, top - 1, 1, "tls: names", expected);
    list[count++] =
        rover__lua_check_text(L, top, 1, ROVER_ID_MAX, "tls: names");
  }
  list[count] = NULL;
  return list;
}

/* -1 if it is missing. */
static lua_Integer check_count(lua_State *L, int index, const char *field) {
  const char *what = lua_pushfstring(L, "tls: %s", field);

  if (lua_getfield(L, index, field) == LUA_TNIL) return -1;
  return rover__lua_check_integer(L, lua_gettop(L), 1, what, 0,
                                  ROVER__LUA_COUNT_MAX);
}

static void check_all(lua_State *L, int index,
                      rover_tls_server_options_t *options) {
  rover__lua_t *lua = rover__lua_of(L);

  options->cert = rover__lua_tls_file(L, lua, index, 1, "cert");
  options->key = rover__lua_tls_file(L, lua, index, 1, "key");
  options->ca = rover__lua_tls_file(L, lua, index, 1, "ca");
  options->crl = rover__lua_tls_file(L, lua, index, 1, "crl");
  luaL_checkstack(L, 20, "tls");
  options->verify = check_verify(L, index);
  options->names = check_names(L, index);
  options->min_version = check_version(L, index);
  lua_Integer sessions = check_count(L, index, "sessions");
  options->sessions = sessions < 0 ? 0 : sessions == 0 ? -1 : sessions;
}

/* -- The context ---------------------------------------------------------- */

static void add(luaL_Buffer *key, const char *text) {
  char length[24] = "-";

  if (text) snprintf(length, sizeof length, "%zu:", strlen(text));
  luaL_addstring(key, length);
  if (text) luaL_addstring(key, text);
}

static const char *push_key(lua_State *L, const rover_tls_server_options_t *o) {
  luaL_Buffer key;
  char numbers[64];

  snprintf(numbers, sizeof numbers, "server %d %d %lld ", o->verify,
           o->min_version, (long long)o->sessions);
  luaL_buffinit(L, &key);
  luaL_addstring(&key, numbers);
  add(&key, o->cert);
  add(&key, o->key);
  add(&key, o->ca);
  add(&key, o->crl);
  for (size_t i = 0; o->names && o->names[i]; i++) add(&key, o->names[i]);
  luaL_pushresult(&key);
  return lua_tostring(L, -1);
}

/* Pushes why it cannot be made. */
static int make(lua_State *L, const char *key,
                const rover_tls_server_options_t *options, rover_tls_t **tls) {
  char message[ROVER_TLS_MESSAGE_MAX];
  const struct tls__functions *functions = rover__lua_tls_functions(L);

  if (!functions) return UV_ENOTSUP;
  int err = functions->server_new(tls, options, message);
  if (err < 0) lua_pushstring(L, message);
  else rover__lua_tls_keep(L, rover__lua_of(L), key, functions, *tls);
  return err;
}

int rover__lua_check_tls_server(lua_State *L, int index,
                                struct rover__lua_tls_server *out) {
  rover_tls_server_options_t options = {0};

  *out = (struct rover__lua_tls_server){0};
  if (!lua_istable(L, index))
    rover__lua_misuse(L, 1,
                      "tls: table {cert=, key=, ca=, ...} expected, got %s",
                      luaL_typename(L, index));
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1))
    rover__lua_check_key(L, lua_gettop(L) - 1, 1, "tls: unknown field", fields);
  check_all(L, index, &options);
  lua_Integer ms = check_count(L, index, "handshakeTimeout");
  out->handshake_timeout = ms < 0 ? 0 : ms == 0 ? ROVER_NEVER : (uint64_t)ms;
  const char *key = push_key(L, &options);
  const struct rover__lua_tls *known =
      rover__lua_tls_find(rover__lua_of(L), key);
  if (!known) return make(L, key, &options, &out->tls);
  out->tls = known->tls;
  return 0;
}
