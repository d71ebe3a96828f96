/* Private to src/net, src/rover, src/relay, src/front and src/sim: the descriptor
 * of a connection, its options, and what the kernel knows about it. Errors are
 * negative errnos, and nothing here needs libuv. */
#ifndef NET_DESCRIPTOR_H
#define NET_DESCRIPTOR_H

#include <stdbool.h>
#include <stdint.h>

void net__fd_set(int fd, int level, int option, int value);

/* Sends 10 probes, a second apart, after `seconds` of silence; 0: none. */
void net__fd_set_keepalive(int fd, int seconds);

/* The defaults of these options. */
struct net__keepalive {
  int idle, interval, count;
};
void net__fd_get_keepalive(int fd, struct net__keepalive *keepalive);

/* Restores the defaults, before a descriptor is handed to somebody else. */
void net__fd_unset(int fd, const struct net__keepalive *keepalive);

/* Makes closing reset the connection, which frees the local port at once. */
void net__fd_reset_on_close(int fd);

/* Keepalive detects a peer that vanishes while nothing is in flight to it.
 * Otherwise the kernel waits many minutes for an acknowledgement, so peers that
 * owe one are checked this often. */
enum { NET__CHECK_MS = 1000 };
enum net__peer {
  PEER_SETTLED, /* it has acknowledged everything */
  PEER_OWES,    /* it has not yet, perhaps as its window is closed */
  PEER_DOUBTED, /* no answer for half of its time */
  PEER_GONE     /* no answer for all of it */
};

/* `before` is the result of the last check, or PEER_OWES once something was
 * sent. A peer that answers is never gone, even if it reads nothing. `most` is
 * how many ms it may not answer; 0: as many as keepalive allows. */
enum net__peer net__fd_check_peer(int fd, enum net__peer before, uint64_t most);

/* How many bytes the peer has not acknowledged yet. */
int net__fd_unsent(int fd);

bool net__fd_is_connected(int fd);

/* Takes the error that broke the connection from SO_ERROR; 0 if there is
 * none. */
int net__fd_error(int fd);

/* Looks without reading. 1: there are bytes; 0: the peer has ended its side;
 * -EAGAIN: neither; or the error that broke the connection. */
int net__fd_peek(int fd);

/* Whether an error means that this machine lacks a resource, so that it says
 * nothing about the peer. */
bool net__is_exhaustion(int status);

#endif
