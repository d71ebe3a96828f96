#include "silence.h"

#include <errno.h>

#include "conn.h"
#include "route.h"
#include "stream.h"

/* An idle connection has no timers here, though each peer probes it: as long as
 * the probes would be answered, nothing changes. When the network is cut, or a
 * peer has forgotten a connection, the time is computed at which an end would
 * notice. What is lost is sent again when its timer would, if the network is
 * healed by then. */

/* As of Linux: net.ipv4.tcp_syn_retries, tcp_retries2, tcp_orphan_retries. */
enum { SYN_TRIES = 6, RETRIES = 15, ORPHAN_RETRIES = 8 };
#define FIRST_TIMEOUT (UINT64_C(200) * SIM__MS)
#define FIN_TIMEOUT (UINT64_C(60) * SIM__S)
#define LAST_TIMEOUT (UINT64_C(120) * SIM__S)

/* -- Times ---------------------------------------------------------------- */

static uint64_t backoff(unsigned tries) {
  uint64_t timeout = FIRST_TIMEOUT;
  while (tries-- > 0 && timeout < LAST_TIMEOUT) timeout *= 2;
  return timeout < LAST_TIMEOUT ? timeout : LAST_TIMEOUT;
}

/* The first time after now at which what was sent at `since` is sent again; or
 * SIM__NEVER after `tries`. `*count` is how often it was. */
static uint64_t next_try(uint64_t since, unsigned tries, unsigned *count) {
  uint64_t at = since;

  for (*count = 0; *count <= tries; ++*count) {
    at += backoff(*count);
    if (at > sim__now()) return at;
  }
  return SIM__NEVER;
}

/* The last one that is past, or `since`. */
static uint64_t try_before(uint64_t since) {
  unsigned count;
  next_try(since, RETRIES, &count);
  while (count > 0) since += backoff(--count);
  return since;
}

static uint64_t last_try(uint64_t since, unsigned tries) {
  for (unsigned i = 0; i <= tries; i++) since += backoff(i);
  return since;
}

static bool is_reached(const struct sim__end *end) {
  return !sim__is_cut(end->machine, sim__peer(end)->machine);
}

/* When the peer's kernel forgets the connection: after tcp_fin_timeout, if its
 * program has closed it and this end does not end. */
static uint64_t when_forgotten(const struct sim__end *end) {
  const struct sim__end *peer = sim__peer(end);

  if (peer->lost) return 0;
  return peer->gone && end->in.ended ? end->in.last + FIN_TIMEOUT : SIM__NEVER;
}

static bool is_known(const struct sim__end *end) {
  return when_forgotten(end) > sim__now();
}

/* Whether there is to be a timer for each try. Elsewhere an end is told when its
 * peer can be reached again; not of one that has forgotten it, see
 * sim__partition(). */
static bool is_tried(const struct sim__end *end) {
  return is_reached(end) || !is_known(end);
}

/* -- Bytes that are lost -------------------------------------------------- */

static uint64_t give_up(const struct sim__end *end, uint64_t since) {
  uint64_t user = (uint64_t)end->options.user_timeout * SIM__MS;
  if (user > 0) return since + user;
  return last_try(since, end->gone ? ORPHAN_RETRIES : RETRIES);
}

static uint64_t when_stalled(const struct sim__end *end, uint64_t since) {
  unsigned count;
  uint64_t last = give_up(end, since);
  uint64_t next = is_tried(end) ? next_try(since, RETRIES, &count) : last;
  return next < last ? next : last;
}

static void on_stalled(struct sim__end *end, uint64_t since) {
  if (sim__now() >= give_up(end, since)) sim__end_die(end, ETIMEDOUT);
  else if (!is_reached(end)) sim__silence_watch(end);
  else if (!is_known(end)) sim__end_die(end, sim__end_reset_error(end));
  else sim__end_send_again(end);
}

/* -- Keepalive ------------------------------------------------------------ */

static bool probes(const struct sim__end *end) {
  return end->options.keepalive && end->state == SIM__OPEN && !end->gone;
}

static uint64_t idle_of(const struct sim__end *end) {
  return (uint64_t)end->options.idle * SIM__S;
}

static uint64_t interval_of(const struct sim__end *end) {
  return (uint64_t)end->options.interval * SIM__S;
}

static uint64_t next_probe(const struct sim__end *end) {
  uint64_t at = end->heard + idle_of(end);
  while (at <= sim__now()) at += interval_of(end);
  return at;
}

/* TCP_USER_TIMEOUT takes the place of the count. */
static uint64_t last_probe(const struct sim__end *end) {
  uint64_t user = (uint64_t)end->options.user_timeout * SIM__MS;
  uint64_t at = end->heard + idle_of(end);

  if (user == 0) return at + interval_of(end) * end->options.count;
  while (at < end->heard + user) at += interval_of(end);
  return at;
}

/* When all is well, the peer answers each probe: of a closed window, or of an
 * idle connection. */
static uint64_t heard_so_far(const struct sim__end *end) {
  const struct sim__stream *out = sim__stream_out(end);
  uint64_t now = sim__now(), heard = end->heard, idle = idle_of(end);

  if (out->blocked > 0 && out->sent == out->acked) {
    uint64_t probe = try_before(out->blocked);
    return probe > heard ? probe : heard;
  }
  if (!probes(end) || now <= heard) return heard;
  return heard + (now - heard) / idle * idle;
}

