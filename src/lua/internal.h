/* Private to src/lua and src/host: the bindings of the engine to one Lua
 * state. */
#ifndef LUA_INTERNAL_H
#define LUA_INTERNAL_H

/* What uthash's lists assert would print and abort. */
#ifndef NDEBUG
#define NDEBUG
#endif

#include <callosum/relay.h>

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>

/* -- state.c: what the bindings know of a Lua state ----------------------- */

/* Calls the function that lies below its `nargs` arguments on the stack, in
 * protected mode, and reports an error itself. Returns how many results it
 * left, or a negative number and leaves nothing. The shape is that of luv's
 * luv_CFpcall, so that one function serves both. */
typedef int (*rover__lua_call)(lua_State *L, int nargs, int nresults,
                               int flags);

/* luv's LUVF_CALLBACK_NOEXIT: an error is no reason to end the process. */
enum { ROVER__LUA_NOEXIT = 1 };

struct rover__lua_rover;
struct rover__lua_relay;

/* What the handlers are called for that are being called: for who tells of what
 * they raise. What is unknown is NULL. */
struct rover__lua_occasion {
  const char *event;
  const char *rover, *relay; /* the name of either */
  const char *server;        /* id */
  const rover_socket_t *socket;
  const char *outcome; /* of a handler that raises */
};

/* Who must outlive the rovers and relays of a state, which close after it: has
 * those that are left and what memory the rovers have beside Lua's, and is told
 * of each that has closed. */
struct rover__lua_owner {
  unsigned rovers;
  struct rover__lua_relay *relays; /* whose state is gone */
  size_t memory, memory_max; /* bytes */
  rover_turn_t *turn; /* that the rovers share */
  void (*closed)(struct rover__lua_owner *owner);
};

/* One for each Lua state, in a userdata that every function of the bindings
 * has as its first upvalue. */
typedef struct rover__lua_s {
  lua_State *L; /* the main thread: callbacks may outlive a coroutine */
  uv_loop_t *loop;
  rover__lua_call call;
  /* While set, rovers are only declared: what start() and connect() ask for is
   * noted, and done by rover__lua_commit(). */
  bool staged;
  size_t others; /* bytes that the rovers of others had when it was staged */
  const struct rover__lua_occasion *occasion; /* or NULL */
  /* Rovers are known by their names, so two may not have the same. */
  bool unique_names;
  /* Another state has taken over: its callbacks are dead, and it only has its
   * unload handlers yet to run. */
  bool retired;
  /* It has taken over, and has yet to decide about sockets. */
  bool adopting;
  size_t adopted; /* how many it is to decide about in all */
  /* The state is about to close: nothing is called in it any more. */
  bool dead;
  struct rover__lua_owner *owner; /* or NULL */
  struct rover__lua_rover *rovers;
  struct rover__lua_relay *relays;
  /* References in the registry. */
  int wrap;        /* coroutine.wrap */
  int socket_type; /* metatable */
  int servers;     /* see server.c */
} rover__lua_t;

/* Pushes the tables of the modules callosum.rover and, above it, callosum.relay
 * on `loop`, and returns what their functions share; it lives as long as the
 * state. May raise. */
rover__lua_t *rover__lua_open(lua_State *L, uv_loop_t *loop,
                              rover__lua_call call);

/* Does what the rovers of a staged state have asked for. Cannot fail: if there
 * is no memory for an attempt, the rover's handlers hear of it. */
void rover__lua_commit(rover__lua_t *lua);

/* Whether the rovers may have so many more bytes of memory. */
bool rover__lua_may_have(const rover__lua_t *lua, size_t bytes);

/* Parts from all rovers and relays, which close, the relays once their joined
 * clients are done if there is an owner, and calls nothing in the state any
 * more. A state may go on for a while after this, but only to close. */
void rover__lua_die(rover__lua_t *lua);

/* The state that the running function belongs to. */
rover__lua_t *rover__lua_of(lua_State *L);

