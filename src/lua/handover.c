#include "handover.h"

#include "../rover/hold.h"
#include "../rover/reload.h"
#include "bind_books.h"
#include "bind_discover.h"
#include "bind_front.h"
#include "bind_relay.h"
#include "bind_rover.h"
#include "error.h"
#include "listen.h"
#include "metrics.h"
#include "pick.h"
#include "plain.h"
#include "rover_object.h"
#include "socket.h"
#include "tls_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A rover of the new state takes over the connections and attempts of the rover
 * of the same name in the old one; relays, fronts and sources do likewise. All that can
 * fail happens in prepare, which the old state does not notice; commit only
 * moves pointers. From then on nothing is called in the old state, and the
 * sockets are awaited: each has no event before its `connection`. That may take
 * several turns of the loop, in which handlers close sockets and rovers, so
 * each turn looks afresh for those that are left. */

struct adoption {
  rover_socket_t *socket;
  struct rover__lua_socket *box; /* in the new state */
};

struct rover__handover {
  rover__lua_t *from, *to;
  size_t count;
  struct adoption sockets[];
};

static size_t count_sockets(rover_t *rover) {
  rover_stats_t stats;
  rover_stats_get(rover, &stats);
  return (size_t)stats.kept;
}

int rover__handover_new(struct rover__handover **out, rover__lua_t *from,
                        rover__lua_t *to) {
  size_t sockets = 0;
  struct rover__lua_object *o = from->objects[ROVER__LUA_ROVERS];
  for (; o; o = o->next) sockets += count_sockets(o->rover);
  struct rover__handover *h =
      calloc(1, sizeof *h + sockets * sizeof *h->sockets);
  if (!h) return UV_ENOMEM;
  h->from = from;
  h->to = to;
  *out = h;
  return 0;
}

/* -- Preparing ------------------------------------------------------------ */

/* Servers that were added after the old script was loaded stay, unless the new
 * script declares that id itself; and so do those that sources hold, as long as
 * they do. What secures them is made anew, as it reads its files anew. */
static void keep_added_servers(lua_State *L, const struct rover__handover *h,
                               const rover_t *old, rover_t *new) {
  rover_server_t *server;

  for (size_t i = 0; (server = rover_server_any_at(old, i)); i++) {
    bool stays = !rover_server_mark(server) || rover_server_is_held(server);
    if (!stays) continue;
    rover_tls_t *tls = rover_server_tls(server);
    if (tls && !rover_server_get(new, rover_server_id(server)))
      tls = rover__lua_tls_renew(L, h->to, h->from, tls);
    if (rover_server_keep(new, server, tls) < 0) rover__lua_no_memory(L);
  }
}

/* In the old state: writes the state of the socket. */
static int write_state(lua_State *L) {
  rover__lua_push_state(L, lua_touserdata(L, 1));
  if (!lua_isnil(L, -1))
    rover__plain_write(L, -1, "socket.state", lua_touserdata(L, 2));
  return 0;
}

/* In the new state: pushes what the old one wrote. */
static int read_state(lua_State *L) {
  rover__plain_read(L, lua_touserdata(L, 1));
  return 1;
}

/* Pushes the socket's state, copied from the old state. */
static void push_copied_state(lua_State *L, rover__lua_t *from,
                              rover_socket_t *socket) {
  struct rover__plain plain = {0};
  lua_State *old = from->L;
  int top = lua_gettop(old);
  int status = LUA_ERRMEM;
  char why[512] = "";

  if (lua_checkstack(old, 8)) {
    lua_pushcfunction(old, write_state);
    lua_pushlightuserdata(old, socket);
    lua_pushlightuserdata(old, &plain);
    status = lua_pcall(old, 2, 0, 0);
  }
  if (status == LUA_OK && plain.length == 0) {
    lua_pushnil(L);
    return;
  }
  if (status == LUA_OK) {
    /* Protected, since the bytes are to be freed whatever happens. */
    lua_pushcfunction(L, read_state);
    lua_pushlightuserdata(L, &plain);
    status = lua_pcall(L, 1, 1, 0);
  } else {
    snprintf(why, sizeof why, "%s",
             status == LUA_ERRMEM ? "" : lua_tostring(old, -1));
    lua_settop(old, top);
  }
  free(plain.bytes);
  if (*why) luaL_error(L, "%s", why);
  else if (status == LUA_ERRMEM) rover__lua_no_memory(L);
  else if (status != LUA_OK) lua_error(L);
}

int rover__handover_prepare(lua_State *L) {
  struct rover__handover *h = lua_touserdata(L, 1);
  struct rover__lua_object *list = h->from->objects[ROVER__LUA_ROVERS];
  struct rover__lua_object *o = h->to->objects[ROVER__LUA_ROVERS];

  for (; o; o = o->next) {
    if (!o->closing) o->old = rover__lua_object_find(list, o->name);
    if (!o->old) continue;
    keep_added_servers(L, h, o->old->rover, o->rover);
    for (rover_socket_t *socket = rover_socket_first(o->old->rover); socket;
         socket = rover_socket_next(socket)) {
      if (rover__lua_has_state(socket)) push_copied_state(L, h->from, socket);
      else lua_pushnil(L);
      struct rover__lua_socket *box = rover__lua_prepare_socket(h->to, socket);
      h->sockets[h->count++] = (struct adoption){socket, box};
      lua_settop(L, 1);
    }
  }
  if (h->from->metrics) {
    rover__metrics_prepare(L, h->from->metrics);
    rover__books_prepare(L, h->from->metrics);
  }
  rover__lua_find_sources(h->to, h->from);
  rover__lua_listen(h->to, h->from); /* last, as others see it */
  return 0;
}

