#include "bind_front.h"

#include "../front/reload.h"
#include "check.h"
#include "cidrs.h"
#include "error.h"
#include "listen.h"
#include "tls.h"
#include "tls_server.h"

#include <stdlib.h>
#include <string.h>

enum { BACKEND, ERROR };
static const char *const event_names[] = {"backend", "error", NULL};

/* What the script of a staged front has called: a reload applies it to the front
 * whose connections it takes over. */
enum { DRAIN = 1, RESUME };

struct front {
  struct rover__lua_object object;
  bool sets_down;
  int drains; /* one of these, or 0 */
  uint64_t drain_time;
  rover_front_stats_t last; /* when a front of a new state took over */
  bool replaced;
};

static struct front *front_of(struct rover__lua_object *o) {
  return (struct front *)o;
}

/* -- Listening ------------------------------------------------------------ */

static const rover_address_t *address(const struct rover__lua_object *o) {
  return &rover_front_options(o->front)->address;
}

static bool is_on(const struct rover__lua_object *o) {
  return rover_front_is_listening(o->front);
}

static int listen_on(struct rover__lua_object *o) {
  return rover_front_listen(o->front);
}

static int listen_on_fd(struct rover__lua_object *o, int fd) {
  return rover_front_listen_fd(o->front, fd);
}

static bool is_for_fd(const struct rover__lua_object *o, int fd,
                      const char *path, bool any_port) {
  return rover_front_is_for_fd(o->front, fd, path, any_port);
}

static bool is_for(const struct rover__lua_object *other,
                   const struct rover__lua_object *o) {
  return rover_front_listens_for(other->front, o->front);
}

static int take(struct rover__lua_object *o, struct rover__lua_object *from) {
  return rover_front_take_listener(o->front, from->front);
}

static uint64_t joined(const struct rover__lua_object *o) {
  rover_front_stats_t s;
  rover_front_stats_get(o->front, &s);
  return s.open;
}

static const struct rover__lua_listens listens = {
    address, is_on, listen_on, listen_on_fd, is_for_fd, is_for, take, joined};

/* A front is anchored from its declaration until it has closed. */
static const struct rover__lua_kind kind = {.list = ROVER__LUA_FRONTS,
                                            .type = "callosum.front",
                                            .noun = "front",
                                            .size = sizeof(struct front),
                                            .events = event_names,
                                            .error = ERROR,
                                            .listens = &listens};

static struct rover__lua_object *check_open(lua_State *L) {
  return rover__lua_object_check(L, &kind);
}

/* -- Events --------------------------------------------------------------- */

struct finding {
  int up, status;
  const char *message;
};

static int backend_event(lua_State *L) {
  const struct rover__lua_object *o = lua_touserdata(L, 1);
  const struct finding *finding = lua_touserdata(L, 2);
  int failed;

  rover__lua_object_push_handlers(L, o);
  lua_pushboolean(L, finding->up);
  if (finding->up) lua_pushnil(L);
  else rover__lua_push_error(L, finding->status, finding->message, NULL);
  rover__lua_emit_last(o->lua, L, 3, BACKEND, 2, &failed);
  return 0;
}

static void on_backend(rover_front_t *front, int up, int status,
                       const char *message) {
  struct rover__lua_object *o = rover_front_data(front);
  struct finding finding = {up, status, message};
  struct rover__lua_occasion occasion = {
      .event = "backend", .noun = kind.noun, .name = o->name};
  rover__lua_tell(o->lua, &occasion, backend_event, o, &finding);
}

static void on_error(rover_front_t *front, int status, const char *message) {
  rover__lua_object_report(rover_front_data(front), NULL, status, message);
}

static void on_reject(rover_front_t *front, int status, const char *message,
                      const struct sockaddr *peer) {
  (void)peer; /* the message has it */
  on_error(front, status, message);
}

static const rover_front_events_t events = {
    .backend = on_backend, .error = on_error, .reject = on_reject};

/* -- Options -------------------------------------------------------------- */

