#include "chaos.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/proxy.h"
#include "sim/conn.h"

/* The life of a native end: accepted, or connected, it says its slot line, if
 * it is a server's, and then talks as its temper is, which may be to leave
 * bytes unread for a while, to end its side, or to hang up. */

enum { CHUNK = 1 << 16 };

struct native *natives;
static bool calm;

static void end_of(struct native *native, bool breaks) {
  if (breaks) talker_break(native->talker);
  talker_close(native->talker);
  native->end = NULL;
  sim__event_cancel(&native->step);
  if (native->server) server_left(native->server, native);
  if (native->prev) native->prev->next = native->next;
  else natives = native->next;
  if (native->next) native->next->prev = native->prev;
  free(native);
}

void native_reset(struct native *native) {
  struct sim__end *end = native->end;

  note("%s %llu resets", native->talker->who,
       (unsigned long long)native->talker->id);
  end_of(native, true);
  sim__reset(end);
}

/* Closes an end that has been heard to its end, and has ended itself. */
static void close_if_done(struct native *native) {
  struct sim__end *end = native->end;

  if (!native->talker->ended || !native->talker->finished) return;
  note("%s %llu is done", native->talker->who,
       (unsigned long long)native->talker->id);
  end_of(native, false);
  sim__close(end);
}

/* -- Saying ------------------------------------------------------------------ */

static uint64_t wanted(const struct native *native) {
  const struct talker *talker = native->talker;
  uint64_t want = native->quota;

  if (native->speech == ECHOES && talker->heard > talker->said + want)
    want = talker->heard - talker->said;
  return want;
}

static bool say_line(struct native *native) {
  if (native->line_left == 0) return true;
  size_t part = calm ? native->line_left : draw_in(1, native->line_left);
  ssize_t n = sim__write(native->end, native->line, part);
  if (n > 0) {
    native->line_left -= (size_t)n;
    memmove(native->line, native->line + n, native->line_left);
  }
  return native->line_left == 0;
}

static void finish(struct native *native) {
  struct talker *talker = native->talker;

  if (talker->finished) return;
  note("%s %llu ends its side", talker->who, (unsigned long long)talker->id);
  talker->finished = true;
  sim__finish(native->end);
}

void native_say(struct native *native) {
  static char bytes[CHUNK];
  struct talker *talker = native->talker;
  uint64_t want;

  if (!say_line(native)) return;
  while (!talker->finished && (want = wanted(native)) > 0) {
    size_t part = calm ? CHUNK : draw_log(1, CHUNK);
    if (part > want) part = want;
    talker_next(talker, bytes, part);
    ssize_t n = sim__write(native->end, bytes, part);
    if (n > 0) talker_said(talker, (size_t)n + (fault == LOST_BYTE));
    if (n > 0)
      native->quota -=
          (uint64_t)n < native->quota ? (uint64_t)n : native->quota;
    if (n < (ssize_t)part) return;
  }
  /* Who echoes ends its side only after the other. */
  if (native->finishing && (native->speech != ECHOES || talker->ended))
    finish(native);
}

static void on_writable(struct sim__end *end) {
  struct native *native = sim__end_data(end);
  native_say(native);
  close_if_done(native);
}

/* -- PROXY headers ------------------------------------------------------------ */

static void see_header(struct native *native, const struct net__proxy *proxy) {
  native->had_proxy = true;
  if (!proxy->is_local && proxy->from.any.sa_family == AF_INET)
    native->from = ntohs(proxy->from.v4.sin_port);
}

/* Takes what belongs to a header; returns how many of the bytes that were. */
static size_t take_header(struct native *native, const unsigned char *bytes,
                          size_t size) {
  size_t used = 0;
  const char *why = NULL;

  while (!native->has_head) {
    struct net__proxy proxy;
    int more =
        net__proxy_parse(native->header, native->header_length, &proxy, &why);
    if (more == 0) {
      see_header(native, &proxy);
      native->has_head = true;
    } else if (more < 0) {
      chaos_fail(__FILE__, __LINE__, "%s %llu hears a wrong header: %s",
                 native->talker->who, (unsigned long long)native->talker->id,
                 why);
    } else {
      CHECK(native->header_length < sizeof native->header);
      if (used == size) return used;
      native->header[native->header_length++] = bytes[used++];
    }
  }
  return used;
}

/* A header says whose connection it is. */
static void check_from(const struct native *native) {
  const struct talker *peer = native->talker->peer;

  /* Who has gone before it was joined has no address any more. */
  if (!peer || peer->broken || !peer->port || !native->from) return;
  if (native->server->kind != CALLOSUM && !native->server->accept_proxy) return;
  if (peer->port != native->from)
    chaos_fail(__FILE__, __LINE__,
               "%s %llu hears a header of port %u from %s "
               "%llu, whose port is %u",
               native->talker->who, (unsigned long long)native->talker->id,
               native->from, peer->who, (unsigned long long)peer->id,
               peer->port);
}

