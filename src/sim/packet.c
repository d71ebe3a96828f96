#include "packet.h"

#include "memory.h"
#include "network.h"
#include "route.h"

enum { HEADERS = 66 /* of Ethernet, IPv4 and TCP */ };

struct packet {
  struct sim__event event;
  uint8_t kind;
  struct sim__end *to; /* or the next free one */
  uint64_t upto;
};

static struct sim__pool packets = {.size = sizeof(struct packet)};

struct sim__network sim__network = {.delay = UINT64_C(100) * SIM__US,
                                    .jitter = UINT64_C(50) * SIM__US,
                                    .receive = 128 * 1024,
                                    .send = 128 * 1024};

uint64_t sim__delay(const struct sim__end *to) {
  struct sim__conn *conn = sim__conn_of(to);
  uint64_t delay = sim__network.delay, jitter = sim__network.jitter;

  if (jitter > 0)
    delay += sim__random_hash(conn->id, conn->draws++, to->side) % jitter;
  return delay;
}

/* When the sender's link has sent that much more. */
static uint64_t sent_by(struct sim__machine *sender, uint64_t bytes) {
  uint64_t bandwidth = sim__network.bandwidth, now = sim__machine_now();

  if (bandwidth == 0 || !sender) return now;
  struct sim__net *net = sender->net;
  double ns = (double)(bytes + HEADERS) * 1e9 / (double)bandwidth;
  net->busy = (net->busy > now ? net->busy : now) + (uint64_t)ns;
  return net->busy;
}

static void on_arrival(struct sim__event *event) {
  struct packet *packet = (struct packet *)event;
  struct sim__end *to = packet->to;
  enum sim__kind kind = packet->kind;
  uint64_t upto = packet->upto;

  sim__pool_free(&packets, packet);
  sim__trace(kind, sim__conn_of(to)->id * 2 + to->side, upto);
  if (sim__is_cut(to->machine, sim__peer(to)->machine)) sim__lost(to, kind);
  else sim__arrive(to, kind, upto);
}

void sim__packets_end(void) {
  sim__clock_end(on_arrival);
  sim__pool_clear(&packets);
}

void sim__send(struct sim__end *to, enum sim__kind kind, uint64_t upto,
               uint64_t bytes) {
  struct sim__conn *conn = sim__conn_of(to);

  conn->packets++;
  if (conn->within) {
    sim__arrive(to, kind, upto);
    return;
  }
  uint64_t at = sent_by(sim__peer(to)->machine, bytes) + sim__delay(to);
  if (at <= to->in.last) at = to->in.last + 1;
  to->in.last = at;
  struct packet *packet = sim__pool_new(&packets);
  *packet = (struct packet){
      .event.happen = on_arrival, .to = to, .kind = kind, .upto = upto};
  sim__event_post(&packet->event, at);
}