/* -- Committing ----------------------------------------------------------- */

static void take_over(struct rover__lua_object *o) {
  bool *start_wanted = &rover__lua_rover_of(o)->start_wanted;
  rover_t *rover = o->old->rover;

  rover_exchange(rover, o->rover);
  rover_holders_pass(o->rover, rover);
  o->old->rover = o->rover;
  o->rover = rover;
  o->old = NULL;
  if (!rover_is_started(rover)) return;
  if (*start_wanted) *start_wanted = false; /* it keeps its rhythm */
  else rover_stop(rover);
}

/* From here on only the host calls something in it. */
static void retire(rover__lua_t *lua) {
  struct rover__lua_object *o = lua->objects[ROVER__LUA_ROVERS];

  lua->retired = true;
  for (; o; o = o->next) rover_stop(o->rover);
}

void rover__handover_commit(struct rover__handover *h) {
  struct rover__lua_object *rovers = h->to->objects[ROVER__LUA_ROVERS], *o;

  for (o = rovers; o; o = o->next)
    if (o->old) take_over(o);
  for (size_t i = 0; i < h->count; i++)
    rover__lua_attach_socket(h->sockets[i].box, h->sockets[i].socket);
  if (h->from->metrics) {
    rover__metrics_pass(h->from->metrics, false);
    rover__books_pass(h->from->metrics);
  }
  retire(h->from);
  rover__lua_take_listeners(h->to);
  rover__lua_take_relays(h->to);
  rover__lua_take_fronts(h->to);
  rover__lua_take_sources(h->to);
  for (o = rovers; o; o = o->next) rover_hold(o->rover, true);
  h->to->adopting = true;
  h->to->adopted = h->count;
}

/* -- Adopting ------------------------------------------------------------- */

/* The rover whose cursor is at the lowest slot of all awaited sockets; each
 * rover's are sorted by slot. Within a turn a cursor may stay at a socket that
 * has closed. */
static struct rover__lua_rover *find_lowest(rover__lua_t *lua) {
  struct rover__lua_rover *lowest = NULL;
  struct rover__lua_object *o = lua->objects[ROVER__LUA_ROVERS];

  for (; o; o = o->next) {
    struct rover__lua_rover *r = rover__lua_rover_of(o);
    while (r->cursor && !rover__lua_is_awaited(r->cursor))
      r->cursor = rover_socket_next(r->cursor);
    if (r->cursor && (!lowest || rover_socket_slot(r->cursor) <
                                     rover_socket_slot(lowest->cursor)))
      lowest = r;
  }
  return lowest;
}

static bool is_over_limit(const rover_socket_t *socket) {
  const rover_options_t *o = rover_options(rover_socket_rover(socket));
  return (unsigned)rover_socket_slot(socket) >= o->slot_limit;
}

/* Limits that the policy declares are a decision about all of them. */
static void close_surplus(rover_t *rover) {
  const rover_options_t *o = rover_options(rover);
  size_t left = o->max_kept;

  if (left == UINT32_MAX && o->slot_limit > INT_MAX) return; /* there are none */
  for (rover_socket_t *socket = rover_socket_first(rover); socket;
       socket = rover_socket_next(socket)) {
    bool awaited = rover__lua_is_awaited(socket);
    if (!awaited || (left > 0 && !is_over_limit(socket))) {
      left -= left > 0;
      continue;
    }
    rover__lua_expect_no_more(socket);
    rover_socket_close(socket);
  }
}

bool rover__lua_adopt(rover__lua_t *lua, uint64_t slice) {
  struct rover__lua_object *o = lua->objects[ROVER__LUA_ROVERS];
  struct rover__lua_rover *r;
  uint64_t from = uv_hrtime();

  for (; o; o = o->next) {
    if (!o->closing) close_surplus(o->rover);
    rover__lua_rover_of(o)->cursor =
        o->closing ? NULL : rover_socket_first(o->rover);
  }
  r = find_lowest(lua);
  /* To have found the first must not be most of what a turn does. */
  uint64_t now = uv_hrtime(), least = 3 * (now - from);
  uint64_t until = now + (slice > least ? slice : least);
  for (; r; r = find_lowest(lua)) {
    rover_socket_t *socket = r->cursor;
    rover__lua_expect_no_more(socket);
    rover__lua_deliver(&r->object, socket);
    if (!rover_socket_is_closing(socket)) rover__lua_catch_up(socket);
    if (uv_hrtime() >= until) break;
  }
  rover__lua_report_listeners(lua);
  return rover__lua_offer_all(lua, until) && (!r || !find_lowest(lua));
}

void rover__lua_adopt_end(rover__lua_t *lua, size_t *adopted, size_t *closed) {
  size_t open = 0;

  lua->adopting = false;
  struct rover__lua_object *o = lua->objects[ROVER__LUA_ROVERS];
  for (; o; o = o->next) {
    if (o->closing) continue;
    rover_hold(o->rover, false);
    for (rover_socket_t *socket = rover_socket_first(o->rover); socket;
         socket = rover_socket_next(socket))
      open += rover__lua_is_adopted(socket);
  }
  *adopted = lua->adopted;
  *closed = lua->adopted - open;
}
