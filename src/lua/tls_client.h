/* Private to src/lua: the TLS of rovers and of their servers. */
#ifndef LUA_TLS_CLIENT_H
#define LUA_TLS_CLIENT_H

#include "tls.h"

/* Checks the value at `index`, {ca=, cert=, key=, serverName=} or true; `what` is
 * its name. */
void rover__lua_check_tls_client(lua_State *L, int index, int arg,
                                 const char *what);

/* The state's context for a value that was checked: for rover__lua_tls_fail()
 * sets *status, and pushes the message, on failure. */
rover_tls_t *rover__lua_tls_client(lua_State *L, rover__lua_t *lua, int index,
                                   int arg, const char *what, int *status);

/* Pushes such a table for a context; nil if the state has not made it. */
void rover__lua_push_tls_client(lua_State *L, const rover_tls_t *tls);

/* In a reload: the context of this state that is like one of the other's, whose
 * files are read anew. Raises if that cannot be made. */
rover_tls_t *rover__lua_tls_renew(lua_State *L, rover__lua_t *lua,
                                  const rover__lua_t *from, rover_tls_t *tls);

#endif
