#include "inherit.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../lua/error.h"
#include "base.h"
#include "luv.h"

/* host.inherit(): how a policy takes over an address on which the one before it
 * still listens. luv's handles cannot move between states, so the new policy's
 * handle opens a duplicate of the descriptor. Both share one queue, so no
 * connection that arrives while the new policy is being loaded is lost, whether
 * that takes over or not. */

struct wanted {
  struct sockaddr_storage name;
  int type; /* SOCK_STREAM: must be listening */
};

static int check_type(lua_State *L) {
  if (luaL_testudata(L, 1, "uv_tcp")) return SOCK_STREAM;
  if (luaL_testudata(L, 1, "uv_udp")) return SOCK_DGRAM;
  return luaL_typeerror(L, 1, "uv_tcp or uv_udp");
}

static socklen_t size_of(const struct sockaddr_storage *name) {
  return name->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                     : sizeof(struct sockaddr_in);
}

static bool set_name(struct sockaddr_storage *name, const char *host,
                     int port) {
  return uv_ip4_addr(host, port, (struct sockaddr_in *)name) == 0 ||
         uv_ip6_addr(host, port, (struct sockaddr_in6 *)name) == 0;
}

static int ask(int fd, int option) {
  int value = 0;
  socklen_t size = sizeof value;
  getsockopt(fd, SOL_SOCKET, option, &value, &size);
  return value;
}

static bool fits(int fd, const void *arg) {
  const struct wanted *wanted = arg;
  struct sockaddr_storage name = {0};
  socklen_t size = sizeof name;

  return ask(fd, SO_TYPE) == wanted->type &&
         (wanted->type == SOCK_DGRAM || ask(fd, SO_ACCEPTCONN)) &&
         getsockname(fd, (struct sockaddr *)&name, &size) == 0 &&
         memcmp(&name, &wanted->name, sizeof name) == 0;
}

/* The policy that this one replaces, or NULL. */
static struct host__policy *predecessor(const struct host__policy *policy) {
  const rover_host_t *host = policy->host;
  if (policy->lua->staged) return host->policy;
  bool adopting = host->reloading && policy == host->policy;
  struct host__policy *old = adopting ? host->reload.old : NULL;
  return old && !old->ended ? old : NULL;
}

/* Returns -1 if there is none, or if this policy has it already. */
static int find(lua_State *L, const struct wanted *wanted) {
  struct host__policy *policy = host__policy_of(L);
  struct host__policy *old = predecessor(policy);

  if (!old || host__luv_find(policy->luv, L, fits, wanted) >= 0) return -1;
  return host__luv_find(old->luv, old->L, fits, wanted);
}

/* A policy that is only being checked must not accept anything: returns a
 * socket that is bound to a free port instead, or -1. */
static int stand_in(struct wanted *wanted) {
  struct sockaddr_storage *name = &wanted->name;
  int fd = socket(name->ss_family, wanted->type | SOCK_CLOEXEC, 0);

  if (fd < 0) return -1;
  ((struct sockaddr_in *)name)->sin_port = 0; /* as sin6_port */
  if (bind(fd, (struct sockaddr *)name, size_of(name)) == 0) return fd;
  close(fd);
  return -1;
}

/* Calls open() of the handle at index 1, and returns its results. */
static int open_handle(lua_State *L, int fd) {
  lua_settop(L, 1);
  lua_getfield(L, 1, "open");
  lua_pushvalue(L, 1);
  lua_pushinteger(L, fd);
  int status = lua_pcall(L, 2, LUA_MULTRET, 0);
  if (status != LUA_OK || !lua_toboolean(L, 2)) close(fd);
  if (status != LUA_OK) return lua_error(L);
  if (!lua_toboolean(L, 2)) return lua_gettop(L) - 1;
  lua_pushboolean(L, true);
  return 1;
}

int host__inherit(lua_State *L) {
  struct wanted wanted = {.type = check_type(L)};
  const char *host = luaL_checkstring(L, 2);
  lua_Integer port = luaL_checkinteger(L, 3);
  int fd = -1;

  luaL_argcheck(L, port >= 0 && port <= 65535, 3,
                "port: integer from 0 to 65535 expected");
  if (port > 0 && set_name(&wanted.name, host, (int)port)) {
    if (host__policy_of(L)->host->checking) {
      fd = stand_in(&wanted);
    } else if ((fd = find(L, &wanted)) >= 0) {
      fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
      if (fd < 0) return rover__lua_fail(L, -errno, NULL);
    }
  }
  if (fd >= 0) return open_handle(L, fd);
  lua_pushboolean(L, false);
  return 1;
}
