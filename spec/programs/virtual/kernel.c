/* The virtual kernel of src/sim, between machines: times, silence, and what
 * else Linux does only with peers elsewhere, or in minutes. Within a machine,
 * the other programs show what it does. */
#include "../check.h"

#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/un.h>

#include "../../../src/sim/kernel.h"
#include "../../../src/sim/tcp.h"
#include "../../../src/sim/work.h"

enum { PORT = 4040 };

static struct sim__machine *here, *there;
static struct sim__listener *door;

/* -- Native endpoints ----------------------------------------------------- */

static struct sim__end *server; /* the last that was accepted */
static int server_err;          /* how it ended; 0: it has not */
static char heard[1 << 20];     /* what it has read, ... */
static size_t heard_count;
static bool deaf; /* ... unless it does not */
static bool heard_end;

static void listen_on(struct sim__end *end) {
  ssize_t n;
  if (deaf) return;
  while ((n = sim__read(end, heard + heard_count, sizeof heard - heard_count)) >
         0)
    heard_count += (size_t)n;
  if (n == 0) heard_end = true;
}

static void on_server_ended(struct sim__end *end, int err) {
  if (end == server) server = NULL;
  server_err = err;
}

static const struct sim__end_ops server_ops = {.readable = listen_on,
                                               .ended = on_server_ended};

static void on_accepted(struct sim__end *end, void *arg) {
  (void)arg;
  server = end;
  sim__end_set(end, &server_ops, NULL);
  sim__write(end, "7\r\n", 3);
}

/* -- The client's machine ------------------------------------------------- */

/* Lets things happen, until then. */
static void at(uint64_t us) { sim__run(us * SIM__US); }

static void at_s(double s) { sim__run((uint64_t)(s * SIM__S)); }

static struct sockaddr_in name_of(struct sim__machine *machine, uint16_t port) {
  struct sim__address address = sim__machine_address(machine);
  struct sockaddr_in name;
  socklen_t size = sizeof name;
  address.port = port;
  sim__address_write(&address, AF_INET, (struct sockaddr *)&name, &size);
  return name;
}

static int fd;

static void call(struct sim__machine *to) {
  struct sockaddr_in name = name_of(to, PORT);
  sim__enter(here);
  fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  EQUAL(-1, connect(fd, (struct sockaddr *)&name, sizeof name));
  EQUAL(EINPROGRESS, errno);
  sim__leave();
}

static int polled(void) {
  struct pollfd poll_fd = {.fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP};
  sim__enter(here);
  poll(&poll_fd, 1, 0);
  sim__leave();
  return poll_fd.revents;
}

static int error_of(void) {
  int err = 0;
  socklen_t size = sizeof err;
  sim__enter(here);
  CHECK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &size) == 0);
  sim__leave();
  return err;
}

static void set(int level, int option, int value) {
  sim__enter(here);
  CHECK(setsockopt(fd, level, option, &value, sizeof value) == 0);
  sim__leave();
}

static void set_keepalive(void) {
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 15);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 1);
  set(IPPROTO_TCP, TCP_KEEPCNT, 10);
}

static void tell(const char *text) {
  sim__enter(here);
  say(fd, text);
  sim__leave();
}

static int got(void) {
  static char bytes[1 << 16];
  sim__enter(here);
  ssize_t n = recv(fd, bytes, sizeof bytes, 0);
  sim__leave();
  return n < 0 ? -errno : (int)n;
}

static struct tcp_info information(void) {
  struct tcp_info info;
  socklen_t size = sizeof info;
  sim__enter(here);
  CHECK(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0);
  sim__leave();
  return info;
}

/* -- The run -------------------------------------------------------------- */

static void begin(void) {
  sim__network.jitter = 0;
  sim__start(1);
  here = sim__machine_new(1);
  there = sim__machine_new(2);
  door = sim__listen(there, PORT, 64, on_accepted, NULL);
}

static void end(void) {
  sim__end();
  EQUAL(0, sim__now());
}

/* Connected at 0.2 ms; both sides know at 0.3 ms, and its line is read. */
static void joined(void) {
  begin();
  call(there);
  at(1000);
  CHECK(server);
  EQUAL(3, got());
}

static void text_is(const char *wanted) {
  heard[heard_count] = '\0';
  SAME(wanted, heard);
}

/* -- Times ---------------------------------------------------------------- */

