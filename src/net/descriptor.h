/* Private to src/net, src/rover and src/relay: the descriptor of a connection,
 * its options, and what can be learned of it. Descriptors and negative errors
 * as everywhere; nothing of libuv's. */
#ifndef NET_DESCRIPTOR_H
#define NET_DESCRIPTOR_H

#include <stdbool.h>

void net__fd_set(int fd, int level, int option, int value);

/* After so many seconds of silence 10 probes, a second apart; 0: none. */
void net__fd_set_keepalive(int fd, int seconds);

/* What these options are unless somebody sets them. */
struct net__keepalive {
  int idle, interval, count;
};
void net__fd_get_keepalive(int fd, struct net__keepalive *keepalive);

/* Undoes what was set of a descriptor that others are to have. */
void net__fd_unset(int fd, const struct net__keepalive *keepalive);

/* Closing it then resets the connection, and gives the port back at once. */
void net__fd_reset_on_close(int fd);

/* Keepalive finds peers that vanish while nothing is under way to them. For the
 * others the kernel waits many minutes for acknowledgements, so they are
 * checked every so often. */
enum { NET__CHECK_MS = 1000 };
enum net__peer {
  PEER_SETTLED, /* it has acknowledged all there is */
  PEER_OWES,    /* it has yet to; so has one that takes in nothing for now */
  PEER_DOUBTED, /* it has not answered for half of keepalive's time */
  PEER_GONE     /* nor for all of it */
};

/* `before` is what the last check has found, PEER_OWES since something was
 * sent. One that answers is waited for, though it takes in nothing. */
enum net__peer net__fd_check_peer(int fd, enum net__peer before);

/* How many bytes the kernel has yet to give to the peer. */
int net__fd_unsent(int fd);

/* What broke the connection, taken from its SO_ERROR; or 0. */
int net__fd_error(int fd);

/* 1: bytes wait, which stay there; 0: it has ended; -EAGAIN: neither; or what
 * broke it. */
int net__fd_peek(int fd);

/* Whether an error is about what this machine lacks, whoever the peer is. */
bool net__is_exhaustion(int status);

#endif
