/* A rover for the programs of this folder, and what its callbacks have told. */
#ifndef ROVERS_H
#define ROVERS_H

#include "check.h"

struct told {
  int connections, unreachable, errors, closed;
  int slot, status;
  rover_socket_t *socket; /* of the last connection */
  char id[ROVER_ID_MAX + 1], message[256];
};

/* What holds at any time, in callbacks too. */
static inline rover_stats_t sound(const rover_t *rover) {
  rover_stats_t s;
  rover_stats_get(rover, &s);
  EQUAL(s.attempts,
        s.connections + s.rejected + s.unreachable + s.errors + s.cancelled +
            s.in_flight);
  EQUAL(s.connections, s.kept + s.closed);
  return s;
}

static inline void on_connection(rover_t *rover, int slot,
                                 rover_socket_t *socket) {
  struct told *told = rover_data(rover);
  sound(rover);
  EQUAL(slot, rover_socket_slot(socket));
  told->connections++;
  told->slot = slot;
  told->socket = socket;
}

static inline void note_server(struct told *told, rover_server_t *server) {
  snprintf(told->id, sizeof told->id, "%s",
           server ? rover_server_id(server) : "(NULL)");
}

static inline void on_unreachable(rover_t *rover, rover_server_t *server,
                                  int status) {
  struct told *told = rover_data(rover);
  sound(rover);
  told->unreachable++;
  told->status = status;
  note_server(told, server);
  snprintf(told->message, sizeof told->message, "%s",
           rover_unreachable_message(rover));
}

static inline void on_error(rover_t *rover, rover_server_t *server, int status,
                            const char *message) {
  struct told *told = rover_data(rover);
  sound(rover);
  told->errors++;
  told->status = status;
  note_server(told, server);
  snprintf(told->message, sizeof told->message, "%s", message);
}

static const rover_events_t telling = {
    .connection = on_connection,
    .unreachable = on_unreachable,
    .error = on_error};

static inline void on_closed(rover_t *rover) {
  struct told *told = rover_data(rover);
  rover_stats_t s = sound(rover);
  EQUAL(0, s.kept);
  EQUAL(0, s.in_flight);
  told->closed++;
}

/* A rover that tells `told`, with the server "s" at that port of 127.0.0.1,
 * unless it is 0. */
static inline rover_t *roving(struct told *told, int port,
                              const rover_options_t *options) {
  rover_options_t own = {0};
  rover_t *rover;
  if (options) own = *options;
  own.events = telling;
  own.data = told;
  memset(told, 0, sizeof *told);
  EQUAL(0, rover_new(&rover, loop, &own));
  if (port) EQUAL(0, rover_server_add(rover, "s", "127.0.0.1", port));
  return rover;
}

/* Closes it, and runs the loop until it is closed. */
static inline void finish(rover_t *rover, struct told *told) {
  rover_set_events(rover, &telling, told);
  EQUAL(0, rover_close(rover, on_closed));
  EQUAL(0, told->closed);
  UNTIL(told->closed);
}

/* Has it connect to the listener, which sends this; returns that end. */
static inline int greeted(rover_t *rover, int listener, const char *greeting) {
  EQUAL(0, rover_connect(rover));
  int fd = accepted(listener);
  say(fd, greeting);
  return fd;
}

/* Has it keep a connection; returns the server's end. */
static inline int kept(rover_t *rover, struct told *told, int listener,
                       const char *greeting) {
  int before = told->connections;
  int fd = greeted(rover, listener, greeting);
  UNTIL(told->connections == before + 1);
  return fd;
}

#endif
