#include "server.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "front.h"
#include "memory.h"
#include "slots.h"

/* A virtual server. A connection gets its slot line; then each line that it
 * sends is a request: it waits for a worker, takes one for some time, and is
 * sent back. So it answers what `callosum-rover serve` answers. The lines of one
 * connection are answered in their order. Only the line `load`, which asks how
 * much there is to do, is answered at once, and otherwise. With a front, it is
 * the backend, and there are no slot lines. */

enum {
  BACKEND_PORT = 4041, /* behind a front */
  BACKLOG = 511,
  CHUNK = 4096,
  /* Of its connections, as in src/front: seconds, seconds, probes. */
  IDLE = 15,
  INTERVAL = 3,
  PROBES = 3,
  RECENT = 256, /* answers that are remembered, ... */
  ENOUGH = 32   /* ... and of how many the median is taken */
};

/* A line, or the part of one that has come. */
struct request {
  struct request *next;
  struct conn *conn;
  struct sim__event answer;
  uint64_t since;    /* when it came, ... */
  uint32_t together; /* ... and how many were under way then, it included */
  size_t length;
  char text[];
};

struct conn {
  struct sim__end *end;
  struct sim__server *server;
  struct sim__machine *client;
  struct conn *next, *previous; /* of the server's */
  uint32_t index, slot;
  uint64_t answered;            /* when the last request will be */
  struct request *first, *last; /* that wait, or are worked on */
  char *unsent;                 /* answers that did not fit */
  size_t unsent_length;
  struct request *partial; /* a line that is not complete */
  bool finished;           /* it sends no more */
};

/* One of the latest requests that were answered. */
struct recent {
  uint64_t took;
  uint32_t together;
};

struct sim__server {
  struct sim__server_options options;
  struct sim__machine *machine;
  struct sim__listener *listener; /* NULL: it is down */
  struct sim__front *front;
  struct sim__slots slots;
  struct conn *conns;
  uint32_t count;
  double weight, factor;
  uint64_t *workers; /* until when each is busy */
  struct sim__random random;
  uint32_t under_way;           /* requests */
  struct recent recent[RECENT]; /* a ring, ... */
  uint64_t recent_count;        /* ... and how many were ever put into it */
  struct sim__server_stats stats;
  uint64_t fronts_accepted; /* by fronts that are gone */
};

/* What happens, in the trace. */
enum { ACCEPTED = 's', ENDED = 'e', ANSWERED = 'a' };

/* -- A connection --------------------------------------------------------- */

static void trace(const struct conn *conn, uint64_t what) {
  sim__trace(what, sim__end_id(conn->end), conn->slot);
}

static void link_conn(struct sim__server *server, struct conn *conn) {
  conn->next = server->conns;
  if (conn->next) conn->next->previous = conn;
  server->conns = conn;
  server->count++;
}

static void unlink_conn(struct sim__server *server, struct conn *conn) {
  if (conn->previous) conn->previous->next = conn->next;
  else server->conns = conn->next;
  if (conn->next) conn->next->previous = conn->previous;
  server->count--;
}

static void drop(struct conn *conn) {
  struct sim__server *server = conn->server;

  unlink_conn(server, conn);
  if (!server->options.front) {
    sim__slots_release(&server->slots, conn->index);
    server->options.changed(conn->client, -1);
    trace(conn, ENDED);
  }
  while (conn->first) {
    struct request *request = conn->first;
    conn->first = request->next;
    sim__event_cancel(&request->answer);
    server->under_way--;
    free(request);
  }
  free(conn->partial);
  free(conn->unsent);
  free(conn);
}

static void on_ended(struct sim__end *end, int err) {
  (void)err;
  drop(sim__end_data(end));
}

/* Sends what there is, and keeps what does not fit. */
static void send_text(struct conn *conn, const char *text, size_t length) {
  ssize_t n = 0;

  if (conn->unsent_length == 0) n = sim__write(conn->end, text, length);
  if (n < 0) return; /* it has ended, which is called back */
  if ((size_t)n == length) return;
  conn->unsent =
      sim__grow(conn->unsent, conn->unsent_length + length - (size_t)n);
  memcpy(conn->unsent + conn->unsent_length, text + n, length - (size_t)n);
  conn->unsent_length += length - (size_t)n;
}

/* Closes one that sends no more, once it has been answered. */
static bool close_finished(struct conn *conn) {
  struct sim__end *end = conn->end;

  if (!conn->finished || conn->first || conn->unsent_length > 0) return false;
  drop(conn);
  sim__close(end);
  return true;
}

