/* Private to src/lua and src/host: lists of handlers by event.
 *
 * A table of handlers holds an array of functions at event + 1, and one of
 * observers at -1 - event, or nothing. Most events have one handler and no
 * observer: that function is there itself, without an array. Arrays are never
 * changed but replaced, so that an emit that is running continues with the one
 * that it began with. */
#ifndef LUA_HANDLERS_H
#define LUA_HANDLERS_H

#include "state.h"

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

/* Checks the arguments from `arg` on: the name of an event, of a
 * NULL-terminated list, a function and, except for off(), an optional table of
 * options. Leaves the function on top. */
struct rover__lua_change
rover__lua_check_change(lua_State *L, int arg, const char *const names[],
                        int method);

/* Adds the function at index `fn` to the table at `table`, or removes it from
 * there. */
void rover__lua_change_handlers(lua_State *L, int table, int fn,
                                const struct rover__lua_change *change);

/* Pushes the handler and returns true if there is one and no observer. Otherwise
 * pushes nothing. There may be nil at `table`. */
bool rover__lua_push_only(lua_State *L, int table, int event);

/* Whether there is one. Observers do not count, here and where calls are
 * counted. */
bool rover__lua_has_handler(lua_State *L, int table, int event);

/* How many there are, observers included. */
size_t rover__lua_count_handlers(lua_State *L, int table, int event);

/* Calls first the observers and then the handlers, in the order in which they
 * were added, with the `nargs` values on top, which it pops. There may be nil
 * at `table`. Returns how many handlers there were, and sets *failed to how
 * many of all functions raised an error. */
int rover__lua_emit(rover__lua_t *lua, lua_State *L, int table, int event,
                    int nargs, int *failed);

/* The same, as the last thing that a function of rover__lua_tell() does, with
 * few arguments: the last handler is called without protection of its own, which
 * saves a protected call. The arguments may be left on the stack. */
int rover__lua_emit_last(rover__lua_t *lua, lua_State *L, int table, int event,
                         int nargs, int *failed);

#endif
