/* Closing, and whatever else may be called, from inside every callback of
 * <callosum/rover.h>. Each point at which one is called is combined with each
 * action, done twice; then everything is closed. */
#include "rovers.h"

#include "rover/handoff.h"
#include "rover/reload.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PLENTY = 8 << 20 };

enum point {
  CONNECTION,      /* the slot line was there once connected, ... */
  CONNECTION_LATE, /* ... or came afterwards */
  REFUSED,
  ENDED_EARLY,
  TIMED_OUT,
  NO_SERVERS,
  NO_SLOT,
  NO_WATCH, /* a socket cannot be watched */
  DATA,
  END,
  END_UNREAD,
  DRAIN,
  WRITTEN,
  WRITE_FAILED,
  WRITE_CANCELLED,
  SHUT,
  SHUT_CANCELLED,
  SOCKET_CLOSED,
  SOCKET_BROKEN,
  ROVER_CLOSED
};

/* What is done at that point, with the rover and the socket that the callback
 * is about; where it is about none, with another socket of that rover. */
enum action {
  NOTHING,
  CLOSE_ROVER,
  CLOSE_SOCKET,
  CLOSE_SOCKET_THEN_ROVER,
  CLOSE_ROVER_THEN_SOCKET,
  CLOSE_ALL_SOCKETS,
  CLOSE_OTHER_SOCKET, /* of the same rover */
  CLOSE_OTHER_ROVER,
  CLOSE_BOTH_ROVERS,
  DETACH,
  DETACH_THEN_CLOSE_ROVER,
  STOP,
  START_AND_CONNECT,
  DROP_SERVERS,
  DROP_THEN_CLOSE_ROVER,
  REPLACE_SERVERS,
  NO_EVENTS,
  EXCHANGE,
  EXCHANGE_THEN_CLOSE_BOTH,
  READ,
  WRITE,
  SHUT_DOWN,
  SHUT_DOWN_THEN_CLOSE,
  ACTIONS
};

static const char *const action_names[ACTIONS] = {
    "nothing", "close rover", "close socket", "close socket, rover",
    "close rover, socket", "close all sockets", "close other socket",
    "close other rover", "close both rovers", "detach", "detach, close rover",
    "stop", "start, connect", "drop servers", "drop, close rover",
    "replace servers", "no events", "exchange", "exchange, close both",
    "read", "write", "shutdown", "shutdown, close"};

struct end {
  rover_socket_t *socket;
  int closes;
  int closed; /* by us: only its requests and close call back now */
};

static struct {
  enum point point;
  enum action action;
  int hits;
  rover_t *rovers[2]; /* the one that it is about, and the other */
  int closed[2];      /* by us, ... */
  int closes[2];      /* ... and called back */
  struct end ends[16];
  int count;
  struct end *bystander;
} now;

static const rover_events_t rover_events;
static const rover_socket_events_t socket_events;

static int index_of(const rover_t *rover) { return rover == now.rovers[1]; }

static struct end *end_of(const rover_socket_t *socket) {
  struct end *end = rover_socket_data(socket);
  CHECK(end->socket == socket && end->closes == 0);
  return end;
}

/* -- Actions -------------------------------------------------------------- */

static void on_rover_closed(rover_t *rover);
static void on_done(rover_socket_t *socket, int status, void *arg);

static void close_rover(rover_t *rover) {
  int i = index_of(rover);
  EQUAL(now.closed[i] ? UV_EALREADY : 0, rover_close(rover, on_rover_closed));
  now.closed[i] = 1;
  for (int e = 0; e < now.count; e++)
    if (now.ends[e].closes == 0 &&
        rover_socket_rover(now.ends[e].socket) == rover)
      now.ends[e].closed = 1;
}

static void close_socket(struct end *end) {
  if (end->closes) return; /* it is gone */
  rover_socket_close(end->socket);
  CHECK(rover_socket_is_closing(end->socket));
  end->closed = 1;
}

static void detach(struct end *end) {
  int closing = rover_socket_is_closing(end->socket);
  int fd = rover_socket_detach(end->socket);
  if (closing) EQUAL(UV_EINVAL, fd);
  if (fd < 0) {
    CHECK(fd == UV_EINVAL || fd == UV_EBUSY || fd == UV_EMFILE);
    return;
  }
  end->closed = 1;
  close(fd);
}

