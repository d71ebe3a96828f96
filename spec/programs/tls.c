/* What libcallosum-tls does: contexts as <callosum/tls.h> promises them, and
 * connections as src/net/tls.h does, with its own other side and with openssl(1).
 * The certificates are those of spec/support/certificates.lua, in a folder that
 * the environment names. */
#include "secured.h"

#include <poll.h>

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
                        "-quiet",
                        version,
                        NULL};
  snprintf(doing, sizeof doing, "s_server %s", version);
  /* -quiet does not say the port. */
  argv[13] = "-state";
  start(&server, argv);
  printed(&server, "ACCEPT 127.0.0.1:", output, sizeof output);
  while (!strchr(strstr(output, "ACCEPT"), '\n'))
    printed(&server, "\n", output + strlen(output),
            sizeof output - strlen(output));
  int port = atoi(strstr(output, "ACCEPT 127.0.0.1:") + 17);
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

/* A context is not made, and the message says why. */
static void no_server(const rover_tls_server_options_t *options, int expected,
                      const char *text) {
  char message[ROVER_TLS_MESSAGE_MAX] = "";
  rover_tls_t *tls = NULL;
  EQUAL(expected, rover_tls_server_new(&tls, options, message));
  CHECK(!tls);
  if (!strstr(message, text))
    failed(__FILE__, __LINE__, "no \"%s\" in: %s", text, message);
}

static void other_key(void) {
  rover_tls_server_options_t options = {.cert = file("server.crt"),
                                        .key = file("client.key")};
  no_server(&options, ROVER_ECERT,
            "client.key does not belong to the "
            "certificate \"CN=server\", the first in ");
  options.key = file("rsaServer.key"); /* as half-way from one to the other */
  no_server(&options, ROVER_ECERT,
            "rsaServer.key does not belong to the "
            "certificate \"CN=server\", the first in ");
}

const struct check checks[] = {
    {"TLS", "is spoken with openssl s_server, 1.2 and 1.3", with_servers},
    {"TLS", "is spoken with openssl s_client, 1.2 and 1.3", with_clients},
    {"TLS", "is spoken with itself, both ways", both_ways},
    {"a context", "has certificate and key in one file", one_file},
    {"a context", "refuses a key that belongs to another certificate",
     other_key},
    {NULL, NULL, NULL}};
