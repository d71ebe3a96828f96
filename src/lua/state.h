/* Private to src/lua and src/host: what the bindings know of a Lua state, and
 * how they call into it. */
#ifndef LUA_STATE_H
#define LUA_STATE_H

/* A failed assertion of uthash's lists would print and abort. */
#ifndef NDEBUG
#define NDEBUG
#endif

#include <callosum/workers.h>

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>

/* Calls the function that lies below its `nargs` arguments on the stack, in
 * protected mode, and reports an error itself. Returns how many results it
 * left, or a negative number and leaves nothing. The shape is that of luv's
 * luv_CFpcall, so that one function serves both. */
typedef int (*rover__lua_call)(lua_State *L, int nargs, int nresults,
                               int flags);

enum {
  ROVER__LUA_NOEXIT = 1, /* luv's: an error is no reason to end the process */
  ROVER__LUA_HANDLED = 1 << 8 /* lua->handler lies below the function */
};

/* What a script declares by name: see object.h. */
struct rover__lua_object;
struct rover__lua_passed; /* see listen.h */
enum {
  ROVER__LUA_ROVERS,
  ROVER__LUA_RELAYS,
  ROVER__LUA_FRONTS,
  ROVER__LUA_SOURCES,
  ROVER__LUA_KINDS
};

/* The event whose handlers are running, for reports of their errors. What is
 * not known is NULL. */
struct rover__lua_occasion {
  const char *event;
  const char *noun, *name; /* of the object: "rover", "main" */
  const char *server;        /* id */
  const rover_socket_t *socket;
  const char *outcome; /* what follows from an error */
};

/* Outlives states: lists the objects whose state has closed until the engine
 * has closed them, and is called for each. Limits the memory that rovers use
 * outside Lua. */
struct rover__lua_owner {
  struct rover__lua_object *objects[ROVER__LUA_KINDS];
  size_t memory, memory_max; /* bytes */
  rover_turn_t *turn; /* shared by the rovers */
  rover_workers_t *workers; /* shared by relays and fronts; or NULL */
  struct rover__lua_passed *passed; /* sockets to listen on, or NULL */
  void (*closed)(struct rover__lua_owner *owner);
};

enum { ROVER__LUA_SPARES = 64 };

/* One for each Lua state, in a userdata that is the first upvalue of the
 * functions that create objects. */
typedef struct rover__lua_s {
  lua_State *L; /* the main thread: callbacks may outlive a coroutine */
  uv_loop_t *loop;
  rover__lua_call call;
  /* What call() would put below the function, or NULL: to do that first is
   * cheaper than to do it later, below what is there. */
  lua_CFunction handler;
  /* While set, objects are only declared: start() and connect() are recorded,
   * and carried out by rover__lua_commit(). */
  bool staged;
  /* Whether the script may name that path; NULL: any. */
  bool (*may_name)(struct rover__lua_s *lua, const char *path);
  /* Called with each file of a `tls` before it is read; or NULL. */
  void (*reads)(struct rover__lua_s *lua, const char *path);
  bool no_http; /* its sources must not speak HTTP */
  size_t others; /* bytes that rovers of other states used by then */
  const struct rover__lua_occasion *occasion; /* or NULL */
  /* Objects are known by their names, so no two of a kind may share one. */
  bool unique_names;
  /* Another state has taken over, and nothing but unload handlers is called in
   * this one. */
  bool retired;
  /* It has taken over, and `connection` is yet to be called for sockets. */
  bool adopting;
  size_t adopted; /* how many sockets it has taken over */
  /* The state is about to close, and nothing is called in it any more. */
  bool dead;
  struct rover__lua_owner *owner; /* or NULL */
  struct rover__lua_object *objects[ROVER__LUA_KINDS];
  /* Called when a rover has kept a socket and there are relays. */
  void (*kept)(struct rover__lua_s *lua);
  /* Called when another of our modules was opened, with it on top; or NULL. */
  void (*opened)(lua_State *L, const char *name);
  struct rover__lua_pick *pick; /* see bind_client.h */
  struct rover__lua_tls *tls; /* see tls.h */
  struct rover__metrics *metrics; /* see metrics.h; NULL outside of a host */
  uint64_t offer_rounds;        /* see pick.c */
  /* What rover__lua_anchor() can take without asking for a reference. */
  int spares[ROVER__LUA_SPARES];
  int spare_count;
  /* References in the registry. */
  int wrap;        /* coroutine.wrap */
  int picks;       /* see pick.c */
  int socket_type; /* metatable */
  int servers;     /* see server.c */
} rover__lua_t;

/* The one whose function is running. */
rover__lua_t *rover__lua_of(lua_State *L);

/* Raises an error about argument `arg`, or if that is 0, alone, unless the script
 * may name the path; `what` is the name of the value. */
void rover__lua_check_path(lua_State *L, rover__lua_t *lua, int arg,
                           const char *what, const char *path);

/* The workers of new relays and fronts, or NULL. */
rover_workers_t *rover__lua_workers(const rover__lua_t *lua);

/* Whether the rovers may use so many more bytes of memory. */
bool rover__lua_may_have(const rover__lua_t *lua, size_t bytes);

/* luaL_ref() of the value on top, and luaL_unref(), in the registry, in half of
 * their time: a reference that is given up is kept for the next. */
int rover__lua_anchor(rover__lua_t *lua, lua_State *L);
void rover__lua_free_anchor(rover__lua_t *lua, lua_State *L, int anchor);

/* Calls `function(L)`, which calls the handlers of an occasion, through
 * lua->call, with the two pointers as light userdata at stack indices 1 and 2.
 * All Lua values are made there, where the state's memory limit applies.
 * Returns a negative number if it raised an error. */
int rover__lua_tell(rover__lua_t *lua,
                    const struct rover__lua_occasion *occasion,
                    lua_CFunction function, void *first, void *second);

#endif
