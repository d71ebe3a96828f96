#include "listen.h"

#include "error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_LENGTH = 107 }; /* the limit of Linux; others' are lower */

/* -- Addresses ------------------------------------------------------------ */

/* Permissions are a string, since Lua has no octal numbers. */
static int check_mode(lua_State *L, int index, const char *what) {
  const char *text =
      lua_type(L, index) == LUA_TSTRING ? lua_tostring(L, index) : "";
  size_t length = strspn(text, "01234567");
  long mode = strtol(text, NULL, 8);
  if (length == 0 || length > 4 || text[length] || mode < 1 || mode > 0777)
    rover__lua_expected(L, index, 1, lua_pushfstring(L, "%s: mode", what),
                        "text of octal digits such as '0660'");
  return (int)mode;
}

static void check_path(lua_State *L, const char *what, const char *path) {
  rover__lua_t *lua = rover__lua_of(L);

  if (lua->may_name && !lua->may_name(lua, path))
    rover__lua_misuse(L, 1,
                      "%s: path: in the sandbox, one in the script's folder or "
                      "in one that is allowed expected, got '%s'",
                      what, path);
}

rover_address_t rover__lua_check_address(lua_State *L, int index,
                                         const char *what, bool listens) {
  static const char *const all[] = {"host", "port",   "path",
                                    "mode", "fdName", NULL};
  static const char *const far[] = {"host", "port", "path", NULL};
  rover_address_t address = {0};

  luaL_checkstack(L, 20, what);
  if (!lua_istable(L, index))
    rover__lua_misuse(
        L, 1, "%s: table {host=, port=} or {path=%s} expected, got %s", what,
        listens ? ", mode=" : "", luaL_typename(L, index));
  const char *unknown = lua_pushfstring(L, "%s: unknown field", what);
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1))
    rover__lua_check_key(L, lua_gettop(L) - 1, 1, unknown, listens ? all : far);
  if (lua_getfield(L, index, "mode") != LUA_TNIL)
    address.mode = check_mode(L, lua_gettop(L), what);
  bool is_named = lua_getfield(L, index, "fdName") != LUA_TNIL;
  bool is_path = lua_getfield(L, index, "path") != LUA_TNIL;
  bool has_host = lua_getfield(L, index, "host") != LUA_TNIL;
  bool has_port = lua_getfield(L, index, "port") != LUA_TNIL;
  int top = lua_gettop(L);
  if (is_named) {
    if (is_path || has_host || has_port || address.mode > 0)
      rover__lua_misuse(L, 1, "%s: fdName alone is enough", what);
    address.fd_name = rover__lua_check_text(
        L, top - 3, 1, ROVER_ID_MAX, lua_pushfstring(L, "%s: fdName", what));
    return address;
  }
  if (is_path ? has_host || has_port : address.mode > 0)
    rover__lua_misuse(L, 1, "%s: either host and port, or path%s", what,
                      listens ? " and mode" : "");
  if (is_path) {
    address.path = rover__lua_check_text(L, top - 2, 1, PATH_LENGTH,
                                         lua_pushfstring(L, "%s: path", what));
    check_path(L, what, address.path);
    return address;
  }
  address.port = (int)rover__lua_check_integer(
      L, top, 1, lua_pushfstring(L, "%s: port", what), !listens, 65535);
  if (has_host)
    address.host = rover__lua_check_text(L, top - 1, 1, ROVER_HOST_MAX,
                                         lua_pushfstring(L, "%s: host", what));
  return address;
}

const char *rover__lua_push_address(lua_State *L, const rover_address_t *a) {
  if (a->path) return lua_pushstring(L, a->path);
  if (!a->host) return lua_pushfstring(L, "the socket '%s'", a->fd_name);
  return lua_pushfstring(L, strchr(a->host, ':') ? "[%s]:%d" : "%s:%d", a->host,
                         a->port);
}

int rover__lua_return_address(lua_State *L, const rover_address_t *a) {
  lua_pushstring(L, a->path ? a->path : a->host); /* or nil */
  if (!a->host) return 1;
  lua_pushinteger(L, a->port);
  return 2;
}

uint64_t rover__lua_joined(const struct rover__lua_object *o) {
  return o->kind->listens ? o->kind->listens->joined(o) : 0;
}

/* -- Listeners of the old state ------------------------------------------- */

/* The objects of a kind, if it listens. */
static struct rover__lua_object *list_of(const rover__lua_t *lua, int list) {
  struct rover__lua_object *o = lua->objects[list];
  return o && o->kind->listens ? o : NULL;
}

