/* Private to src/lua and src/host: lists of handlers by event. */
#ifndef LUA_HANDLERS_H
#define LUA_HANDLERS_H

#include "state.h"

/* A table of handlers holds, at event + 1, an array of functions or nothing,
 * and of observers at -1 - event. An array is never changed, but replaced: a
 * running emit goes on with the one it began with. */

/* The methods on, once and off are one function each, which asks for the
 * method that it was called as. */
enum { ROVER__LUA_ON, ROVER__LUA_ONCE, ROVER__LUA_OFF };

/* Adds them to the table on top. */
void rover__lua_set_changers(lua_State *L, lua_CFunction change);
int rover__lua_method(lua_State *L);

struct rover__lua_change {
  int method, event;
  bool observer;
  /* Called with the value at index 1 when a handler of once() is removed
   * because it is called, or NULL. */
  lua_CFunction gone;
};

/* Checks the arguments from `arg` on: the name of an event, of a NULL-terminated
 * list, a function and, except for off(), an optional table of options. Leaves
 * the function on top. */
struct rover__lua_change
rover__lua_check_change(lua_State *L, int arg, const char *const names[],
                        int method);

/* Adds the function at index `fn` to the table at `table`, or removes it. */
void rover__lua_change_handlers(lua_State *L, int table, int fn,
                                const struct rover__lua_change *change);

/* Observers do not count, here and below. */
bool rover__lua_has_handler(lua_State *L, int table, int event);

/* Calls each observer, and then each handler, with the `nargs` values on top,
 * which it pops. `table` may be nil. Returns how many handlers there were, and
 * sets *failed to how many of all raised. */
int rover__lua_emit(rover__lua_t *lua, lua_State *L, int table, int event,
                    int nargs, int *failed);

/* The same as the last thing to do within rover__lua_tell(), which reports
 * what the last handler raises: one protected call is enough then. */
int rover__lua_emit_last(rover__lua_t *lua, lua_State *L, int table, int event,
                         int nargs, int *failed);

#endif
