#include "tls_client.h"

#include <stdlib.h>
#include <string.h>

#include "../tls/functions.h"
#include "check.h"

enum { CA, CERT, KEY, SERVER_NAME, FIELDS };
static const char *const fields[] = {"ca", "cert", "key", "serverName", NULL};

struct client {
  const char *values[FIELDS]; /* or NULL */
};

void rover__lua_check_tls_client(lua_State *L, int index, int arg,
                                 const char *what) {
  int top = lua_gettop(L);

  luaL_checkstack(L, 10, what);
  if (lua_isboolean(L, index) && lua_toboolean(L, index)) return;
  if (!lua_istable(L, index))
    rover__lua_expected(L, index, arg, what,
                        "table {ca=, cert=, key=, serverName=} or boolean");
  lua_pushfstring(L, "%s: unknown field", what);
  for (lua_pushnil(L); lua_next(L, index); lua_settop(L, top + 2)) {
    int field = rover__lua_check_key(L, top + 2, arg, lua_tostring(L, top + 1),
                                     fields);
    const char *name = lua_pushfstring(L, "%s: %s", what, fields[field]);
    rover__lua_check_text(L, top + 3, arg,
                          field == SERVER_NAME ? ROVER_HOST_MAX
                                               : ROVER__LUA_TLS_PATH_MAX,
                          name);
  }
  lua_settop(L, top);
}

/* -- Keys ----------------------------------------------------------------- */

/* Pushes the options as text: "client", and each of them with its length. */
static const char *push_key(lua_State *L, const struct client *client) {
  luaL_Buffer key;
  luaL_buffinit(L, &key);
  luaL_addstring(&key, "client");
  for (int i = 0; i < FIELDS; i++) {
    const char *value = client->values[i] ? client->values[i] : "";
    lua_pushfstring(L, " %d:%s", (int)strlen(value), value);
    luaL_addvalue(&key);
  }
  luaL_pushresult(&key);
  return lua_tostring(L, -1);
}

/* The inverse: pushes what is not NULL. Returns whether it is a client's. */
static bool push_values(lua_State *L, const char *key, struct client *client) {
  static const char prefix[] = "client";
  const char *at = key + sizeof prefix - 1;

  luaL_checkstack(L, FIELDS, "tls");
  if (strncmp(key, prefix, sizeof prefix - 1) != 0) return false;
  for (int i = 0; i < FIELDS; i++) {
    char *value;
    size_t length = strtoul(at, &value, 10);
    value++; /* the colon */
    client->values[i] = length > 0 ? lua_pushlstring(L, value, length) : NULL;
    at = value + length;
  }
  return true;
}

/* -- Contexts ------------------------------------------------------------- */

static rover_tls_t *make(lua_State *L, rover__lua_t *lua,
                         const struct client *client, const char *key,
                         const char *what, int *status) {
  const rover_tls_client_options_t options = {
      .ca = client->values[CA],
      .cert = client->values[CERT],
      .key = client->values[KEY],
      .server_name = client->values[SERVER_NAME]};
  const struct tls__functions *functions = rover__lua_tls_functions(L);
  char message[ROVER_TLS_MESSAGE_MAX];
  rover_tls_t *tls;

  if (!functions) {
    lua_error(L);
    return NULL;
  }
  *status = functions->client_new(&tls, &options, message);
  if (*status == 0) return rover__lua_tls_keep(L, lua, key, functions, tls)->tls;
  lua_pushfstring(L, "%s: %s", what, message);
  return NULL;
}

/* A context's key is in the registry, too, for those who have no more than the
 * context. */
static rover_tls_t *obtain(lua_State *L, rover__lua_t *lua,
                           const struct client *client, const char *what,
                           int *status) {
  const char *key = push_key(L, client);
  int at = lua_gettop(L);
  const struct rover__lua_tls *known = rover__lua_tls_find(lua, key);

  *status = 0;
  rover_tls_t *tls =
      known ? known->tls : make(L, lua, client, key, what, status);
  if (!tls) return NULL;
  lua_pushvalue(L, at);
  lua_rawsetp(L, LUA_REGISTRYINDEX, tls);
  return tls;
}

/* The strings stay on the stack: a finalizer may change the table. */
rover_tls_t *rover__lua_tls_client(lua_State *L, rover__lua_t *lua, int index,
                                   int arg, const char *what, int *status) {
  struct client client = {{NULL}};
  int top = lua_gettop(L);

  luaL_checkstack(L, 30, what);
  if (lua_istable(L, index)) {
    for (int i = 0; i < SERVER_NAME; i++)
      client.values[i] = rover__lua_tls_file(L, lua, index, arg, fields[i]);
    lua_getfield(L, index, fields[SERVER_NAME]);
    client.values[SERVER_NAME] = lua_tostring(L, -1);
  }
  rover_tls_t *tls = obtain(L, lua, &client, what, status);
  if (!tls) lua_replace(L, top + 1); /* the message */
  lua_settop(L, tls ? top : top + 1);
  return tls;
}

void rover__lua_push_tls_client(lua_State *L, const rover_tls_t *tls) {
  struct client client = {{NULL}};
  int top = lua_gettop(L);

  luaL_checkstack(L, 10, "tls");
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, tls) != LUA_TSTRING) return; /* nil */
  lua_newtable(L);
  push_values(L, lua_tostring(L, top + 1), &client);
  for (int i = FIELDS - 1; i >= 0; i--)
    if (client.values[i]) lua_setfield(L, top + 2, fields[i]);
  lua_remove(L, top + 1);
}

rover_tls_t *rover__lua_tls_renew(lua_State *L, rover__lua_t *lua,
                                  const rover__lua_t *from, rover_tls_t *tls) {
  const struct rover__lua_tls *known = from->tls;
  struct client client = {{NULL}};
  int top = lua_gettop(L), status;

  while (known && known->tls != tls) known = known->next;
  if (!known || !push_values(L, known->key, &client)) return tls;
  for (int i = 0; i < SERVER_NAME; i++)
    if (client.values[i] && lua->reads) lua->reads(lua, client.values[i]);
  rover_tls_t *renewed = obtain(L, lua, &client, "tls", &status);
  if (!renewed) lua_error(L);
  lua_settop(L, top);
  return renewed;
}
