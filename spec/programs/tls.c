/* What libcallosum-tls does: contexts as <callosum/tls.h> promises them, and
 * connections as src/net/tls.h does, with its own other side and with openssl(1).
 * The certificates are those of spec/support/certificates.lua, in a folder that
 * the environment names. */
#include "secured.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <poll.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

#include "tls/functions.h"

/* -- With openssl(1) ------------------------------------------------------ */

struct openssl {
  pid_t pid;
  int in, out;
};

/* Starts it with these arguments, ended by NULL. */
static void start(struct openssl *self, const char *const argv[]) {
  int in[2], out[2];
  CHECK(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0);
  self->pid = fork();
  CHECK(self->pid >= 0);
  if (self->pid == 0) {
    dup2(in[0], 0);
    dup2(out[1], 1);
    dup2(out[1], 2);
    execvp("openssl", (char *const *)argv);
    _exit(127);
  }
  close(in[0]);
  close(out[1]);
  self->in = in[1];
  self->out = out[0];
}

/* Reads what it prints until it has printed that. */
static void printed(struct openssl *self, const char *text, char *all,
                    size_t size) {
  size_t length = 0;
  for (;;) {
    CHECK(length + 1 < size);
    struct pollfd ready = {.fd = self->out, .events = POLLIN};
    CHECK(poll(&ready, 1, 10000) == 1);
    ssize_t n = read(self->out, all + length, size - length - 1);
    if (n <= 0) failed(__FILE__, __LINE__, "no \"%s\" in: %s", text, all);
    length += (size_t)n;
    all[length] = '\0';
    if (strstr(all, text)) return;
  }
}

static void stop(struct openssl *self) {
  kill(self->pid, SIGTERM);
  waitpid(self->pid, NULL, 0);
  close(self->in);
  close(self->out);
}

/* Where an s_server listens, as it says. */
static int port_of_server(struct openssl *self, char *output, size_t size) {
  printed(self, "ACCEPT 127.0.0.1:", output, size);
  size_t length = strlen(output);
  if (!strchr(strstr(output, "ACCEPT"), '\n'))
    printed(self, "\n", output + length, size - length);
  return atoi(strstr(output, "ACCEPT 127.0.0.1:") + 17);
}

static void with_s_server(const char *version, const char *expected) {
  static char output[65536];
  struct openssl server;
  const char *argv[] = {"openssl",
                        "s_server",
                        "-accept",
                        "127.0.0.1:0",
                        "-cert",
                        file("server.crt"),
                        "-key",
                        file("server.key"),
                        "-CAfile",
                        file("ca.crt"),
                        "-Verify",
                        "3",
                        "-verify_return_error",
                        version,
                        NULL};
  snprintf(doing, sizeof doing, "s_server %s", version);
  start(&server, argv);
  int port = port_of_server(&server, output, sizeof output);
  rover_tls_t *tls = client("client");
  struct side side;
  open_client(&side, tls, connected(port), "localhost", "s");
  secured(&side);
  SAME(expected, facts_of(&side).version);
  sent(&side, "from a client of ours\n");
  printed(&server, "from a client of ours", output, sizeof output);
  CHECK(write(server.in, "from s_server\n", 14) == 14);
  received(&side, "from s_server\n");
  close_side(&side);
  rover_tls_unref(tls);
  stop(&server);
}

static void with_servers(void) {
  with_s_server("-tls1_2", "TLSv1.2");
  with_s_server("-tls1_3", "TLSv1.3");
}

static void with_s_client(const char *version, const char *expected) {
  static char output[65536];
  struct openssl peer;
  char where[32];
  int listener = listening();
  const char *argv[] = {"openssl",
                        "s_client",
                        "-connect",
                        where,
                        "-cert",
                        file("client.crt"),
                        "-key",
                        file("client.key"),
                        "-CAfile",
                        file("ca.crt"),
                        "-verify_return_error",
                        "-verify_hostname",
                        "localhost",
                        "-alpn",
                        "callosum",
                        "-quiet",
                        version,
                        NULL};
  snprintf(doing, sizeof doing, "s_client %s", version);
  snprintf(where, sizeof where, "127.0.0.1:%d", port_of(listener));
  start(&peer, argv);
  rover_tls_t *tls = server("server", "ca.crt");
  struct side side;
  open_server(&side, tls, accepted(listener));
  secured(&side);
  struct net__tls_facts facts = facts_of(&side);
  SAME(expected, facts.version);
  CHECK(facts.is_verified && !facts.resumed);
  CHECK(facts.common_name_length == 6);
  CHECK(memcmp(facts.common_name, "client", 6) == 0);
  sent(&side, "13\r\n");
  printed(&peer, "13\r\n", output, sizeof output);
  CHECK(write(peer.in, "a request\n", 10) == 10);
  received(&side, "a request\n");
  close_side(&side);
  rover_tls_unref(tls);
  stop(&peer);
  close(listener);
}

