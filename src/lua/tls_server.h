/* Private to src/lua: the `tls` of a front. */
#ifndef LUA_TLS_SERVER_H
#define LUA_TLS_SERVER_H

#include "state.h"

struct rover__lua_tls_server {
  rover_tls_t *tls; /* the state's */
  uint64_t handshake_timeout;
};

/* Checks the table at `index`, and makes its context. Leaves values on the
 * stack. Returns 0; or a negative error, and pushes what is wrong, for
 * rover__lua_tls_fail(). */
int rover__lua_check_tls_server(lua_State *L, int index,
                                struct rover__lua_tls_server *out);

#endif
