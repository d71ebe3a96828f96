/* Both ends of a probe over TLS, on bare epoll and OpenSSL: the limit.
 *
 *   bare_tls serve resumed|full CERT KEY CA   listens on a port of 127.0.0.1,
 *       which it prints, asks its clients for certificates, sends "13\r\n"
 *       inside, and closes when they do. With "full" no session is kept.
 *   bare_tls handshakes COUNT IN_FLIGHT resumed|full CERT KEY CA PORT
 *       connects, reads the slot line, closes; so often. Says "begin" and
 *       "done", and how many sessions were resumed; none are with "full".
 *   bare_tls keep COUNT CERT KEY CA PORT   keeps so many connections, says
 *       "kept", and waits for its end.
 *
 * As a rover and a front do: records are read without reading ahead, buffers
 * are released while they are empty, the server keeps its sessions in memory,
 * and a client has one, the latest. */
#define _GNU_SOURCE /* accept4() */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, FDS = 65536, LISTENER = 1 << 30 };

static int epoll;
static SSL_CTX *context;
static SSL *connections[FDS]; /* by descriptor */
static bool secured[FDS];
static SSL_SESSION *session;
static bool resumes;

static void die(const char *what) {
  fprintf(stderr, "bare_tls: %s: %s\n", what, strerror(errno));
  ERR_print_errors_fp(stderr);
  exit(1);
}

static void say(const char *what) {
  puts(what);
  fflush(stdout);
}

static void make_context(const SSL_METHOD *method, char **files) {
  context = SSL_CTX_new(method);
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_verify(context,
                     SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
  if (SSL_CTX_use_certificate_chain_file(context, files[0]) != 1 ||
      SSL_CTX_use_PrivateKey_file(context, files[1], SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_load_verify_locations(context, files[2], NULL) != 1)
    die("certificates");
}

static void begin(int fd, int flags) {
  struct epoll_event event = {EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                              {.u32 = (uint32_t)fd}};
  int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (fd >= FDS) die("too many descriptors");
  connections[fd] = SSL_new(context);
  SSL_set_fd(connections[fd], fd);
  secured[fd] = false;
  if (epoll_ctl(epoll, flags, fd, &event) < 0) die("epoll_ctl");
}

static void end(int fd) {
  /* A session is resumable only after what looks like a clean end. */
  SSL_shutdown(connections[fd]);
  SSL_set_shutdown(connections[fd], SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  SSL_free(connections[fd]);
  connections[fd] = NULL;
  close(fd);
}

/* 1: done; 0: not yet; -1: failed. */
static int outcome(int fd, int result) {
  if (result > 0) return 1;
  int err = SSL_get_error(connections[fd], result);
  return err == SSL_ERROR_WANT_READ || err == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

/* -- The server ----------------------------------------------------------- */

static int listen_somewhere(void) {
  struct sockaddr_in name = {.sin_family = AF_INET};
  socklen_t size = sizeof name;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd < 0 || bind(fd, (struct sockaddr *)&name, size) < 0 ||
      listen(fd, 4096) < 0 ||
      getsockname(fd, (struct sockaddr *)&name, &size) < 0)
    die("listen");
  struct epoll_event event = {EPOLLIN, {.u32 = (uint32_t)fd | LISTENER}};
  epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
  printf("%d\n", ntohs(name.sin_port));
  fflush(stdout);
  return fd;
}

/* Returns false when it is over. */
static bool serve_one(int fd) {
  char bytes[16384];
  if (!secured[fd]) {
    int done = outcome(fd, SSL_accept(connections[fd]));
    if (done <= 0) return done == 0;
    secured[fd] = true;
    if (SSL_write(connections[fd], "13\r\n", 4) != 4) return false;
  }
  int n;
  while ((n = SSL_read(connections[fd], bytes, sizeof bytes)) > 0) {}
  return outcome(fd, n) == 0;
}

static void serve(void) {
  SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_num_tickets(context, resumes);
  SSL_CTX_set_session_cache_mode(
      context, resumes ? SSL_SESS_CACHE_SERVER : SSL_SESS_CACHE_OFF);
  SSL_CTX_set_session_id_context(context, (const unsigned char *)"bench", 5);
  listen_somewhere();
  for (;;) {
    struct epoll_event events[EVENTS];
    int n = epoll_wait(epoll, events, EVENTS, -1);
    for (int i = 0; i < n; i++) {
      int fd = (int)(events[i].data.u32 & ~LISTENER), taken;
      if (!(events[i].data.u32 & LISTENER)) {
        if (!serve_one(fd)) end(fd);
        continue;
      }
      while ((taken = accept4(fd, NULL, NULL, SOCK_NONBLOCK)) >= 0)
        begin(taken, EPOLL_CTL_ADD);
    }
  }
}

/* -- The client ----------------------------------------------------------- */

static int on_session(SSL *ssl, SSL_SESSION *latest) {
  (void)ssl;
  SSL_SESSION_free(session);
  session = resumes ? latest : NULL;
  return resumes;
}

static void make_client(char **files) {
  make_context(TLS_client_method(), files);
  SSL_CTX_set_session_cache_mode(
      context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(context, on_session);
}

static void connect_to(int port) {
  struct sockaddr_in name = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port)};
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (fd < 0 || (connect(fd, (struct sockaddr *)&name, sizeof name) < 0 &&
                 errno != EINPROGRESS))
    die("connect");
  begin(fd, EPOLL_CTL_ADD);
  X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(connections[fd]), "127.0.0.1");
  if (session) SSL_set_session(connections[fd], session);
}

/* Returns whether the slot line has come. */
static bool go_on(int fd, uint32_t events) {
  char line[16];
  if (!secured[fd] && !(events & EPOLLOUT)) return false;
  if (!secured[fd]) {
    int done = outcome(fd, SSL_connect(connections[fd]));
    if (done < 0) die("handshake");
    if (done == 0) return false;
    secured[fd] = true;
  }
  int n = SSL_read(connections[fd], line, sizeof line);
  if (outcome(fd, n) < 0) die("slot line");
  return n > 0;
}

static void run(long count, long in_flight, int port, bool keeps) {
  long begun = 0, done = 0, resumed = 0;
  if (!keeps) say("begin");
  for (; begun < in_flight && begun < count; begun++) connect_to(port);
  while (done < count) {
    struct epoll_event events[EVENTS];
    int n = epoll_wait(epoll, events, EVENTS, 5000);
    if (n <= 0) die("epoll_wait");
    for (int i = 0; i < n; i++) {
      int fd = (int)events[i].data.u32;
      if (!go_on(fd, events[i].events)) continue;
      resumed += SSL_session_reused(connections[fd]);
      done++;
      if (!keeps) end(fd);
      if (begun++ < count) connect_to(port);
    }
  }
  say(keeps ? "kept" : "done");
  if (keeps) getchar();
  else printf("%ld resumed\n", resumed);
}

int main(int argc, char **argv) {
  epoll = epoll_create1(0);
  if (argc == 6 && !strcmp(argv[1], "serve")) {
    resumes = !strcmp(argv[2], "resumed");
    make_context(TLS_server_method(), argv + 3);
    serve();
  } else if (argc == 9 && !strcmp(argv[1], "handshakes")) {
    resumes = !strcmp(argv[4], "resumed");
    make_client(argv + 5);
    run(atol(argv[2]), atol(argv[3]), atoi(argv[8]), false);
  } else if (argc == 7 && !strcmp(argv[1], "keep")) {
    make_client(argv + 3);
    run(atol(argv[2]), 16, atoi(argv[6]), true);
  } else {
    return 2;
  }
  return 0;
}
