#include "bindings.h"

#include "bind_discover.h"
#include "bind_front.h"
#include "bind_relay.h"
#include "bind_rover.h"
#include "error.h"
#include "pick.h"
#include "rover_object.h"
#include "server.h"
#include "socket.h"
#include "tls.h"

void rover__lua_die(rover__lua_t *lua) {
  struct rover__lua_object **rovers = &lua->objects[ROVER__LUA_ROVERS];
  struct rover__lua_object **relays = &lua->objects[ROVER__LUA_RELAYS];
  struct rover__lua_object **fronts = &lua->objects[ROVER__LUA_FRONTS];
  struct rover__lua_object **sources = &lua->objects[ROVER__LUA_SOURCES];

  if (!lua->dead) rover__lua_part_sockets(lua);
  lua->dead = true;
  while (*rovers) rover__lua_rover_abandon(*rovers);
  while (*relays) rover__lua_relay_abandon(*relays);
  while (*fronts) rover__lua_front_abandon(*fronts);
  while (*sources) rover__lua_source_abandon(*sources);
  rover__lua_tls_clear(lua);
}

/* The state is closing: what was created first is collected last. */
static int l_gc(lua_State *L) {
  rover__lua_die(lua_touserdata(L, 1));
  return 0;
}

/* -- Modules that are opened when they are required ----------------------- */

struct module {
  const char *name;
  void (*open)(lua_State *L); /* upvalue on top; pushes the module */
};

static const struct module modules[] = {
    {"callosum.relay", rover__lua_open_relay},
    {"callosum.front", rover__lua_open_front},
    {"callosum.discover", rover__lua_open_discover},
};

/* Its last upvalue is the module, once it is open. */
static int l_module(lua_State *L) {
  const rover__lua_t *lua = rover__lua_of(L);
  const struct module *module = lua_touserdata(L, lua_upvalueindex(2));

  lua_settop(L, 0);
  if (lua_isnil(L, lua_upvalueindex(3))) {
    lua_pushvalue(L, lua_upvalueindex(1));
    module->open(L);
    if (lua->opened) lua->opened(L, module->name);
    lua_replace(L, lua_upvalueindex(3));
  }
  lua_pushvalue(L, lua_upvalueindex(3));
  return 1;
}

/* `shared` is below the table that it pushes. */
static void push_openers(lua_State *L) {
  lua_createtable(L, 0, sizeof modules / sizeof *modules);
  for (size_t i = 0; i < sizeof modules / sizeof *modules; i++) {
    lua_pushvalue(L, -2);
    lua_pushlightuserdata(L, (void *)&modules[i]);
    lua_pushnil(L);
    lua_pushcclosure(L, l_module, 3);
    lua_setfield(L, -2, modules[i].name);
  }
}

/* -- Life ----------------------------------------------------------------- */

rover__lua_t *rover__lua_open(lua_State *L, uv_loop_t *loop,
                              rover__lua_call call) {
  rover__lua_t *lua = lua_newuserdatauv(L, sizeof *lua, 0);
  *lua = (rover__lua_t){.loop = loop, .call = call};
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, l_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  lua->L = lua_tothread(L, -1);
  lua_pop(L, 1);

  rover__lua_open_error(L);
  rover__lua_open_server(L, lua);
  rover__lua_open_socket(L, lua);
  rover__lua_open_pick(L, lua);
  rover__lua_open_rover(L); /* shared, callosum.rover */
  lua_insert(L, -2);
  push_openers(L);
  lua_remove(L, -2);
  return lua;
}

void rover__lua_commit(rover__lua_t *lua) {
  struct rover__lua_object *rovers = lua->objects[ROVER__LUA_ROVERS], *o;

  for (o = rovers; o; o = o->next) rover__lua_rover_begin(o);
  for (o = lua->objects[ROVER__LUA_SOURCES]; o; o = o->next)
    rover__lua_source_begin(o);
  lua->staged = false; /* up to here the old one's memory did not count */
  for (o = rovers; o; o = o->next) rover__lua_rover_begun(o);
}
