#include "conn.h"

#include <errno.h>
#include <string.h>

#include "end.h"
#include "listener.h"
#include "memory.h"
#include "packet.h"
#include "route.h"
#include "silence.h"
#include "stream.h"

/* The life of a connection: a client's end begins it, by a SYN to a machine.
 * Where something listens, the other end exists once the handshake is over, and
 * waits to be accepted. Bytes go both ways (stream.c). Each end is closed by its
 * program, or dies by a reset or a timeout (silence.c). The whole is freed when
 * both programs have closed theirs, and nothing is under way any more. */

enum { QUEUE_TRIES = 5 }; /* as net.ipv4.tcp_synack_retries */

enum { CONNECTED = 1, READABLE = 2, WRITABLE = 4, ENDED = 8 };

/* -- The ends ------------------------------------------------------------- */

static void on_notify(struct sim__event *event);
static void on_acked(struct sim__event *event);

static void begin(struct sim__end *end, struct sim__machine *machine) {
  struct sim__net *net = machine->net;

  end->machine = machine;
  end->gone = end->lost = false;
  end->heard = end->began = sim__machine_now();
  end->prev = NULL;
  end->next = net->ends;
  if (end->next) end->next->prev = end;
  net->ends = end;
}

static void unlist(struct sim__end *end) {
  struct sim__net *net = end->machine->net;

  if (end->prev) end->prev->next = end->next;
  else if (net->ends == end) net->ends = end->next;
  if (end->next) end->next->prev = end->prev;
  end->prev = end->next = NULL;
}

static void count(struct sim__end *end, bool counts) {
  if (end->counted == counts || !end->machine) return;
  end->counted = counts;
  if (counts) end->machine->net->open++;
  else end->machine->net->open--;
}

static struct sim__pool conns = {.size = sizeof(struct sim__conn)};

static struct sim__conn *conn_new(struct sim__machine *from) {
  struct sim__conn *conn = sim__pool_new(&conns);

  memset(conn, 0, sizeof *conn);
  conn->id = (uint64_t)from->id << 32 | ++from->serial;
  for (int side = 0; side < 2; side++) {
    struct sim__end *end = &conn->ends[side];
    end->side = (uint8_t)side;
    end->gone = end->lost = true;
    end->acked.happen = on_acked;
    end->notify.happen = on_notify;
    sim__silence_init(end);
  }
  return conn;
}

/* The peer of an end does not know of it any more, and cannot say so. */
static void notice(struct sim__end *end) {
  if (!end->lost) sim__silence_watch(end);
}

/* An end whose kernel has nothing more to do with it. */
static void forget(struct sim__end *end) {
  if (end->lost || !end->machine) return;
  end->lost = true;
  count(end, false);
  unlist(end);
  sim__event_cancel(&end->timer);
  sim__event_cancel(&end->acked);
  if (sim__is_cut(end->machine, sim__peer(end)->machine))
    notice(sim__peer(end));
}

void sim__conn_free_if_over(struct sim__conn *conn) {
  if (conn->packets > 0 || !conn->ends[0].gone || !conn->ends[1].gone) return;
  for (int side = 0; side < 2; side++) {
    forget(&conn->ends[side]);
    sim__event_cancel(&conn->ends[side].notify);
    sim__bytes_clear(&conn->ends[side].in.bytes);
  }
  sim__pool_free(&conns, conn);
}

void sim__conns_end(void) { sim__pool_clear(&conns); }

/* -- Telling -------------------------------------------------------------- */

static void tell_end(struct sim__end *end) {
  const struct sim__end_ops *ops = end->ops;

  if (ops && ops->ended) ops->ended(end, end->err);
  if (end->native || end->err == ECANCELED) sim__end_close(end, false);
}

/* `what` has one bit. */
static void tell_now(struct sim__end *end, int what) {
  const struct sim__end_ops *ops = end->ops;

  if (end->gone) return;
  if (what == ENDED) tell_end(end);
  else if (!ops) return;
  else if (what == CONNECTED && ops->connected) ops->connected(end);
  else if (what == READABLE && ops->readable) ops->readable(end);
  else if (what == WRITABLE && ops->writable) ops->writable(end);
}

/* A native end's callback is not to come from within the code of a machine. */
static void tell(struct sim__end *end, int what) {
  if (!end->native || !sim__conn_of(end)->within) {
    tell_now(end, what);
    return;
  }
  end->pending |= (uint8_t)what;
  sim__event_set(&end->notify, sim__now());
}

