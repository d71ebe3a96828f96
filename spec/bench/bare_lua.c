/* The limit for handlers in Lua: bare epoll that hands each message to one, with
 * no care. A policy's `ask` of client_policy.lua runs in it as it is, with an
 * object for each socket, and modules that have just what that calls.
 *
 *   bare_lua POLICY ask SOCKETS BYTES MS PORT... */
#include <arpa/inet.h>
#include <lauxlib.h>
#include <lualib.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { EVENTS = 1024, BYTES = 65536, FDS = 65536 };

static int epoll, wanted, handler = LUA_NOREF;
static int handlers[FDS]; /* of data: references, by descriptor */
static char **ports;
static int port_count;
static bool stops;

static void die(const char *what) {
  fprintf(stderr, "bare_lua: %s\n", what);
  exit(1);
}

static void call(lua_State *L, int args) {
  if (lua_pcall(L, args, 0, 0) != LUA_OK) die(lua_tostring(L, -1));
}

/* -- What the policy calls ------------------------------------------------ */

static int l_write(lua_State *L) {
  const int *fd = lua_touserdata(L, 1);
  size_t length;
  const char *bytes = luaL_checklstring(L, 2, &length);
  if (send(*fd, bytes, length, MSG_NOSIGNAL) != (ssize_t)length) die("send");
  return 0;
}

static int l_socket_on(lua_State *L) {
  const int *fd = lua_touserdata(L, 1);
  lua_settop(L, 3);
  handlers[*fd] = luaL_ref(L, LUA_REGISTRYINDEX);
  return 0;
}

static int l_rover_on(lua_State *L) {
  lua_settop(L, 3);
  if (!strcmp(luaL_checkstring(L, 2), "connection"))
    handler = luaL_ref(L, LUA_REGISTRYINDEX);
  return 0;
}

static int l_connect(lua_State *L) {
  (void)L;
  wanted++;
  return 0;
}

static int l_stop(lua_State *L) {
  (void)L;
  stops = true;
  return 0;
}

static int l_nothing(lua_State *L) {
  (void)L;
  return 0;
}

/* The rover, and what makes it, have the same methods. */
static int l_new(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(1));
  return 1;
}

static void open_modules(lua_State *L, char **args) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_newtable(L); /* callosum.host */
  lua_newtable(L);
  for (int i = 0; args[i]; i++) {
    lua_pushstring(L, args[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, -2, "args");
  lua_pushcfunction(L, l_stop);
  lua_setfield(L, -2, "stop");
  lua_setfield(L, -2, "callosum.host");
  luaL_newlib(L, ((luaL_Reg[]){{"on", l_rover_on},
                               {"connect", l_connect},
                               {"addServer", l_nothing},
                               {NULL, NULL}}));
  lua_pushvalue(L, -1);
  lua_pushcclosure(L, l_new, 1);
  lua_setfield(L, -2, "new");
  lua_setfield(L, -2, "callosum.rover");
  luaL_newmetatable(L, "socket");
  luaL_newlib(
      L, ((luaL_Reg[]){{"on", l_socket_on}, {"write", l_write}, {NULL, NULL}}));
  lua_setfield(L, -2, "__index");
  lua_pop(L, 2);
}

/* -- Sockets -------------------------------------------------------------- */

static void connect_one(lua_State *L) {
  struct sockaddr_in name = {.sin_family = AF_INET};
  int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  struct epoll_event event = {EPOLLIN, {.fd = fd}};
  char byte = 0;

  name.sin_port = htons((uint16_t)atoi(ports[rand() % port_count]));
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd < 0 || fd >= FDS || connect(fd, (struct sockaddr *)&name, sizeof name))
    die("connect");
  while (byte != '\n')
    if (recv(fd, &byte, 1, 0) != 1) die("no slot line");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
  lua_rawgeti(L, LUA_REGISTRYINDEX, handler);
  lua_pushinteger(L, 0);
  *(int *)lua_newuserdatauv(L, sizeof fd, 0) = fd;
  luaL_setmetatable(L, "socket");
  call(L, 2);
}

static void deliver(lua_State *L, int fd) {
  static char bytes[BYTES];
  ssize_t got = recv(fd, bytes, BYTES, MSG_DONTWAIT);
  if (got <= 0) die("a socket broke");
  lua_rawgeti(L, LUA_REGISTRYINDEX, handlers[fd]);
  lua_pushlstring(L, bytes, (size_t)got);
  call(L, 1);
}

int main(int argc, char **argv) {
  lua_State *L = luaL_newstate();

  if (argc < 7 || !L) return 2;
  ports = argv + 6;
  port_count = argc - 6;
  epoll = epoll_create1(0);
  luaL_openlibs(L);
  open_modules(L, argv + 2);
  if (luaL_loadfile(L, argv[1]) != LUA_OK) die(lua_tostring(L, -1));
  call(L, 0);
  while (!stops) {
    struct epoll_event events[EVENTS];
    for (; wanted > 0; wanted--) connect_one(L);
    int n = epoll_wait(epoll, events, EVENTS, 5000);
    if (n <= 0) die("epoll_wait");
    for (int i = 0; i < n && !stops; i++) deliver(L, events[i].data.fd);
  }
  return 0;
}
