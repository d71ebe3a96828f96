/* How records come from the kernel and go there: with few system calls, and
 * wherever they are cut. */
#include "secured.h"

#include <dlfcn.h>
#include <poll.h>

enum { RECORD = NET_RECORD_MAX, BUFFER = 128 << 10 };

static char buffer[BUFFER], data[BUFFER];

/* -- System calls --------------------------------------------------------- */

/* Take the place of what the C library has, for OpenSSL, too. */
#define EXPORTED __attribute__((visibility("default")))

static int reads, sends, sends_before_more;
static size_t read_most = SIZE_MAX;

EXPORTED ssize_t read(int fd, void *bytes, size_t size) {
  ssize_t (*next)(int fd_, void *bytes_, size_t size_);
  *(void **)&next = dlsym(RTLD_NEXT, "read");
  reads++;
  return next(fd, bytes, size < read_most ? size : read_most);
}

EXPORTED ssize_t send(int fd, const void *bytes, size_t size, int flags) {
  ssize_t (*next)(int fd_, const void *bytes_, size_t size_, int flags_);
  *(void **)&next = dlsym(RTLD_NEXT, "send");
  sends++;
  if (flags & MSG_MORE) sends_before_more++;
  return next(fd, bytes, size, flags);
}

/* -- Two sides ------------------------------------------------------------ */

static rover_tls_t *ours, *theirs;
static struct side near, far;

static void begin(void) {
  ours = client("client");
  theirs = server("server", "ca.crt");
  joined(&near, ours, "localhost", &far, theirs);
  EQUAL(-EAGAIN, near.tls->type->peek(near.tls)); /* its ticket */
  for (size_t i = 0; i < BUFFER; i++) data[i] = (char)(i * 7 ^ i >> 9);
}

static void finish(void) {
  close_side(&near);
  close_side(&far);
  rover_tls_unref(ours);
  rover_tls_unref(theirs);
}

static ssize_t take(size_t size) {
  return far.tls->type->recv(far.tls, buffer, size);
}

static ssize_t give(const char *bytes, size_t size) {
  return near.tls->type->send(near.tls, bytes, size);
}

static size_t waiting(void) {
  int count;
  CHECK(ioctl(far.fd, FIONREAD, &count) == 0);
  return (size_t)count;
}

/* Gives so many records, and waits for them to arrive. */
static void give_records(int count, size_t size) {
  for (int i = 0; i < count; i++)
    EQUAL((ssize_t)size, give(data + i * (int)size, size));
  SPIN(waiting() >= (size_t)count * (size + 22));
}

/* -- From the kernel ------------------------------------------------------ */

static void few_reads(void) {
  begin();
  give_records(5, 100);
  reads = 0;
  EQUAL(500, take(BUFFER));
  EQUAL(2, reads); /* the second finds nothing */
  CHECK(memcmp(buffer, data, 500) == 0);

  far.tls->short_is_last = true;
  give_records(5, 100);
  reads = 0;
  EQUAL(500, take(BUFFER));
  EQUAL(1, reads);
  EQUAL(-EAGAIN, take(BUFFER));
  EQUAL(2, reads);
  finish();
}

/* A read of kTLS stops wherever a record does, so that a short one says nothing
 * of what is left. */
static void short_reads_of_ktls(void) {
  begin();
  far.tls->splices_in = far.tls->short_is_last = true;
  give_records(5, 100);
  read_most = 3;
  EQUAL(500, take(BUFFER));
  read_most = SIZE_MAX;
  CHECK(memcmp(buffer, data, 500) == 0);
  finish();
}

/* What does not fit is left to the kernel. */
static void whole_records(void) {
  begin();
  for (size_t size = RECORD; size < BUFFER; size += 999) {
    size_t all = 0;
    give_records(6, 10000);
    while (all < 60000) {
      ssize_t n = take(size);
      CHECK(n > 0 && n <= (ssize_t)size);
      CHECK(!far.tls->holds);
      CHECK(memcmp(buffer, data + all, (size_t)n) == 0);
      all += (size_t)n;
    }
    EQUAL(-EAGAIN, take(size));
  }
  finish();
}

static void small_buffers(void) {
  begin();
  far.tls->short_is_last = true;
  give_records(3, 1000);
  EQUAL(600, take(600));
  CHECK(far.tls->holds);
  EQUAL(2400, take(BUFFER)); /* what is held goes first */
  CHECK(!far.tls->holds);
  CHECK(memcmp(buffer, data + 600, 2400) == 0);
  give_records(3, 1000);
  EQUAL(1, far.tls->type->peek(far.tls));
  EQUAL(3000, take(BUFFER));
  CHECK(!far.tls->holds);
  finish();
}

/* An end behind bytes: what says that it may be there is `short_is_last`. */
static void ends(void) {
  for (int announced = 0; announced < 2; announced++) {
    begin();
    give_records(2, 100);
    if (announced) EQUAL(0, near.tls->type->shutdown(near.tls));
    else CHECK(shutdown(near.fd, SHUT_WR) == 0);
    struct pollfd ready = {.fd = far.fd, .events = POLLRDHUP};
    CHECK(poll(&ready, 1, 10000) == 1);
    EQUAL(200, take(BUFFER));
    CHECK(far.tls->holds);
    EQUAL(announced ? 0 : -ECONNRESET, take(BUFFER));
    CHECK(!far.tls->holds);
    finish();
  }
}

