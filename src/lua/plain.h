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

/* Appends the value at `index`. Raises, naming it by `what` and the keys below,
 * if it is no plain data or too much of it. */
void rover__plain_write(lua_State *L, int index, const char *what,
                        struct rover__plain *plain);

/* Where tables are to be carried, from then on whatever is assigned to a new key
 * in them is checked at once: those of a state for which this was called. */
enum rover__plain_kind { ROVER__PLAIN_STATE, ROVER__PLAIN_CARRY };
void rover__plain_open(lua_State *L);

/* Has it so for the value at `index`, which is plain data, if it is a table. */
void rover__plain_guard(lua_State *L, int index, enum rover__plain_kind kind);

/* Raises if rover__plain_write() would. */
void rover__plain_check(lua_State *L, int index, const char *what);

/* Pushes what was written; nil if nothing was. */
void rover__plain_read(lua_State *L, const struct rover__plain *plain);

#endif