static void on_notify(struct sim__event *event) {
  struct sim__end *end =
      (struct sim__end *)((char *)event - offsetof(struct sim__end, notify));
  struct sim__conn *conn = sim__conn_of(end);
  int pending = end->pending;

  end->pending = 0;
  conn->packets++; /* it stays for now */
  for (int what = CONNECTED; what <= ENDED; what *= 2)
    if (pending & what) tell_now(end, what);
  conn->packets--;
  sim__conn_free_if_over(conn);
}

/* Tells whoever waits that there is room. */
static void tell_room(struct sim__end *end) {
  if (!end->waits || end->state != SIM__OPEN) return;
  end->waits = false;
  if (!sim__end_is_writable(end)) return; /* it waits again */
  tell(end, WRITABLE);
}

static void on_acked(struct sim__event *event) {
  struct sim__end *end =
      (struct sim__end *)((char *)event - offsetof(struct sim__end, acked));

  sim__end_settle(end);
  sim__stream_send(end);
  sim__silence_watch(end);
  tell_room(end);
  sim__stream_expect(end);
}

/* -- Dying ---------------------------------------------------------------- */

void sim__end_die(struct sim__end *end, int err) {
  if (end->state == SIM__DEAD) return;
  struct sim__conn *conn = sim__conn_of(end);
  conn->packets++; /* it stays for now */
  end->state = SIM__DEAD;
  end->err = err;
  forget(end);
  tell(end, ENDED);
  conn->packets--;
  sim__conn_free_if_over(conn);
}

/* The machine has no such connection, and says so. */
static void refuse(struct sim__end *from) {
  sim__send(sim__peer(from), SIM__RESET, 0, 0);
}

void sim__end_vanish(struct sim__end *end) {
  bool was_gone = end->gone;

  if (end->state == SIM__DEAD) return;
  struct sim__conn *conn = sim__conn_of(end);
  conn->packets++;
  end->state = SIM__DEAD;
  end->err = ECANCELED;
  forget(end);
  if (!was_gone) tell(end, ENDED);
  conn->packets--;
  sim__conn_free_if_over(conn);
}

void sim__end_close(struct sim__end *end, bool resets) {
  struct sim__conn *conn = sim__conn_of(end);

  if (end->gone) return;
  end->gone = true;
  end->ops = NULL;
  sim__event_cancel(&end->notify);
  count(end, false);
  /* What has not entered the listener's queue is forgotten with it. */
  if (end->state == SIM__OPENING || end->state == SIM__EMBRYO) {
    end->state = SIM__DEAD;
    forget(end);
  } else if (end->state != SIM__DEAD) {
    resets |= end->options.resets || sim__end_unread(end) > 0;
    if (resets) {
      end->state = SIM__DEAD;
      forget(end);
      refuse(end);
      return; /* the reset may have been the last, and freed it */
    }
    if (!sim__stream_out(end)->ending) sim__end_shut(end);
    sim__silence_watch(end);
  }
  sim__conn_free_if_over(conn);
}

void sim__end_shut(struct sim__end *end) {
  struct sim__conn *conn = sim__conn_of(end);

  conn->packets++;
  sim__stream_out(end)->ending = true;
  if (end->state == SIM__OPEN || end->state == SIM__EMBRYO)
    sim__stream_send(end);
  conn->packets--;
}

/* -- Opening -------------------------------------------------------------- */

static struct sim__address server_address(struct sim__machine *machine,
                                          uint16_t port) {
  struct sim__address address = sim__machine_address(machine);
  address.port = port;
  return address;
}

static uint16_t take_port(struct sim__machine *machine) {
  enum { FIRST = 32768, LAST = 60999 }; /* net.ipv4.ip_local_port_range */
  uint16_t port = machine->next_port;
  machine->next_port = port == LAST ? FIRST : (uint16_t)(port + 1);
  return port;
}

/* The address that a client has towards a server. */
static struct sim__address client_address(struct sim__machine *from,
                                          const struct sim__address *local,
                                          const struct sim__address *remote) {
  struct sim__address address =
      sim__address_is_loopback(remote) ? *remote : sim__machine_address(from);
  if (!sim__address_is_any(local)) address = *local;
  address.port = local->port ? local->port : take_port(from);
  return address;
}

static void established(struct sim__end *end) {
  end->state = SIM__OPEN;
  count(end, true);
  sim__stream_open(end);
}

