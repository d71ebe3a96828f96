#include "admin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../net/place.h"
#include "conn.h"
#include "routes.h"

/* The life of an admin: made on the loop of a host, it listens at some
 * addresses, each an entrance, and answers until it is closed. It knows nothing
 * of the policy's state: whatever a policy does, the host can be asked. */

/* Has an address to listen at. */
struct entrance {
  struct entrance *next;
  struct admin *admin;
  size_t index;
  struct admin__door door;
  rover_address_t address;
  struct net__place place;
};

struct admin {
  struct admin_options options;
  struct entrance *entrances; /* the last one first */
  size_t count;
  unsigned open; /* listeners, and 1 for the connections */
  struct admin__conns conns;
  struct admin__site site;
};

/* -- Addresses ------------------------------------------------------------- */

static bool is_port(const char *text, int *port) {
  char *end;
  long value = strtol(text, &end, 10);

  *port = (int)value;
  return *text >= '0' && *text <= '9' && !*end && value <= 65535;
}

/* Copies the host to `host`, unless it is a path. Returns NULL, or what is
 * wrong. */
static const char *parse_address(const char *text, rover_address_t *address,
                                 char *host, size_t size) {
  static const char wants[] =
      "wants HOST:PORT, PORT or the path of a Unix socket, with a slash";
  const char *colon = strrchr(text, ':');
  size_t length = colon ? (size_t)(colon - text) : 0;

  *address = (rover_address_t){0};
  if (strchr(text, '/')) {
    address->path = text;
    return NULL;
  }
  if (!is_port(colon ? colon + 1 : text, &address->port)) return wants;
  if (!colon) return NULL;
  if (length > 1 && *text == '[' && text[length - 1] == ']') {
    text++;
    length -= 2;
  } else if (memchr(text, ':', length)) {
    return "wants an IPv6 address in brackets";
  }
  if (length == 0 || length >= size) return wants;
  memcpy(host, text, length);
  host[length] = '\0';
  address->host = host;
  return NULL;
}

const char *admin_address_check(const char *text, bool *is_path,
                                bool *is_local) {
  rover_address_t address;
  union net__endpoint name;
  char host[64];

  const char *wrong = parse_address(text, &address, host, sizeof host);
  if (wrong) return wrong;
  int err = net__endpoint_keep(&name, NET__ADDRESS_FIELDS(&address));
  *is_path = address.path != NULL;
  *is_local = err == 0 && net__endpoint_is_local(&name);
  free((char *)address.host);
  free((char *)address.path);
  if (err == UV_ENAMETOOLONG) return "wants a shorter path";
  return err == 0 ? NULL : "wants an IP address, localhost or a path";
}

static void show(const struct entrance *entrance, char *text, size_t size) {
  const rover_address_t *a = &entrance->address;
  bool is_v6 = a->host && strchr(a->host, ':');

  if (a->path) snprintf(text, size, "%s", a->path);
  else snprintf(text, size, is_v6 ? "[%s]:%d" : "%s:%d", a->host, a->port);
}

/* -- Entrances ------------------------------------------------------------- */

static int on_accepted(void *data, int fd, const union net__address *peer) {
  struct entrance *entrance = data;
  (void)peer;
  return admin__conn_new(&entrance->admin->conns, fd, &entrance->door);
}

static void on_failed(void *data, int status, uint64_t ms) {
  struct entrance *entrance = data;
  const struct admin_options *o = &entrance->admin->options;
  char address[160];

  if (ms > 0) return;
  show(entrance, address, sizeof address);
  o->log(o->data, ROVER_HOST_WARN, net__place_explain(status), "admin",
         address);
}

/* Descriptors are held in reserve, lest a policy that has used up the others
 * cannot be asked after. */
static void reserve(void *data) {
  const struct admin *admin = data;

  for (struct entrance *each = admin->entrances; each; each = each->next)
    if (each->place.listener) net__listener_reserve(each->place.listener);
}

static void on_batch_end(void *data) {
  struct entrance *entrance = data;
  reserve(entrance->admin);
}

static void unref(struct admin *admin) {
  if (--admin->open > 0) return;
  admin->options.closed(admin->options.data);
  admin__control_clear(&admin->site.control);
  while (admin->entrances) {
    struct entrance *entrance = admin->entrances;
    admin->entrances = entrance->next;
    net__place_clear(&entrance->place);
    free(entrance);
  }
  free(admin);
}

static void on_entrance_closed(void *data) {
  struct entrance *entrance = data;
  unref(entrance->admin);
}

static void on_conns_closed(void *admin) { unref(admin); }

static const struct net__listener_owner owner = {
    on_accepted, on_failed, on_batch_end, on_entrance_closed};