static void change_servers(rover_t *rover, int drop) {
  while (drop && rover_server_count(rover) > 0)
    EQUAL(1, rover_server_drop(rover,
                               rover_server_id(rover_server_at(rover, 0))));
  for (size_t i = 0; i < rover_server_count(rover); i++)
    rover_server_add(rover, rover_server_id(rover_server_at(rover, i)),
                     "127.0.0.1", 1);
}

static void without_events(rover_t *rover, struct end *end) {
  rover_set_events(rover, NULL, NULL);
  rover_set_events(rover, &rover_events, &now);
  rover_socket_set_events(end->socket, NULL, NULL);
  rover_socket_set_events(end->socket, &socket_events, end);
}

static void write_both_ways(struct end *end) {
  uv_buf_t buffer = uv_buf_init("abc", 3);
  int closing = rover_socket_is_closing(end->socket);
  int err = rover_socket_write(end->socket, &buffer, 1, on_done, "other");
  if (closing) EQUAL(UV_EINVAL, err);
  rover_socket_write(end->socket, &buffer, 1, NULL, NULL);
}

static void act(rover_t *rover, struct end *end) {
  rover_t *other = now.rovers[!index_of(rover)];
  if (!end) end = now.bystander;
  switch (now.action) {
    case NOTHING: break;
    case CLOSE_ROVER: close_rover(rover); break;
    case CLOSE_SOCKET: close_socket(end); break;
    case CLOSE_SOCKET_THEN_ROVER:
      close_socket(end);
      close_rover(rover);
      break;
    case CLOSE_ROVER_THEN_SOCKET:
      close_rover(rover);
      close_socket(end);
      break;
    case CLOSE_ALL_SOCKETS:
      for (int e = 0; e < now.count; e++) close_socket(&now.ends[e]);
      break;
    case CLOSE_OTHER_SOCKET: close_socket(now.bystander); break;
    case CLOSE_OTHER_ROVER:
      if (!now.closes[index_of(other)]) close_rover(other);
      break;
    case CLOSE_BOTH_ROVERS:
      if (!now.closes[index_of(other)]) close_rover(other);
      close_rover(rover);
      break;
    case DETACH: detach(end); break;
    case DETACH_THEN_CLOSE_ROVER:
      detach(end);
      close_rover(rover);
      break;
    case STOP: rover_stop(rover); break;
    case START_AND_CONNECT:
      EQUAL(now.closed[index_of(rover)] ? UV_EINVAL : 0, rover_start(rover));
      EQUAL(now.closed[index_of(rover)] ? UV_EINVAL : 0, rover_connect(rover));
      break;
    case DROP_SERVERS: change_servers(rover, 1); break;
    case DROP_THEN_CLOSE_ROVER:
      change_servers(rover, 1);
      close_rover(rover);
      break;
    case REPLACE_SERVERS: change_servers(rover, 0); break;
    case NO_EVENTS: without_events(rover, end); break;
    case EXCHANGE_THEN_CLOSE_BOTH:
    case EXCHANGE:
      if (now.closes[index_of(other)]) break;
      rover_exchange(rover, other);
      rover_exchange(rover, other);
      rover_exchange(rover, other);
      if (now.action == EXCHANGE) break;
      close_rover(rover);
      close_rover(other);
      break;
    case READ:
      rover_socket_read_start(end->socket);
      rover_socket_read_stop(end->socket);
      rover_socket_read_start(end->socket);
      break;
    case WRITE: write_both_ways(end); break;
    case SHUT_DOWN_THEN_CLOSE:
    case SHUT_DOWN:
      write_both_ways(end);
      rover_socket_shutdown(end->socket, on_done, "other");
      if (now.action == SHUT_DOWN_THEN_CLOSE) close_socket(end);
      break;
    case ACTIONS: break;
  }
}

/* Called by every callback, with the point that this may be. */
static void at(enum point point, rover_t *rover, struct end *end) {
  sound(rover);
  if (point != now.point || rover != now.rovers[0]) return;
  if (now.hits++ > 0) return;
  act(rover, end);
  act(rover, end);
  sound(rover);
}

