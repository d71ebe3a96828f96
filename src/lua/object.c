#include "object.h"

#include "error.h"

#include <stdlib.h>
#include <string.h>

#include <utlist.h>

int rover__lua_return_self(lua_State *L) {
  lua_pushvalue(L, 1);
  return 1;
}

/* -- Life ----------------------------------------------------------------- */

void rover__lua_object_open(lua_State *L, const struct rover__lua_kind *kind,
                            const luaL_Reg methods[],
                            const luaL_Reg metamethods[],
                            lua_CFunction change) {
  rover__lua_new_type(L, kind->type);
  luaL_setfuncs(L, metamethods, 0);
  lua_newtable(L);
  luaL_setfuncs(L, methods, 0);
  rover__lua_set_changers(L, change);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}

static bool is_taken(const rover__lua_t *lua,
                     const struct rover__lua_kind *kind, const char *name) {
  return lua->unique_names &&
         rover__lua_object_find(lua->objects[kind->list], name);
}

static int fail_taken(lua_State *L, const struct rover__lua_kind *kind,
                      const char *name) {
  return rover__lua_misuse(L, 1,
                           "name: there is a %s '%s' already: "
                           "give this one a 'name' of its own",
                           kind->noun, name);
}

void rover__lua_object_check_new(lua_State *L,
                                 const struct rover__lua_kind *kind,
                                 const struct rover__lua_option known[],
                                 void *out) {
  if (rover__lua_of(L)->dead) luaL_error(L, "this policy has ended");
  rover__lua_check_options_table(L, 1, 1, kind->noun);
  lua_settop(L, 1);
  rover__lua_check_options(L, known, out);
  if (lua_getfield(L, 1, "name") == LUA_TNIL) {
    lua_pop(L, 1);
    lua_pushliteral(L, "main");
  }
  const char *name = rover__lua_check_text(L, -1, 1, ROVER_ID_MAX, "name");
  if (is_taken(rover__lua_of(L), kind, name)) fail_taken(L, kind, name);
}

void rover__lua_object_push_new(lua_State *L,
                                const struct rover__lua_kind *kind) {
  struct rover__lua_object **box = lua_newuserdatauv(L, sizeof *box, 1);
  *box = NULL;
  luaL_setmetatable(L, kind->type);
  lua_newtable(L);
  lua_pushvalue(L, 2);
  lua_setfield(L, -2, "name");
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, -3, 1);
}

struct rover__lua_object *
rover__lua_object_new(lua_State *L, const struct rover__lua_kind *kind,
                      int index) {
  struct rover__lua_object *o = calloc(1, kind->size);
  if (!o) return NULL;
  o->kind = kind;
  o->refs = 1;
  o->anchor = LUA_NOREF;
  o->lua = rover__lua_of(L);
  o->owner = o->lua->owner;
  o->box = lua_touserdata(L, index);
  o->name = lua_tostring(L, 2); /* the table of handlers keeps it */
  return o;
}

void rover__lua_object_declare(lua_State *L, int index,
                               struct rover__lua_object *o, bool anchored) {
  if (anchored) rover__lua_object_anchor(L, index, o);
  if (is_taken(o->lua, o->kind, o->name)) {
    luaL_unref(L, LUA_REGISTRYINDEX, o->anchor);
    o->anchor = LUA_NOREF;
    fail_taken(L, o->kind, o->name);
  }
  DL_APPEND(o->lua->objects[o->kind->list], o);
}

struct rover__lua_object *
rover__lua_object_test(lua_State *L, const struct rover__lua_kind *kind) {
  return *(struct rover__lua_object **)rover__lua_check_type(L, 1,
                                                             kind->type);
}

struct rover__lua_object *
rover__lua_object_check(lua_State *L, const struct rover__lua_kind *kind) {
  struct rover__lua_object *o = rover__lua_object_test(L, kind);
  if (!o || o->closing)
    rover__lua_misuse(L, 1, "the %s is closed", kind->noun);
  return o;
}

struct rover__lua_object *rover__lua_object_find(struct rover__lua_object *list,
                                                 const char *name) {
  struct rover__lua_object *o = list;
  while (o && (o->closing || strcmp(o->name, name) != 0)) o = o->next;
  return o;
}

void rover__lua_object_unbox(struct rover__lua_object *o) {
  if (o->box) *o->box = NULL;
  o->box = NULL;
}

