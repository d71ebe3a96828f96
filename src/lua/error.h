/* Private to src/lua and src/host: what a function
 * returns that may fail: errors as values and as results, addresses. */
#ifndef LUA_ERROR_H
#define LUA_ERROR_H

#include <callosum/rover.h>

#include <lua.h>

/* The text of a status. Without descriptors, it says what to do. */
const char *rover__lua_explain(int status);

void rover__lua_open_error(lua_State *L);

/* Pushes an error: a table of code, message and, unless it is NULL, id.
 * `message` may be NULL for libuv's own. If there is no memory for it, pushes
 * one that was made beforehand and says so. */
void rover__lua_push_error(lua_State *L, int status, const char *message,
                           const char *id);

/* The same without an id, with the message, a string or nil, at that index. */
void rover__lua_push_error_of(lua_State *L, int status, int message);

/* Returns nil, message, code. */
int rover__lua_fail(lua_State *L, int status, const char *message);

/* Returns the host and port of an IP address; or fails, with the status of
 * asking for it, if that is negative. */
int rover__lua_push_name(lua_State *L, int status,
                         const struct sockaddr_storage *name);

/* Raises Lua's own memory error, where something else has failed to
 * allocate. */
int rover__lua_no_memory(lua_State *L);

#endif
