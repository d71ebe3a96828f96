/* Private to src/lua and src/host: checks of arguments and of what is in tables
 * that are arguments; and, in bind_options.c, the module callosum.options, by
 * which the modules in Lua are as strict as those in C. */
#ifndef LUA_CHECK_H
#define LUA_CHECK_H

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

/* Each of these takes the value at `index`. If it is not valid, they raise an
 * error about argument `arg`, or if that is 0, the message alone; `what` is the
 * name of the value. */

/* A string of 1 to `max` bytes without a NUL. */
const char *rover__lua_check_text(lua_State *L, int index, int arg, size_t max,
                                  const char *what);

lua_Integer rover__lua_check_integer(lua_State *L, int index, int arg,
                                     const char *what, lua_Integer min,
                                     lua_Integer max);

/* Raises the message about argument `arg`, or if that is 0, alone. */
int rover__lua_misuse(lua_State *L, int arg, const char *format, ...);

/* Milliseconds, the last argument. */
uint64_t rover__lua_check_ms(lua_State *L, int arg, const char *what,
                             lua_Integer min);

/* A name, or a key of a table: returns its index in the NULL-terminated
 * `names`. If it is not there, the error begins with `what` ("unknown option"),
 * and tells the nearest of them, or if none resembles it, all. */
int rover__lua_check_key(lua_State *L, int index, int arg, const char *what,
                         const char *const names[]);

double rover__lua_check_number(lua_State *L, int index, int arg,
                               const char *what, double least, double most);

/* A table {host=, port=, weight=, tls=} for server `id`, whose host it returns. Of
 * `tls` only the type is checked. Allocates nothing unless it raises, and calls no
 * metamethods. */
struct rover__lua_address {
  const char *host;
  int port;
  unsigned weight;  /* or 0 */
  bool plain, secured; /* tls is false; a table or true */
};
struct rover__lua_address rover__lua_check_server(lua_State *L, int index,
                                                  int arg, const char *id);

/* A table of options for new() of a module of that name. */
void rover__lua_check_options_table(lua_State *L, int index, int arg,
                                    const char *module);

/* The string or array of strings that is argument `arg`, as buffers, and their
 * total length: in `one`, or in a userdata that is left on the stack. */
uv_buf_t *rover__lua_check_buffers(lua_State *L, int arg, uv_buf_t *one,
                                   unsigned *count, size_t *bytes);

/* Raises: "what: expected expected, got ..."; `what` may be NULL. */
int rover__lua_expected(lua_State *L, int index, int arg, const char *what,
                        const char *expected);

/* Types of userdata, as luaL_newmetatable(), luaL_testudata() and
 * luaL_checkudata(). But a type is known by the address of its name: that of
 * each method call's object would else be hashed and looked up. */
void rover__lua_new_type(lua_State *L, const char *type);
bool rover__lua_is_type(lua_State *L, int index, const char *type);
void *rover__lua_check_type(lua_State *L, int index, const char *type);

/* Pushes the module callosum.options. */
void rover__lua_open_options(lua_State *L);

/* The largest interval or count: an unsigned int's, so about 49 days. */
#define ROVER__LUA_COUNT_MAX UINT32_MAX

/* An option in Lua. The kinds are those of ROVER_OPTIONS_MAP, functions such as
 * `pick`, and others, which the caller checks itself. */
struct rover__lua_option {
  const char *name;
  enum {
    ROVER__LUA_OTHER,
    ROVER__LUA_FUNCTION,
    ROVER__LUA_MS,
    ROVER__LUA_TIMEOUT,
    ROVER__LUA_SECONDS,
    ROVER__LUA_COUNT,
    ROVER__LUA_FRACTION,
    ROVER__LUA_FACTOR,
    ROVER__LUA_SEED,
    ROVER__LUA_FLAG,
    ROVER__LUA_PROXY
  } kind;
  double least, most;
  size_t offset; /* of the field in the engine's struct */
};
enum { ROVER__LUA_OPTIONS_MAX = 32 };

/* Checks the table at index 1, and stores in the struct `out` what the engine
 * takes. The last of `options` has no name. */
void rover__lua_check_options(lua_State *L,
                              const struct rover__lua_option options[],
                              void *out);

#endif