/* -- Callbacks ------------------------------------------------------------ */

static void on_slot(rover_t *rover, int slot, rover_socket_t *socket) {
  CHECK(!now.closed[index_of(rover)]);
  CHECK(now.count < 16);
  struct end *end = &now.ends[now.count++];
  end->socket = socket;
  rover_socket_set_events(socket, &socket_events, end);
  if (slot == 1) at(CONNECTION, rover, end);
  if (slot == 2) at(CONNECTION_LATE, rover, end);
}

static void on_no_slot(rover_t *rover, rover_server_t *server, int status) {
  CHECK(!now.closed[index_of(rover)]);
  rover_server_ref(server);
  if (status == UV_ECONNREFUSED) at(REFUSED, rover, NULL);
  if (status == UV_EOF) at(ENDED_EARLY, rover, NULL);
  if (status == UV_ETIMEDOUT) at(TIMED_OUT, rover, NULL);
  SAME("s", rover_server_id(server));
  rover_server_unref(server);
}

static void on_trouble(rover_t *rover, rover_server_t *server, int status,
                       const char *message) {
  CHECK(!now.closed[index_of(rover)]);
  CHECK(*message);
  CHECK(server || status != UV_EPROTO);
  if (status == UV_EDESTADDRREQ) at(NO_SERVERS, rover, NULL);
  if (status == UV_EPROTO) at(NO_SLOT, rover, NULL);
  if (status == UV_ENOSPC || status == UV_EMFILE) at(NO_WATCH, rover, NULL);
}

static const rover_events_t rover_events = {
    .connection = on_slot, .unreachable = on_no_slot, .error = on_trouble};

static void on_rover_closed(rover_t *rover) {
  int i = index_of(rover);
  EQUAL(1, now.closed[i]);
  EQUAL(0, now.closes[i]);
  now.closes[i]++;
  /* Its sockets have closed before. */
  for (int e = 0; e < now.count; e++)
    CHECK(now.ends[e].closes ||
          rover_socket_rover(now.ends[e].socket) != rover);
  if (now.action != CLOSE_SOCKET && now.action < CLOSE_OTHER_ROVER &&
      now.point == ROVER_CLOSED)
    close_rover(rover);
  sound(rover);
  if (now.point == ROVER_CLOSED && i == 0) now.hits++;
}

static void on_data(rover_socket_t *socket, const char *bytes, size_t length) {
  struct end *end = end_of(socket);
  CHECK(!end->closed && bytes && length > 0);
  at(DATA, rover_socket_rover(socket), end);
}

static void on_end(rover_socket_t *socket) {
  struct end *end = end_of(socket);
  CHECK(!end->closed);
  at(now.point == END_UNREAD ? END_UNREAD : END, rover_socket_rover(socket),
     end);
}

static void on_drain(rover_socket_t *socket) {
  struct end *end = end_of(socket);
  CHECK(!end->closed);
  at(DRAIN, rover_socket_rover(socket), end);
}

static void on_socket_closed(rover_socket_t *socket, int status) {
  struct end *end = end_of(socket);
  at(status < 0 ? SOCKET_BROKEN : SOCKET_CLOSED, rover_socket_rover(socket),
     end);
  end->closes++;
}

static const rover_socket_events_t socket_events = {
    .data = on_data,
    .end = on_end,
    .drain = on_drain,
    .close = on_socket_closed};

static void on_done(rover_socket_t *socket, int status, void *arg) {
  struct end *end = end_of(socket);
  rover_t *rover = rover_socket_rover(socket);
  if (!strcmp(arg, "write"))
    at(status == 0 ? WRITTEN
                   : status == UV_ECANCELED ? WRITE_CANCELLED : WRITE_FAILED,
       rover, end);
  if (!strcmp(arg, "shutdown"))
    at(status == 0 ? SHUT : SHUT_CANCELLED, rover, end);
}

/* -- Getting there -------------------------------------------------------- */

static int listener, peers[8], peer_count;