/* Runs `function(L)` with the two pointers as light userdata at stack indices
 * 1 and 2 through lua->call. Whatever is made for Lua is made there, where the
 * state's limit of memory holds. Returns a negative number if it raised. */
int rover__lua_protect(rover__lua_t *lua, lua_CFunction function, void *first,
                       void *second);

/* The same for the handlers of an occasion. */
int rover__lua_tell(rover__lua_t *lua,
                    const struct rover__lua_occasion *occasion,
                    lua_CFunction function, void *first, void *second);

/* -- check.c: arguments, and what is in tables that are arguments ---------- */

/* Each of these takes the value at `index`, and raises an error about argument
 * `arg` if it is wrong; `what` names the value. */

/* A string of 1 to `max` bytes without a NUL. */
const char *rover__lua_check_text(lua_State *L, int index, int arg, size_t max,
                                  const char *what);

lua_Integer rover__lua_check_integer(lua_State *L, int index, int arg,
                                     const char *what, lua_Integer min,
                                     lua_Integer max);

/* Raises: "what 'name', nearest is '...'", or where none of the NULL-terminated
 * `names` is like it, which there are. */
int rover__lua_unknown(lua_State *L, int arg, const char *what,
                       const char *name, const char *const names[]);

/* A key of a table: returns its place in the NULL-terminated `names`. `what` is
 * "unknown option" or the like. */
int rover__lua_check_key(lua_State *L, int index, int arg, const char *what,
                         const char *const names[]);

/* A table {host=, port=} for server `id`; leaves the host on the stack. */
struct rover__lua_address {
  const char *host;
  int port;
};
struct rover__lua_address rover__lua_check_server(lua_State *L, int index,
                                                  int arg, const char *id);

/* Raises: "what: expected expected, got ..." */
int rover__lua_expected(lua_State *L, int index, int arg, const char *what,
                        const char *expected);

/* The largest interval or count: an unsigned int's, so about 49 days. */
#define ROVER__LUA_COUNT_MAX UINT32_MAX

/* -- bind_rover.c --------------------------------------------------------- */

/* What the engine's callbacks find by rover_data(). The userdata is a box that
 * points here, NULL once closed; its uservalue is the table of its handlers,
 * with its name in `name`. */
struct rover__lua_rover {
  rover_t *rover;
  struct rover__lua_rover **box;
  rover__lua_t *lua; /* NULL once the state is gone */
  struct rover__lua_owner *owner;
  const char *name;
  struct rover__lua_rover *prev, *next;
  int anchor; /* the box's reference in the registry while C may call back */
  unsigned sockets; /* that have a userdata and are not closed */
  rover_socket_t *cursor; /* while sockets are adopted: see handover.c */
  unsigned connects_wanted;
  bool start_wanted;
  bool closing;
};

void rover__lua_open_rover(lua_State *L); /* upvalue on top; pushes new() */

/* Does what the rover has asked for while its state was staged. The second,
 * when it is not any more, tells of the attempts that there was no memory for. */
void rover__lua_rover_begin(struct rover__lua_rover *r);
void rover__lua_rover_begun(struct rover__lua_rover *r);

/* To be called when something of the rover has ended: lets the userdata go if
 * the rover can call back no more. */
void rover__lua_rover_settle(struct rover__lua_rover *r);

/* Calls the handlers of `connection`; the socket is closed if there is none or
 * one raises. */
void rover__lua_deliver(struct rover__lua_rover *r, rover_socket_t *socket);

/* Parts from the rover for good: it closes, and calls into Lua no more. */
void rover__lua_rover_abandon(struct rover__lua_rover *r);

/* Pushes host and port of an IP address, and returns 2; or fails. */
int rover__lua_push_name(lua_State *L, const struct sockaddr *name);

/* -- options.c: of rovers and relays --------------------------------------- */

/* An option in Lua. The kinds are those of ROVER_OPTIONS_MAP, and two that are
 * not the engine's: `pick`, say, and what its owner looks at by itself. */
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
    ROVER__LUA_SEED,
    ROVER__LUA_FLAG
  } kind;
  uint64_t least, most;
  size_t offset; /* of the field in the engine's struct */
};
enum { ROVER__LUA_OPTIONS_MAX = 20 };