/* What to do if that address cannot be listened on. */
static const char *explain(int err) {
  switch (err) {
    case UV_EADDRINUSE:
      return "address already in use; stop what listens there, or choose "
             "another address";
    case UV_EADDRNOTAVAIL: return "this machine does not have that address";
    case UV_ENOTSOCK: return "there is a file that is not a socket";
    case UV_ENOENT: return "there is no such folder";
    case UV_EMFILE:
      return "too many open files; raise this process's limit (ulimit -n)";
    default: return uv_strerror(err);
  }
}

static int listen_at(struct admin *admin, const rover_address_t *address,
                     int fd) {
  struct entrance *entrance = calloc(1, sizeof *entrance);

  if (!entrance) return UV_ENOMEM;
  entrance->admin = admin;
  entrance->index = admin->count++;
  entrance->address = *address;
  int err = net__place_init(&entrance->place, admin->conns.loop,
                            NET__ADDRESS_FIELDS(&entrance->address), entrance);
  entrance->next = admin->entrances;
  admin->entrances = entrance;
  if (err < 0) return err;
  entrance->door.is_unix = entrance->address.path != NULL;
  entrance->door.hosts = admin->options.hosts;
  entrance->door.controls =
      entrance->door.is_unix ||
      (admin->options.control && net__endpoint_is_local(&entrance->place.name));
  err = fd < 0 ? net__place_listen(&entrance->place, &owner)
               : net__place_listen_fd(&entrance->place, fd, &owner);
  if (err < 0) return err;
  net__listener_reserve(entrance->place.listener);
  admin->open++;
  return 0;
}

int admin_listen(struct admin *admin, const char *text, int fd) {
  const struct admin_options *o = &admin->options;
  rover_address_t address;
  char host[64], shown[160];

  int err = parse_address(text, &address, host, sizeof host) ? UV_EINVAL : 0;
  address.mode = address.path ? o->mode : 0;
  if (err == 0) err = listen_at(admin, &address, fd);
  if (err < 0) {
    snprintf(shown, sizeof shown, "cannot listen on %s: %s", text,
             explain(err));
    o->log(o->data, ROVER_HOST_ERROR, shown, NULL, NULL);
    return err;
  }
  show(admin->entrances, shown, sizeof shown);
  o->log(o->data, ROVER_HOST_INFO, "admin listens", "address", shown);
  return 0;
}

/* -- When another process takes over --------------------------------------- */

static struct entrance *find(struct admin *admin, size_t index) {
  struct entrance *each = admin->entrances;
  while (each && each->index != index) each = each->next;
  return each;
}

int admin_fd(struct admin *admin, size_t index) {
  struct entrance *entrance = find(admin, index);
  return entrance ? net__place_fd(&entrance->place) : UV_EBADF;
}

int admin_leave(struct admin *admin, size_t index) {
  struct entrance *entrance = find(admin, index);
  return entrance ? net__place_leave(&entrance->place) : UV_EBADF;
}

int admin_stay(struct admin *admin, size_t index, bool owns_file) {
  struct entrance *entrance = find(admin, index);
  return entrance ? net__place_stay(&entrance->place, owns_file) : UV_EBADF;
}

void admin_finish(struct admin *admin) { admin__conns_finish(&admin->conns); }

/* -- Life ------------------------------------------------------------------ */

static void respond(void *data, struct admin__conn *conn,
                    const struct admin__request *request) {
  struct admin *admin = data;
  admin__routes_respond(&admin->site, conn, request);
}

int admin_new(struct admin **out, const struct admin_options *options) {
  struct admin *admin = calloc(1, sizeof *admin);

  if (!admin) return UV_ENOMEM;
  admin->options = *options;
  admin->conns.loop = rover_host_loop(options->host);
  admin->conns.respond = respond;
  admin->conns.freed = reserve;
  admin->conns.closed = on_conns_closed;
  admin->conns.data = admin;
  admin->site.host = options->host;
  admin->site.server_limit = options->server_limit;
  admin->site.control.host = options->host;
  admin->site.control.conns = &admin->conns;
  admin->site.control.set_level = options->set_level;
  admin->site.control.data = options->data;
  admin->open = 1;
  *out = admin;
  return 0;
}

void admin_reloading(struct admin *admin) {
  admin__control_reloading(&admin->site.control);
}

void admin_error(struct admin *admin, const char *traceback) {
  admin__control_failed(&admin->site.control, traceback);
}

void admin_reloaded(struct admin *admin, const rover_host_reload_t *result) {
  admin__control_reloaded(&admin->site.control, result);
}

void admin_hold(struct admin *admin, const char *why) {
  struct admin__control *control = &admin->site.control;
  snprintf(control->held, sizeof control->held, "%s", why ? why : "");
}

void admin_close(struct admin *admin) {
  for (struct entrance *each = admin->entrances; each; each = each->next)
    net__place_close(&each->place);
  admin__conns_close(&admin->conns);
}
