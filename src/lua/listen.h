/* Private to src/lua and src/host: addresses, and what listens on them.
 *
 * A staged object only declares its address. Once the whole script has run it
 * listens there, or, in a reload, it is given the listener of an object of the
 * same kind in the state before, unnoticed by whoever connects. */
#ifndef LUA_LISTEN_H
#define LUA_LISTEN_H

#include "object.h"

/* What the engine offers of a kind that listens. */
struct rover__lua_listens {
  const rover_address_t *(*address)(const struct rover__lua_object *o);
  bool (*is_on)(const struct rover__lua_object *o);
  int (*listen)(struct rover__lua_object *o);
  /* Whether that of `other` would do. */
  bool (*is_for)(const struct rover__lua_object *other,
                 const struct rover__lua_object *o);
  int (*take)(struct rover__lua_object *o, struct rover__lua_object *from);
};

/* Returns the address that argument `arg`, a table, says in its field `what`,
 * which is at `index`; leaves its text on the stack. */
rover_address_t rover__lua_check_listen(lua_State *L, int index, int arg,
                                        const char *what);

/* Pushes it as text. */
const char *rover__lua_push_address(lua_State *L, const rover_address_t *a);

/* Returns it: host and port, or the path. */
int rover__lua_return_address(lua_State *L, const rover_address_t *a);

/* Pushes why the object cannot listen. */
const char *rover__lua_push_unheard(lua_State *L,
                                    const struct rover__lua_object *o,
                                    int status);

/* Has all of a staged state listen, or finds those of the state `from`, if that
 * is not NULL, whose listeners they are to have. Raises if one cannot; the state
 * is then only to die. */
void rover__lua_listen(rover__lua_t *lua, const rover__lua_t *from);

/* Takes the listeners that were found. Cannot fail. The second, once that
 * matters to handlers, reports what could not be set of them. */
void rover__lua_take_listeners(rover__lua_t *lua);
void rover__lua_report_listeners(rover__lua_t *lua);

#endif