static void with_clients(void) {
  with_s_client("-tls1_2", "TLSv1.2");
  with_s_client("-tls1_3", "TLSv1.3");
}

/* -- With itself ---------------------------------------------------------- */

static void both_ways(void) {
  rover_tls_t *ours = client("client"), *theirs = server("server", "ca.crt");
  struct side near, far;
  joined(&near, ours, "localhost", &far, theirs);
  SAME("TLSv1.3", facts_of(&near).version);
  CHECK(facts_of(&near).is_verified && facts_of(&far).is_verified);
  sent(&near, "there");
  received(&far, "there");
  sent(&far, "and back");
  received(&near, "and back");
  close_side(&near);
  EQUAL(0, ended(&far));
  close_side(&far);
  rover_tls_unref(ours);
  rover_tls_unref(theirs);
}

static void one_file(void) {
  const rover_tls_server_options_t options = {.cert = file("server.pem")};
  rover_tls_t *ours = client(NULL), *theirs = made_server(&options);
  struct side near, far;
  joined(&near, ours, "127.0.0.1", &far, theirs);
  CHECK(!facts_of(&far).is_verified);
  close_side(&near);
  close_side(&far);
  rover_tls_unref(ours);
  rover_tls_unref(theirs);
}

/* -- Data ----------------------------------------------------------------- */

/* Two contexts, and a connection between them. */
struct both {
  rover_tls_t *ours, *theirs;
  struct side near, far;
};

static void begin(struct both *both) {
  both->ours = client("client");
  both->theirs = server("server", "ca.crt");
  joined(&both->near, both->ours, "localhost", &both->far, both->theirs);
}

static void again(struct both *both) {
  joined(&both->near, both->ours, "localhost", &both->far, both->theirs);
}

static void finish(struct both *both) {
  rover_tls_unref(both->ours);
  rover_tls_unref(both->theirs);
}

static int peeked(struct side *side) {
  return side->tls->type->peek(side->tls);
}

static ssize_t read_some(struct side *side, char *bytes, size_t size) {
  return side->tls->type->recv(side->tls, bytes, size);
}

static void looks(void) {
  struct both both;
  char bytes[64];
  begin(&both);
  EQUAL(-EAGAIN, peeked(&both.near)); /* a ticket is no data */
  CHECK(!both.near.tls->holds);
  sent(&both.far, "13\r\nmore");
  SPIN(peeked(&both.near) == 1);
  CHECK(both.near.tls->holds);
  EQUAL(1, peeked(&both.near));
  EQUAL(4, read_some(&both.near, bytes, 4));
  CHECK(both.near.tls->holds);
  EQUAL(1, peeked(&both.near));
  EQUAL(4, read_some(&both.near, bytes, sizeof bytes));
  CHECK(!both.near.tls->holds);
  EQUAL(-EAGAIN, read_some(&both.near, bytes, sizeof bytes));
  EQUAL(-EAGAIN, peeked(&both.near));
  close_side(&both.near);
  SPIN(peeked(&both.far) == 0);
  CHECK(both.far.tls->holds);
  EQUAL(0, read_some(&both.far, bytes, sizeof bytes));
  CHECK(!both.far.tls->holds);
  close_side(&both.far);
  finish(&both);
}

/* More than fits into the kernel, from buffers that move. */
static void much(void) {
  enum { SIZE = 3 << 20 };
  struct both both;
  char *data = malloc(SIZE), *got = malloc(SIZE), *moved = malloc(SIZE);
  size_t out = 0, in = 0;
  bool was_full = false;
  begin(&both);
  int room = 1 << 16;
  CHECK(setsockopt(both.near.fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room) ==
        0);
  CHECK(data && got && moved);
  for (int i = 0; i < SIZE; i++) data[i] = (char)(i * 7 ^ i >> 9);
  while (in < SIZE) {
    memcpy(moved, data + out, SIZE - out);
    ssize_t n = out == SIZE ? 0
                            : both.near.tls->type->send(both.near.tls, moved,
                                                        SIZE - out);
    CHECK(n >= 0 || n == -EAGAIN);
    was_full |= n < (ssize_t)(SIZE - out);
    out += n > 0 ? (size_t)n : 0;
    memset(moved, 0, SIZE - out);
    n = read_some(&both.far, got + in, in % 3 ? 100 : 40000);
    CHECK(n > 0 || n == -EAGAIN);
    if (in % 3 == 0) CHECK(!both.far.tls->holds); /* whole records */
    in += n > 0 ? (size_t)n : 0;
    CHECK(uv_hrtime() < deadline);
  }
  CHECK(was_full && memcmp(data, got, SIZE) == 0);
  free(data);
  free(got);
  free(moved);
  close_side(&both.near);
  close_side(&both.far);
  finish(&both);
}

