/* Private to the chaos program: a rover in C, its sockets, and its relay. */
#ifndef CLIENT_H
#define CLIENT_H

#include "chaos.h"

struct held;

/* A write or shutdown that was accepted. */
struct request {
  struct held *held;
  struct request *next;
  bool is_shutdown, dropped;
};

/* A socket that a rover keeps. */
struct held {
  struct client *client;
  rover_socket_t *socket;
  struct talker *talker;
  struct held *prev, *next;
  struct request *requests;
  bool touched; /* it is not to be joined */
  bool reads, closes, shut, ends;
  bool queues; /* bytes that may not be sent yet */
};

struct client {
  unsigned index;
  struct sim__machine *machine;
  rover_t *rover;
  rover_relay_t *relay;
  struct held *held;
  bool closing, closed, vanished, has_relay, relay_closing, relay_closed;
  uint64_t connections, unreachable, errors; /* callbacks */
  uint64_t called, joined, over;             /* clients of the relay */
  char path[64];
  int proxy, accept_proxy;
};

/* -- rover.c ------------------------------------------------------------- */

extern bool rovers_are_calm;

/* -- socket.c ------------------------------------------------------------ */

/* Takes a socket of which the rover has just told. */
struct held *held_new(struct client *client, rover_socket_t *socket);

/* Any of a client's, or NULL. */
struct held *held_any(struct client *client);

void held_use(struct held *held); /* in some way */
void held_read(struct held *held);
void held_close(struct held *held);

/* -- relay.c --------------------------------------------------------------- */

enum { RELAY_PORT = 6380 };

void relay_make(struct client *client);
void relay_check(const struct client *client);

/* Joins the clients that wait with sockets that nobody has touched. */
void relay_join(struct client *client);

/* Closes it, if there is one. */
void relay_close(struct client *client, uint64_t ms);

#endif
