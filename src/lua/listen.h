/* Private to src/lua and src/host: addresses, and objects that listen on them.
 *
 * A staged object only declares its address. Once the whole script has run, it
 * listens there, or in a reload, takes over the listener of an object of the
 * same kind in the old state, which clients do not notice. A socket that the
 * process was passed is used in place of a new one. */
#ifndef LUA_LISTEN_H
#define LUA_LISTEN_H

#include "object.h"

/* The engine's functions for a kind of objects that listen. */
struct rover__lua_listens {
  const rover_address_t *(*address)(const struct rover__lua_object *o);
  bool (*is_on)(const struct rover__lua_object *o);
  int (*listen)(struct rover__lua_object *o);
  int (*listen_fd)(struct rover__lua_object *o, int fd);
  /* Whether it is to listen on that socket, with this file if not NULL. */
  bool (*is_for_fd)(const struct rover__lua_object *o, int fd, const char *path,
                    bool any_port);
  /* Whether the listener of `other` is the one that `o` needs. */
  bool (*is_for)(const struct rover__lua_object *other,
                 const struct rover__lua_object *o);
  int (*take)(struct rover__lua_object *o, struct rover__lua_object *from);
  /* How many have time to finish once it is closed. */
  uint64_t (*joined)(const struct rover__lua_object *o);
};

/* A socket that was passed to the process, as rover_host_pass() describes it. */
struct rover__lua_passed {
  int fd;
  const char *fd_name, *path; /* or NULL */
  const char *noun, *name;    /* or NULL */
  bool taken;
  struct rover__lua_passed *next;
};

/* The same of an object of any kind. */
uint64_t rover__lua_joined(const struct rover__lua_object *o);

/* Checks the field `what` of argument 1, a table at `index`, which says where
 * to listen, or else to connect; leaves the address's strings on the stack. */
rover_address_t rover__lua_check_address(lua_State *L, int index,
                                         const char *what, bool listens);

/* Pushes it as text. */
const char *rover__lua_push_address(lua_State *L, const rover_address_t *a);

/* Returns it: host and port, or the path. */
int rover__lua_return_address(lua_State *L, const rover_address_t *a);

/* Listens at its address. Errors: those of the engine; UV_ENOENT for an fdName
 * of which no socket was passed. */
int rover__lua_listen_one(struct rover__lua_object *o);

/* Pushes why the object cannot listen. */
const char *rover__lua_push_unheard(lua_State *L,
                                    const struct rover__lua_object *o,
                                    int status);

/* Makes all objects of a staged state listen, except those for which the state
 * `from`, if it is not NULL, has a listener. Raises if one cannot listen; the
 * state can only be closed then. */
void rover__lua_listen(rover__lua_t *lua, const rover__lua_t *from);

/* Takes the listeners that were found. Cannot fail. The second, once handlers
 * are called, reports permissions that could not be set. */
void rover__lua_take_listeners(rover__lua_t *lua);
void rover__lua_report_listeners(rover__lua_t *lua);

#endif
