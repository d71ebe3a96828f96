/* TLS whose contexts are one thread's and whose connections are another's, as
 * with workers. What is wrong with that is seen under TSan. */
#define HAS_WORKERS
#include "rovers.h"
#include "fronts.h"
#include "secured.h"

#include <callosum/relay.h>

/* Connections are read, where tickets come, written, ended and closed in one
 * thread, while their contexts are reloaded, followed and dropped in another. */

enum { HANDED = 96, AT_ONCE = 8 };

static struct {
  struct {
    struct side near, far;
  } both[AT_ONCE];
  uv_sem_t there, room;
} handed;

static void use_handed(void *unused) {
  (void)unused;
  for (unsigned i = 0; i < HANDED; i++) {
    struct side *near = &handed.both[i % AT_ONCE].near;
    struct side *far = &handed.both[i % AT_ONCE].far;
    uv_sem_wait(&handed.there);
    sent(far, "0\r\n");
    received(near, "0\r\n"); /* and the ticket before it */
    if (i % 3 > 0) EQUAL(0, near->tls->type->shutdown(near->tls));
    if (i % 3 > 1) far->tls->resets = true;
    close_side(near);
    close_side(far);
    uv_sem_post(&handed.room);
  }
}

/* Sometimes it shows another certificate, which ends its sessions. */
static void change(rover_tls_t **tls, const rover_tls_client_options_t *options,
                   unsigned i) {
  if (i % 8 == 0) {
    installed(i % 16 ? "uriClient.crt" : "client.crt", "cert");
    installed(i % 16 ? "uriClient.key" : "client.key", "key");
    EQUAL(0, rover_tls_reload(*tls, NULL));
  }
  if (i % 5 > 0) return;
  rover_tls_t *next = made_client(options);
  follow(next, *tls);
  rover_tls_unref(*tls);
  *tls = next;
}

static void in_another(void) {
  char *ca = strdup(file("ca.crt"));
  char *cert = strdup(installed("client.crt", "cert"));
  char *key = strdup(installed("client.key", "key"));
  const rover_tls_client_options_t options = {
      .ca = ca, .cert = cert, .key = key};
  rover_tls_t *ours = made_client(&options),
              *theirs = server("server", "ca.crt");
  uv_thread_t thread;
  int resumed = 0;

  CHECK(uv_sem_init(&handed.there, 0) == 0);
  CHECK(uv_sem_init(&handed.room, AT_ONCE) == 0);
  CHECK(uv_thread_create(&thread, use_handed, NULL) == 0);
  for (unsigned i = 0; i < HANDED; i++) {
    struct side *near = &handed.both[i % AT_ONCE].near;
    uv_sem_wait(&handed.room);
    change(&ours, &options, i);
    joined(near, ours, "localhost", &handed.both[i % AT_ONCE].far, theirs);
    resumed += facts_of(near).resumed;
    uv_sem_post(&handed.there);
  }
  rover_tls_unref(ours); /* its connections may still need them */
  rover_tls_unref(theirs);
  CHECK(uv_thread_join(&thread) == 0);
  uv_sem_destroy(&handed.there);
  uv_sem_destroy(&handed.room);
  CHECK(resumed > 0);
  free(ca);
  free(cert);
  free(key);
}

/* -- A relay's first message ---------------------------------------------- */

static struct told told;
static int relays_closed;

static void on_client(rover_relay_t *relay, rover_relay_client_t *client_) {
  (void)relay;
  EQUAL(0, rover_relay_client_join(client_, told.socket));
  told.socket = NULL;
}

static void on_relay_closed(rover_relay_t *relay) {
  (void)relay;
  relays_closed++;
}

/* While a thread has yet to wake, a front would end what seems unused. */
static void goes_ahead(void) {
  rover_tls_t *ours = client("client"), *theirs = server("server", "ca.crt");
  rover_options_t secured = {.tls = ours};
  rover_relay_t *relay;
  char byte;

  begin((rover_front_options_t){.tls = theirs}); /* on the loop */
  rover_t *rover = roving(&told, front_port(front), &secured);
  CHECK(rover_workers_new(
            &workers, &(rover_workers_options_t){.is_stepped = 1}) == 0);
  const rover_relay_options_t options = {
      .workers = workers, .wait_timeout = 60000, .events.client = on_client};
  EQUAL(0, rover_relay_new(&relay, loop, &options));
  EQUAL(0, rover_relay_listen(relay));
  EQUAL(0, rover_connect(rover));
  UNTIL(told.socket);
  struct sockaddr_in name = loopback(rover_relay_options(relay)->address.port);
  int near = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(connect(near, (struct sockaddr *)&name, sizeof name) == 0);
  CHECK(fcntl(near, F_SETFL, O_NONBLOCK) == 0);
  say(near, "question");
  UNTIL(!told.socket);
  EQUAL(0, rover_front_drain(front, 60000));
  int far = accepted(backend);
  hear(far, "question");
  EQUAL(0, sound_front(front).drained);
  say(far, "answer");
  UNTIL((rover_workers_step(workers), recv(near, &byte, 1, 0)) == 1);
  EQUAL('a', byte);
  close(near);
  close(far);
  EQUAL(0, rover_relay_close(relay, 0, on_relay_closed));
  UNTIL((rover_workers_step(workers), relays_closed == 1));
  finish(rover, &told);
  end();
  rover_tls_unref(ours);
  rover_tls_unref(theirs);
}

const struct check checks[] = {
    {"a context", "has connections that another thread uses", in_another},
    {"a client's first message", "does not wait for the worker", goes_ahead},
    {NULL, NULL, NULL}};
