/* Private to src/lua and src/host: the TLS contexts that a Lua state has made:
 * one for each text of options, however often that is given. */
#ifndef LUA_TLS_H
#define LUA_TLS_H

#include "state.h"

struct tls__functions; /* see src/tls/functions.h */

struct rover__lua_tls {
  const struct tls__functions *functions;
  rover_tls_t *tls; /* NULL in a simulation, which has none */
  struct rover__lua_tls *next;
  char key[];
};

/* What libcallosum-tls offers, loaded now if it was not yet; or NULL, and pushes
 * why not. */
const struct tls__functions *rover__lua_tls_functions(lua_State *L);

enum { ROVER__LUA_TLS_PATH_MAX = 4096 };

/* The field of the table `tls` at `index`, in argument `arg`, which is a file; or
 * NULL. Leaves the value on the stack. */
const char *rover__lua_tls_file(lua_State *L, rover__lua_t *lua, int index,
                                int arg, const char *field);

/* The context that the state has for these options, or NULL. */
const struct rover__lua_tls *rover__lua_tls_find(const rover__lua_t *lua,
                                                 const char *key);

/* Keeps a context until the state closes. Ownership: `tls` is the state's, also
 * if this raises an error. */
const struct rover__lua_tls *
rover__lua_tls_keep(lua_State *L, rover__lua_t *lua, const char *key,
                    const struct tls__functions *functions, rover_tls_t *tls);

/* A context could not be made of argument `arg`. Options that are wrong are
 * misuse; a file that is broken has loading fail while the state is staged. Else
 * returns nil, message, code. */
int rover__lua_tls_fail(lua_State *L, const rover__lua_t *lua, int arg,
                        int status, const char *message);

/* Calls `see` for each context of the state. */
void rover__lua_tls_each(const rover__lua_t *lua,
                         void (*see)(rover_tls_t *tls, void *arg), void *arg);

void rover__lua_tls_clear(rover__lua_t *lua);

#endif