static void trips(void) {
  begin();
  call(there);
  at(199);
  EQUAL(0, polled());
  at(200);
  EQUAL(POLLOUT, polled());
  CHECK(!server);
  at(300);
  CHECK(server);
  at(399);
  EQUAL(-EAGAIN, got());
  at(400);
  EQUAL(POLLIN | POLLOUT, polled());
  EQUAL(3, got());
  end();
}

static void refusal(void) {
  begin();
  sim__listener_close(door);
  call(there);
  at(199);
  EQUAL(0, polled());
  at(200);
  EQUAL(ECONNREFUSED, error_of());
  end();
}

static void bandwidth(void) {
  static char bytes[100000];
  sim__network.bandwidth = 1000000;
  joined();
  sim__enter(here);
  EQUAL(sizeof bytes, send(fd, bytes, sizeof bytes, 0));
  sim__leave();
  at(90000);
  CHECK(heard_count < sizeof bytes);
  at(110000);
  EQUAL(sizeof bytes, heard_count);
  end();
}

static void strangers(void) {
  struct sockaddr_in name = loopback(PORT);
  begin();
  name.sin_addr.s_addr = htonl(0xc0000201);
  sim__enter(here);
  fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  EQUAL(-1, connect(fd, (struct sockaddr *)&name, sizeof name));
  EQUAL(ENETUNREACH, errno);
  sim__leave();
  end();
}

/* A port of every loopback, unless the machine listens there itself. */
static void routes(void) {
  struct sim__address address = sim__address_of_v4(INADDR_LOOPBACK, 80);
  struct sockaddr_in name = loopback(80);
  begin();
  sim__route(&address, there, PORT);
  sim__enter(here);
  fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  connect(fd, (struct sockaddr *)&name, sizeof name);
  sim__leave();
  at(1000);
  EQUAL(3, got());
  struct sim__machine *third = sim__machine_new(3);
  sim__enter(third);
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  EQUAL(0, bind(listener, (struct sockaddr *)&name, sizeof name));
  EQUAL(0, listen(listener, 1));
  int own = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  connect(own, (struct sockaddr *)&name, sizeof name);
  CHECK(accept(listener, NULL, NULL) >= 0);
  sim__leave();
  end();
}

/* -- Queues --------------------------------------------------------------- */

/* A SYN that is dropped is sent again after 1, 3 and 7 s. */
static void queue(void) {
  begin();
  sim__listener_close(door);
  door = sim__listen(there, PORT, 0, on_accepted, NULL);
  sim__listener_pause(door, true);
  call(there);
  at(1000);
  EQUAL(POLLOUT, polled());
  CHECK(!server);
  int first = fd;
  call(there);
  at_s(2);
  EQUAL(0, polled());
  sim__listener_pause(door, false);
  at_s(2.9);
  CHECK(server);
  EQUAL(0, polled());
  at_s(3.1);
  EQUAL(POLLIN | POLLOUT, polled());
  fd = first;
  EQUAL(POLLIN | POLLOUT, polled());
  end();
}

/* The queue has filled up between its SYN and the third packet. */
static void overflow(void) {
  begin();
  sim__listener_close(door);
  door = sim__listen(there, PORT, 0, on_accepted, NULL);
  sim__listener_pause(door, true);
  call(there);
  call(there);
  at(1000);
  EQUAL(POLLOUT, polled()); /* for all it knows */
  tell("early");
  at_s(0.5);
  sim__listener_pause(door, false);
  at_s(8);
  EQUAL(POLLIN | POLLOUT, polled());
  text_is("early");
  end();
}

/* What waits for room in the queue is the machine's, and ends with it. */
static void overflow_stopped(void) {
  begin();
  sim__listener_close(door);
  door = sim__listen(there, PORT, 0, on_accepted, NULL);
  sim__listener_pause(door, true);
  call(there);
  call(there);
  at(1000);
  EQUAL(POLLOUT, polled());
  sim__machine_stop(there, SIM__FIN);
  sim__machine_start(there);
  door = sim__listen(there, PORT, 64, on_accepted, NULL);
  at_s(8);
  CHECK(!server);
  tell("late");
  at_s(8.1);
  EQUAL(ECONNRESET, error_of());
  end();
}

static void close_at_once(struct sim__end *end) { sim__close(end); }