static void half_closes(void) {
  struct both both;
  begin(&both);
  sent(&both.near, "a request");
  EQUAL(0, both.near.tls->type->shutdown(both.near.tls));
  EQUAL(-EPIPE, both.near.tls->type->send(both.near.tls, "x", 1));
  received(&both.far, "a request");
  EQUAL(0, ended(&both.far));
  sent(&both.far, "an answer");
  received(&both.near, "an answer");
  EQUAL(0, both.far.tls->type->shutdown(both.far.tls));
  EQUAL(0, ended(&both.near));
  EQUAL(0, ended(&both.near));
  close_side(&both.near);
  close_side(&both.far);
  finish(&both);
}

/* An end that anybody on the way can make. */
static void cut_off(void) {
  struct both both;
  char bytes[64];
  begin(&both);
  CHECK(shutdown(both.near.fd, SHUT_WR) == 0);
  EQUAL(-ECONNRESET, ended(&both.far));
  EQUAL(-ECONNRESET, peeked(&both.far));
  close_side(&both.near);
  close_side(&both.far);

  again(&both);
  sent(&both.near, "half of it");
  CHECK(shutdown(both.near.fd, SHUT_WR) == 0);
  EQUAL(10, read_some(&both.far, bytes, sizeof bytes));
  CHECK(both.far.tls->holds);
  EQUAL(-ECONNRESET, read_some(&both.far, bytes, sizeof bytes));
  CHECK(!both.far.tls->holds);
  close_side(&both.near);
  close_side(&both.far);

  again(&both);
  both.near.tls->resets = true;
  close_side(&both.near); /* without the kernel's reset, even so */
  EQUAL(-ECONNRESET, ended(&both.far));
  close_side(&both.far);
  finish(&both);
}

static bool has_failed(ssize_t n) { return n == -EPIPE || n == -ECONNRESET; }

/* As a backend that does not want the rest of an upload. */
static void answers_and_resets(struct side *side) {
  sent(side, "an answer");
  side->tls->resets = true;
  reset(side->fd);
  side->tls->type->close(side->tls);
}

static void answered(void) {
  struct both both;
  ssize_t n;
  begin(&both);
  answers_and_resets(&both.far);
  SPIN((n = both.near.tls->type->send(both.near.tls, "more", 4)) < 0);
  CHECK(has_failed(n));
  EQUAL(n, both.near.tls->type->send(both.near.tls, "more", 4));
  EQUAL(n, both.near.tls->type->shutdown(both.near.tls));
  received(&both.near, "an answer");
  EQUAL(-ECONNRESET, ended(&both.near));
  close_side(&both.near);

  again(&both);
  answers_and_resets(&both.far);
  CHECK(has_failed(both.near.tls->type->shutdown(both.near.tls)));
  received(&both.near, "an answer");
  EQUAL(-ECONNRESET, ended(&both.near));
  close_side(&both.near);
  finish(&both);
}

/* Takes the place of what the C library has, for OpenSSL, too. */
#define EXPORTED __attribute__((visibility("default")))

/* How many reads from now on a signal interrupts. */
static int interruptions;

EXPORTED ssize_t read(int fd, void *bytes, size_t size) {
  if (interruptions > 0) {
    interruptions--;
    errno = EINTR;
    return -1;
  }
  return syscall(SYS_read, fd, bytes, size);
}

/* All has come: no event would have it go on. */
static void interrupted(void) {
  rover_tls_t *ours = client(NULL), *theirs = server("server", NULL);
  struct side near, far;
  opened(&near, ours, "localhost", &far, theirs);
  EQUAL(-EAGAIN, near.tls->type->handshake(near.tls));
  struct pollfd ready = {.fd = far.fd, .events = POLLIN};
  CHECK(poll(&ready, 1, 10000) == 1);
  interruptions = 1;
  EQUAL(-EAGAIN, far.tls->type->handshake(far.tls));
  EQUAL(0, interruptions);
  CHECK(poll(&ready, 1, 0) == 0);
  secured(&near);
  secured(&far);
  close_side(&near);
  close_side(&far);
  rover_tls_unref(ours);
  rover_tls_unref(theirs);
}

