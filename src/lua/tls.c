#include "tls.h"

#include <stdlib.h>
#include <string.h>

#include "../discover/modules.h"
#include "../tls/functions.h"
#include "check.h"
#include "error.h"

/* A context is made when options first name it, and reads its files then. Rovers
 * and fronts have references of their own, so that the state's can end with it:
 * the next policy makes its own, which reads the files anew. */

enum { MEMORY = 64 << 10 /* about what a context takes, mostly its CAs */ };

const struct tls__functions *rover__lua_tls_functions(lua_State *L) {
  char message[512];
  const struct tls__functions *functions =
      discover__modules_tls(message, sizeof message);

  if (!functions) lua_pushstring(L, message);
  return functions;
}

/* -- Options -------------------------------------------------------------- */

const char *rover__lua_tls_file(lua_State *L, rover__lua_t *lua, int index,
                                int arg, const char *field) {
  luaL_checkstack(L, 10, field);
  const char *what = lua_pushfstring(L, "tls: %s", field);
  if (lua_getfield(L, index, field) == LUA_TNIL) return NULL;
  const char *path = rover__lua_check_text(L, lua_gettop(L), arg,
                                           ROVER__LUA_TLS_PATH_MAX, what);
  rover__lua_check_path(L, lua, arg, what, path);
  if (lua->reads) lua->reads(lua, path);
  return path;
}

int rover__lua_tls_fail(lua_State *L, const rover__lua_t *lua, int arg,
                        int status, const char *message) {
  if (status == UV_ENOMEM) return rover__lua_no_memory(L);
  if (status == UV_EINVAL) return luaL_argerror(L, arg, message);
  if (lua->staged) return luaL_error(L, "%s", message);
  return rover__lua_fail(L, status, message);
}

/* -- Contexts ------------------------------------------------------------- */

const struct rover__lua_tls *rover__lua_tls_find(const rover__lua_t *lua,
                                                 const char *key) {
  const struct rover__lua_tls *each = lua->tls;

  while (each && strcmp(each->key, key) != 0) each = each->next;
  return each;
}

const struct rover__lua_tls *
rover__lua_tls_keep(lua_State *L, rover__lua_t *lua, const char *key,
                    const struct tls__functions *functions, rover_tls_t *tls) {
  size_t size = strlen(key) + 1;
  struct rover__lua_tls *kept =
      rover__lua_may_have(lua, MEMORY) ? malloc(sizeof *kept + size) : NULL;

  if (!kept) {
    functions->unref(tls);
    rover__lua_no_memory(L);
    return NULL;
  }
  *kept = (struct rover__lua_tls){
      .functions = functions, .tls = tls, .next = lua->tls};
  memcpy(kept->key, key, size);
  lua->tls = kept;
  if (lua->owner) lua->owner->memory += MEMORY;
  return kept;
}

void rover__lua_tls_each(const rover__lua_t *lua,
                         void (*see)(rover_tls_t *tls, void *arg), void *arg) {
  for (const struct rover__lua_tls *each = lua->tls; each; each = each->next)
    if (each->tls) see(each->tls, arg);
}

void rover__lua_tls_clear(rover__lua_t *lua) {
  struct rover__lua_tls *first;

  while ((first = lua->tls)) {
    lua->tls = first->next;
    first->functions->unref(first->tls);
    free(first);
    if (lua->owner) lua->owner->memory -= MEMORY;
  }
}
