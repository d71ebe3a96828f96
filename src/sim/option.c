#include <errno.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>

#include "conn.h"
#include "network.h"
#include "silence.h"
#include "socket.h"
#include "stream.h"

/* What getsockopt(), setsockopt() and ioctl() say about sockets. Options that
 * change nothing here are taken, and forgotten. */

static struct sim__options *options_of(struct sim__socket *socket) {
  if (socket->end) return &socket->end->options;
  return socket->listener ? &socket->listener->options : &socket->options;
}

/* -- Setting -------------------------------------------------------------- */

enum { LEAST_BUFFER = 4608 };

/* The kernel doubles what it is given, and halves it again for bytes. */
static uint32_t buffer_size(int value) {
  return value < LEAST_BUFFER / 2 ? LEAST_BUFFER : (uint32_t)value * 2;
}

static int set_socket(struct sim__socket *socket, int name, int value) {
  struct sim__options *options = options_of(socket);

  switch (name) {
    case SO_KEEPALIVE: options->keepalive = value != 0; break;
    case SO_SNDBUF: options->send = buffer_size(value); break;
    case SO_RCVBUF: options->receive = buffer_size(value); break;
    case SO_REUSEADDR: socket->reuse = value != 0; break;
    default: break;
  }
  return 0;
}

static int set_tcp(struct sim__options *options, int name, int value) {
  switch (name) {
    case TCP_NODELAY: options->nodelay = value != 0; return 0;
    case TCP_KEEPIDLE:
    case TCP_KEEPINTVL:
      if (value < 1 || value > 32767) return -EINVAL;
      if (name == TCP_KEEPIDLE) options->idle = (uint16_t)value;
      else options->interval = (uint16_t)value;
      return 0;
    case TCP_KEEPCNT:
      if (value < 1 || value > 127) return -EINVAL;
      options->count = (uint8_t)value;
      return 0;
    case TCP_USER_TIMEOUT:
      if (value < 0) return -EINVAL;
      options->user_timeout = (uint32_t)value;
      return 0;
    default: return 0;
  }
}

static int set_linger(struct sim__options *options, const void *value,
                      socklen_t size) {
  struct linger linger;

  if (size < sizeof linger) return -EINVAL;
  memcpy(&linger, value, sizeof linger);
  options->resets = linger.l_onoff && linger.l_linger == 0;
  return 0;
}

int sim__setsockopt(struct sim__socket *socket, int level, int name,
                    const void *value, socklen_t size) {
  struct sim__options *options = options_of(socket);
  int number = 0, err = 0;

  if (level == SOL_SOCKET && name == SO_LINGER)
    return set_linger(options, value, size);
  if (size < sizeof number) return -EINVAL;
  memcpy(&number, value, sizeof number);
  if (level == SOL_SOCKET) err = set_socket(socket, name, number);
  else if (socket->domain == AF_UNIX) return -EOPNOTSUPP;
  else if (level == IPPROTO_TCP) err = set_tcp(options, name, number);
  if (err == 0 && socket->end) sim__end_tune(socket->end);
  return err;
}

/* -- Getting -------------------------------------------------------------- */

static int take_error(struct sim__socket *socket) {
  struct sim__end *end = socket->end;
  int err = end ? end->err : 0;
  if (end) end->err = 0;
  return err;
}

static int get_socket(struct sim__socket *socket, int name, int *value) {
  const struct sim__options *options = options_of(socket);

  switch (name) {
    case SO_ERROR: *value = take_error(socket); return 0;
    case SO_TYPE: *value = socket->type; return 0;
    case SO_DOMAIN: *value = socket->domain; return 0;
    case SO_PROTOCOL:
      *value = socket->domain == AF_UNIX     ? 0
               : socket->type == SOCK_STREAM ? IPPROTO_TCP
                                             : IPPROTO_UDP;
      return 0;
    case SO_ACCEPTCONN: *value = socket->listener != NULL; return 0;
    case SO_KEEPALIVE: *value = options->keepalive; return 0;
    case SO_REUSEADDR: *value = socket->reuse; return 0;
    case SO_SNDBUF:
      *value = (int)(options->send ? options->send : sim__network.send);
      return 0;
    case SO_RCVBUF:
      *value =
          (int)(options->receive ? options->receive : sim__network.receive);
      return 0;
    default: *value = 0; return 0;
  }
}