void rover__lua_object_abandon(struct rover__lua_object *o) {
  int list = o->kind->list;
  if (o->prev) DL_DELETE(o->lua->objects[list], o); /* if declared */
  if (o->owner) DL_APPEND2(o->owner->objects[list], o, owner_prev, owner_next);
  rover__lua_object_unbox(o);
  o->lua = NULL;
}

struct rover__lua_owner *rover__lua_object_closed(struct rover__lua_object *o) {
  int list = o->kind->list;
  if (o->lua) {
    DL_DELETE(o->lua->objects[list], o);
    luaL_unref(o->lua->L, LUA_REGISTRYINDEX, o->anchor);
    rover__lua_object_unbox(o);
  } else if (o->owner) {
    DL_DELETE2(o->owner->objects[list], o, owner_prev, owner_next);
  }
  return o->owner;
}

void rover__lua_object_unref(struct rover__lua_object *o) {
  if (--o->refs == 0) free(o);
}

/* -- Anchoring ------------------------------------------------------------ */

void rover__lua_object_anchor(lua_State *L, int index,
                              struct rover__lua_object *o) {
  if (o->anchor != LUA_NOREF) return;
  lua_pushvalue(L, index);
  o->anchor = luaL_ref(L, LUA_REGISTRYINDEX);
}

static bool may_call_back(const struct rover__lua_object *o) {
  return o->holds > 0 || o->closing || o->lua->staged || !o->kind->is_busy ||
         o->kind->is_busy(o);
}

void rover__lua_object_settle(struct rover__lua_object *o) {
  if (o->anchor == LUA_NOREF || may_call_back(o)) return;
  luaL_unref(o->lua->L, LUA_REGISTRYINDEX, o->anchor);
  o->anchor = LUA_NOREF;
}

void rover__lua_object_release(struct rover__lua_object *o) {
  o->holds--;
  rover__lua_object_settle(o);
}

void rover__lua_object_push(lua_State *L, const struct rover__lua_object *o) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, o->anchor);
}

void rover__lua_object_push_handlers(lua_State *L,
                                     const struct rover__lua_object *o) {
  rover__lua_object_push(L, o);
  lua_getiuservalue(L, -1, 1);
  lua_replace(L, -2);
}

/* -- Events --------------------------------------------------------------- */

void rover__lua_object_error(lua_State *L, const struct rover__lua_object *o) {
  int err = lua_gettop(L), failed;

  if (!o->box) return; /* closed meanwhile, it has no handlers any more */
  rover__lua_object_push_handlers(L, o);
  lua_pushvalue(L, err);
  if (rover__lua_emit_last(o->lua, L, err + 1, o->kind->error, 1, &failed) > 0)
    return;
  lua_pushfstring(L, "unhandled 'error' event of %s '%s': ", o->kind->noun,
                  o->name);
  luaL_tolstring(L, err, NULL);
  lua_concat(L, 2);
  lua_error(L);
}

struct outcome {
  const char *id, *message;
  int status;
};

static int error_event(lua_State *L) {
  const struct outcome *outcome = lua_touserdata(L, 2);
  rover__lua_push_error(L, outcome->status, outcome->message, outcome->id);
  rover__lua_object_error(L, lua_touserdata(L, 1));
  return 0;
}

void rover__lua_object_report(struct rover__lua_object *o, const char *id,
                              int status, const char *message) {
  struct outcome outcome = {id, message, status};
  struct rover__lua_occasion occasion = {
      .event = "error", .noun = o->kind->noun, .name = o->name};
  o->refs++; /* a finalizer may run the loop, and it be closed in that */
  rover__lua_tell(o->lua, &occasion, error_event, o, &outcome);
  rover__lua_object_unref(o);
}

int rover__lua_object_change(lua_State *L, const struct rover__lua_kind *kind) {
  rover__lua_object_check(L, kind);
  struct rover__lua_change change =
      rover__lua_check_change(L, 2, kind->events, rover__lua_method(L));
  lua_getiuservalue(L, 1, 1);
  rover__lua_change_handlers(L, -1, 3, &change);
  return rover__lua_return_self(L);
}

const char *rover__lua_object_push_name(lua_State *L) {
  lua_getiuservalue(L, 1, 1);
  lua_getfield(L, -1, "name");
  lua_remove(L, -2);
  return lua_tostring(L, -1);
}