/* The server's end does not exist yet. */
static void early_end(void) {
  static const struct sim__end_ops ops = {.connected = close_at_once};
  begin();
  struct sim__address to = sim__machine_address(there);
  to.port = PORT;
  sim__connect(here, &to, &ops, NULL);
  at_s(1);
  CHECK(heard_end);
  if (server) sim__close(server);
  end();
}

/* -- Silence -------------------------------------------------------------- */

static void no_answer(void) {
  begin();
  sim__machine_stop(there, SIM__SILENT);
  call(there);
  at_s(126);
  EQUAL(0, polled());
  at_s(128);
  EQUAL(ETIMEDOUT, error_of());
  end();
}

/* The last probe that was answered came at 15 s; ten more are not. */
static void keepalive(void) {
  joined();
  set_keepalive();
  at_s(20);
  sim__machine_stop(there, SIM__SILENT);
  EQUAL(ECANCELED, server_err);
  at_s(39.9);
  EQUAL(0, error_of());
  at_s(40.1);
  EQUAL(ETIMEDOUT, error_of());
  end();
}

static void server_keepalive(void) {
  joined();
  sim__end_keepalive(server, 15, 1, 10);
  at_s(20);
  sim__machine_stop(here, SIM__SILENT);
  at_s(39.9);
  EQUAL(0, server_err);
  at_s(40.1);
  EQUAL(ETIMEDOUT, server_err);
  end();
}

static void user_timeout(void) {
  joined();
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, 5000);
  at_s(1);
  sim__machine_stop(there, SIM__SILENT);
  at_s(2);
  tell("hello");
  at_s(6.9);
  EQUAL(0, error_of());
  at_s(7.1);
  EQUAL(ETIMEDOUT, error_of());
  end();
}

/* Without anything set, Linux tries for a quarter of an hour. */
static void retries(void) {
  joined();
  sim__machine_stop(there, SIM__SILENT);
  tell("hello");
  at_s(900);
  EQUAL(0, error_of());
  CHECK(information().tcpi_retransmits > 10);
  at_s(930);
  EQUAL(ETIMEDOUT, error_of());
  end();
}

/* What is sent meanwhile comes once, and in order. */
static void partition(void) {
  joined();
  at_s(1);
  sim__partition(here, there, true);
  tell("one ");
  at_s(1.1);
  tell("two ");
  EQUAL(1, information().tcpi_unacked);
  at_s(1.15);
  EQUAL(0, heard_count);
  sim__partition(there, here, false);
  tell("three");
  at_s(1.19);
  EQUAL(0, heard_count);
  at_s(1.21);
  text_is("one two three");
  EQUAL(0, information().tcpi_unacked);
  end();
}

/* Bytes that are lost hold up the end, too. */
static void partition_end(void) {
  joined();
  sim__partition(here, there, true);
  tell("bye");
  sim__enter(here);
  close(fd);
  sim__leave();
  at_s(1);
  CHECK(!heard_end);
  sim__partition(here, there, false);
  at_s(3);
  text_is("bye");
  CHECK(heard_end);
  sim__close(server);
  EQUAL(0, sim__machine_ends(there));
  end();
}

/* A partition of less than the keepalive time is not noticed at all. */
static void partition_idle(void) {
  joined();
  set_keepalive();
  sim__end_keepalive(server, 15, 1, 10);
  at_s(14);
  sim__partition(here, there, true);
  at_s(20);
  sim__partition(here, there, false);
  at_s(100);
  EQUAL(POLLOUT, polled());
  EQUAL(0, server_err);
  end();
}

/* A reset that was lost in a partition comes again when the peer next asks. */
static void partition_reset(void) {
  joined();
  sim__partition(here, there, true);
  at_s(1);
  tell("anybody?");
  at_s(2);
  sim__reset(server);
  at_s(5);
  sim__partition(here, there, false);
  at_s(7); /* sent again after 0.2, 0.6, 1.4, 3 and 6.2 s */
  EQUAL(POLLOUT, polled());
  at_s(7.3);
  EQUAL(ECONNRESET, error_of());
  end();
}

/* A machine that was down knows of no connection, and says so when asked. */
static void back_again(void) {
  joined();
  set_keepalive();
  at_s(1);
  sim__machine_stop(there, SIM__SILENT);
  at_s(5);
  sim__machine_start(there);
  at_s(14.9);
  EQUAL(POLLOUT, polled());
  at_s(15.1);
  EQUAL(ECONNRESET, error_of());
  end();
}

