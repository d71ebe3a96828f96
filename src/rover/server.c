#include "server.h"

#include <stdlib.h>
#include <string.h>

#include "reload.h"
#include "tally.h"

/* The life of a server: id, host and port are immutable. The
 * table (see servers.c) holds a reference until it is dropped; attempts,
 * sockets and the program hold one for as long as they use it, and releasing
 * the last one frees it. A server with a new address is a new object, which
 * replaces the old one. */

const char *rover_server_id(const rover_server_t *server) {
  return server->text;
}

const char *rover_server_host(const rover_server_t *server) {
  return server->text + server->host;
}

int rover_server_port(const rover_server_t *server) { return server->port; }

unsigned rover_server_weight(const rover_server_t *server) {
  return server->weight;
}

void rover_server_set_mark(rover_server_t *server, int mark) {
  server->mark = mark != 0;
}

int rover_server_mark(const rover_server_t *server) { return server->mark; }

rover_server_t *rover_server_ref(rover_server_t *server) {
  server->refs++;
  return server;
}

void rover_server_unref(rover_server_t *server) {
  server->refs -= 1;
  if (server->refs > 0) return;
  if (server->tally) rover__tally_unref(server->tally);
  free(server);
}

/* Without trailing padding, which sizeof would count. */
static size_t size_of(size_t text) {
  return offsetof(rover_server_t, text) + text;
}

ptrdiff_t rover__server_memory(const rover_server_t *server) {
  size_t text = server->host + strlen(rover_server_host(server)) + 1;
  return (ptrdiff_t)(size_of(text) + 2 * sizeof server);
}

rover_server_t *rover__server_new(const char *id, const char *host, int port) {
  size_t id_size = strlen(id) + 1;
  size_t host_size = strlen(host) + 1;
  rover_server_t *server = malloc(size_of(id_size + host_size));
  if (!server) return NULL;
  server->tally = NULL;
  server->paused_until = 0;
  server->refs = 1;
  server->exempt = 0;
  server->mark = 0;
  server->fate = 0;
  server->is_new = 0;
  server->exempt = 0;
  server->weight = 0;
  server->holders = 0;
  server->declared = 0;
  server->dropped = 0;
  server->port = (unsigned short)port;
  server->host = (unsigned short)id_size;
  memcpy(server->text, id, id_size);
  memcpy(server->text + id_size, host, host_size);
  return server;
}
