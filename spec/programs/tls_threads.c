/* TLS whose contexts are one thread's and whose connections are another's, as
 * with workers. What is wrong with that is seen under TSan. */
#include "secured.h"

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

const struct check checks[] = {
    {"a context", "has connections that another thread uses", in_another},
    {NULL, NULL, NULL}};