static void on_writable(struct sim__end *end) {
  struct conn *conn = sim__end_data(end);
  ssize_t n = sim__write(end, conn->unsent, conn->unsent_length);

  if (n <= 0) return;
  conn->unsent_length -= (size_t)n;
  memmove(conn->unsent, conn->unsent + n, conn->unsent_length);
  close_finished(conn);
}

/* -- The load -------------------------------------------------------------- */

static void remember(struct sim__server *server,
                     const struct request *request) {
  struct recent *recent = &server->recent[server->recent_count++ % RECENT];

  recent->took = sim__now() - request->since;
  recent->together = request->together;
}

static int compare(uint64_t a, uint64_t b) { return (a > b) - (a < b); }

static int compare_times(const void *a, const void *b) {
  return compare(((const struct recent *)a)->took,
                 ((const struct recent *)b)->took);
}

static int compare_counts(const void *a, const void *b) {
  return compare(((const struct recent *)a)->together,
                 ((const struct recent *)b)->together);
}

/* The median of the latest requests that came when about as many were under way
 * as now. Here their counts are how far these are from now's. */
static uint64_t typical(const struct sim__server *server) {
  struct recent recent[RECENT];
  size_t n = server->recent_count;

  if (n == 0) return 0;
  if (n > RECENT) n = RECENT;
  for (size_t i = 0; i < n; i++) {
    uint32_t then = server->recent[i].together, now = server->under_way;
    recent[i].took = server->recent[i].took;
    recent[i].together = then > now ? then - now : now - then;
  }
  qsort(recent, n, sizeof *recent, compare_counts);
  if (n > ENOUGH) n = ENOUGH;
  qsort(recent, n, sizeof *recent, compare_times);
  return recent[n / 2].took;
}

static bool asks_for_load(const struct request *request) {
  static const char word[] = "load";
  size_t length = request->length - 1;

  if (length > 0 && request->text[length - 1] == '\r') length--;
  return length == sizeof word - 1 && memcmp(request->text, word, length) == 0;
}

static void tell_load(struct conn *conn) {
  const struct sim__server *server = conn->server;
  char line[64];
  int length = snprintf(line, sizeof line, "load %" PRIu32 " %" PRIu64 "\n",
                        server->under_way, typical(server) / 1000);

  send_text(conn, line, (size_t)length);
}

/* -- Requests ------------------------------------------------------------- */

static void on_answer(struct sim__event *event) {
  struct request *request =
      (struct request *)((char *)event - offsetof(struct request, answer));
  struct conn *conn = request->conn;

  conn->first = request->next;
  if (!conn->first) conn->last = NULL;
  conn->server->stats.requests++;
  conn->server->under_way--;
  remember(conn->server, request);
  trace(conn, ANSWERED);
  send_text(conn, request->text, request->length);
  free(request);
  close_finished(conn);
}

/* When the worker that is free first will have done a request. */
static uint64_t work(struct sim__server *server) {
  uint64_t *workers = server->workers, now = sim__now();
  unsigned first = 0;

  for (unsigned i = 1; i < server->options.workers; i++)
    if (workers[i] < workers[first]) first = i;
  if (workers[first] < now) workers[first] = now;
  double mean = server->options.service * server->factor;
  workers[first] += (uint64_t)sim__random_exponential(&server->random, mean);
  return workers[first];
}

static void ask(struct conn *conn, struct request *request) {
  uint64_t done;

  if (asks_for_load(request)) {
    tell_load(conn);
    free(request);
    return;
  }
  done = work(conn->server);
  request->since = sim__now();
  request->together = ++conn->server->under_way;
  request->conn = conn;
  request->next = NULL;
  if (conn->last) conn->last->next = request;
  else conn->first = request;
  conn->last = request;
  if (conn->answered < done) conn->answered = done;
  request->answer.happen = on_answer;
  sim__event_set(&request->answer, conn->answered);
}

static void take(struct conn *conn, const char *text, size_t length) {
  while (length > 0) {
    const char *end = memchr(text, '\n', length);
    size_t part = end ? (size_t)(end - text) + 1 : length;
    size_t had = conn->partial ? conn->partial->length : 0;
    struct request *request = conn->partial;

    if (request) request = sim__grow(request, sizeof *request + had + part);
    else request = sim__new(sizeof *request + part);
    memcpy(request->text + had, text, part);
    request->length = had + part;
    conn->partial = end ? NULL : request;
    if (end) ask(conn, request);
    text += part;
    length -= part;
  }
}

