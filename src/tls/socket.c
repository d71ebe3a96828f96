/* The functions that read the parts of a BIO_METHOD are deprecated since 3.5,
 * where nothing replaces them yet. */
#define OPENSSL_API_COMPAT 30000
#include "socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#ifdef __linux__
#include <linux/tls.h>
#endif
#ifndef SOL_TLS
#define SOL_TLS 282
#endif

/* By these OpenSSL tells its own socket that the kernel does the records
 * (kTLS), and that the next write is a record of another kind than data. Its
 * headers do not have them, but they are as fixed as the numbers of any
 * BIO_ctrl(). */
enum { SET_RECORD = 74, CLEAR_RECORD = 75 };

static struct tls__socket *socket_of(BIO *bio) {
  return (struct tls__socket *)BIO_get_callback_arg(bio);
}

static int take(BIO *bio, struct tls__socket *socket, char *bytes, int size) {
  int n = BIO_meth_get_read(BIO_s_socket())(bio, bytes, size);
  socket->is_dry = n < 0 ? errno == EAGAIN || errno == EWOULDBLOCK
                         : n > 0 && n < size && socket->short_is_last;
  if (n < 0 && !BIO_should_retry(bio)) socket->error = errno;
  return n;
}

static int give(struct tls__socket *socket, char *bytes, int size) {
  size_t n =
      (size_t)size < socket->ahead_size ? (size_t)size : socket->ahead_size;
  memcpy(bytes, socket->ahead, n);
  socket->ahead += n;
  socket->ahead_size -= n;
  return (int)n;
}

static int read_some(BIO *bio, char *bytes, int size) {
  struct tls__socket *socket = socket_of(bio);
  int n;

  BIO_clear_retry_flags(bio);
  if (socket->ahead_size > 0) return give(socket, bytes, size);
  if (socket->is_dry) {
    BIO_set_retry_read(bio);
    return -1;
  }
  if (socket->room_size > (size_t)size) {
    n = take(bio, socket, socket->room, (int)socket->room_size);
    if (n <= 0) return n;
    socket->ahead = socket->room;
    socket->ahead_size = (size_t)n;
    return give(socket, bytes, size);
  }
  n = take(bio, socket, bytes, size);
  for (int i = 0; i < n && socket->seen < sizeof socket->beginning; i++)
    socket->beginning[socket->seen++] = (unsigned char)bytes[i];
  return n;
}

/* A record that the kernel is to encrypt, and that is no data. */
static ssize_t send_record(int fd, const char *bytes, size_t size, int record) {
  union {
    char bytes[CMSG_SPACE(1)];
    struct cmsghdr aligned;
  } control = {{0}};
  struct iovec part = {.iov_base = (void *)bytes, .iov_len = size};
  struct msghdr message = {.msg_iov = &part,
                           .msg_iovlen = 1,
                           .msg_control = control.bytes,
                           .msg_controllen = sizeof control.bytes};
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);

  header->cmsg_level = SOL_TLS;
  header->cmsg_type = 1; /* TLS_SET_RECORD_TYPE */
  header->cmsg_len = CMSG_LEN(1);
  *CMSG_DATA(header) = (unsigned char)record;
  message.msg_controllen = header->cmsg_len;
  return sendmsg(fd, &message, MSG_NOSIGNAL);
}

/* Has the kernel send what it keeps because of MSG_MORE: there is no room for
 * more. */
static void push(int fd) {
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static int write_some(BIO *bio, const char *bytes, int size) {
  struct tls__socket *socket = socket_of(bio);
  int fd = (int)BIO_get_fd(bio, NULL);
  ssize_t n;

  do
    n = socket->record < 0
            ? send(fd, bytes, (size_t)size,
                   MSG_NOSIGNAL | (socket->has_more ? MSG_MORE : 0))
            : send_record(fd, bytes, (size_t)size, socket->record);
  while (n < 0 && errno == EINTR);
  BIO_clear_retry_flags(bio);
  if (n >= 0) {
    socket->record = -1;
  } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
    BIO_set_retry_write(bio);
    push(fd);
  } else {
    socket->error = errno;
  }
  return (int)n;
}

static long command(BIO *bio, int what, long number, void *pointer) {
  struct tls__socket *socket = socket_of(bio);
  if (socket && what == SET_RECORD) socket->record = (int)number;
  if (socket && what == CLEAR_RECORD) socket->record = -1;
  return BIO_meth_get_ctrl(BIO_s_socket())(bio, what, number, pointer);
}

BIO_METHOD *tls__socket_type(void) {
  const BIO_METHOD *parent = BIO_s_socket();
  BIO_METHOD *type = BIO_meth_new(BIO_TYPE_SOCKET, "callosum socket");
  if (type && BIO_meth_set_create(type, BIO_meth_get_create(parent)) &&
      BIO_meth_set_destroy(type, BIO_meth_get_destroy(parent)) &&
      BIO_meth_set_ctrl(type, command) && BIO_meth_set_read(type, read_some) &&
      BIO_meth_set_write(type, write_some))
    return type;
  BIO_meth_free(type);
  return NULL;
}

BIO *tls__socket_new(const BIO_METHOD *type, int fd,
                     struct tls__socket *socket) {
  BIO *bio = BIO_new(type);
  if (!bio) return NULL;
  *socket = (struct tls__socket){.record = -1};
  BIO_set_callback_arg(bio, (char *)socket);
  BIO_set_fd(bio, fd, BIO_NOCLOSE);
  return bio;
}