/* Somebody on the way changes a bit of a record. */
static void forged(void) {
  struct both both;
  char bytes[64], record[64];
  begin(&both);
  sent(&both.near, "true");
  ssize_t n;
  SPIN((n = recv(both.far.fd, record, sizeof record, 0)) > 0);
  record[n - 1] ^= 1;
  int fds[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
                   fds) == 0);
  CHECK(write(fds[0], record, (size_t)n) == n);
  int own = dup(both.far.fd);
  CHECK(dup2(fds[1], both.far.fd) == both.far.fd);
  EQUAL(-EPROTO, read_some(&both.far, bytes, sizeof bytes));
  CHECK(strstr(why(&both.far), "TLS with the client failed: "));
  close(own);
  close(fds[0]);
  close(fds[1]);
  close_side(&both.far);
  close_side(&both.near);
  finish(&both);
}

static void no_signal(void) {
  struct both both;
  ssize_t n;
  begin(&both);
  signal(SIGPIPE, SIG_DFL);
  reset(both.far.fd);
  both.far.tls->type->close(both.far.tls);
  SPIN((n = both.near.tls->type->send(both.near.tls, "x", 1)) < 0);
  CHECK(n == -EPIPE || n == -ECONNRESET);
  n = both.near.tls->type->send(both.near.tls, "x", 1);
  CHECK(n == -EPIPE || n == -ECONNRESET);
  close_side(&both.near);
  again(&both);
  both.far.tls->type->close(both.far.tls);
  close(both.far.fd);
  SPIN((n = both.near.tls->type->send(both.near.tls, "x", 1)) < 0);
  close_side(&both.near); /* where there is nobody to say it to */
  signal(SIGPIPE, SIG_IGN);
  finish(&both);
}

/* OpenSSL has one queue of errors for all of a thread. */
static void errors_apart(void) {
  struct both both;
  char bytes[8];
  begin(&both);
  ERR_raise(ERR_LIB_SSL, SSL_R_BAD_LENGTH); /* the program's own */
  EQUAL(-EAGAIN, read_some(&both.near, bytes, sizeof bytes));
  EQUAL(-EAGAIN, peeked(&both.far));
  rover_tls_t *stranger = client("strangeClient");
  struct side near, far;
  int at_near, at_far;
  opened(&near, stranger, "localhost", &far, both.theirs);
  both_results(&near, &at_near, &far, &at_far);
  EQUAL(NET_ECERT, at_far);
  EQUAL(0, ERR_peek_error());
  EQUAL(NET_ECERT, ended(&near));
  EQUAL(0, ERR_peek_error());
  sent(&both.near, "still there");
  received(&both.far, "still there");
  close_side(&near);
  close_side(&far);
  close_side(&both.near);
  close_side(&both.far);
  EQUAL(0, ERR_peek_error());
  rover_tls_unref(stranger);
  finish(&both);
}

/* -- Sessions ------------------------------------------------------------- */

static bool resumes(rover_tls_t *ours, const char *name, rover_tls_t *theirs) {
  struct side near, far;
  joined(&near, ours, name, &far, theirs);
  sent(&far, "0\r\n"); /* behind the ticket, if there is one */
  received(&near, "0\r\n");
  bool is = facts_of(&near).resumed;
  CHECK(facts_of(&far).resumed == is);
  CHECK(facts_of(&near).is_verified && facts_of(&far).is_verified);
  near.tls->resets = true; /* an end without a word */
  close_side(&near);
  close_side(&far);
  return is;
}

static void resumed(void) {
  rover_tls_t *ours = client("client"), *theirs = server("server", "ca.crt");
  CHECK(!resumes(ours, "localhost", theirs));
  for (int i = 0; i < 1000; i++) {
    snprintf(doing, sizeof doing, "connection %d", i + 2);
    CHECK(resumes(ours, "localhost", theirs));
  }
  CHECK(!resumes(ours, "127.0.0.1", theirs)); /* another name to verify */
  CHECK(resumes(ours, "localhost", theirs));
  rover_tls_unref(ours);
  rover_tls_unref(theirs);
}

static void resumed_12(void) {
  only_tls12();
  resumed();
}

