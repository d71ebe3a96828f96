#include "name.h"

#include "error.h"

int rover__lua_push_name(lua_State *L, const struct sockaddr *name) {
  char host[INET6_ADDRSTRLEN];
  int port;

  if (name->sa_family == AF_INET6) {
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)name;
    uv_ip6_name(v6, host, sizeof host);
    port = ntohs(v6->sin6_port);
  } else if (name->sa_family == AF_INET) {
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)name;
    uv_ip4_name(v4, host, sizeof host);
    port = ntohs(v4->sin_port);
  } else {
    return rover__lua_fail(L, UV_ENOTSUP, "a Unix socket has no host and port");
  }
  lua_pushstring(L, host);
  lua_pushinteger(L, port);
  return 2;
}