/* Checks the table at index 1, and stores in the struct `out` what the engine is
 * to have. The last of `options` has no name. */
void rover__lua_check_options(lua_State *L,
                              const struct rover__lua_option options[],
                              void *out);

/* -- server.c ------------------------------------------------------------- */

void rover__lua_open_server(lua_State *L, rover__lua_t *lua);

/* Pushes {host=, port=}. */
void rover__lua_push_server(lua_State *L, const rover_server_t *server);

/* Pushes the object that holds a server, the one there is or a new one; its
 * first uservalue is the server's id. The other pushes {host=, port=} of such a
 * one at `index`. */
void rover__lua_hold_server(lua_State *L, rover__lua_t *lua,
                            const rover_server_t *server);
void rover__lua_push_held(lua_State *L, int index);

void rover__lua_add_server(lua_State *L, struct rover__lua_rover *r,
                           const char *id, struct rover__lua_address address);

/* The servers that the option of that name gives in the table at index 1, if
 * any: all of them are checked before a rover is made, so that a wrong one leaves
 * nothing behind, and added when it is. */
void rover__lua_check_servers(lua_State *L);
void rover__lua_add_servers(lua_State *L, struct rover__lua_rover *r);

/* -- bind_socket.c -------------------------------------------------------- */

struct rover__lua_socket; /* the userdata of a socket */

void rover__lua_open_socket(lua_State *L, rover__lua_t *lua);

/* The socket at `index`, NULL if it is closed; raises if there is none. */
rover_socket_t *rover__lua_check_socket(lua_State *L, int index);
bool rover__lua_is_socket(lua_State *L, int index);

/* Pushes the userdata of a socket, making it if there is none. May raise. */
void rover__lua_push_socket(lua_State *L, rover_socket_t *socket);

/* Pushes the id of the server of the socket at `index`. */
void rover__lua_push_id(lua_State *L, int index);

/* Makes the userdata of a socket that another state still has, with the value
 * on top of lua->L, which it pops, as its state unless that is nil. May raise. */
struct rover__lua_socket *rover__lua_prepare_socket(rover__lua_t *lua,
                                                    rover_socket_t *socket);

/* Takes the socket from the other state. Nobody reads it any more, and nothing
 * of it is told until it is awaited no more. */
void rover__lua_attach_socket(struct rover__lua_socket *box,
                              rover_socket_t *socket);

/* Whether it is yet to be adopted. */
bool rover__lua_is_awaited(const rover_socket_t *socket);
/* Before it is; and after that, has what was kept back follow. */
void rover__lua_expect_no_more(rover_socket_t *socket);
void rover__lua_catch_up(rover_socket_t *socket);

/* Whether the state had it from the one before. */
bool rover__lua_is_adopted(const rover_socket_t *socket);

/* No socket calls into the state any more, which has none from here on. */
void rover__lua_part_sockets(rover__lua_t *lua);

/* Pushes the state of a socket, or nil if it was never asked for. */
void rover__lua_push_state(lua_State *L, rover_socket_t *socket);

/* -- bind_relay.c --------------------------------------------------------- */

/* As struct rover__lua_rover; its uservalue also has `pick` and `giveBack`, and
 * in `why` what pick last said instead of giving a socket. */
struct rover__lua_relay {
  rover_relay_t *relay;
  struct rover__lua_relay **box;
  rover__lua_t *lua; /* NULL once the state is gone */
  struct rover__lua_owner *owner;
  const char *name;
  struct rover__lua_relay *prev, *next;
  struct rover__lua_relay *old;    /* of the same name in the old state */
  struct rover__lua_relay *source; /* the one there that has its listener */
  int anchor;
  int status; /* of taking that, to be told */
  rover_relay_stats_t last; /* once one of a new state has taken over */
  bool replaced;
  bool offering;
  bool making; /* the userdata of a client that is about to be offered */
  bool closing;
  bool gone; /* since pick ran the loop: offer() is to free it */
};

