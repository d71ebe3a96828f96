/* Private to src/lua and src/host: what rovers, relays, fronts and
 * sources share.
 *
 * A script declares an object by name; in a reload, the object of the same kind
 * and name in the new state takes over its connections. Its userdata is a box,
 * a pointer to it that is NULL once it is closed; the uservalue is the table of
 * its handlers, which has its name in `name`. While the engine may call back,
 * the box is anchored in the registry; an idle object is collected like any
 * value. If the state closes first, the object is abandoned: it loses its state
 * and its box, and its owner lists it until the engine has closed it. */
#ifndef LUA_OBJECT_H
#define LUA_OBJECT_H

#include <callosum/discover.h>
#include <callosum/front.h>
#include <callosum/relay.h>

#include "check.h"
#include "handlers.h"

struct rover__lua_kind {
  int list;           /* in rover__lua_t */
  const char *type;   /* its metatable: "callosum.rover" */
  const char *noun;   /* "rover", for messages */
  size_t size;        /* of its struct, whose first member is the one below */
  const char *const *events; /* NULL-terminated */
  int error;          /* the event of that name */
  /* Whether the engine may call back; NULL: always, until it is closed. */
  bool (*is_busy)(const struct rover__lua_object *o);
  const struct rover__lua_listens *listens; /* or NULL: see listen.h */
};

/* The engine's callbacks get it from the user data of its handle. */
struct rover__lua_object {
  const struct rover__lua_kind *kind;
  union {
    rover_t *rover;
    rover_relay_t *relay;
    rover_front_t *front;
    rover_source_t *discover;
  };
  struct rover__lua_object **box;
  rover__lua_t *lua; /* NULL once the state is gone */
  struct rover__lua_owner *owner;
  const char *name;
  /* In the list of its state, and once that is gone, of its owner. `next` stays
   * valid, for loops over the state's list in which objects are collected. */
  struct rover__lua_object *prev, *next;
  struct rover__lua_object *owner_prev, *owner_next;
  struct rover__lua_object *old; /* in a reload, that of the same name */
  struct rover__lua_object *source; /* and that which has its listener */
  int status; /* of taking that, to be reported */
  int anchor;     /* the box's reference in the registry, or LUA_NOREF */
  unsigned holds; /* sockets of it that have a userdata */
  unsigned refs;  /* until it has closed, and calls that the loop may be run in:
                     the last one frees it */
  bool closing;
};

/* -- Life ----------------------------------------------------------------- */

/* Creates the metatable of a kind; `change` makes its on, once and off. */
void rover__lua_object_open(lua_State *L, const struct rover__lua_kind *kind,
                            const luaL_Reg methods[],
                            const luaL_Reg metamethods[], lua_CFunction change);

/* The first thing that new() does: checks the table of options, argument 1,
 * stores in `out` what the engine takes, and leaves the name at index 2. Raises
 * if the policy has ended or another object has that name. */
void rover__lua_object_check_new(lua_State *L,
                                 const struct rover__lua_kind *kind,
                                 const struct rover__lua_option known[],
                                 void *out);

/* Pushes a box without an object, and the table of its handlers. */
void rover__lua_object_push_new(lua_State *L,
                                const struct rover__lua_kind *kind);

/* Makes an object for the box at `index`, without a handle of the engine; NULL
 * if there is no memory. The box is to be pointed to it once it has one. */
struct rover__lua_object *
rover__lua_object_new(lua_State *L, const struct rover__lua_kind *kind,
                      int index);

/* Adds it to the list of its state, anchored or not, as the last thing that
 * new() does in Lua. Raises if another object has that name: a finalizer may
 * have made one. */
void rover__lua_object_declare(lua_State *L, int index,
                               struct rover__lua_object *o, bool anchored);

/* The object at index 1; raises if it is closed. The second returns NULL
 * instead, and raises only if there is no object of that kind. */
struct rover__lua_object *
rover__lua_object_check(lua_State *L, const struct rover__lua_kind *kind);
struct rover__lua_object *
rover__lua_object_test(lua_State *L, const struct rover__lua_kind *kind);

/* The one in a list that has this name and is not closing, or NULL. */
struct rover__lua_object *rover__lua_object_find(struct rover__lua_object *list,
                                                 const char *name);

/* Empties the box of an object whose handle is yet to be closed. */
void rover__lua_object_unbox(struct rover__lua_object *o);

/* Detaches the object from its state for good. The caller closes the engine's
 * handle, which must not call into Lua any more. */
void rover__lua_object_abandon(struct rover__lua_object *o);

/* To be called when the engine's handle has closed. Returns the owner or NULL:
 * the caller frees the object, and then calls owner->closed(). */
struct rover__lua_owner *
rover__lua_object_closed(struct rover__lua_object *o);

/* -- Anchoring ------------------------------------------------------------ */

/* Anchors the box at `index`. May raise, so it is to be called before the
 * engine is made to call back. */
void rover__lua_object_anchor(lua_State *L, int index,
                              struct rover__lua_object *o);

/* To be called when the object has become less busy: releases the anchor if
 * nothing can call back any more. The second decrements `holds` first. */
void rover__lua_object_settle(struct rover__lua_object *o);
void rover__lua_object_release(struct rover__lua_object *o);

void rover__lua_object_unref(struct rover__lua_object *o);

/* Push the box of an anchored object, or the table of its handlers. */
void rover__lua_object_push(lua_State *L, const struct rover__lua_object *o);
void rover__lua_object_push_handlers(lua_State *L,
                                     const struct rover__lua_object *o);

/* -- Events --------------------------------------------------------------- */

/* Emits the error on top of the stack as the last thing to do within
 * rover__lua_tell(). If nothing listens it is raised, to be reported. */
void rover__lua_object_error(lua_State *L, const struct rover__lua_object *o);

/* The same for a new error, from outside Lua. `id` may be NULL. */
void rover__lua_object_report(struct rover__lua_object *o, const char *id,
                              int status, const char *message);

/* The methods on, once and off. */
int rover__lua_object_change(lua_State *L, const struct rover__lua_kind *kind);

/* Pushes the name of the object at index 1, which may be closed. */
const char *rover__lua_object_push_name(lua_State *L);

/* Methods with nothing to return return the object. */
int rover__lua_return_self(lua_State *L);

#endif