static void reloads(void) {
  const rover_tls_server_options_t options = {
      .cert = installed("server.crt", "cert"),
      .key = installed("server.key", "key"),
      .ca = installed("ca.crt", "ca"),
      .crl = installed("crl.crl", "crl")};
  char message[ROVER_TLS_MESSAGE_MAX];
  rover_tls_t *ours = client("client"), *theirs = made_server(&options);
  CHECK(!resumes(ours, "localhost", theirs));
  EQUAL(0, rover_tls_reload(theirs, message));
  CHECK(resumes(ours, "localhost", theirs)); /* nothing has changed */

  installed("intermediateCrl.crl", "crl");
  installed("crl.crl", "crl");
  EQUAL(0, rover_tls_reload(theirs, NULL));
  CHECK(resumes(ours, "localhost", theirs)); /* but for the dates of files */

  installed("rsaServer.crt", "cert"); /* and the key is of another */
  EQUAL(ROVER_ECERT, rover_tls_reload(theirs, message));
  CHECK(strstr(message, "/cert"));
  CHECK(resumes(ours, "localhost", theirs));
  installed("rsaServer.key", "key");
  EQUAL(0, rover_tls_reload(theirs, message));
  CHECK(!resumes(ours, "localhost", theirs));
  CHECK(resumes(ours, "localhost", theirs));

  installed("expiredCrl.crl", "crl");
  EQUAL(0, rover_tls_reload(theirs, message));
  struct side near, far;
  int at_near, at_far;
  opened(&near, ours, "localhost", &far, theirs);
  both_results(&near, &at_near, &far, &at_far);
  EQUAL(NET_ECERT, at_far);
  close_side(&near);
  close_side(&far);
  rover_tls_unref(ours);
  rover_tls_unref(theirs);
}

static void follows(void) {
  rover_tls_t *ours = client("client"), *theirs = server("server", "ca.crt");
  rover_tls_t *next = server("server", "ca.crt"), *later = client("client");
  rover_tls_t *other = client(NULL);
  CHECK(!resumes(ours, "localhost", theirs));
  follow(next, theirs);
  CHECK(resumes(ours, "localhost", next));
  rover_tls_unref(theirs);
  CHECK(resumes(ours, "localhost", next));
  follow(later, ours);
  follow(later, ours);
  CHECK(resumes(later, "localhost", next));
  follow(other, later); /* which shows something else */
  follow(next, later);  /* which is no server */
  CHECK(resumes(later, "localhost", next));
  rover_tls_unref(other);
  rover_tls_unref(ours);
  rover_tls_unref(later);
  rover_tls_unref(next);
}

/* Whether s_client resumes the session in a file, and puts the next one there. */
static bool s_client_resumes(rover_tls_t *tls, const char *session) {
  static char output[65536];
  struct openssl peer;
  struct side side;
  char where[32];
  int listener = listening();
  bool is_first = access(session, F_OK) != 0;
  const char *argv[] = {
      "openssl", "s_client",  "-connect", where,
      "-quiet",  "-sess_out", session,    is_first ? NULL : "-sess_in",
      session,   NULL};
  snprintf(where, sizeof where, "127.0.0.1:%d", port_of(listener));
  start(&peer, argv);
  open_server(&side, tls, accepted(listener));
  secured(&side);
  bool resumed_it = facts_of(&side).resumed;
  sent(&side, "0\r\n");
  printed(&peer, "0\r\n", output, sizeof output);
  close_side(&side);
  stop(&peer);
  close(listener);
  return resumed_it;
}

static void others_resume(void) {
  char session[300];
  rover_tls_t *tls = server("server", NULL);
  snprintf(session, sizeof session, "%s/session", folder);
  CHECK(!s_client_resumes(tls, session));
  for (int i = 0; i < 3; i++) CHECK(s_client_resumes(tls, session));
  rover_tls_unref(tls);
}

static void no_sessions(void) {
  const rover_tls_server_options_t options = {
      .cert = file("server.pem"), .ca = file("ca.crt"), .sessions = -1};
  rover_tls_t *ours = client("client"), *theirs = made_server(&options);
  for (int i = 0; i < 3; i++) CHECK(!resumes(ours, "localhost", theirs));
  rover_tls_unref(ours);
  rover_tls_unref(theirs);
}