static const rover_address_t *address_of(const struct rover__lua_object *o) {
  return o->kind->listens->address(o);
}

/* Whether an object of this state has found that listener. */
static bool is_taken(const rover__lua_t *lua,
                     const struct rover__lua_object *source) {
  struct rover__lua_object *o = lua->objects[source->kind->list];
  while (o && o->source != source) o = o->next;
  return o != NULL;
}

/* The object of the state `from` that occupies this one's port, or NULL. */
static const struct rover__lua_object *
find_rival(const rover__lua_t *from, const struct rover__lua_object *o) {
  const struct rover__lua_object *other;

  if (!from || address_of(o)->path || address_of(o)->fd_name) return NULL;
  for (int list = 0; list < ROVER__LUA_KINDS; list++)
    for (other = list_of(from, list); other; other = other->next)
      if (other->kind->listens->is_on(other) && !is_taken(o->lua, other) &&
          address_of(other)->port == address_of(o)->port)
        return other;
  return NULL;
}

/* Finds the object of the other state that listens where this one is to: the
 * one of the same name, or any of its kind. */
static void find_source(struct rover__lua_object *o, const rover__lua_t *from,
                        bool any) {
  struct rover__lua_object *source =
      any ? from->objects[o->kind->list] : o->old;
  for (; source && !o->source; source = any ? source->next : NULL) {
    if (!source->closing && o->kind->listens->is_for(source, o) &&
        !is_taken(o->lua, source))
      o->source = source;
  }
}

static void find_sources(struct rover__lua_object *objects,
                         const rover__lua_t *from) {
  struct rover__lua_object *o;

  for (o = objects; o; o = o->next) {
    if (!o->closing)
      o->old = rover__lua_object_find(from->objects[o->kind->list], o->name);
    find_source(o, from, false);
  }
  for (o = objects; o; o = o->next) find_source(o, from, !o->closing);
}

/* -- Sockets that were passed ---------------------------------------------- */

static bool is_for(const struct rover__lua_passed *passed,
                   const struct rover__lua_object *o) {
  const char *fd_name = address_of(o)->fd_name;

  if (passed->taken) return false;
  if (fd_name) return passed->fd_name && !strcmp(fd_name, passed->fd_name);
  bool was_its = passed->noun && !strcmp(passed->noun, o->kind->noun) &&
                 !strcmp(passed->name, o->name);
  return o->kind->listens->is_for_fd(o, passed->fd, passed->path, was_its);
}

/* The original stays with the owner, for another try. */
static int take_passed(struct rover__lua_object *o,
                       struct rover__lua_passed *passed) {
  int fd = fcntl(passed->fd, F_DUPFD_CLOEXEC, 0);

  if (fd < 0) return uv_translate_sys_error(errno);
  int err = o->kind->listens->listen_fd(o, fd);
  if (err < 0) close(fd);
  else passed->taken = true;
  return err;
}

int rover__lua_listen_one(struct rover__lua_object *o) {
  struct rover__lua_passed *passed = o->owner ? o->owner->passed : NULL;

  while (passed && !is_for(passed, o)) passed = passed->next;
  if (passed) return take_passed(o, passed);
  return address_of(o)->fd_name ? UV_ENOENT : o->kind->listens->listen(o);
}

/* -- Listening ------------------------------------------------------------ */

/* Whether the state has the socket that the object is to have, which only who
 * may connect has kept from it. */
static bool has_socket(const rover__lua_t *from,
                       const struct rover__lua_object *o) {
  const struct rover__lua_object *other =
      from ? list_of(from, o->kind->list) : NULL;
  for (; other; other = other->next) {
    const char *fd_name = address_of(other)->fd_name;
    if (fd_name && !strcmp(fd_name, address_of(o)->fd_name) &&
        o->kind->listens->is_on(other))
      return !is_taken(o->lua, other);
  }
  return false;
}

static const char *explain_passed(int status) {
  switch (status) {
    case UV_ENOENT:
      return "no socket of that name was passed to this process: start it by a "
             "systemd socket unit with that FileDescriptorName=";
    case UV_ENOTSOCK: return "it is no socket: say ListenStream= in its unit";
    case UV_EPROTOTYPE:
      return "it is no stream socket: say ListenStream= in its unit";
    case UV_EAFNOSUPPORT: return "it is neither a TCP nor a Unix socket";
    case UV_EINVAL: return "it does not listen: say Accept=no in its unit";
    case UV_EPERM:
      return "other machines can connect there, and the backend would take them "
             "for this one: say who may in 'allow' or, by their certificates, "
             "in 'tls', or 'public = true'";
    case UV_ELOOP: return "it is where the backend listens";
    default: return rover__lua_explain(status);
  }
}

