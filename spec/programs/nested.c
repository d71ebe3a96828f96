/* Relays and fronts whose callbacks close them, and run the loop until they are
 * gone, though libuv does not allow that; or change them. */
#include "fronts.h"

#include <callosum/relay.h>

#include <sys/resource.h>

static int gone_count; /* of what was closed */

/* -- Relays --------------------------------------------------------------- */

static rover_relay_t *relay;
static int relay_calls;

static void on_relay_gone(rover_relay_t *of) {
  (void)of;
  gone_count++;
}

static void leave_relay(void) {
  relay_calls++;
  if (rover_relay_close(relay, 0, on_relay_gone) == 0) UNTIL(gone_count == 1);
}

static void on_client(rover_relay_t *of, rover_relay_client_t *client) {
  (void)of;
  (void)client;
  leave_relay();
}

static void refuse_client(rover_relay_t *of, rover_relay_client_t *client) {
  (void)of;
  rover_relay_client_refuse(client);
}

static void on_client_closed(rover_relay_t *of, rover_relay_client_t *client,
                             int status) {
  (void)of;
  (void)client;
  (void)status;
  leave_relay();
}

static void on_relay_error(rover_relay_t *of, int status, const char *message) {
  (void)of;
  (void)status;
  leave_relay();
  CHECK(strlen(message) > 0);
}

static void open_relay(rover_relay_options_t options) {
  options.workers = workers;
  EQUAL(0, rover_relay_new(&relay, loop, &options));
  EQUAL(0, rover_relay_listen(relay));
}

static int calling_port(int port) {
  struct sockaddr_in name = loopback(port);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(connect(fd, (struct sockaddr *)&name, sizeof name) == 0);
  CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
  return fd;
}

/* Has several come at once, each of which says this. */
static void come_to_relay(const char *text) {
  int fds[3];
  int port = rover_relay_options(relay)->address.port;
  for (int i = 0; i < 3; i++) say(fds[i] = calling_port(port), text);
  UNTIL(gone_count == 1);
  for (int i = 0; i < 3; i++) close(fds[i]);
}

static void relay_client(void) {
  open_relay((rover_relay_options_t){.events.client = on_client});
  come_to_relay("x");
  EQUAL(1, relay_calls);
}

static void relay_header(void) {
  static const char *const all[] = {"0.0.0.0/0", NULL};
  static const char header[] = "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n";
  open_relay((rover_relay_options_t){.events.client = on_client,
                                     .accept_proxy = 1,
                                     .trusted = all});
  come_to_relay(header);
  EQUAL(1, relay_calls);
}

static void relay_client_closed(void) {
  open_relay((rover_relay_options_t){
      .events = {.client = refuse_client, .close = on_client_closed}});
  come_to_relay("x");
}

static void relay_expired(void) {
  open_relay((rover_relay_options_t){.events = {.close = on_client_closed},
                                     .wait_timeout = 1});
  come_to_relay("x");
}

/* Runs a function while no descriptor can be opened. */
static void exhausted(void (*function)(void)) {
  struct rlimit limit, none;
  CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  none = limit;
  none.rlim_cur = 3;
  CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
  function();
  CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

static void until_gone(void) { UNTIL(gone_count == 1); }

static void relay_error(void) {
  open_relay((rover_relay_options_t){.events.error = on_relay_error});
  int fd = calling_port(rover_relay_options(relay)->address.port);
  exhausted(until_gone);
  close(fd);
}

/* -- Fronts --------------------------------------------------------------- */

static void on_front_gone(rover_front_t *of) {
  (void)of;
  gone_count++;
}

static void leave_front(const char *message) {
  if (rover_front_close(front, 0, on_front_gone) == 0) UNTIL(gone_count == 1);
  CHECK(strlen(message) > 0);
}

static void on_state(rover_front_t *of, int up, int status,
                     const char *message) {
  (void)of;
  (void)up;
  (void)status;
  leave_front(message);
}

static void on_lack(rover_front_t *of, int status, const char *message) {
  (void)of;
  (void)status;
  leave_front(message);
}

static void open_front(void) {
  static const rover_front_events_t leaving = {.backend = on_state,
                                               .error = on_lack};
  begin((rover_front_options_t){0});
  EQUAL(0, rover_front_set_events(front, &leaving, NULL));
}

static void front_set_down(void) {
  open_front();
  int fd = greeted_as(0);
  EQUAL(0, rover_front_set_down(front, "out for lunch"));
  UNTIL(gone_count == 1);
  close(fd);
  close(backend);
}

static void front_refused(void) {
  open_front();
  int fd = greeted_as(0);
  close(backend);
  say(fd, "x");
  UNTIL(gone_count == 1);
  close(fd);
}

static void front_no_accept(void) {
  open_front();
  int fd = calling(front);
  exhausted(until_gone);
  close(fd);
  close(backend);
}

static void front_no_backend(void) {
  open_front();
  int fds[3] = {greeted_as(0), greeted_as(1), greeted_as(2)};
  for (int i = 0; i < 3; i++) say(fds[i], "x");
  exhausted(until_gone);
  for (int i = 0; i < 3; i++) close(fds[i]);
  close(backend);
}

/* Those that change it from within its callbacks; it stays. */
static int changes;

static void on_change(rover_front_t *of, int up, int status,
                      const char *message) {
  (void)status;
  changes++;
  EQUAL(0, rover_front_set_down(of, up ? "again" : NULL));
  if (changes > 2) EQUAL(0, rover_front_set_down(of, NULL));
  EQUAL(0, rover_front_set_weight(of, changes % 2 ? .25 : 4));
  EQUAL(0, rover_front_drain(of, 0));
  EQUAL(0, rover_front_resume(of));
  CHECK(strlen(message) > 0);
}

static void front_changes(void) {
  static const rover_front_events_t changing = {.backend = on_change};
  open_front();
  EQUAL(0, rover_front_set_events(front, &changing, NULL));
  int fds[3] = {greeted_as(0), greeted_as(1), greeted_as(2)};
  EQUAL(0, rover_front_set_down(front, "out for lunch"));
  UNTIL(changes == 4);
  settle();
  EQUAL(1, rover_front_is_up(front));
  end_all(fds, 3);
}

const struct check checks[] = {
    {"a relay's client callback", "may leave nothing of it", relay_client},
    {"a relay's client callback", "may, its header having come", relay_header},
    {"a relay's close callback", "may, of one refused", relay_client_closed},
    {"a relay's close callback", "may, of one expired", relay_expired},
    {"a relay's error callback", "may while there are no descriptors",
     relay_error},
    {"a front's backend callback", "may leave nothing of it", front_set_down},
    {"a front's backend callback", "may, at a refused connection",
     front_refused},
    {"a front's error callback", "may while there are no descriptors",
     front_no_accept},
    {"a front's error callback", "may while there are no descriptors for a "
                                 "backend",
     front_no_backend},
    {"a front's backend callback", "may change all of it", front_changes},
    {NULL, NULL, NULL}};