static int get_tcp(const struct sim__options *options, int name, int *value) {
  switch (name) {
    case TCP_NODELAY: *value = options->nodelay; return 0;
    case TCP_KEEPIDLE: *value = options->idle; return 0;
    case TCP_KEEPINTVL: *value = options->interval; return 0;
    case TCP_KEEPCNT: *value = options->count; return 0;
    case TCP_USER_TIMEOUT: *value = (int)options->user_timeout; return 0;
    default: *value = 0; return 0;
  }
}

static uint8_t tcp_state(const struct sim__socket *socket) {
  const struct sim__end *end = socket->end;

  if (socket->listener) return TCP_LISTEN;
  if (!end || end->state == SIM__DEAD) return TCP_CLOSE;
  if (end->state == SIM__OPENING) return TCP_SYN_SENT;
  bool ending = sim__stream_out(end)->ending;
  if (end->in.ended) return ending ? TCP_LAST_ACK : TCP_CLOSE_WAIT;
  return ending ? TCP_FIN_WAIT2 : TCP_ESTABLISHED;
}

static uint32_t ms_since(uint64_t time) {
  uint64_t now = sim__machine_now();
  return now > time ? (uint32_t)((now - time) / SIM__MS) : 0;
}

static void get_info(const struct sim__socket *socket, struct tcp_info *info) {
  enum { SEGMENT = 1448 };
  struct sim__end *end = socket->end;

  *info = (struct tcp_info){.tcpi_state = tcp_state(socket),
                            .tcpi_snd_mss = SEGMENT,
                            .tcpi_rcv_mss = SEGMENT};
  if (socket->listener) info->tcpi_unacked = socket->listener->waiting;
  if (!end) return;
  sim__end_settle(end);
  const struct sim__stream *out = sim__stream_out(end);
  info->tcpi_unacked =
      (uint32_t)((out->sent - out->acked + SEGMENT - 1) / SEGMENT);
  info->tcpi_retransmits = (uint8_t)sim__silence_retransmits(end);
  info->tcpi_probes = (uint8_t)sim__silence_probes(end);
  info->tcpi_last_data_sent = ms_since(sim__silence_last_sent(end));
  info->tcpi_last_ack_recv = ms_since(sim__silence_heard(end));
  info->tcpi_last_data_recv = info->tcpi_last_ack_recv;
}

enum { INFO_SIZE = offsetof(struct tcp_info, tcpi_total_retrans) + 4 };

int sim__getsockopt(struct sim__socket *socket, int level, int name,
                    void *value, socklen_t *size) {
  struct linger linger = {options_of(socket)->resets, 0};
  struct tcp_info info;
  int number = 0, err = 0;
  const void *from = &number;
  socklen_t length = sizeof number;

  if (level == SOL_SOCKET && name == SO_LINGER) {
    from = &linger;
    length = sizeof linger;
  } else if (level == SOL_SOCKET) {
    err = get_socket(socket, name, &number);
  } else if (socket->domain == AF_UNIX) {
    return -EOPNOTSUPP;
  } else if (level == IPPROTO_TCP && name == TCP_INFO) {
    get_info(socket, &info);
    from = &info;
    length = INFO_SIZE; /* what libc has behind it is not counted here */
  } else if (level == IPPROTO_TCP) {
    err = get_tcp(options_of(socket), name, &number);
  }
  if (err < 0) return err;
  if (*size > length) *size = length;
  memcpy(value, from, *size);
  return 0;
}

int sim__socket_ioctl(struct sim__socket *socket, unsigned long request,
                      void *arg) {
  struct sim__end *end = socket->end;

  switch (request) {
    case FIONREAD: *(int *)arg = end ? (int)sim__end_unread(end) : 0; return 0;
    case SIOCOUTQ:
      if (socket->listener) return -EINVAL;
      *(int *)arg = end ? (int)sim__end_unsent(end) : 0;
      return 0;
    case FIONBIO: socket->file.blocks = !*(int *)arg; return 0;
    default: return -ENOTTY;
  }
}