static const struct rover__lua_option known[] = {
    {.name = "name"},
    {.name = "listen"},
    {.name = "backend"},
    {.name = "tls"},
    {.name = "connectOn"},
    {.name = "allow"},
    {.name = "trusted"},
#define XX(type, field, kind, least, most, initial, lua, text)                 \
  {lua, ROVER__LUA_##kind, least, most, offsetof(rover_front_options_t, field)},
    ROVER_FRONT_OPTIONS_MAP(XX)
#undef XX
    {.name = NULL},
};

/* Checks connectOn, which is at `index`. */
static int check_moment(lua_State *L, int index) {
  static const char *const moments[] = {[ROVER_FRONT_ON_DATA] = "data",
                                        [ROVER_FRONT_ON_KEPT] = "kept",
                                        [ROVER_FRONT_ON_SLOT] = "slot"};
  const char *given =
      lua_type(L, index) == LUA_TSTRING ? lua_tostring(L, index) : "";

  for (int i = 0; i < (int)(sizeof moments / sizeof *moments); i++)
    if (!strcmp(given, moments[i])) return i;
  return rover__lua_expected(L, index, 1, "connectOn",
                             "'data', 'kept' or 'slot'");
}

static void check_accepting(lua_State *L, const rover_front_options_t *o) {
  if (!o->accept_proxy) return;
  if (!o->address.path && (!o->trusted || !o->trusted[0]))
    luaL_argerror(L, 1, "trusted: acceptProxy needs the addresses of the "
                        "relays");
  if (o->connect_on != ROVER_FRONT_ON_DATA)
    luaL_argerror(L, 1, "connectOn: with acceptProxy, a connection is joined "
                        "once its header has come: 'data'");
}

/* Leaves the name at index 2, and above it the strings in the options. */
static void check_options(lua_State *L, rover_front_options_t *out) {
  rover__lua_object_check_new(L, &kind, known, out);
  lua_getfield(L, 1, "listen");
  out->address = rover__lua_check_address(L, lua_gettop(L), "listen", true);
  lua_getfield(L, 1, "backend");
  out->backend = rover__lua_check_address(L, lua_gettop(L), "backend", false);
  if (lua_getfield(L, 1, "connectOn") != LUA_TNIL)
    out->connect_on = check_moment(L, lua_gettop(L));
  if (lua_getfield(L, 1, "allow") != LUA_TNIL)
    out->allow = rover__lua_check_cidrs(L, lua_gettop(L), "allow");
  if (lua_getfield(L, 1, "trusted") != LUA_TNIL)
    out->trusted = rover__lua_check_cidrs(L, lua_gettop(L), "trusted");
  check_accepting(L, out);
}

/* Whether the engine takes it for a host. */
static bool is_host(const char *host) {
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
  return !host || !strcmp(host, "localhost") ||
         uv_ip4_addr(host, 0, &v4) == 0 || uv_ip6_addr(host, 0, &v6) == 0;
}

static const char *push_why(lua_State *L, int err,
                            const rover_front_options_t *o) {
  const rover_address_t *a = &o->address;
  bool is_listen = !a->path && !is_host(a->host);

  switch (err) {
    case UV_ENAMETOOLONG: return "a path is too long for this system";
    case UV_ELOOP: return "backend: it is the front itself";
    case UV_EPERM:
      return lua_pushfstring(
          L,
          "listen: on %s other machines can connect, and the backend would "
          "take them for this one: say who may in 'allow' or, by their "
          "certificates, in 'tls', or 'public = true'",
          a->host);
    default:
      return lua_pushfstring(L,
                             "%s: host: an IP address or 'localhost' "
                             "expected, got '%s'",
                             is_listen ? "listen" : "backend",
                             is_listen ? a->host : o->backend.host);
  }
}

static int fail_new(lua_State *L, int err, const rover_front_options_t *o) {
  switch (err) {
    case UV_ENOMEM: return rover__lua_no_memory(L);
    case UV_EINVAL:
    case UV_ELOOP:
    case UV_ENAMETOOLONG:
    case UV_EPERM: return luaL_argerror(L, 1, push_why(L, err, o));
    default:
      return luaL_error(L, "cannot make a front: %s", rover__lua_explain(err));
  }
}

/* -- Life ----------------------------------------------------------------- */

static void on_closed(rover_front_t *front) {
  struct rover__lua_object *o = rover_front_data(front);
  struct rover__lua_owner *owner = rover__lua_object_closed(o);
  rover__lua_object_unref(o);
  if (owner) owner->closed(owner);
}

void rover__lua_front_abandon(struct rover__lua_object *o) {
  uint64_t drain = o->owner ? rover_front_options(o->front)->drain_timeout : 0;

  rover__lua_object_abandon(o);
  rover_front_set_events(o->front, NULL, o);
  rover_front_close(o->front, drain, on_closed);
}

/* Only when the state closes, or it was never declared. */
static int l_gc(lua_State *L) {
  struct rover__lua_object *o = rover__lua_object_test(L, &kind);
  if (o) rover__lua_front_abandon(o);
  return 0;
}

static void close_front(struct rover__lua_object *o, uint64_t ms) {
  o->closing = true;
  rover_front_close(o->front, ms, on_closed);
}

/* Returns 0, or an error and pushes what is wrong. */
static int check_tls(lua_State *L, rover_front_options_t *out) {
  struct rover__lua_tls_server server;

  luaL_checkstack(L, 20, "tls");
  if (lua_getfield(L, 1, "tls") == LUA_TNIL) return 0;
  int err = rover__lua_check_tls_server(L, lua_gettop(L), &server);
  if (err < 0) return err;
  out->tls = server.tls;
  out->handshake_timeout = server.handshake_timeout;
  return 0;
}

static int l_new(lua_State *L) {
  rover__lua_t *lua = rover__lua_of(L);
  rover_front_options_t options = {.events = events,
                                   .workers = rover__lua_workers(lua)};

  check_options(L, &options);
  int err = check_tls(L, &options);
  if (err < 0)
    return rover__lua_tls_fail(L, lua, 1, err, lua_tostring(L, -1));
  rover__lua_object_push_new(L, &kind);
  lua_pop(L, 1); /* the handlers */
  int index = lua_gettop(L);
  struct rover__lua_object *o = options.data =
      rover__lua_object_new(L, &kind, index);
  err = o ? rover_front_new(&o->front, lua->loop, &options) : UV_ENOMEM;
  if (err < 0) {
    free(o);
    return fail_new(L, err, &options);
  }
  *o->box = o;
  rover__lua_object_declare(L, index, o, true); /* if it raises, o is garbage */
  if (!lua->staged && (err = rover__lua_listen_one(o)) < 0) {
    const char *message = rover__lua_push_unheard(L, o, err);
    close_front(o, 0);
    return rover__lua_fail(L, err, message);
  }
  lua_settop(L, index);
  return 1;
}

/* The time that is argument 2; by default drainTimeout. */
static uint64_t check_time(lua_State *L, const struct rover__lua_object *o) {
  if (!lua_isnoneornil(L, 2)) return rover__lua_check_ms(L, 2, "time", 0);
  return rover_front_options(o->front)->drain_timeout;
}

static int l_close(lua_State *L) {
  struct rover__lua_object *o = rover__lua_object_test(L, &kind);
  if (o) close_front(o, check_time(L, o));
  return rover__lua_return_self(L);
}

/* At the end of a block, or of its error. */
static int l_close_now(lua_State *L) {
  lua_settop(L, 1);
  return l_close(L);
}

static int l_tostring(lua_State *L) {
  struct rover__lua_object *o = rover__lua_object_test(L, &kind);
  const char *where =
      o && !o->closing ? rover__lua_push_address(L, address(o)) : "closed";
  lua_pushfstring(L, "front '%s' (%s)", rover__lua_object_push_name(L), where);
  return 1;
}

/* -- Replacing ------------------------------------------------------------ */

/* The old front takes what the new one declares; what is under way stays. */
static void take_over(struct rover__lua_object *o) {
  struct front *old = front_of(o->old), *new = front_of(o);
  rover_front_t *front = old->object.front;

  rover_front_stats_get(front, &old->last);
  old->replaced = true;
  if (new->sets_down) rover_front_take_down(front, o->front);
  rover_front_exchange(front, o->front);
  old->object.front = o->front;
  o->front = front;
  o->old = NULL;
  if (new->drains == DRAIN) rover_front_drain(front, new->drain_time);
  else if (new->drains == RESUME) rover_front_resume(front);
}

void rover__lua_take_fronts(rover__lua_t *lua) {
  struct rover__lua_object *o = lua->objects[ROVER__LUA_FRONTS];
  for (; o; o = o->next)
    if (o->old) take_over(o);
}

/* -- Methods -------------------------------------------------------------- */

static int l_change(lua_State *L) { return rover__lua_object_change(L, &kind); }

static int l_set_weight(lua_State *L) {
  struct rover__lua_object *o = check_open(L);
  const struct rover__lua_option *weight = known;

  lua_settop(L, 2);
  while (strcmp(weight->name, "weight") != 0) weight++;
  rover_front_set_weight(o->front,
                         rover__lua_check_number(L, 2, 2, weight->name,
                                                 weight->least, weight->most));
  return rover__lua_return_self(L);
}

static int l_drain(lua_State *L) {
  struct rover__lua_object *o = check_open(L);
  struct front *f = front_of(o);
  f->drain_time = check_time(L, o);
  f->drains = DRAIN;
  rover_front_drain(o->front, f->drain_time);
  return rover__lua_return_self(L);
}

bool rover__lua_front_drains(const struct rover__lua_object *o) {
  return ((const struct front *)o)->drains == DRAIN;
}

static int l_resume(lua_State *L) {
  struct rover__lua_object *o = check_open(L);
  front_of(o)->drains = RESUME;
  rover_front_resume(o->front);
  return rover__lua_return_self(L);
}

static int l_set_down(lua_State *L) {
  struct rover__lua_object *o = check_open(L);
  const char *reason = NULL;

  if (!lua_isnoneornil(L, 2))
    reason = rover__lua_check_text(L, 2, 2, ROVER_ID_MAX, "reason");
  if (rover_front_set_down(o->front, reason) < 0) rover__lua_no_memory(L);
  front_of(o)->sets_down = true;
  return rover__lua_return_self(L);
}

static int l_address(lua_State *L) {
  return rover__lua_return_address(L, address(check_open(L)));
}

static int l_stats(lua_State *L) {
  struct rover__lua_object *o = rover__lua_object_test(L, &kind);
  rover_front_stats_t s;
  if (!o) return luaL_argerror(L, 1, "the front is closed");

  if (front_of(o)->replaced) s = front_of(o)->last;
  else rover_front_stats_get(o->front, &s);
  lua_newtable(L);
#define XX(name, kind, lua, text)                                              \
  lua_pushinteger(L, (lua_Integer)s.name);                                     \
  lua_setfield(L, -2, lua);
  ROVER_FRONT_STATS_MAP(XX)
#undef XX
  return 1;
}

static const luaL_Reg methods[] = {
    {"setWeight", l_set_weight}, {"drain", l_drain},     {"resume", l_resume},
    {"setDown", l_set_down},     {"address", l_address}, {"stats", l_stats},
    {"close", l_close},          {NULL, NULL},
};

static const luaL_Reg metamethods[] = {
    {"__gc", l_gc},
    {"__close", l_close_now},
    {"__tostring", l_tostring},
    {NULL, NULL},
};

void rover__lua_open_front(lua_State *L) {
  rover__lua_object_open(L, &kind, methods, metamethods, l_change);
  lua_createtable(L, 0, 1); /* shared, module */
  lua_pushvalue(L, -2);
  lua_pushcclosure(L, l_new, 1);
  lua_setfield(L, -2, "new");
}