/* One for each of 1,024 servers: of more, of those that were asked last. */
static bool resumes_of(rover_tls_t *ours, rover_tls_t *theirs, int number) {
  struct side near, far;
  char key[16];
  int listener = listening(), fd, at_near, at_far;
  snprintf(key, sizeof key, "%d", number);
  snprintf(doing, sizeof doing, "server %d", number);
  open_client(&near, ours, connected(port_of(listener)), "localhost", key);
  SPIN((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0);
  no_delay(near.fd);
  no_delay(fd);
  open_server(&far, theirs, fd);
  close(listener);
  both_results(&near, &at_near, &far, &at_far);
  CHECK(at_near == 0 && at_far == 0);
  sent(&far, "0\r\n");
  received(&near, "0\r\n");
  bool is = facts_of(&near).resumed;
  close_side(&near);
  close_side(&far);
  return is;
}

static void least_used(void) {
  enum { MOST = 1024 };
  rover_tls_t *ours = client(NULL), *theirs = server("server", NULL);
  for (int i = 0; i < MOST; i++) CHECK(!resumes_of(ours, theirs, i));
  CHECK(resumes_of(ours, theirs, 0));
  CHECK(!resumes_of(ours, theirs, MOST)); /* in the place of 1 */
  CHECK(resumes_of(ours, theirs, 0));
  CHECK(resumes_of(ours, theirs, MOST));
  CHECK(!resumes_of(ours, theirs, 1)); /* in the place of 2 */
  CHECK(resumes_of(ours, theirs, 3));
  CHECK(!resumes_of(ours, theirs, 2));
  rover_tls_unref(ours);
  rover_tls_unref(theirs);
}

/* Two fronts that were one, and keep other numbers of sessions. */
static void follow_apart(void) {
  const rover_tls_server_options_t none = {.cert = file("server.crt"),
                                           .key = file("server.key"),
                                           .ca = file("ca.crt"),
                                           .sessions = -1};
  rover_tls_t *ours = client("client"), *theirs = server("server", "ca.crt");
  rover_tls_t *some = server("server", "ca.crt"), *other = made_server(&none);
  CHECK(!resumes(ours, "localhost", theirs));
  follow(some, theirs);
  follow(other, theirs);
  CHECK(resumes(ours, "localhost", some));
  CHECK(!resumes(ours, "localhost", other));
  CHECK(!resumes(ours, "localhost", other));
  CHECK(resumes(ours, "localhost", some));
  rover_tls_unref(ours);
  rover_tls_unref(theirs);
  rover_tls_unref(some);
  rover_tls_unref(other);
}

/* -- When what was verified expires --------------------------------------- */

/* How far the clock is ahead for OpenSSL and for the library. OpenSSL reads that
 * of sessions by gettimeofday() since 3.3, before by time(). */
static int64_t ahead;

EXPORTED time_t time(time_t *result) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  time_t seconds = (time_t)(now.tv_sec + ahead);
  if (result) *result = seconds;
  return seconds;
}

EXPORTED int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  struct timespec precise;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &precise);
  now->tv_sec = precise.tv_sec + (time_t)ahead;
  now->tv_usec = (suseconds_t)(precise.tv_nsec / 1000);
  return 0;
}

/* Shortly before `end` a session begins, and is resumed; behind that the
 * handshake is one of all. Returns how it went, at the end that verifies. */
static int outlasts(rover_tls_t *ours, rover_tls_t *theirs, int64_t end,
                    bool is_at_far) {
  struct side near, far;
  int at_near, at_far;
  ahead = 0;
  ahead = end - 60 - (int64_t)time(NULL);
  CHECK(!resumes(ours, "localhost", theirs));
  for (int i = 0; i < 3; i++) CHECK(resumes(ours, "localhost", theirs));
  ahead += 60;
  opened(&near, ours, "localhost", &far, theirs);
  both_results(&near, &at_near, &far, &at_far);
  if (at_near == 0 && at_far < 0) at_near = ended(&near);
  EQUAL(at_near, at_far); /* by an alert */
  CHECK(!facts_of(is_at_far ? &far : &near).resumed);
  if (at_far < 0) CHECK(*why(&near) && *why(&far));
  close_side(&near);
  close_side(&far);
  ahead = 0;
  return at_far;
}

static int64_t first_of(rover_tls_t *tls) {
  return rover_tls_expiry(tls, NULL);
}