static void back_again_asked(void) {
  joined();
  sim__machine_stop(there, SIM__SILENT);
  at_s(5);
  sim__machine_start(there);
  at_s(10);
  EQUAL(POLLOUT, polled());
  tell("anybody?");
  at_s(10.1);
  EQUAL(ECONNRESET, error_of());
  end();
}

/* Who has closed does not wait for the other's end for more than a minute. */
static void half_open(void) {
  joined();
  set_keepalive();
  sim__close(server);
  at_s(1);
  EQUAL(0, got());
  at_s(74);
  EQUAL(0, error_of());
  at_s(76);
  EQUAL(EPIPE, error_of());
  end();
}

/* A FIN that is lost is tried from when it was sent. */
static void lost_end(void) {
  joined();
  at_s(1000);
  sim__partition(here, there, true);
  sim__enter(here);
  close(fd);
  sim__leave();
  at_s(1001);
  CHECK(!heard_end);
  sim__partition(here, there, false);
  at_s(1002);
  CHECK(heard_end);
  end();
}

static void stops(void) {
  static const enum sim__manner manners[] = {SIM__FIN, SIM__RST};
  for (int i = 0; i < 2; i++) {
    joined();
    sim__machine_stop(there, manners[i]);
    EQUAL(ECANCELED, server_err);
    server_err = 0;
    at_s(1);
    EQUAL(manners[i] == SIM__FIN ? 0 : -ECONNRESET, got());
    EQUAL(0, sim__machine_ends(there));
    call(there);
    at_s(2);
    EQUAL(ECONNREFUSED, error_of());
    sim__machine_start(there);
    sim__listen(there, PORT, 64, on_accepted, NULL);
    call(there);
    at_s(3);
    EQUAL(3, got());
    end();
  }
}

/* -- Windows -------------------------------------------------------------- */

static int unsent(void) {
  int count = -1;
  sim__enter(here);
  CHECK(ioctl(fd, SIOCOUTQ, &count) == 0);
  sim__leave();
  return count;
}

static size_t flood(void) {
  static char bytes[1 << 20];
  size_t sum = 0;
  for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (char)(i * 7 >> 3);
  sim__enter(here);
  ssize_t n;
  while ((n = send(fd, bytes + sum, sizeof bytes - sum, MSG_NOSIGNAL)) > 0)
    sum += (size_t)n;
  sim__leave();
  return sum;
}

static void windows(void) {
  joined();
  deaf = true;
  size_t sum = flood();
  EQUAL(sim__network.send, sum);
  at_s(1);
  EQUAL(0, unsent());
  sum = flood(); /* what the peer holds, and then what this end holds */
  at_s(2);
  CHECK(unsent() > 0);
  EQUAL(0, polled());
  EQUAL(0, flood());
  deaf = false;
  listen_on(server);
  at_s(3);
  EQUAL(0, unsent());
  EQUAL(POLLOUT, polled());
  EQUAL(sim__network.send * 2, heard_count);
  for (size_t i = 0; i < sum; i++)
    CHECK(heard[i] == (char)((i % sim__network.send) * 7 >> 3));
  end();
}

/* A peer that does not read answers probes; one that has vanished does not. */
static void probes(void) {
  joined();
  deaf = true;
  for (int i = 0; i < 4; i++) {
    flood();
    at_s(1 + i);
  }
  at_s(100);
  struct tcp_info info = information();
  EQUAL(0, info.tcpi_unacked);
  EQUAL(0, info.tcpi_probes);
  CHECK(info.tcpi_last_ack_recv < 60000);
  sim__machine_stop(there, SIM__SILENT);
  at_s(500);
  info = information();
  CHECK(info.tcpi_probes > 2);
  CHECK(info.tcpi_last_ack_recv > 300000);
  at_s(1200);
  EQUAL(ETIMEDOUT, error_of());
  end();
}

/* -- Native clients ------------------------------------------------------- */

static int client_err;
static bool connected;

static void on_connected(struct sim__end *end_) {
  connected = true;
  CHECK(!sim__current);
  sim__write(end_, "from C", 6);
}

static void on_client_ended(struct sim__end *end_, int err) {
  (void)end_;
  client_err = err;
}