/* The server's end begins, and waits to be accepted. */
static void enter(struct sim__end *end, struct sim__listener *listener) {
  if (end->gone) begin(end, listener->machine);
  end->options = listener->options;
  established(end);
  end->next_waiting = NULL;
  *listener->last = end;
  listener->last = &end->next_waiting;
  listener->waiting++;
  listener->ready(listener);
}

/* The handshake within a machine takes no time. */
static void open_within(struct sim__end *client,
                        struct sim__listener *listener) {
  if (!listener) {
    sim__end_die(client, ECONNREFUSED);
    return;
  }
  if (sim__listener_is_full(listener)) { /* the SYN is dropped */
    sim__silence_watch(client);
    return;
  }
  established(client);
  enter(sim__peer(client), listener);
  tell(client, CONNECTED);
}

static struct sim__listener *listener_of(struct sim__end *server) {
  struct sim__machine *machine = server->machine;
  return machine ? sim__listener_at(machine, &server->local) : NULL;
}

struct sim__end *sim__conn_open(struct sim__machine *from,
                                const struct sim__address *local,
                                struct sim__machine *machine,
                                const struct sim__address *remote,
                                const struct sim__options *options) {
  struct sim__conn *conn = conn_new(from);
  struct sim__end *client = &conn->ends[0], *server = &conn->ends[1];

  conn->within = from == machine;
  begin(client, from);
  client->options = *options;
  client->state = SIM__OPENING;
  client->remote = *remote;
  client->local = client_address(from, local, remote);
  server->machine = machine;
  server->remote = client->local;
  server->local = *remote;
  if (machine && !conn->within) {
    server->remote = server_address(from, client->local.port);
    server->local = server_address(machine, server->local.port);
  }
  return client;
}

/* Separate, as the caller sets the owner of the end first. */
void sim__conn_begin(struct sim__end *client) {
  struct sim__conn *conn = sim__conn_of(client);
  struct sim__end *server = sim__peer(client);

  if (conn->within) open_within(client, listener_of(server));
  else sim__send(server, SIM__SYN, 0, 0);
}

struct sim__end *sim__conn_pair(struct sim__machine *machine,
                                struct sim__listener *listener) {
  struct sim__conn *conn = conn_new(machine);
  struct sim__end *one = &conn->ends[0], *other = &conn->ends[1];

  conn->within = conn->is_unix = true;
  begin(one, machine);
  established(one);
  if (listener) {
    enter(other, listener);
  } else {
    begin(other, machine);
    established(other);
  }
  return one;
}

struct sim__end *sim__conn_failed(struct sim__machine *machine, int err) {
  struct sim__conn *conn = conn_new(machine);
  struct sim__end *end = &conn->ends[0];

  conn->within = true;
  begin(end, machine);
  sim__end_die(end, err);
  return end;
}

void sim__end_tell_begun(struct sim__end *end) {
  tell(end, end->state == SIM__DEAD ? ENDED : CONNECTED);
}

struct sim__end *sim__conn_accept(struct sim__listener *listener) {
  struct sim__end *end = listener->first;

  if (!end) return NULL;
  listener->first = end->next_waiting;
  if (!listener->first) listener->last = &listener->first;
  listener->waiting--;
  return end;
}

void sim__conn_refuse_all(struct sim__listener *listener) {
  struct sim__end *end;
  while ((end = sim__conn_accept(listener))) sim__end_close(end, true);
}

/* -- For silence.c -------------------------------------------------------- */

void sim__end_connect_again(struct sim__end *end) {
  if (sim__conn_of(end)->within) sim__conn_begin(end);
  else sim__send(sim__peer(end), SIM__SYN, 0, 0);
}

static void forget_embryo(struct sim__end *end) {
  end->gone = true;
  end->state = SIM__DEAD;
  forget(end);
}

void sim__end_enter_queue(struct sim__end *end) {
  struct sim__listener *listener = listener_of(end);

  if (!listener) {
    forget_embryo(end);
    refuse(end);
    return;
  }
  if (sim__listener_is_full(listener)) {
    if (end->tries <= QUEUE_TRIES) sim__silence_watch(end);
    else forget_embryo(end);
    return;
  }
  enter(end, listener);
  if (sim__stream_out(sim__peer(end))->stalled)
    sim__end_send_again(sim__peer(end));
}

void sim__end_send_again(struct sim__end *end) {
  sim__stream_send_again(end);
  sim__silence_watch(end);
}