/* The first probe that the peer will not know what to do with. */
static uint64_t when_unknown(const struct sim__end *end) {
  uint64_t forgotten = when_forgotten(end), at = end->heard + idle_of(end);

  if (forgotten == SIM__NEVER) return SIM__NEVER;
  while (at <= forgotten) at += idle_of(end);
  return at;
}

static uint64_t when_idle(const struct sim__end *end) {
  if (!probes(end)) return SIM__NEVER;
  if (is_reached(end) && is_known(end)) return when_unknown(end);
  uint64_t next = next_probe(end), last = last_probe(end);
  return is_tried(end) && next < last ? next : last;
}

static void on_idle(struct sim__end *end) {
  if (is_reached(end) && !is_known(end))
    sim__end_die(end, sim__end_reset_error(end));
  else if (!is_reached(end) && sim__now() >= last_probe(end))
    sim__end_die(end, ETIMEDOUT);
  else sim__silence_watch(end);
}

/* -- The timer ------------------------------------------------------------ */

static uint64_t syn_timeout(const struct sim__end *end) {
  uint64_t user = (uint64_t)end->options.user_timeout * SIM__MS;
  uint64_t next = (UINT64_C(1) << (end->tries + 1)) - 1;

  if (user > 0 && next * SIM__S > user) return end->began + user;
  return end->began + next * SIM__S;
}

static void on_syn(struct sim__end *end) {
  uint64_t user = (uint64_t)end->options.user_timeout * SIM__MS;

  if (end->tries == SYN_TRIES || (user > 0 && sim__now() >= end->began + user))
    sim__end_die(end, ETIMEDOUT);
  else {
    end->tries++;
    sim__end_connect_again(end);
  }
}

/* Since when bytes were neither acknowledged nor sent, as far as that has a
 * deadline; or SIM__NEVER. A closed window has one only by TCP_USER_TIMEOUT,
 * as the peer acknowledges each probe, unless it cannot be reached. */
static uint64_t stalled_since(struct sim__end *end) {
  const struct sim__stream *out = sim__stream_out(end);

  sim__end_settle(end);
  if (out->stalled) return out->since;
  if (out->blocked > 0 && out->acked == out->sent &&
      (end->options.user_timeout > 0 || !is_reached(end) || !is_known(end)))
    return out->blocked > end->heard || end->options.user_timeout > 0
               ? out->blocked
               : end->heard;
  return SIM__NEVER;
}

static void on_timer(struct sim__event *event) {
  struct sim__end *end =
      (struct sim__end *)((char *)event - offsetof(struct sim__end, timer));

  if (end->state == SIM__OPENING) {
    on_syn(end);
  } else if (end->state == SIM__EMBRYO) {
    end->tries++;
    sim__end_enter_queue(end);
  } else {
    uint64_t since = stalled_since(end);
    if (since < SIM__NEVER) on_stalled(end, since);
    else on_idle(end);
  }
}

static uint64_t when(struct sim__end *end) {
  switch (end->state) {
    case SIM__OPENING: return syn_timeout(end);
    case SIM__EMBRYO: return sim__now() + (UINT64_C(1) << end->tries) * SIM__S;
    case SIM__OPEN: break;
    default: return SIM__NEVER;
  }
  uint64_t since = stalled_since(end);
  return since < SIM__NEVER ? when_stalled(end, since) : when_idle(end);
}

void sim__silence_watch(struct sim__end *end) {
  uint64_t at = when(end);
  if (at < SIM__NEVER) sim__event_set(&end->timer, at);
  else sim__event_cancel(&end->timer);
}

void sim__silence_begins(struct sim__end *end) {
  sim__end_settle(end);
  end->heard = heard_so_far(end);
  sim__silence_watch(end);
}

void sim__silence_init(struct sim__end *end) { end->timer.happen = on_timer; }

/* -- What can be asked ---------------------------------------------------- */

uint64_t sim__silence_last_sent(const struct sim__end *end) {
  const struct sim__stream *out = sim__stream_out(end);
  return out->stalled ? try_before(out->since) : out->sent_at;
}

uint64_t sim__silence_heard(const struct sim__end *end) {
  if (sim__stream_out(end)->stalled || !is_reached(end) || !is_known(end))
    return end->heard;
  return heard_so_far(end);
}

unsigned sim__silence_retransmits(const struct sim__end *end) {
  const struct sim__stream *out = sim__stream_out(end);
  unsigned count = 0;

  if (out->stalled) next_try(out->since, RETRIES, &count);
  return count;
}

/* A peer that can be reached answers each. */
unsigned sim__silence_probes(const struct sim__end *end) {
  const struct sim__stream *out = sim__stream_out(end);
  unsigned count = 0;

  if (out->stalled || is_reached(end)) return 0;
  if (out->blocked > 0) {
    next_try(out->blocked > end->heard ? out->blocked : end->heard, RETRIES,
             &count);
    return count;
  }
  uint64_t first = end->heard + idle_of(end);
  if (!probes(end) || sim__now() < first) return 0;
  return (unsigned)((sim__now() - first) / interval_of(end)) + 1;
}