static const struct sim__end_ops client_ops = {.connected = on_connected,
                                               .ended = on_client_ended};

static void native(void) {
  struct sim__address address;
  begin();
  address = sim__machine_address(there);
  address.port = PORT;
  struct sim__end *client = sim__connect(here, &address, &client_ops, NULL);
  at(1000);
  CHECK(connected && server);
  text_is("from C");
  EQUAL(1, sim__machine_ends(here));
  CHECK(sim__end_peer(client) == there && sim__end_machine(client) == here);
  char bytes[8];
  EQUAL(3, sim__read(client, bytes, sizeof bytes));
  sim__close(client);
  at(2000);
  CHECK(heard_end);
  address.port = 1;
  sim__connect(here, &address, &client_ops, NULL);
  at(3000);
  EQUAL(ECONNREFUSED, client_err);
  end();
}

/* In a machine with sockets, as a program beside a relay is. */
static void native_within(void) {
  struct sockaddr_in name = loopback(PORT);
  struct sim__address address = sim__address_of_v4(INADDR_LOOPBACK, PORT);
  struct sockaddr_un path = {.sun_family = AF_UNIX, .sun_path = "socket"};
  char bytes[16];
  begin();
  sim__enter(here);
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  EQUAL(0, bind(listener, (struct sockaddr *)&name, sizeof name));
  EQUAL(0, listen(listener, 10));
  int other = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  EQUAL(0, bind(other, (struct sockaddr *)&path, sizeof path));
  EQUAL(0, listen(other, 10));
  sim__leave();
  for (int i = 0; i < 2; i++) {
    connected = false;
    if (i == 0) sim__connect(here, &address, &client_ops, NULL);
    else sim__connect_path(here, "socket", &client_ops, NULL);
    at(100 + 100 * (uint64_t)i);
    CHECK(connected);
    sim__enter(here);
    fd = accept(i == 0 ? listener : other, NULL, NULL);
    EQUAL(6, recv(fd, bytes, sizeof bytes, 0));
    reset(fd);
    sim__leave();
  }
  sim__connect_path(here, "nowhere", &client_ops, NULL);
  at(400);
  EQUAL(ECONNREFUSED, client_err);
  end();
}

/* -- Loops ---------------------------------------------------------------- */

static char order[64];

static void note(char what) {
  size_t length = strlen(order);
  CHECK(length < sizeof order - 1);
  order[length] = what;
}

static void on_found(uv_getaddrinfo_t *request, int status,
                     struct addrinfo *found) {
  if (status == 0) EQUAL(AF_INET, found->ai_family);
  note(status == 0 ? 'n' : status == UV_EAI_NONAME ? 'x' : '?');
  EQUAL(0, sim__now() % (200 * SIM__US));
  uv_freeaddrinfo(found);
  (void)request;
}

static void do_work(uv_work_t *work) {
  (void)work;
  note('w');
}

static void on_work(uv_work_t *work, int status) {
  note(status == 0 ? 'W' : 'c');
  (void)work;
}

static void on_stat(uv_fs_t *request) {
  note(request->result == 0 ? 's' : '?');
  uv_fs_req_cleanup(request);
}

static void threads(void) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
  uv_getaddrinfo_t known, unknown;
  uv_work_t works[2];
  uv_fs_t fs;
  begin();
  sim__name_add("Server", there);
  sim__enter(here);
  uv_loop_t *own = sim__machine_loop(here);
  EQUAL(0, uv_getaddrinfo(own, &known, on_found, "server", NULL, &hints));
  sim__leave();
  at_s(1);
  SAME("n", order);
  sim__enter(here);
  EQUAL(0, uv_getaddrinfo(own, &unknown, on_found, "nobody", NULL, &hints));
  sim__leave();
  at_s(2);
  SAME("nx", order);
  sim__enter(here);
  EQUAL(0, uv_queue_work(own, &works[0], do_work, on_work));
  EQUAL(0, uv_fs_stat(own, &fs, "/", on_stat));
  EQUAL(0, uv_queue_work(own, &works[1], do_work, on_work));
  EQUAL(0, uv_cancel((uv_req_t *)&works[1]));
  sim__leave();
  at_s(3);
  CHECK(strchr(order, 'w') && strchr(order, 'W') && strchr(order, 's') &&
        strchr(order, 'c'));
  end();
}

