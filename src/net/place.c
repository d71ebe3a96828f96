#include "place.h"

#include <stdlib.h>
#include <string.h>

/* The life of a place: it is declared as an address, or as the name of a socket
 * that somebody will pass, and listens once that is asked for. A reload may move
 * its listener to another place for the same address; a successor of the process
 * may be left the socket. */

enum { TURNED_AWAY_MAX = 32 /* at once */ };

int net__place_init(struct net__place *place, uv_loop_t *loop,
                    const struct net__address_fields *declared, void *data) {
  *place =
      (struct net__place){.loop = loop, .data = data, .declared = *declared};
  return net__endpoint_keep(&place->name, declared);
}

void net__place_clear(struct net__place *place) {
  free((char *)*place->declared.host);
  free((char *)*place->declared.path);
  free((char *)*place->declared.fd_name);
}

/* -- Listening ------------------------------------------------------------ */

static void take_port(struct net__place *place) {
  *place->declared.port = net__listener_port(place->listener);
}

int net__place_listen(struct net__place *place,
                      const struct net__listener_owner *owner) {
  if (*place->declared.fd_name) return UV_EINVAL;
  if (place->listener) return UV_EALREADY;
  int err = net__listener_open(&place->listener, place->loop, &place->name.any,
                               *place->declared.mode, owner, place->data);
  if (err == 0) take_port(place);
  return err;
}

int net__place_listen_fd(struct net__place *place, int fd,
                         const struct net__listener_owner *owner) {
  const struct net__address_fields *declared = &place->declared;
  bool is_named = *declared->fd_name != NULL;
  char *path = (char *)*declared->path, *host = NULL;
  union net__endpoint name;

  if (place->listener) return UV_EALREADY;
  int err = net__endpoint_of(&name, fd);
  if (err == 0 && is_named) err = net__endpoint_show(&name, &host, &path);
  if (err < 0) return err;
  err = net__listener_adopt(&place->listener, place->loop, fd, &name.any, path,
                            owner, place->data);
  if (is_named && err < 0) {
    free(host);
    free(path);
  } else if (is_named) {
    place->name = name;
    *declared->host = host;
    *declared->path = path;
  }
  if (err == 0) take_port(place);
  return err;
}

bool net__place_close(struct net__place *place) {
  if (!place->listener) return false;
  net__listener_close(place->listener);
  place->listener = NULL;
  return true;
}

int net__place_fd(const struct net__place *place) {
  return place->listener ? net__listener_fd(place->listener) : UV_EBADF;
}

int net__place_leave(struct net__place *place) {
  return place->listener ? net__listener_leave(place->listener) : UV_EBADF;
}

int net__place_stay(struct net__place *place, bool owns_file) {
  if (!place->listener) return UV_EBADF;
  net__listener_stay(place->listener, owns_file, *place->declared.mode);
  return 0;
}

/* -- Replacing ------------------------------------------------------------ */

bool net__place_listens_for(const struct net__place *other,
                            const struct net__place *place) {
  const char *path = *place->declared.path;
  const char *fd_name = *place->declared.fd_name;

  if (!other->listener) return false;
  if (fd_name)
    return *other->declared.fd_name &&
           !strcmp(fd_name, *other->declared.fd_name);
  if (path) return net__listener_is_at(other->listener, path);
  if (*other->declared.path ||
      !net__endpoint_is_same_ip(&other->name, &place->name))
    return false;
  /* Port 0 also matches the port that was chosen for it. */
  int port = *place->declared.port;
  return port == *other->declared.port ||
         (port == 0 && net__endpoint_port(&other->name) == 0);
}

bool net__place_is_for_fd(const struct net__place *place, int fd,
                          const char *path, bool any_port) {
  return !*place->declared.fd_name &&
         net__endpoint_is_for(&place->name, fd, path, any_port);
}

/* Of a place that is only known by an fd_name. */
static void take_address(struct net__place *place, struct net__place *from) {
  if (!*place->declared.fd_name) return;
  place->name = from->name;
  *place->declared.host = *from->declared.host;
  *place->declared.path = *from->declared.path;
  *from->declared.host = *from->declared.path = NULL;
}

int net__place_take(struct net__place *place, struct net__place *from) {
  int mode = *place->declared.mode;

  take_address(place, from);
  *place->declared.port = *from->declared.port;
  *from->declared.port = net__endpoint_port(&from->name);
  place->listener = from->listener;
  from->listener = NULL;
  net__place_follow(place);
  return mode == *from->declared.mode
             ? 0
             : net__listener_set_mode(place->listener, mode);
}

void net__place_exchange(struct net__place *place, struct net__place *other) {
  union net__endpoint name = place->name;
  struct net__listener *listener = place->listener;

  place->name = other->name;
  place->listener = other->listener;
  other->name = name;
  other->listener = listener;
}

void net__place_follow(struct net__place *place) {
  if (place->listener)
    net__listener_give(place->listener, place->data, *place->declared.path);
}

/* -- When it cannot accept ------------------------------------------------ */

void net__place_turn_away(struct net__place *place,
                          struct net__reserve *reserve,
                          void (*refuse)(void *data, int fd)) {
  int loop = uv_backend_fd(place->loop), fd = 0;

  for (int i = 0; i < TURNED_AWAY_MAX && fd >= 0; i++) {
    if (!net__reserve_fill(reserve, loop, 1)) return;
    net__reserve_spend(reserve);
    fd = net__listener_accept(place->listener);
    if (fd >= 0) refuse(place->data, fd);
  }
  net__reserve_fill(reserve, loop, 1);
}

const char *net__place_explain(int status) {
  switch (status) {
    case UV_EMFILE:
      return "cannot accept connections: this process has no descriptors left; "
             "raise its limit of open files (ulimit -n)";
    case UV_ENFILE:
      return "cannot accept connections: this system has no descriptors left";
    case UV_ENOMEM: return "cannot accept connections: out of memory";
    default: return "cannot accept connections";
  }
}