static void open_rover(int i) {
  const rover_options_t options = {
      .roving_interval = 3600000, .slot_timeout = 20,
      .events = rover_events, .data = &now};
  EQUAL(0, rover_new(&now.rovers[i], loop, &options));
  EQUAL(0, rover_server_add(now.rovers[i], "s", "127.0.0.1",
                            port_of(listener)));
}

/* Keeps one; returns the server's end of it. */
static int keep(int i, const char *greeting) {
  int before = now.count;
  int fd = peers[peer_count++] = greeted(now.rovers[i], listener, greeting);
  UNTIL(now.count > before);
  return fd;
}

static void flood(struct end *end) {
  static char bytes[PLENTY];
  uv_buf_t buffer = uv_buf_init(bytes, PLENTY);
  EQUAL(0, rover_socket_write(end->socket, &buffer, 1, on_done, "write"));
}

/* While it fails as when the kernel takes no more to watch. Without epoll a
 * second descriptor is missing. */
static int watches_fail;

int epoll_ctl(int epoll, int op, int fd, struct epoll_event *event) {
  if (!watches_fail || op != EPOLL_CTL_ADD)
    return (int)syscall(SYS_epoll_ctl, epoll, op, fd, event);
  errno = ENOSPC;
  return -1;
}

static void fail_watches(int on) {
  static struct rlimit limit;
  struct rlimit none;
  if (on) CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  none = limit;
  none.rlim_cur = 1;
  CHECK(setrlimit(RLIMIT_NOFILE, on ? &none : &limit) == 0);
  watches_fail = on;
}

/* Attempts of which nothing comes. */
static void attempt(rover_t *rover) {
  int fd, nobody;
  switch (now.point) {
    case CONNECTION:
      peers[peer_count++] = greeted(rover, listener, "1\r\n");
      break;
    case CONNECTION_LATE:
      peers[peer_count++] = fd = greeted(rover, listener, "2");
      settle();
      say(fd, "\r\n");
      break;
    case REFUSED:
      nobody = bound();
      EQUAL(0, rover_server_add(rover, "s", "127.0.0.1", port_of(nobody)));
      EQUAL(0, rover_connect(rover));
      UNTIL(now.hits);
      close(nobody);
      break;
    case ENDED_EARLY: close(greeted(rover, listener, "1")); break;
    case TIMED_OUT: peers[peer_count++] = greeted(rover, listener, "1"); break;
    case NO_SERVERS:
      EQUAL(1, rover_server_drop(rover, "s"));
      EQUAL(0, rover_connect(rover));
      break;
    case NO_SLOT:
      peers[peer_count++] = greeted(rover, listener, "hello\r\n");
      break;
    default: failed(__FILE__, __LINE__, "no attempt");
  }
}

/* What becomes of a kept socket, and its other end. */
static void use(struct end *end, int fd) {
  uv_buf_t buffer = uv_buf_init("lost", 4);
  struct net__poll taken;
  switch (now.point) {
    case NO_WATCH:
      /* As when a relay cannot watch what it was to join. */
      EQUAL(0, rover__socket_take(end->socket, &taken));
      fail_watches(1);
      rover__socket_restore(end->socket, &taken);
      fail_watches(0);
      EQUAL(0, now.hits); /* not from within a call */
      UNTIL(now.hits);
      break;
    case DATA:
      EQUAL(0, rover_socket_read_start(end->socket));
      say(fd, "data");
      break;
    case END: shutdown(fd, SHUT_WR); break;
    case END_UNREAD:
      say(fd, "unread");
      shutdown(fd, SHUT_WR);
      break;
    case DRAIN:
    case WRITTEN:
      flood(end);
      while (!now.hits) {
        static char bytes[1 << 16];
        if (recv(fd, bytes, sizeof bytes, 0) < 0) settle();
      }
      break;
    case WRITE_FAILED:
      reset(fd);
      peer_count--;
      EQUAL(0, rover_socket_write(end->socket, &buffer, 1, on_done, "write"));
      break;
    case SHUT:
      EQUAL(0, rover_socket_shutdown(end->socket, on_done, "shutdown"));
      break;
    case WRITE_CANCELLED:
      flood(end);
      close_socket(end);
      break;
    case SHUT_CANCELLED:
      flood(end);
      EQUAL(0, rover_socket_shutdown(end->socket, on_done, "shutdown"));
      close_socket(end);
      break;
    case SOCKET_CLOSED: close_socket(end); break;
    case SOCKET_BROKEN:
      reset(fd);
      peer_count--;
      break;
    case ROVER_CLOSED: close_rover(now.rovers[0]); break;
    default: failed(__FILE__, __LINE__, "no use");
  }
}

