/* Private to src/tls: what OpenSSL reads from and writes to: its own socket,
 * but one that raises no SIGPIPE, sees what the peer begins with, and may read
 * ahead. */
#ifndef TLS_SOCKET_H
#define TLS_SOCKET_H

#include <stdbool.h>
#include <stddef.h>

#include <openssl/bio.h>

struct tls__socket {
  int error;          /* the errno that broke it */
  bool is_dry;        /* nothing is left in the kernel; the caller resets it */
  bool short_is_last; /* as of struct net__tls */
  char *room;         /* where more than OpenSSL asks for may be read to, */
  size_t room_size;   /* unless this is 0 */
  char *ahead;        /* what was read there, */
  size_t ahead_size;  /* and OpenSSL has not asked for yet */
  bool has_more;      /* the caller is going to write more at once */
  int record; /* the kind of the next record to be written by the kernel, which
                  is not of data; or -1 */
  unsigned seen;              /* how many bytes of the beginning are known */
  unsigned char beginning[9]; /* of a record and of the message in it */
};

/* A kind of BIO. Errors: NULL for lack of memory. */
BIO_METHOD *tls__socket_type(void);

/* The descriptor stays the caller's, and `socket` has to live as long. */
BIO *tls__socket_new(const BIO_METHOD *type, int fd,
                     struct tls__socket *socket);

#endif
