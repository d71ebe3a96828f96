#include "passed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../lua/listen.h"
#include "say.h"

/* The sockets wait in a list until a policy is loaded, which what it declares
 * has looked through by then (see ../lua/listen.c): each listener duplicates
 * the one that it finds, so that a policy that fails has used none up. */

static const char *copy(char **to, const char *text) {
  if (!text) return NULL;
  const char *at = strcpy(*to, text);
  *to += strlen(text) + 1;
  return at;
}

static size_t size_of(const char *text) { return text ? strlen(text) + 1 : 0; }

int host__passed_add(rover_host_t *host, const rover_host_socket_t *passed) {
  struct rover__lua_passed **last = &host->rovers.passed;
  size_t texts = size_of(passed->fd_name) + size_of(passed->path) +
                 size_of(passed->noun) + size_of(passed->name);
  struct rover__lua_passed *own = calloc(1, sizeof *own + texts);

  if (!own) return UV_ENOMEM;
  char *to = (char *)(own + 1);
  own->fd = passed->fd;
  own->fd_name = copy(&to, passed->fd_name);
  own->path = copy(&to, passed->path);
  if (passed->noun && passed->name) {
    own->noun = copy(&to, passed->noun);
    own->name = copy(&to, passed->name);
  }
  while (*last) last = &(*last)->next; /* the first of a name is found first */
  *last = own;
  return 0;
}

void host__passed_close(rover_host_t *host) {
  struct rover__lua_passed *passed;

  while ((passed = host->rovers.passed)) {
    host->rovers.passed = passed->next;
    close(passed->fd);
    free(passed);
  }
}

/* -- Reporting ------------------------------------------------------------ */

static int ask(int fd, int option) {
  int value = 0;
  socklen_t size = sizeof value;
  return getsockopt(fd, SOL_SOCKET, option, &value, &size) < 0 ? -1 : value;
}

/* What it is, for somebody who is to find it in a unit. */
static void describe(int fd, char *text, size_t size) {
  union {
    struct sockaddr any;
    struct sockaddr_in v4; /* the port is where that of IPv6 is */
    struct sockaddr_un path;
    struct sockaddr_storage room;
  } name = {0};
  socklen_t length = sizeof name;
  char where[sizeof name.path.sun_path + 1] = "";
  int type = ask(fd, SO_TYPE);
  const char *kind = type != SOCK_STREAM           ? "datagrams of "
                     : ask(fd, SO_ACCEPTCONN) == 1 ? ""
                                                   : "a connection of ";

  if (type < 0 || getsockname(fd, &name.any, &length) < 0) {
    snprintf(text, size, "no socket");
    return;
  }
  if (name.any.sa_family == AF_UNIX) {
    memcpy(where, name.path.sun_path, sizeof name.path.sun_path);
    if (!where[0] && where[1]) where[0] = '@';
    snprintf(text, size, "%s%s", kind, where[0] ? where : "a Unix socket");
    return;
  }
  if (uv_ip_name(&name.any, where, sizeof where) < 0)
    snprintf(text, size, "%sa socket of family %d", kind, name.any.sa_family);
  else
    snprintf(text, size, strchr(where, ':') ? "%s[%s]:%d" : "%s%s:%d", kind,
             where, ntohs(name.v4.sin_port));
}

static void log_unused(rover_host_t *host,
                       const struct rover__lua_passed *passed,
                       const char *what) {
  const char *name = passed->fd_name ? passed->fd_name : "";
  host__log(host, ROVER_HOST_WARN,
            "closed a socket that was passed: nothing is to listen on it",
            HOST__FIELDS(host__string("fdName", name),
                         host__string("socket", what),
                         host__count("descriptor", (uint64_t)passed->fd)));
}

/* The log callback may do much, so what it is told of is in no list. */
void host__passed_done(rover_host_t *host) {
  struct rover__lua_passed *passed = host->rovers.passed, *next;
  char text[200];

  host->rovers.passed = NULL;
  for (; passed; passed = next) {
    next = passed->next;
    describe(passed->fd, text, sizeof text);
    close(passed->fd);
    if (!passed->taken) log_unused(host, passed, text);
    free(passed);
  }
}