/* The relays' metatable, whose field `module` is the module. */
#define ROVER__LUA_RELAY_TYPE "callosum.relay"

/* Upvalue on top; pushes the module. */
void rover__lua_open_relay(lua_State *L);

/* Has the relays of a staged state listen, or finds those of the state `from`,
 * if that is not NULL, whose listeners they are to have. Raises if one cannot;
 * the state is then only to die. */
void rover__lua_listen(rover__lua_t *lua, const rover__lua_t *from);

/* Takes over listeners and clients of the relays that were found. Cannot
 * fail. */
void rover__lua_take_relays(rover__lua_t *lua);

/* After that: asks pick for the clients that wait, as below. */
bool rover__lua_begin_relays(rover__lua_t *lua, uint64_t until);

/* Emits an error of the relay, or raises it if nobody listens. */
void rover__lua_relay_error(lua_State *L, struct rover__lua_relay *r,
                            int status, int message);

void rover__lua_relay_abandon(struct rover__lua_relay *r);

/* -- pick.c --------------------------------------------------------------- */

void rover__lua_open_pick(lua_State *L); /* upvalue on top */

/* Returns the client that the running coroutine picks for, or nil. */
int rover__lua_picking(lua_State *L);

/* Asks pick for a client: the engine's callback. */
void rover__lua_offer_client(rover_relay_t *relay,
                             rover_relay_client_t *client);

/* Asks again for the clients of a relay that wait, in the order in which they
 * came, until pick has no socket; or for those of all relays. Returns false if
 * `until` (of uv_hrtime()) came first: it is to be called again. */
bool rover__lua_offer(struct rover__lua_relay *r, uint64_t until);
bool rover__lua_offer_all(rover__lua_t *lua, uint64_t until);

/* -- bind_client.c -------------------------------------------------------- */

/* The userdata of a client that waits. Its uservalue is nil or a table of the
 * handlers, with what was given as a reason to refuse it in `reason`. */
struct rover__lua_client {
  rover_relay_client_t
      *client; /* NULL once joined, closed, or another state's */
  rover__lua_t *lua;
  int anchor; /* reference in the registry while C may call back */
  int status; /* of the reason */
  bool picking; /* pick has yet to return */
};

void rover__lua_open_client(lua_State *L); /* upvalue on top */

/* Pushes the userdata of a client that waits, making it if there is none. May
 * raise. */
struct rover__lua_client *rover__lua_push_client(lua_State *L,
                                                 rover_relay_client_t *client);

bool rover__lua_is_waiting(const struct rover__lua_client *box);

/* Refuses the client at `index`; the error event has that status, and the
 * reason at the other index as its message. May raise. */
void rover__lua_refuse(lua_State *L, int index, int status, int reason);

/* Joins a client that waits. */
int rover__lua_join(struct rover__lua_client *box, rover_socket_t *socket);

/* Another state has the client from now on. */
void rover__lua_part_client(rover_relay_client_t *client);

/* The engine's callback. */
void rover__lua_client_closed(rover_relay_t *relay,
                              rover_relay_client_t *client, int status);

/* -- plain.c: nil, booleans, numbers, strings and tables of these --------- */

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

/* -- handover.c: from the rovers of one state to those of the next -------- */

struct rover__handover;

int rover__handover_new(struct rover__handover **handover, rover__lua_t *from,
                        rover__lua_t *to);
void rover__handover_free(struct rover__handover *handover);

/* To be called in the new state, which is staged, with the handover as light
 * userdata, while garbage collection is stopped in both states, so that no
 * finalizer of a script comes in between. Raises if it cannot be done; nothing
 * has changed then. */
int rover__handover_prepare(lua_State *L);

/* Makes the new state the owner, and retires the old one. Cannot fail.
 * rover__lua_commit() is next. */
void rover__handover_commit(struct rover__handover *handover);

