#include "tcp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "conn.h"
#include "listener.h"
#include "memory.h"
#include "path.h"
#include "stream.h"

/* Native endpoints are ends of connections whose program is in C and has no
 * loop. */

/* -- Listening ------------------------------------------------------------ */

/* Accepts what waits. */
static void on_pump(struct sim__event *event) {
  struct sim__listener *listener =
      (struct sim__listener *)((char *)event -
                               offsetof(struct sim__listener, pump));
  struct sim__end *end;

  while (!listener->paused && (end = sim__conn_accept(listener))) {
    struct sim__conn *conn = sim__conn_of(end);
    end->native = true;
    if (end->state == SIM__DEAD) { /* it was reset while it waited */
      sim__end_close(end, false);
      continue;
    }
    conn->packets++; /* it stays for now */
    listener->accepted(end, listener->data);
    if (!end->gone && end->ops && end->ops->readable &&
        (sim__end_unread(end) > 0 || end->in.ended))
      end->ops->readable(end);
    conn->packets--;
    sim__conn_free_if_over(conn);
  }
}

static void on_ready(struct sim__listener *listener) {
  sim__event_set(&listener->pump, sim__now());
}

struct sim__listener *
sim__listen(struct sim__machine *machine, uint16_t port, unsigned backlog,
            void (*accepted)(struct sim__end *end, void *arg), void *arg) {
  struct sim__listener *listener = sim__new(sizeof *listener);

  *listener = (struct sim__listener){.local.port = port,
                                     .backlog = backlog,
                                     .ready = on_ready,
                                     .accepted = accepted,
                                     .data = arg,
                                     .pump.happen = on_pump};
  sim__listener_add(machine, listener);
  return listener;
}

void sim__listener_pause(struct sim__listener *listener, bool pause) {
  listener->paused = pause;
  if (!pause) on_ready(listener);
}

void sim__listener_close(struct sim__listener *listener) {
  sim__listener_remove(listener);
  sim__event_cancel(&listener->pump);
  sim__conn_refuse_all(listener);
  free(listener);
}

/* -- Connecting ----------------------------------------------------------- */

struct sim__end *sim__connect(struct sim__machine *machine,
                              const struct sim__address *to,
                              const struct sim__end_ops *ops, void *data) {
  static const struct sim__options options;
  static const struct sim__address any;
  struct sim__address remote = *to;
  struct sim__machine *peer = sim__route_find(machine, to, &remote.port);

  /* Where nobody is, nobody answers. */
  struct sim__end *end = sim__conn_open(machine, &any, peer, &remote, &options);
  end->native = true;
  sim__end_set(end, ops, data);
  sim__conn_begin(end);
  return end;
}

struct sim__end *sim__connect_path(struct sim__machine *machine,
                                   const char *path,
                                   const struct sim__end_ops *ops, void *data) {
  struct sim__listener *listener = sim__path_listener(machine, path);
  struct sim__end *end;

  if (listener && !sim__listener_is_full(listener))
    end = sim__conn_pair(machine, listener);
  else end = sim__conn_failed(machine, listener ? EAGAIN : ECONNREFUSED);
  end->native = true;
  sim__end_set(end, ops, data);
  sim__end_tell_begun(end);
  return end;
}

/* -- An end --------------------------------------------------------------- */

void sim__end_set(struct sim__end *end, const struct sim__end_ops *ops,
                  void *data) {
  end->ops = ops;
  end->data = data;
}

void *sim__end_data(const struct sim__end *end) { return end->data; }

struct sim__machine *sim__end_machine(const struct sim__end *end) {
  return end->machine;
}

struct sim__machine *sim__end_peer(const struct sim__end *end) {
  return sim__peer(end)->machine;
}

uint64_t sim__end_id(const struct sim__end *end) {
  return sim__conn_of(end)->id * 2 + end->side;
}

ssize_t sim__read(struct sim__end *end, void *bytes, size_t size) {
  return sim__end_read(end, bytes, size, false);
}

ssize_t sim__write(struct sim__end *end, const void *bytes, size_t size) {
  size_t done = 0;

  while (done < size) {
    ssize_t n = sim__end_write(end, (const char *)bytes + done, size - done);
    if (n == -EAGAIN) break;
    if (n < 0) return n;
    done += (size_t)n;
  }
  return (ssize_t)done;
}

void sim__finish(struct sim__end *end) {
  if (!sim__peer(end)->in.ending) sim__end_shut(end);
}

void sim__close(struct sim__end *end) { sim__end_close(end, false); }

void sim__reset(struct sim__end *end) { sim__end_close(end, true); }

void sim__end_keepalive(struct sim__end *end, unsigned idle, unsigned interval,
                        unsigned count) {
  struct sim__options *options = &end->options;

  options->keepalive = idle > 0;
  options->idle = (uint16_t)idle;
  options->interval = (uint16_t)interval;
  options->count = (uint8_t)count;
  sim__end_tune(end);
}

uint32_t sim__machine_ends(const struct sim__machine *machine) {
  return machine->net->open;
}

/* -- Partitions ----------------------------------------------------------- */

void sim__partition(struct sim__machine *one, struct sim__machine *other,
                    bool cut) {
  bool fewer = one->net->open < other->net->open;
  struct sim__machine *few = fewer ? one : other, *many = fewer ? other : one;
  struct sim__end *end, *next;

  if (!sim__cut_set(one, other, cut)) return;
  for (end = few->net->ends; end; end = next) {
    struct sim__end *peer = sim__peer(end);
    next = end->next;
    if (peer->machine != many) continue;
    sim__end_cut(end, cut);
    sim__end_cut(peer, cut);
  }
}