static void outlasted(void) {
  rover_tls_t *ours = client("soon"), *theirs = server("server", "ca.crt");
  snprintf(doing, sizeof doing, "a client's certificate");
  EQUAL(NET_ECERT, outlasts(ours, theirs, first_of(ours), true));
  rover_tls_unref(ours);
  rover_tls_unref(theirs);

  ours = client("client"), theirs = server("soon", "ca.crt");
  snprintf(doing, sizeof doing, "a server's certificate");
  EQUAL(NET_ECERT, outlasts(ours, theirs, first_of(theirs), false));
  rover_tls_unref(ours);
  rover_tls_unref(theirs);

  ours = client("soonChained"), theirs = server("server", "ca.crt");
  snprintf(doing, sizeof doing, "a CA of a client's certificate");
  EQUAL(NET_ECERT, outlasts(ours, theirs, first_of(ours), true));
  rover_tls_unref(ours);
  rover_tls_unref(theirs);

  const rover_tls_server_options_t options = {.cert = file("server.crt"),
                                              .key = file("server.key"),
                                              .ca = file("ca.crt"),
                                              .crl = file("crl.crl")};
  const char *path;
  int64_t due;
  bool is_list;
  ours = client("client"), theirs = made_server(&options);
  snprintf(doing, sizeof doing, "a revocation list");
  EQUAL(0, tls__functions.file(theirs, 3, &path, &due, &is_list));
  CHECK(is_list);
  EQUAL(NET_ECERT, outlasts(ours, theirs, due, true));
  rover_tls_unref(ours);
  rover_tls_unref(theirs);
}

static void outlasted_12(void) {
  only_tls12();
  outlasted();
}

/* -- When files expire ---------------------------------------------------- */

static void expires(void) {
  rover_tls_server_options_t options = {.cert = file("soon.crt"),
                                        .key = file("soon.key"),
                                        .ca = file("ca.crt"),
                                        .crl = file("crl.crl")};
  rover_tls_t *tls = made_server(&options);
  const char *path;
  int64_t days = (rover_tls_expiry(tls, &path) - (int64_t)time(NULL)) / 86400;
  CHECK(days == 4 || days == 5);
  SAME(file("soon.crt"), path);
  int64_t when;
  bool is_list;
  EQUAL(0, tls__functions.file(tls, 1, &path, &when, &is_list));
  CHECK(when == INT64_MAX && !is_list);
  EQUAL(0, tls__functions.file(tls, 3, &path, &when, &is_list));
  SAME(file("crl.crl"), path);
  CHECK(is_list && when > time(NULL));
  EQUAL(UV_ENOENT, tls__functions.file(tls, 4, &path, &when, &is_list));
  rover_tls_unref(tls);

  /* A list is replaced often, and is no certificate. */
  options.cert = file("server.crt"), options.key = file("server.key");
  tls = made_server(&options);
  EQUAL(0, tls__functions.file(tls, 3, &path, &when, &is_list));
  CHECK(is_list && when < rover_tls_expiry(tls, &path));
  SAME(file("server.crt"), path);
  rover_tls_unref(tls);
  const rover_tls_client_options_t none = {0};
  tls = made_client(&none);
  CHECK(rover_tls_expiry(tls, &path) == INT64_MAX && !path);
  rover_tls_unref(tls);
}

/* CAs and lists in one file: each counts. */
static void expires_in_one(void) {
  char path[300], command[900];
  const char *at;
  int64_t ca, list;
  bool is_list;
  snprintf(path, sizeof path, "%s/all", folder);
  snprintf(command, sizeof command, "cat '%s' '%s' >'%s'", file("ca.crt"),
           file("crl.crl"), path);
  CHECK(system(command) == 0);
  const rover_tls_server_options_t options = {
      .cert = file("server.pem"), .ca = path, .crl = path};
  rover_tls_t *tls = made_server(&options);
  EQUAL(0, tls__functions.file(tls, 1, &at, &ca, &is_list));
  SAME(path, at);
  CHECK(!is_list && ca > time(NULL) + 3000 * 86400ll);
  EQUAL(0, tls__functions.file(tls, 2, &at, &list, &is_list));
  SAME(path, at);
  CHECK(is_list && list < time(NULL) + 100 * 86400ll);
  EQUAL(UV_ENOENT, tls__functions.file(tls, 3, &at, &list, &is_list));
  rover_tls_unref(tls);
}

/* Another protocol than ours, said by either side. */
static void other_protocols(void) {
  static char output[65536];
  struct openssl peer;
  struct side side;
  const char *serve[] = {
      "openssl", "s_server",         "-accept", "127.0.0.1:0",
      "-cert",   file("server.crt"), "-key",    file("server.key"),
      "-alpn",   "http/1.1",         NULL};
  start(&peer, serve);
  int port = port_of_server(&peer, output, sizeof output);
  rover_tls_t *ours = client(NULL), *theirs = server("server", NULL);
  open_client(&side, ours, connected(port), "localhost", "s");
  EQUAL(-EPROTO, result_of(&side));
  CHECK(strstr(why(&side), "it does not offer \"callosum\" (ALPN)"));
  close_side(&side);
  stop(&peer);

  char where[32];
  int listener = listening();
  const char *ask[] = {"openssl", "s_client", "-connect", where,
                       "-alpn",   "http/1.1", "-quiet",   NULL};
  snprintf(where, sizeof where, "127.0.0.1:%d", port_of(listener));
  start(&peer, ask);
  open_server(&side, theirs, accepted(listener));
  EQUAL(-EPROTO, result_of(&side));
  CHECK(strstr(why(&side), "offers other protocols than \"callosum\""));
  close_side(&side);
  stop(&peer);
  close(listener);
  rover_tls_unref(ours);
  rover_tls_unref(theirs);
}