void sim__end_tune(struct sim__end *end) {
  if (!end->lost) sim__silence_watch(end);
}

void sim__end_cut(struct sim__end *end, bool cut) {
  if (end->lost) return;
  if (cut) {
    sim__silence_begins(end);
    return;
  }
  if (end->state == SIM__OPEN) sim__stream_acknowledge(end);
  sim__silence_watch(end);
}

/* -- What does not arrive -------------------------------------------------- */

/* Its sender sends it again, unless that has gone. */
static void stall(struct sim__end *sender) {
  if (sender->lost || sender->state != SIM__OPEN) return;
  sim__stream_out(sender)->stalled = true;
  sim__silence_watch(sender);
}

static void lose(struct sim__end *to, enum sim__kind kind) {
  struct sim__conn *conn = sim__conn_of(to);
  struct sim__end *client = &conn->ends[0];

  switch (kind) {
    case SIM__SYN:
    case SIM__SYN_ACK:
      if (client->state == SIM__OPENING) sim__silence_watch(client);
      break;
    case SIM__ACK: stall(client); break;
    case SIM__DATA:
    case SIM__END_OF: stall(sim__peer(to)); break;
    case SIM__RESET: notice(to); break;
    default: break;
  }
}

/* -- What arrives --------------------------------------------------------- */

static void arrive_syn(struct sim__end *server) {
  struct sim__listener *listener = listener_of(server);

  if (!listener) sim__send(sim__peer(server), SIM__REFUSAL, 0, 0);
  else if (sim__listener_is_full(listener)) lose(server, SIM__SYN);
  else sim__send(sim__peer(server), SIM__SYN_ACK, 0, 0);
}

static void arrive_syn_ack(struct sim__end *client) {
  if (client->state != SIM__OPENING) return; /* it was closed meanwhile */
  sim__event_cancel(&client->timer);
  established(client);
  client->heard = sim__now();
  sim__send(sim__peer(client), SIM__ACK, 0, 0);
  tell(client, CONNECTED);
}

static void arrive_ack(struct sim__end *server) {
  struct sim__listener *listener = listener_of(server);

  if (server->state != SIM__CLOSED) return; /* it came again */
  if (!listener) {
    refuse(server);
  } else if (sim__listener_is_full(listener)) {
    begin(server, listener->machine);
    server->state = SIM__EMBRYO;
    sim__silence_watch(server);
  } else {
    enter(server, listener);
  }
}

/* Bytes up to `upto`, and a FIN behind these if it `ends`. */
static void arrive_bytes(struct sim__end *end, uint64_t upto, bool ends) {
  if (end->lost) {
    refuse(end);
    return;
  }
  /* What comes before something that was lost waits for that. */
  if (end->state == SIM__EMBRYO || end->in.stalled) {
    lose(end, SIM__DATA);
    return;
  }
  end->heard = sim__now();
  if (ends) {
    end->in.ended = true;
  } else if (end->gone) { /* nobody will read it */
    end->state = SIM__DEAD;
    forget(end);
    refuse(end);
    return;
  } else {
    sim__stream_arrived(end, upto);
  }
  tell(end, READABLE);
  /* Most close now; who does not is watched. */
  if (ends && !end->gone) sim__end_tune(end);
}

int sim__end_reset_error(const struct sim__end *end) {
  return end->in.ended ? EPIPE : ECONNRESET;
}

void sim__arrive(struct sim__end *end, enum sim__kind kind, uint64_t upto) {
  struct sim__conn *conn = sim__conn_of(end);

  switch (kind) {
    case SIM__SYN: arrive_syn(end); break;
    case SIM__SYN_ACK: arrive_syn_ack(end); break;
    case SIM__ACK: arrive_ack(end); break;
    case SIM__REFUSAL: sim__end_die(end, ECONNREFUSED); break;
    case SIM__DATA: arrive_bytes(end, upto, false); break;
    case SIM__END_OF: arrive_bytes(end, upto, true); break;
    case SIM__RESET:
      if (!end->lost) sim__end_die(end, sim__end_reset_error(end));
      break;
  }
  conn->packets--;
  sim__conn_free_if_over(conn);
}

void sim__lost(struct sim__end *end, enum sim__kind kind) {
  struct sim__conn *conn = sim__conn_of(end);

  lose(end, kind);
  conn->packets--;
  sim__conn_free_if_over(conn);
}