static void hear(struct native *native, const char *bytes, size_t size) {
  bool met = native->talker->peer;

  if (!native->has_head && native->wants_proxy) {
    size_t used = take_header(native, (const unsigned char *)bytes, size);
    bytes += used;
    size -= used;
  }
  if (size == 0) return;
  talker_hears(native->talker, bytes, size);
  if (!met && native->had_proxy) check_from(native);
}

/* -- Hearing ------------------------------------------------------------------- */

/* Returns whether there may be more. */
static bool listen_once(struct native *native) {
  static char bytes[CHUNK];
  size_t size = calm ? CHUNK : draw_log(1, CHUNK);
  ssize_t n = sim__read(native->end, bytes, size);

  if (n > 0) hear(native, bytes, (size_t)n);
  if (n == 0 && !native->talker->ended) {
    note("%s %llu hears the end", native->talker->who,
         (unsigned long long)native->talker->id);
    talker_ends(native->talker);
    /* Whoever has nothing to say on its own ends, too. */
    native->finishing = true;
  }
  return n > 0;
}

static void on_readable(struct sim__end *end) {
  struct native *native = sim__end_data(end);

  if (!native->reads) return;
  while (listen_once(native)) continue;
  native_say(native);
  close_if_done(native);
}

static void on_ended(struct sim__end *end, int err) {
  struct native *native = sim__end_data(end);

  note("%s %llu broke: %s", native->talker->who,
       (unsigned long long)native->talker->id, strerror(err));
  /* What had come before can be read, and must be right. */
  while (native->reads && err == ECONNRESET && listen_once(native)) continue;
  end_of(native, true);
}

/* -- What it does by itself ---------------------------------------------------- */

static void step(struct sim__event *event) {
  struct native *native =
      (struct native *)((char *)event - offsetof(struct native, step));

  if (!calm) switch (draw(16)) {
      case 0: native->reads = !native->reads; break;
      case 1: native->lazy = !native->lazy; break;
      case 2:
        if (native->speech != ECHOES || !native->server)
          native->quota += draw_size();
        break;
      case 3:
        if (one_in(4)) native->finishing = true;
        break;
      case 4:
        if (one_in(8)) {
          native_reset(native);
          return;
        }
        break;
    }
  /* With bytes under way keepalive does not notice it in this time. */
  if (calm && sim__end_peer(native->end)->stopped) {
    native_reset(native);
    return;
  }
  if (calm) native->reads = true;
  if (native->lazy && !calm) listen_once(native);
  else if (native->reads)
    while (listen_once(native)) continue;
  native_say(native);
  sim__event_set(&native->step,
                 sim__now() + draw_log(SIM__MS / 10, 2ULL * SIM__S));
  close_if_done(native);
}

static void on_connected(struct sim__end *end) {
  struct native *native = sim__end_data(end);
  if (native->talker->port == 0) native->talker->port = end->local.port;
  native_say(native);
}

static const struct sim__end_ops ops = {.connected = on_connected,
                                        .readable = on_readable,
                                        .writable = on_writable,
                                        .ended = on_ended};

static struct native *native_make(const char *who, struct server *server) {
  struct native *native = calloc(1, sizeof *native);

  CHECK(native);
  native->talker = talker_new(who);
  native->talker->server = server;
  native->talker->listens = true;
  native->server = server;
  native->reads = calm || !one_in(8);
  native->lazy = one_in(8);
  native->step.happen = step;
  native->next = natives;
  if (natives) natives->prev = native;
  natives = native;
  sim__event_set(&native->step, sim__now() + draw(SIM__S));
  return native;
}

struct native *native_new(struct sim__end *end, const char *who,
                          struct server *server) {
  struct native *native = native_make(who, server);

  native->end = end;
  sim__end_set(end, &ops, native);
  sim__end_keepalive(end, 15, 2, 5);
  return native;
}

/* A client that a proxy has sent on. */
static void say_header(struct native *native) {
  native->talker->port = (uint16_t)draw_in(1, 65535);
  native->line_left = (size_t)snprintf(
      native->line, sizeof native->line,
      "PROXY TCP4 192.0.2.7 192.0.2.8 %u 443\r\n", native->talker->port);
}

void native_call(struct sim__machine *machine, uint16_t port, const char *path,
                 bool with_header) {
  struct native *native = native_make("client", NULL);
  struct sim__address to;

  native->speech = CHATS;
  native->quota = draw_size();
  native->finishing = one_in(2);
  if (with_header) say_header(native);
  if (path) native->end = sim__connect_path(machine, path, &ops, native);
  else {
    to = sim__address_of_v4(INADDR_LOOPBACK, port);
    native->end = sim__connect(machine, &to, &ops, native);
  }
  note("client %llu calls", (unsigned long long)native->talker->id);
}

void natives_calm(void) {
  calm = true;
  for (struct native *native = natives; native; native = native->next) {
    native->quota = 0;
    sim__event_set(&native->step, sim__now());
  }
}

void natives_check_over(void) {
  const struct native *native = natives;
  if (native)
    chaos_fail(__FILE__, __LINE__, "%s %llu is still there",
               native->talker->who, (unsigned long long)native->talker->id);
}