/* New keys in the middle, which are no data, and renegotiation, which is
 * refused. */
static void new_keys(void) {
  static char output[65536];
  struct openssl peer;
  struct side side;
  const char *serve[] = {
      "openssl", "s_server",         "-accept", "127.0.0.1:0",
      "-cert",   file("server.crt"), "-key",    file("server.key"),
      NULL};
  start(&peer, serve);
  int port = port_of_server(&peer, output, sizeof output);
  rover_tls_t *ours = client(NULL), *theirs = server("server", NULL);
  open_client(&side, ours, connected(port), "localhost", "s");
  secured(&side);
  CHECK(write(peer.in, "before\n", 7) == 7);
  received(&side, "before\n"); /* and the tickets before it */
  EQUAL(-EAGAIN, side.tls->type->peek(side.tls));
  CHECK(write(peer.in, "K\n", 2) == 2);
  struct pollfd ready = {.fd = side.fd, .events = POLLIN};
  CHECK(poll(&ready, 1, 10000) == 1);
  EQUAL(-EAGAIN, side.tls->type->peek(side.tls));
  CHECK(poll(&ready, 1, 0) == 0); /* it was taken */
  CHECK(!side.tls->holds);
  CHECK(write(peer.in, "after\n", 6) == 6);
  received(&side, "after\n");
  sent(&side, "and back\n");
  printed(&peer, "and back", output, sizeof output);
  close_side(&side);
  stop(&peer);

  char where[32];
  int listener = listening();
  const char *ask[] = {"openssl", "s_client", "-connect",
                       where,     "-tls1_2",  NULL};
  snprintf(where, sizeof where, "127.0.0.1:%d", port_of(listener));
  start(&peer, ask);
  open_server(&side, theirs, accepted(listener));
  secured(&side);
  CHECK(write(peer.in, "R\n", 2) == 2);
  int result = ended(&side);
  CHECK(result == 0 || result == -ECONNRESET || result == -EPROTO);
  close_side(&side);
  stop(&peer);
  close(listener);
  rover_tls_unref(ours);
  rover_tls_unref(theirs);
}

const struct check checks[] = {
    {"TLS", "is spoken with openssl s_server, 1.2 and 1.3", with_servers},
    {"TLS", "is spoken with openssl s_client, 1.2 and 1.3", with_clients},
    {"TLS", "is spoken with itself, both ways", both_ways},
    {"TLS", "needs the protocol callosum, if there are any", other_protocols},
    {"TLS", "lives through new keys, and does not renegotiate", new_keys},
    {"a context", "has certificate and key in one file", one_file},
    {"a connection", "looks without reading, and holds what it found", looks},
    {"a connection", "carries much, from buffers that move", much},
    {"a connection", "ends one side after the other", half_closes},
    {"a connection", "that is cut off is reset", cut_off},
    {"a connection", "has what was sent before a reset, though we write",
     answered},
    {"a handshake", "goes on where a signal interrupts it", interrupted},
    {"a connection", "breaks where a record is forged", forged},
    {"a connection", "raises no signal where nobody reads", no_signal},
    {"a connection", "has errors of its own", errors_apart},
    {"a session", "is resumed a thousand times in a row", resumed},
    {"a session", "is resumed so in TLS 1.2, too", resumed_12},
    {"a session", "survives a reload that changes nothing", reloads},
    {"a session", "goes on with a context that follows", follows},
    {"a session", "follows on each for clients that resume it once",
     others_resume},
    {"a session", "is none for a server without", no_sessions},
    {"a session", "goes once 1,024 others were used since", least_used},
    {"a session", "is not shared by followers that keep other numbers",
     follow_apart},
    {"a session", "does not outlast what was verified", outlasted},
    {"a session", "does not do so in TLS 1.2, either", outlasted_12},
    {"a context", "knows when its files expire", expires},
    {"a context", "knows that of each part of a file", expires_in_one},
    {NULL, NULL, NULL}};
