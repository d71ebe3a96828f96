#include "stream.h"

#include <errno.h>

#include "network.h"
#include "packet.h"
#include "route.h"

enum { SEGMENT = 64 * 1024 };

static uint64_t least(uint64_t one, uint64_t other) {
  return one < other ? one : other;
}

/* How much may wait unread at an end. */
static uint64_t receive_room(const struct sim__end *end) {
  return end->options.receive ? end->options.receive : sim__network.receive;
}

static uint64_t send_room(const struct sim__end *end) {
  return end->options.send ? end->options.send : sim__network.send;
}

void sim__stream_open(struct sim__end *end) {
  sim__stream_out(end)->edge = receive_room(sim__peer(end));
}

/* -- Acknowledgements ----------------------------------------------------- */

static void know(struct sim__end *end, const struct sim__ack *ack) {
  struct sim__stream *out = sim__stream_out(end);

  if (ack->to > out->acked) {
    out->acked = ack->to;
    out->since = ack->at;
  }
  if (ack->edge > out->edge) out->edge = ack->edge;
  if (ack->at > end->heard) end->heard = ack->at;
}

void sim__end_settle(struct sim__end *end) {
  struct sim__stream *out = sim__stream_out(end);
  uint64_t now = sim__machine_now();

  while (out->ack_count > 0 && out->acks[0].at <= now) {
    know(end, &out->acks[0]);
    out->acks[0] = out->acks[1];
    out->ack_count--;
  }
}

void sim__stream_expect(struct sim__end *end) {
  struct sim__stream *out = sim__stream_out(end);

  if (end->lost) return;
  if (!end->waits && out->sent == out->written && out->fin == out->ending)
    return;
  if (out->ack_count > 0 && !sim__event_waits(&end->acked))
    sim__event_set(&end->acked, out->acks[0].at);
}

void sim__stream_acknowledge(struct sim__end *end) {
  struct sim__stream *in = &end->in;
  struct sim__end *sender = sim__peer(end);
  struct sim__ack ack = {sim__machine_now(), in->arrived,
                         in->taken + receive_room(end)};

  if (sim__conn_of(end)->within) {
    /* A Unix socket's bytes count as the sender's until they are read. */
    if (sim__conn_of(end)->is_unix) ack.to = in->taken;
    know(sender, &ack);
    if (!sender->lost && (sender->waits || in->sent < in->written))
      sim__event_set(&sender->acked, sim__now());
    return;
  }
  if (sim__is_cut(end->machine, sender->machine)) return;
  sim__end_settle(sender);
  ack.at += sim__delay(sender);
  if (in->ack_count > 0 && in->acks[in->ack_count - 1].at >= ack.at)
    ack.at = in->acks[in->ack_count - 1].at + 1;
  if (in->ack_count == 2) in->acks[1] = ack;
  else in->acks[in->ack_count++] = ack;
  sim__stream_expect(sender);
}

/* -- Sending -------------------------------------------------------------- */

static void send_bytes(struct sim__end *end, uint64_t from, uint64_t to) {
  struct sim__stream *out = sim__stream_out(end);

  out->sent_at = sim__machine_now();
  if (out->sent == out->acked) out->since = out->sent_at;
  while (from < to) {
    uint64_t upto = from + least(to - from, SEGMENT);
    out->sent = upto > out->sent ? upto : out->sent;
    sim__send(sim__peer(end), SIM__DATA, upto, upto - from);
    from = upto;
  }
}

static void send_fin(struct sim__end *end) {
  struct sim__stream *out = sim__stream_out(end);

  out->fin = true;
  if (out->sent == out->acked) out->since = sim__machine_now();
  /* Who has closed, too, has nobody to tell. */
  struct sim__end *peer = sim__peer(end);
  if (peer->gone && end->gone && peer->state != SIM__CLOSED) return;
  sim__send(peer, SIM__END_OF, out->written, 0);
}

