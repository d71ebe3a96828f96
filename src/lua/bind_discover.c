#include "bind_discover.h"

#include "../discover/source.h"
#include "bind_rover.h"
#include "error.h"
#include "settings.h"

#include <stdlib.h>
#include <string.h>

enum { UPDATE, ERROR };
static const char *const event_names[] = {"update", "error", NULL};

struct source {
  struct rover__lua_object object;
  bool start_wanted;
  bool replaced; /* by a source of a new state: */
  rover_source_stats_t last; /* its counters, then */
};

static struct source *source_of(struct rover__lua_object *o) {
  return (struct source *)o;
}

/* A source is anchored from its declaration until it has closed. */
static const struct rover__lua_kind kind = {.list = ROVER__LUA_SOURCES,
                                            .type = "callosum.source",
                                            .noun = "source",
                                            .size = sizeof(struct source),
                                            .events = event_names,
                                            .error = ERROR};

/* -- Events --------------------------------------------------------------- */

struct changes {
  const char *const *added, *const *dropped;
  size_t added_count, dropped_count;
};

static void push_ids(lua_State *L, const char *const ids[], size_t count) {
  lua_createtable(L, (int)count, 0);
  for (size_t i = 0; i < count; i++) {
    lua_pushstring(L, ids[i]);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
}

static int update_event(lua_State *L) {
  const struct rover__lua_object *o = lua_touserdata(L, 1);
  const struct changes *changes = lua_touserdata(L, 2);
  int failed;

  rover__lua_object_push_handlers(L, o);
  push_ids(L, changes->added, changes->added_count);
  push_ids(L, changes->dropped, changes->dropped_count);
  rover__lua_emit_last(o->lua, L, 3, UPDATE, 2, &failed);
  return 0;
}

static void on_update(rover_source_t *source, const char *const added[],
                      size_t added_count, const char *const dropped[],
                      size_t dropped_count) {
  struct rover__lua_object *o = discover__source_data(source);
  struct changes changes = {added, dropped, added_count, dropped_count};
  struct rover__lua_occasion occasion = {
      .event = "update", .noun = kind.noun, .name = o->name};
  rover__lua_tell(o->lua, &occasion, update_event, o, &changes);
}

static void on_error(rover_source_t *source, int status, const char *message) {
  rover__lua_object_report(discover__source_data(source), NULL, status,
                           message);
}

/* What comes and goes is told once a handler has asked for that. */
static const discover__source_events_t events = {.error = on_error},
                                       all_events = {on_update, on_error};

/* -- Life ----------------------------------------------------------------- */

static struct rover__lua_object *check_open(lua_State *L) {
  return rover__lua_object_check(L, &kind);
}

static void on_closed(rover_source_t *source) {
  struct rover__lua_object *o = discover__source_data(source);
  struct rover__lua_owner *owner = rover__lua_object_closed(o);
  rover__lua_object_unref(o);
  if (owner) owner->closed(owner);
}

void rover__lua_source_abandon(struct rover__lua_object *o) {
  rover__lua_object_abandon(o);
  discover__source_set_events(o->discover, NULL, o);
  discover__source_close(o->discover, on_closed);
}

/* Only when the state closes, or it was never declared. */
static int l_gc(lua_State *L) {
  struct rover__lua_object *o = rover__lua_object_test(L, &kind);
  if (o) rover__lua_source_abandon(o);
  return 0;
}

static int l_close(lua_State *L) {
  struct rover__lua_object *o = rover__lua_object_test(L, &kind);
  if (o) {
    o->closing = true;
    discover__source_close(o->discover, on_closed);
  }
  return rover__lua_return_self(L);
}

/* Raises if the settings are wrong. */
static struct discover__config *make_config(lua_State *L,
                                            const struct discover__kind *asks,
                                            const struct rover__lua_settings *s) {
  struct discover__config *config;
  char message[256];

  if (discover__config_new(&config, asks, &s->options, s->all, s->count) < 0)
    rover__lua_no_memory(L);
  if (asks->check && !asks->check(config, message, sizeof message)) {
    discover__config_unref(config);
    luaL_argerror(L, 1, message);
  }
  return config;
}

/* Upvalue 2 is the kind of what is asked. */
static int l_new(lua_State *L) {
  const struct discover__kind *asks = lua_touserdata(L, lua_upvalueindex(2));
  rover__lua_t *lua = rover__lua_of(L);
  size_t *memory = lua->owner ? &lua->owner->memory : NULL;
  struct rover__lua_settings settings;
  struct rover__lua_object *o = NULL;

  rover__lua_check_settings(L, asks, &kind, &settings);
  rover__lua_object_push_new(L, &kind);
  lua_pop(L, 1); /* the handlers */
  int index = lua_gettop(L), err = UV_ENOMEM;
  struct discover__config *config = make_config(L, asks, &settings);
  if (rover__lua_may_have(lua, 0)) o = rover__lua_object_new(L, &kind, index);
  if (o)
    err = discover__source_new(&o->discover, lua->loop, config, &events, o,
                               memory);
  if (err < 0) {
    free(o);
    discover__config_unref(config);
    if (err == UV_ENOMEM) return rover__lua_no_memory(L);
    return luaL_error(L, "cannot make a source: %s", rover__lua_explain(err));
  }
  *o->box = o;
  rover__lua_object_declare(L, index, o, true); /* if it raises, o is garbage */
  lua_settop(L, index);
  return 1;
}

static int l_tostring(lua_State *L) {
  struct rover__lua_object *o = rover__lua_object_test(L, &kind);
  bool open = o && !o->closing;

  lua_pushfstring(L, "source '%s' (%s%s%s)", rover__lua_object_push_name(L),
                  open ? rover_source_kind(o->discover) : "closed",
                  open ? " " : "", open ? rover_source_place(o->discover) : "");
  return 1;
}

/* -- Replacing ------------------------------------------------------------ */

void rover__lua_find_sources(rover__lua_t *lua, const rover__lua_t *from) {
  struct rover__lua_object *o = lua->objects[ROVER__LUA_SOURCES];
  for (; o; o = o->next)
    if (!o->closing)
      o->old =
          rover__lua_object_find(from->objects[ROVER__LUA_SOURCES], o->name);
}

static void take_over(struct rover__lua_object *o) {
  struct source *old = source_of(o->old);
  rover_source_t *source = old->object.discover;

  rover_source_stats_get(source, &old->last);
  old->replaced = true;
  discover__source_exchange(source, o->discover);
  old->object.discover = o->discover;
  o->discover = source;
  o->old = NULL;
}

void rover__lua_take_sources(rover__lua_t *lua) {
  struct rover__lua_object *o = lua->objects[ROVER__LUA_SOURCES];
  for (; o; o = o->next)
    if (o->old) take_over(o);
}

void rover__lua_source_begin(struct rover__lua_object *o) {
  if (source_of(o)->start_wanted) discover__source_start(o->discover);
  source_of(o)->start_wanted = false;
}

/* -- Methods -------------------------------------------------------------- */

static int l_change(lua_State *L) {
  struct rover__lua_object *o = check_open(L);
  if (lua_type(L, 2) == LUA_TSTRING &&
      !strcmp(lua_tostring(L, 2), event_names[UPDATE]))
    discover__source_set_events(o->discover, &all_events, o);
  return rover__lua_object_change(L, &kind);
}

static int l_attach(lua_State *L) {
  struct rover__lua_object *o = check_open(L);
  struct rover__lua_object *rover = rover__lua_check_rover(L, 2);

  if (discover__source_attach(o->discover, rover->rover) < 0)
    rover__lua_no_memory(L);
  if (o->lua->staged) source_of(o)->start_wanted = true;
  else discover__source_start(o->discover);
  return rover__lua_return_self(L);
}

static int l_stats(lua_State *L) {
  struct rover__lua_object *o = rover__lua_object_test(L, &kind);
  rover_source_stats_t s;
  if (!o) return luaL_argerror(L, 1, "the source is closed");

  if (source_of(o)->replaced) s = source_of(o)->last;
  else rover_source_stats_get(o->discover, &s);
  lua_newtable(L);
#define PUSH_COUNTER(value) lua_pushinteger(L, (lua_Integer)(value))
#define PUSH_GAUGE PUSH_COUNTER
#define PUSH_TIME PUSH_COUNTER
#define PUSH_FLAG(value) lua_pushboolean(L, (value) != 0)
#define XX(name, kind, lua, text)                                              \
  PUSH_##kind(s.name);                                                         \
  lua_setfield(L, -2, lua);
  ROVER_SOURCE_STATS_MAP(XX)
#undef XX
  return 1;
}

static const luaL_Reg methods[] = {
    {"attach", l_attach}, {"stats", l_stats}, {"close", l_close}, {NULL, NULL}};

static const luaL_Reg metamethods[] = {
    {"__gc", l_gc},
    {"__close", l_close},
    {"__tostring", l_tostring},
    {NULL, NULL},
};

void rover__lua_open_discover(lua_State *L) {
  rover__lua_object_open(L, &kind, methods, metamethods, l_change);
  lua_newtable(L); /* shared, module */
  for (size_t i = 0; discover__kinds[i]; i++) {
    lua_pushvalue(L, -2);
    lua_pushlightuserdata(L, (void *)discover__kinds[i]);
    lua_pushcclosure(L, l_new, 2);
    lua_setfield(L, -2, discover__kinds[i]->name);
  }
}