static void on_readable(struct sim__end *end) {
  struct conn *conn = sim__end_data(end);
  char bytes[CHUNK];
  ssize_t n;

  while ((n = sim__read(end, bytes, sizeof bytes)) > 0)
    take(conn, bytes, (size_t)n);
  conn->finished = n == 0;
  close_finished(conn);
}

/* -- Accepting ------------------------------------------------------------ */

static uint32_t slot_of(const struct sim__server *server, uint32_t index) {
  return (uint32_t)(ceil((index + 1) / server->weight) - 1);
}

static void on_accepted(struct sim__end *end, void *arg) {
  static const struct sim__end_ops ops = {
      .readable = on_readable, .writable = on_writable, .ended = on_ended};
  struct sim__server *server = arg;
  struct conn *conn = sim__new(sizeof *conn);
  char line[16];

  conn->end = end;
  conn->server = server;
  conn->client = sim__end_peer(end);
  link_conn(server, conn);
  sim__end_set(end, &ops, conn);
  if (server->options.front) return;
  conn->index = sim__slots_take(&server->slots);
  conn->slot = slot_of(server, conn->index);
  server->stats.accepted++;
  server->options.changed(conn->client, 1);
  trace(conn, ACCEPTED);
  sim__end_keepalive(end, IDLE, INTERVAL, PROBES);
  send_text(conn, line,
            (size_t)snprintf(line, sizeof line, "%u\r\n", conn->slot));
}

/* -- A server ------------------------------------------------------------- */

struct sim__server *sim__server_new(const struct sim__server_options *options) {
  struct sim__server *server = sim__new(sizeof *server);

  server->options = *options;
  server->machine = sim__machine_new(options->id);
  server->weight = server->factor = 1;
  server->workers = sim__new(options->workers * sizeof *server->workers);
  server->random = sim__random_stream("service", options->id);
  return server;
}

struct sim__machine *sim__server_machine(const struct sim__server *server) {
  return server->machine;
}

void sim__server_start(struct sim__server *server) {
  bool front = server->options.front;

  if (server->listener) return;
  if (server->machine->stopped) sim__machine_start(server->machine);
  server->listener =
      sim__listen(server->machine, front ? BACKEND_PORT : SIM__SERVER_PORT,
                  BACKLOG, on_accepted, server);
  if (front)
    server->front = sim__front_new(server->machine, SIM__SERVER_PORT,
                                   BACKEND_PORT, server->weight);
}

void sim__server_stop(struct sim__server *server, enum sim__manner manner) {
  if (!server->listener) return;
  if (server->front) {
    server->fronts_accepted += sim__front_accepted(server->front);
    sim__front_close(server->front);
    sim__listener_close(server->listener);
    server->front = NULL;
  } else {
    sim__machine_stop(server->machine, manner);
    sim__slots_reset(&server->slots);
  }
  server->listener = NULL;
  memset(server->workers, 0, server->options.workers * sizeof *server->workers);
  server->recent_count = 0;
}

bool sim__server_is_up(const struct sim__server *server) {
  return server->listener != NULL;
}

void sim__server_slow(struct sim__server *server, double factor) {
  server->factor = factor;
}

void sim__server_weight(struct sim__server *server, double weight) {
  server->weight = weight;
  if (server->front) sim__front_weight(server->front, weight);
}

bool sim__server_drain(struct sim__server *server, uint64_t ms) {
  if (server->front) sim__front_drain(server->front, ms);
  return server->options.front;
}

bool sim__server_resume(struct sim__server *server) {
  if (server->front) sim__front_resume(server->front);
  return server->options.front;
}

uint32_t sim__server_connections(const struct sim__server *server) {
  if (!server->options.front) return server->count;
  return server->front ? (uint32_t)sim__front_open(server->front) : 0;
}

void sim__server_each(const struct sim__server *server,
                      void (*fn)(void *arg, struct sim__machine *client,
                                 uint32_t slot),
                      void *arg) {
  if (server->options.front) return;
  for (const struct conn *conn = server->conns; conn; conn = conn->next)
    fn(arg, conn->client, conn->slot);
}

struct sim__server_stats sim__server_stats(const struct sim__server *server) {
  struct sim__server_stats stats = server->stats;

  if (server->options.front) stats.accepted = server->fronts_accepted;
  if (server->front) stats.accepted += sim__front_accepted(server->front);
  return stats;
}
