/* Private to src/lua and src/host: nil, booleans, numbers, strings and
 * tables of these, as bytes. */
#ifndef LUA_PLAIN_H
#define LUA_PLAIN_H

#include <lua.h>
#include <stddef.h>

enum { ROVER__PLAIN_MAX = 1 << 20 }; /* bytes */

struct rover__plain {
  char *bytes; /* to be freed; NULL while empty */
  size_t length, capacity;
};

/* Appends the value at `index`. Raises if it is not plain data or too much of
 * it; the message names the place, `what` and the keys below it. */
void rover__plain_write(lua_State *L, int index, const char *what,
                        struct rover__plain *plain);

/* Tables that are to be carried can be guarded: whatever is assigned to a new
 * key is then checked at once. This is to be called once for a state. */
enum rover__plain_kind { ROVER__PLAIN_STATE, ROVER__PLAIN_CARRY };
void rover__plain_open(lua_State *L);

/* Guards the value at `index`, plain data, if it is a table. */
void rover__plain_guard(lua_State *L, int index, enum rover__plain_kind kind);

/* Raises if rover__plain_write() would. */
void rover__plain_check(lua_State *L, int index, const char *what);

/* Pushes what was written, or nil if nothing was. */
void rover__plain_read(lua_State *L, const struct rover__plain *plain);

#endif
