#include "server.h"

#include <stdlib.h>
#include <string.h>

#include "reload.h"
#include "tally.h"

/* The life of a server: id, host, port and TLS are immutable. The
 * table (see servers.c) holds a reference until it is dropped; attempts,
 * sockets and the program hold one for as long as they use it, and releasing
 * the last one frees it. A server with a new address, or another TLS, is a new
 * object, which replaces the old one. */

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
  rover__tls_unref(rover_server_tls(server));
  free(server);
}

/* Without trailing padding, which sizeof would count. */
static size_t size_of(size_t text) {
  return offsetof(rover_server_t, text) + text;
}

/* Of id and host. */
static size_t text_size(const rover_server_t *server) {
  return server->host + strlen(rover_server_host(server)) + 1;
}

ptrdiff_t rover__server_memory(const rover_server_t *server) {
  size_t text = text_size(server);
  if (server->has_tls) text += sizeof(rover_tls_t *);
  return (ptrdiff_t)(size_of(text) + 4 * sizeof server);
}

/* Hardly any server has one, and there may be a million of them. */
rover_tls_t *rover_server_tls(const rover_server_t *server) {
  rover_tls_t *tls = NULL;
  if (server->has_tls)
    memcpy(&tls, server->text + text_size(server), sizeof tls);
  return tls;
}

int rover_server_is_plain(const rover_server_t *server) {
  return server->plain;
}

struct net__tls_context *rover__server_tls(const rover_t *rover,
                                           const rover_server_t *server) {
  rover_tls_t *tls = rover->options.tls;
  if (server->plain) return NULL;
  if (server->has_tls) tls = rover_server_tls(server);
  return rover__tls_context(tls);
}

rover_server_entry_t rover__server_entry(const rover_server_t *server) {
  return (rover_server_entry_t){.id = server->text,
                                .host = rover_server_host(server),
                                .port = server->port,
                                .weight = server->weight,
                                .tls = rover_server_tls(server),
                                .plain = server->plain};
}

bool rover__server_is_at(const rover_server_t *server,
                         const rover_server_t *other) {
  return server->port == other->port &&
         !strcmp(rover_server_host(server), rover_server_host(other));
}

bool rover__server_is(const rover_server_t *server,
                      const rover_server_entry_t *entry) {
  return server->port == entry->port &&
         server->plain == (entry->plain != 0) &&
         rover_server_tls(server) == entry->tls &&
         !strcmp(rover_server_host(server), entry->host);
}

rover_server_t *rover__server_new(const rover_server_entry_t *entry,
                                  uint32_t hash) {
  rover_tls_t *tls = entry->tls;
  size_t id_size = strlen(entry->id) + 1;
  size_t host_size = strlen(entry->host) + 1;
  size_t text = id_size + host_size;
  rover_server_t *server = malloc(size_of(text) + (tls ? sizeof tls : 0));
  if (!server) return NULL;
  server->tally = NULL;
  server->paused_until = 0;
  server->hash = hash;
  server->refs = 1;
  server->exempt = 0;
  server->mark = 0;
  server->fate = 0;
  server->is_new = 0;
  server->weight = 0;
  server->holders = 0;
  server->declared = 0;
  server->dropped = 0;
  server->plain = entry->plain != 0;
  server->has_tls = tls != NULL;
  server->port = (unsigned short)entry->port;
  server->host = (unsigned short)id_size;
  memcpy(server->text, entry->id, id_size);
  memcpy(server->text + id_size, entry->host, host_size);
  if (tls) memcpy(server->text + text, &tls, sizeof tls);
  rover__tls_ref(tls);
  return server;
}