/* -- Cut anywhere --------------------------------------------------------- */

static int raw, between[2];

/* What is sent to the far side comes to `raw`, and is passed on by us. */
static void come_between(void) {
  raw = dup(far.fd);
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
                   between) == 0);
  CHECK(raw >= 0 && dup2(between[1], far.fd) == far.fd);
}

static void go_away(void) {
  close(raw);
  close(between[0]);
  close(between[1]);
}

static void pass(const char *bytes, size_t size) {
  EQUAL((ssize_t)size, write(between[0], bytes, size));
}

/* Takes what is there; returns how much all is then. */
static size_t take_after(size_t all, size_t most, size_t size) {
  ssize_t n = take(size);
  CHECK(n > 0 || n == -EAGAIN);
  if (n < 0) return all;
  CHECK(all + (size_t)n <= most);
  CHECK(memcmp(buffer, data + all, (size_t)n) == 0);
  CHECK(!far.tls->holds);
  return all + (size_t)n;
}

static void cut_at(size_t cut, const size_t sizes[], size_t size) {
  static char records[BUFFER];
  size_t all = 0, length = 0, got = 0;
  for (int i = 0; i < 4; i++) {
    EQUAL((ssize_t)sizes[i], give(data + all, sizes[i]));
    all += sizes[i];
  }
  while (length < all + 4 * 22L) {
    ssize_t n = recv(raw, records + length, sizeof records - length, 0);
    CHECK(n > 0 || errno == EAGAIN);
    if (n > 0) length += (size_t)n;
    in_time(__FILE__, __LINE__, "records");
  }
  cut %= length;
  pass(records, cut);
  got = take_after(0, all, size);
  pass(records + cut, length - cut);
  while (got < all) {
    got = take_after(got, all, size);
    in_time(__FILE__, __LINE__, "data");
  }
  EQUAL(-EAGAIN, take(size));
}

static void cuts(void) {
  static const size_t few[] = {3, 1, 40, 2};
  static const size_t many[][4] = {{RECORD, 1, RECORD, RECORD},
                                   {1, RECORD, RECORD, 1},
                                   {RECORD, RECORD, RECORD, RECORD},
                                   {9000, 9000, 9000, 9000}};
  static const size_t buffers[] = {BUFFER, 3 * RECORD, 2 * RECORD + 100,
                                   2 * RECORD, RECORD};
  begin();
  come_between();
  far.tls->short_is_last = true; /* as there is nobody else to write */
  for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) {
    for (size_t cut = 0; cut < 150; cut++) cut_at(cut, few, buffers[i]);
    for (size_t kind = 0; kind < sizeof many / sizeof *many; kind++)
      for (size_t cut = 0; cut < 4 * RECORD; cut += 1487)
        cut_at(cut, many[kind], buffers[i]);
  }
  go_away();
  finish();
}

/* -- To the kernel -------------------------------------------------------- */

static void few_packets(void) {
  begin();
  sends = sends_before_more = 0;
  EQUAL(3 * RECORD + 1, give(data, 3 * RECORD + 1));
  EQUAL(4, sends);
  EQUAL(3, sends_before_more);
  sends = sends_before_more = 0;
  EQUAL(RECORD, give(data, RECORD));
  EQUAL(0, near.tls->type->shutdown(near.tls));
  EQUAL(2, sends);
  EQUAL(0, sends_before_more);
  finish();
}

/* With room for little, that which waits for more is sent, too. */
static void little_room(void) {
  for (int room = 1; room < 100000; room += 9999) {
    size_t out = 0, in = 0;
    begin();
    CHECK(setsockopt(near.fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room) == 0);
    while (in < BUFFER) {
      ssize_t n = out < BUFFER ? give(data + out, BUFFER - out) : 0;
      CHECK(n >= 0 || n == -EAGAIN);
      if (n > 0) out += (size_t)n;
      n = take(BUFFER);
      CHECK(n > 0 || n == -EAGAIN);
      if (n > 0) CHECK(memcmp(buffer, data + in, (size_t)n) == 0);
      if (n > 0) in += (size_t)n;
      in_time(__FILE__, __LINE__, "all of it");
    }
    finish();
  }
}

const struct check checks[] = {
    {"TLS", "takes many records by one system call", few_reads},
    {"TLS", "reads on after a short read where the kernel does the records",
     short_reads_of_ktls},
    {"TLS", "leaves to the kernel what a buffer has no room for",
     whole_records},
    {"TLS", "gives first what a small buffer had no room for", small_buffers},
    {"TLS", "finds the end behind records", ends},
    {"TLS", "takes records wherever they are cut", cuts},
    {"TLS", "says which records are followed by more", few_packets},
    {"TLS", "sends all it has though there is room for little", little_room},
    {NULL, NULL, NULL}};