static const char *push_in_use(lua_State *L, const struct rover__lua_object *o,
                               const rover__lua_t *from) {
  const struct rover__lua_object *rival = find_rival(from, o);
  if (!rival)
    return lua_pushfstring(
        L, "%s; stop what listens there, or choose another %s",
        uv_strerror(UV_EADDRINUSE), address_of(o)->path ? "path" : "port");
  return lua_pushfstring(
      L,
      "the running policy listens on %s until it is replaced; first reload it "
      "with another port or without that %s, or restart",
      rover__lua_push_address(L, address_of(rival)), rival->kind->noun);
}

/* One of these may be meant: without FileDescriptorName=, a socket has the name
 * of its unit. */
static const char *push_names(lua_State *L,
                              const struct rover__lua_passed *passed) {
  lua_pushliteral(L, "");
  for (; passed; passed = passed->next) {
    if (!passed->fd_name) continue;
    const char *between = lua_rawlen(L, -1) > 0 ? ", " : "; passed were ";
    lua_pushfstring(L, "%s'%s'", between, passed->fd_name);
    lua_concat(L, 2);
  }
  return lua_tostring(L, -1);
}

static const char *push_failure(lua_State *L, const struct rover__lua_object *o,
                                int status, const rover__lua_t *from) {
  const char *where = rover__lua_push_address(L, address_of(o)), *why;

  if (address_of(o)->fd_name) {
    if (status == UV_ENOENT && has_socket(from, o)) status = UV_EPERM;
    const struct rover__lua_passed *passed =
        status == UV_ENOENT && o->owner ? o->owner->passed : NULL;
    return lua_pushfstring(L, "%s '%s': cannot listen on %s: %s%s",
                           o->kind->noun, o->name, where,
                           explain_passed(status), push_names(L, passed));
  }
  switch (status) {
    case UV_EADDRINUSE: why = push_in_use(L, o, from); break;
    case UV_ENOTSOCK: why = "the path is not a socket"; break;
    case UV_EADDRNOTAVAIL:
      why = "no interface of this machine has that address";
      break;
    default: why = rover__lua_explain(status);
  }
  return lua_pushfstring(L, "%s '%s': cannot listen on %s: %s", o->kind->noun,
                         o->name, where, why);
}

const char *rover__lua_push_unheard(lua_State *L,
                                    const struct rover__lua_object *o,
                                    int status) {
  return push_failure(L, o, status, NULL);
}

void rover__lua_listen(rover__lua_t *lua, const rover__lua_t *from) {
  lua_State *L = lua->L;
  struct rover__lua_object *o;

  struct rover__lua_passed *passed = lua->owner ? lua->owner->passed : NULL;
  for (; passed; passed = passed->next) passed->taken = false;
  for (int list = 0; from && list < ROVER__LUA_KINDS; list++)
    find_sources(list_of(lua, list), from);
  for (int list = 0; list < ROVER__LUA_KINDS; list++) {
    for (o = list_of(lua, list); o; o = o->next) {
      if (o->closing || o->source) continue;
      int err = rover__lua_listen_one(o);
      if (err == UV_ENOMEM) rover__lua_no_memory(L);
      if (err < 0) luaL_error(L, "%s", push_failure(L, o, err, from));
    }
  }
}

/* All listeners are taken before anything else: objects may have swapped
 * addresses. */
void rover__lua_take_listeners(rover__lua_t *lua) {
  struct rover__lua_object *o;

  for (int list = 0; list < ROVER__LUA_KINDS; list++) {
    for (o = list_of(lua, list); o; o = o->next) {
      if (!o->source) continue;
      o->status = o->kind->listens->take(o, o->source);
      o->source = NULL;
    }
  }
}

/* The permissions of its Unix socket could not be set. */
static void report_mode(struct rover__lua_object *o) {
  char text[256];
  snprintf(text, sizeof text, "cannot set the permissions of %s: %s",
           address_of(o)->path, uv_strerror(o->status));
  int status = o->status;
  o->status = 0;
  rover__lua_object_report(o, NULL, status, text);
}

void rover__lua_report_listeners(rover__lua_t *lua) {
  struct rover__lua_object *o;
  for (int list = 0; list < ROVER__LUA_KINDS; list++)
    for (o = list_of(lua, list); o; o = o->next)
      if (o->status < 0) report_mode(o);
}