static void run(enum point point, enum action action) {
  memset(&now, 0, sizeof now);
  now.point = point;
  now.action = action;
  peer_count = 0;
  snprintf(doing, sizeof doing, "%s", action_names[action]);
  open_rover(0);
  open_rover(1);
  keep(1, "10\r\n");
  keep(0, "11\r\n");
  now.bystander = &now.ends[1];
  if (point < NO_WATCH) {
    attempt(now.rovers[0]);
  } else {
    int fd = keep(0, "12\r\n");
    use(&now.ends[2], fd);
  }
  UNTIL(now.hits);
  settle();
  for (int i = 0; i < 2; i++)
    if (!now.closed[i]) close_rover(now.rovers[i]);
  UNTIL(now.closes[0] && now.closes[1]);
  for (int e = 0; e < now.count; e++) EQUAL(1, now.ends[e].closes);
  while (peer_count > 0) close(peers[--peer_count]);
  int fd; /* of attempts that actions have begun */
  while ((fd = accept(listener, NULL, NULL)) >= 0) close(fd);
}

static void matrix(enum point point) {
  listener = listening();
  for (int action = 0; action < ACTIONS; action++) run(point, action);
  close(listener);
}

#define AT(point)                                                              \
  static void in_##point(void) { matrix(point); }
AT(CONNECTION)
AT(CONNECTION_LATE)
AT(REFUSED)
AT(ENDED_EARLY)
AT(TIMED_OUT)
AT(NO_SERVERS)
AT(NO_SLOT)
AT(NO_WATCH)
AT(DATA)
AT(END)
AT(END_UNREAD)
AT(DRAIN)
AT(WRITTEN)
AT(WRITE_FAILED)
AT(WRITE_CANCELLED)
AT(SHUT)
AT(SHUT_CANCELLED)
AT(SOCKET_CLOSED)
AT(SOCKET_BROKEN)
AT(ROVER_CLOSED)

#define MAY "may close rovers and sockets, and change them, twice, "

const struct check checks[] = {
    {"the connection callback", MAY "the slot line having come at once",
     in_CONNECTION},
    {"the connection callback", MAY "the slot line having come later",
     in_CONNECTION_LATE},
    {"the unreachable callback", MAY "for a refusal", in_REFUSED},
    {"the unreachable callback", MAY "for an early end", in_ENDED_EARLY},
    {"the unreachable callback", MAY "for a deadline", in_TIMED_OUT},
    {"the error callback", MAY "for want of servers", in_NO_SERVERS},
    {"the error callback", MAY "for no slot line", in_NO_SLOT},
    {"the error callback", MAY "when a socket cannot be watched", in_NO_WATCH},
    {"the data callback", MAY "while reading", in_DATA},
    {"the end callback", MAY "nothing being unread", in_END},
    {"the end callback", MAY "bytes being unread", in_END_UNREAD},
    {"the drain callback", MAY "while the peer reads", in_DRAIN},
    {"the callback of a write", MAY "when it is done", in_WRITTEN},
    {"the callback of a write", MAY "when it failed", in_WRITE_FAILED},
    {"the callback of a write", MAY "when it is cancelled",
     in_WRITE_CANCELLED},
    {"the callback of a shutdown", MAY "when it is done", in_SHUT},
    {"the callback of a shutdown", MAY "when it is cancelled",
     in_SHUT_CANCELLED},
    {"a socket's close callback", MAY "closed by us", in_SOCKET_CLOSED},
    {"a socket's close callback", MAY "broken by the peer", in_SOCKET_BROKEN},
    {"a rover's close callback", "may close it again", in_ROVER_CLOSED},
    {NULL, NULL, NULL}};