static uint64_t fired[3];

static void on_timer(uv_timer_t *timer) {
  fired[(intptr_t)timer->data]++;
  if (timer->data == (void *)2) {
    struct timespec second = {1, 0};
    nanosleep(&second, NULL);
  }
  if (timer->data == (void *)1 && fired[1] == 1)
    EQUAL(100, sim__now() / SIM__MS);
}

static void on_handle(uv_handle_t *handle, void *arg) {
  (void)arg;
  if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

/* Timers of both machines come in time; one that sleeps holds up its own. */
static void timers(void) {
  static uv_timer_t list[3];
  begin();
  for (intptr_t i = 0; i < 3; i++) {
    sim__enter(i < 2 ? here : there);
    uv_timer_init(sim__machine_loop(sim__current), &list[i]);
    uv_update_time(sim__machine_loop(sim__current));
    list[i].data = (void *)i;
    uv_timer_start(&list[i], on_timer, i == 1 ? 100 : 10, 10);
    sim__leave();
  }
  at_s(1);
  CHECK(fired[0] >= 99 && fired[0] <= 100);
  CHECK(fired[1] >= 90 && fired[1] <= 91);
  EQUAL(1, fired[2]);
  at_s(1.1);
  EQUAL(2, fired[2]);
  for (int i = 0; i < 2; i++) {
    sim__enter(i == 0 ? here : there);
    uv_walk(sim__machine_loop(sim__current), on_handle, NULL);
    sim__leave();
  }
  at_s(5);
  end();
}

/* -- Replays -------------------------------------------------------------- */

static uint64_t replay(uint64_t seed) {
  uint64_t hash;
  begin();
  sim__network.jitter = 50 * SIM__US;
  sim__end();
  sim__start(seed);
  here = sim__machine_new(1);
  there = sim__machine_new(2);
  sim__listen(there, PORT, 64, on_accepted, NULL);
  for (int i = 1; i < 50; i++) {
    call(there);
    at((uint64_t)i * 1000);
    tell("hello");
    if (i % 3 == 0) {
      sim__enter(here);
      close(fd);
      sim__leave();
    }
  }
  at_s(1);
  hash = sim__trace_hash();
  end();
  return hash;
}

static void replays(void) {
  uint64_t first = replay(1);
  CHECK(first != 0);
  CHECK(first == replay(1));
  CHECK(first != replay(2));
  CHECK(first == replay(1));
}

const struct check checks[] = {
    {"a connection", "takes a round trip, and its bytes half of one", trips},
    {"a refusal", "takes a round trip", refusal},
    {"bandwidth", "is a machine's", bandwidth},
    {"an address of nobody", "is unreachable", strangers},
    {"a route", "leads from every loopback, but for who listens", routes},
    {"a full queue", "drops who asks, who asks again", queue},
    {"a full queue", "holds up who got an answer before", overflow},
    {"a connection", "that is closed at once ends at the server", early_end},
    {"a full queue", "is forgotten with its machine", overflow_stopped},
    {"who vanishes", "answers no SYN, for 127 s", no_answer},
    {"who vanishes", "is noticed by keepalive", keepalive},
    {"who vanishes", "is noticed by a server's keepalive", server_keepalive},
    {"who vanishes", "is noticed by TCP_USER_TIMEOUT", user_timeout},
    {"who vanishes", "is tried for a quarter of an hour", retries},
    {"a partition", "holds bytes up, and loses none", partition},
    {"a partition", "holds the end up, behind these", partition_end},
    {"a partition", "is not noticed if it is short", partition_idle},
    {"a partition", "in which the peer has reset is noticed after it",
     partition_reset},
    {"who is back", "resets what it does not know, when probed", back_again},
    {"who is back", "resets what it does not know, when sent to",
     back_again_asked},
    {"who has closed", "forgets a half-open connection", half_open},
    {"an end", "that is lost is sent again", lost_end},
    {"who stops", "ends connections by FIN or RST, and refuses", stops},
    {"windows", "close and open", windows},
    {"probes", "of a closed window are answered", probes},
    {"an end in C", "connects to another machine", native},
    {"an end in C", "connects within a machine", native_within},
    {"threads", "answer later, and in order", threads},
    {"timers", "come in time", timers},
    {"a replay", "is the same by the same seed", replays},
    {NULL, NULL, NULL}};