/* Calls `connection` for sockets that were taken over, the lowest slot first,
 * and pick for the clients that wait, until that is all, when it returns true, or
 * `until` (of uv_hrtime()), but for one of each at least; then it is to be called
 * again. In between, a socket tells nothing
 * before its `connection`, new ones wait, and what ends is not adopted. */
bool rover__lua_adopt(rover__lua_t *lua, uint64_t until);

/* After that, or instead: what has waited comes. Counts the sockets that were
 * adopted, and those of them that are closed by now. */
void rover__lua_adopt_end(rover__lua_t *lua, size_t *adopted, size_t *closed);

/* -- handlers.c: lists of handlers by event ------------------------------- */

/* A table of handlers holds, at event + 1, an array of functions or nothing,
 * and of bystanders at -1 - event. An array is never changed, but replaced: a
 * running emit goes on with the one it began with. */

/* The event whose name is argument `arg`, of a NULL-terminated list; raises,
 * naming the nearest, if there is none such. */
int rover__lua_check_event(lua_State *L, int arg, const char *const names[]);

/* Append and remove the function at index `fn`, in the table at `table`. */
void rover__lua_add_handler(lua_State *L, int table, int event, int fn);
void rover__lua_add_bystander(lua_State *L, int table, int event, int fn);
void rover__lua_remove_handler(lua_State *L, int table, int event, int fn);

/* Whether the optional argument says that it is to be a bystander. */
bool rover__lua_is_bystander(lua_State *L, int arg);

/* Bystanders are none, here and below. */
bool rover__lua_has_handler(lua_State *L, int table, int event);

/* Calls each bystander, and then each handler, with the `nargs` values on top,
 * which it pops. `table` may be nil. Returns how many handlers there were, and
 * sets *failed to how many of all raised. */
int rover__lua_emit(rover__lua_t *lua, lua_State *L, int table, int event,
                    int nargs, int *failed);

/* The same as the last thing to do within rover__lua_protect(), which reports
 * what the last handler raises: one protected call is enough then. */
int rover__lua_emit_last(rover__lua_t *lua, lua_State *L, int table, int event,
                         int nargs, int *failed);

/* -- error.c: errors and names -------------------------------------------- */

void rover__lua_open_error(lua_State *L);

/* Pushes the table that tells of an error: code, message, and id unless it is
 * NULL. `message` NULL is libuv's. Without memory for it, pushes one that tells
 * of that. */
void rover__lua_push_error(lua_State *L, int status, const char *message,
                           const char *id);

/* The same without an id; the message, any string, or nil, is at that index. */
void rover__lua_push_error_of(lua_State *L, int status, int message);

/* Returns nil, message, code. */
int rover__lua_fail(lua_State *L, int status, const char *message);

/* Raises Lua's own error of memory, for what Lua's allocator does not allocate. */
int rover__lua_no_memory(lua_State *L);

/* Enough for any traceback. */
enum { ROVER__LUA_TRACEBACK_MAX = 8192 };

/* Writes where the thread is, from `level` on, as luaL_traceback() does, but
 * looks for no names in package.loaded, which is as large as a script likes, and
 * runs and allocates nothing: for where no budget holds. */
void rover__lua_traceback(lua_State *L, int level, char *text, size_t size);

/* The message handler of what runs in a coroutine of ours, whose errors pass
 * through others: adds the traceback to a string. */
int rover__lua_add_traceback(lua_State *L);

/* The traceback that was added so to the text, or NULL; and the length of the
 * text before it. */
const char *rover__lua_own_traceback(const char *text, size_t *length);

/* -- luv.c: luv's public C interface, found at run time ------------------- */

/* Opens the luv that require would find, before it is required, and pushes a
 * userdata that stands for it. Raises if there is none. */
void rover__lua_open_luv(lua_State *L);

/* The address of a public C function of the luv that the userdata on top of
 * the stack stands for. Raises if it has none of that name. */
void *rover__lua_luv_symbol(lua_State *L, const char *name);

#endif