void sim__stream_send(struct sim__end *end) {
  struct sim__stream *out = sim__stream_out(end);
  uint64_t to = least(out->written, out->edge);

  if (to > out->sent) send_bytes(end, out->sent, to);
  if (out->sent < out->written) {
    if (!out->blocked) out->blocked = sim__machine_now();
    sim__stream_expect(end);
    return;
  }
  out->blocked = 0;
  if (out->ending && !out->fin) send_fin(end);
}

void sim__stream_send_again(struct sim__end *end) {
  struct sim__stream *out = sim__stream_out(end);

  out->stalled = false;
  if (out->sent > out->arrived) send_bytes(end, out->arrived, out->sent);
  if (out->fin && !out->ended) send_fin(end);
}

/* Of a socket, an error is told once; a native end is told at its end. */
static int take_error(struct sim__end *end) {
  int err = end->err;
  if (!end->native) end->err = 0;
  return -err;
}

/* Takes as many bytes as there is room for now. */
static size_t take(struct sim__end *end, const char *from, size_t size) {
  struct sim__stream *out = sim__stream_out(end);

  sim__end_settle(end);
  uint64_t queued = out->written - out->acked, most = send_room(end);
  if (queued >= most || end->state != SIM__OPEN) return 0;
  size = least(size, most - queued);
  sim__bytes_add(&out->bytes, from, size);
  out->written += size;
  sim__stream_send(end);
  return size;
}

ssize_t sim__end_write(struct sim__end *end, const void *from, size_t size) {
  struct sim__stream *out = sim__stream_out(end);

  if (end->state == SIM__OPENING || end->state == SIM__EMBRYO) return -EAGAIN;
  if (end->err) return take_error(end);
  if (end->state != SIM__OPEN || out->ending) return -EPIPE;
  size_t taken = 0, n;
  do taken += n = take(end, (const char *)from + taken, size - taken);
  while (n > 0 && taken < size);
  if (taken > 0 || size == 0) return (ssize_t)taken;
  end->waits = true;
  sim__stream_expect(end);
  return -EAGAIN;
}

bool sim__end_is_writable(struct sim__end *end) {
  const struct sim__stream *out = sim__stream_out(end);

  sim__end_settle(end);
  uint64_t queued = out->written - out->acked;
  if (queued + queued / 2 <= send_room(end)) return true;
  end->waits = true;
  sim__stream_expect(end);
  return false;
}

uint64_t sim__end_unsent(struct sim__end *end) {
  const struct sim__stream *out = sim__stream_out(end);
  sim__end_settle(end);
  return out->written - out->acked;
}

/* -- Receiving ------------------------------------------------------------ */

void sim__stream_arrived(struct sim__end *end, uint64_t upto) {
  if (upto <= end->in.arrived) return; /* it was sent again */
  end->in.arrived = upto;
  sim__stream_acknowledge(end);
}

uint64_t sim__end_unread(const struct sim__end *end) {
  return end->in.arrived - end->in.taken;
}

/* The sender learns of room once it is worth a segment, or half of all. */
static void open_window(struct sim__end *end) {
  const struct sim__stream *in = &end->in;
  uint64_t room = receive_room(end), known = in->edge;

  if (in->ack_count > 0) known = in->acks[in->ack_count - 1].edge;
  if (sim__conn_of(end)->is_unix || in->taken + room >= known + room / 2)
    sim__stream_acknowledge(end);
}

ssize_t sim__end_read(struct sim__end *end, void *to, size_t size, bool peek) {
  struct sim__stream *in = &end->in;
  size_t count = (size_t)least(size, in->arrived - in->taken);

  if (count > 0 && peek) {
    sim__bytes_peek(&in->bytes, to, count);
    return (ssize_t)count;
  }
  if (count > 0) {
    sim__bytes_take(&in->bytes, to, count);
    in->taken += count;
    if (end->state == SIM__OPEN) open_window(end);
    return (ssize_t)count;
  }
  if (size == 0 && sim__end_unread(end) > 0) return 0;
  if (in->ended && end->state == SIM__OPEN) return 0;
  if (end->err) return take_error(end);
  if (end->state == SIM__DEAD || end->blind || in->ended) return 0;
  return -EAGAIN;
}
