#include "client.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* A connection for each request, which the host is asked to close after it. All
 * that comes is kept in one buffer, up to a limit, and read from there: a status
 * line, headers, and a body with a Content-Length, in chunks, or up to the end.
 * Whatever waits, waits until the deadline of the whole. */

enum { HEAD_MAX = 64 * 1024, BODY_MAX = 64 * 1024 * 1024, PIECE = 32 * 1024 };

struct exchange {
  const struct cli_request *request;
  int fd;
  uint64_t deadline; /* ms */
  char *bytes;       /* what has come, ... */
  size_t size, length;
  size_t at; /* ... and how much of it has been read */
  char *why;
  bool refused; /* the system does not let us connect */
};

static bool fail(struct exchange *x, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static bool fail(struct exchange *x, const char *format, ...) {
  va_list args;

  va_start(args, format);
  vsnprintf(x->why, CLI_WHY, format, args);
  va_end(args);
  return false;
}

static bool is_path(const char *address) { return strchr(address, '/'); }

static const char *no_admin(const struct exchange *x) {
  return is_path(x->request->address)
             ? "is the host running, with --admin and this path?"
             : "is the host running, with --admin and this port?";
}

static bool fail_with(struct exchange *x, int err) {
  const char *address = x->request->address;

  if (err == ETIMEDOUT)
    return fail(x,
                "no answer from %s within %g s: if the host is alive, its "
                "policy blocks it, or it is stopped; see its log",
                address, x->request->ms / 1000.);
  x->refused = err == EACCES || err == EPERM;
  if (x->refused)
    return fail(x,
                "cannot connect to %s: %s; run this as the host's user or "
                "root, or start the host with another --admin-mode",
                address, strerror(err));
  return fail(x, "nobody answers at %s: %s; %s", address, strerror(err),
              no_admin(x));
}

static bool fail_stranger(struct exchange *x, const char *what) {
  return fail(x,
              "what answers at %s is no callosum-rover: %s; is this the "
              "address of --admin?",
              x->request->address, what);
}

/* -- Waiting --------------------------------------------------------------- */

static uint64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Returns 0 or an errno. */
static int wait_for(const struct exchange *x, short events) {
  struct pollfd p = {.fd = x->fd, .events = events};

  for (;;) {
    uint64_t now = now_ms();
    if (now >= x->deadline) return ETIMEDOUT;
    int ready = poll(&p, 1, (int)(x->deadline - now));
    if (ready > 0) return 0;
    if (ready < 0 && errno != EINTR) return errno;
  }
}

/* -- Connecting ------------------------------------------------------------ */

static bool is_port(const char *text) {
  size_t length = strspn(text, "0123456789");
  long port = length > 0 && length <= 5 ? strtol(text, NULL, 10) : 0;
  return port > 0 && port <= 65535 && !text[length];
}

const char *cli_client_check(const char *address) {
  struct sockaddr_un name;
  const char *port = strrchr(address, ':');

  if (is_path(address))
    return strlen(address) < sizeof name.sun_path ? NULL
                                                  : "wants a shorter path";
  return is_port(port && port > address ? port + 1 : address)
             ? NULL
             : "wants the path of a Unix socket, with a slash, HOST:PORT or "
               "PORT";
}

/* Returns 0 or an errno. */
static int connect_to(struct exchange *x, int family,
                      const struct sockaddr *name, socklen_t length) {
  int err = 0;
  socklen_t size = sizeof err;

  x->fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (x->fd < 0) return errno;
  /* A full backlog of a Unix socket is EAGAIN, and cannot be waited for. */
  while (connect(x->fd, name, length) < 0) {
    if (errno == EINPROGRESS || errno == EINTR) {
      err = wait_for(x, POLLOUT);
      if (err == 0 && getsockopt(x->fd, SOL_SOCKET, SO_ERROR, &err, &size) < 0)
        err = errno;
      break;
    }
    err = errno;
    if (err != EAGAIN || now_ms() >= x->deadline) break;
    err = 0;
    poll(NULL, 0, 10);
  }
  if (err == 0) return 0;
  close(x->fd);
  x->fd = -1;
  return err == EAGAIN ? ETIMEDOUT : err;
}

static bool connect_path(struct exchange *x) {
  struct sockaddr_un name = {.sun_family = AF_UNIX};

  snprintf(name.sun_path, sizeof name.sun_path, "%s", x->request->address);
  int err = connect_to(x, AF_UNIX, (struct sockaddr *)&name, sizeof name);
  return err == 0 ? true : fail_with(x, err);
}

static bool connect_port(struct exchange *x) {
  const char *address = x->request->address, *port = strrchr(address, ':');
  struct addrinfo wanted = {.ai_socktype = SOCK_STREAM}, *found, *each;
  char host[256] = "127.0.0.1";
  int err = EADDRNOTAVAIL;

  if (port) {
    bool quoted = *address == '[' && port[-1] == ']';
    snprintf(host, sizeof host, "%.*s", (int)(port - address) - 2 * quoted,
             address + quoted);
  }
  int none = getaddrinfo(host, port ? port + 1 : address, &wanted, &found);
  if (none) return fail(x, "cannot find %s: %s", address, gai_strerror(none));
  for (each = found; each && err != 0; each = each->ai_next)
    err = connect_to(x, each->ai_family, each->ai_addr, each->ai_addrlen);
  freeaddrinfo(found);
  return err == 0 ? true : fail_with(x, err);
}

/* -- The request ----------------------------------------------------------- */

static bool send_all(struct exchange *x, const char *text, size_t length) {
  while (length > 0) {
    ssize_t n = send(x->fd, text, length, MSG_NOSIGNAL);
    if (n > 0) {
      text += n;
      length -= (size_t)n;
      continue;
    }
    if (errno == EINTR) continue;
    int err = errno == EAGAIN ? wait_for(x, POLLOUT) : errno;
    /* It may have answered before it read all, and closed. */
    if (err == EPIPE || err == ECONNRESET) return true;
    if (err != 0) return fail_with(x, err);
  }
  return true;
}

static bool send_request(struct exchange *x) {
  const struct cli_request *r = x->request;
  bool changes = !strcmp(r->method, "POST");
  const char *host = is_path(r->address) || !strchr(r->address, ':')
                         ? "localhost"
                         : r->address;
  char *text = NULL;
  size_t length;

  FILE *out = open_memstream(&text, &length);
  if (!out) return fail_with(x, ENOMEM);
  fprintf(out, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", r->method,
          r->target, host);
  if (changes)
    fprintf(out,
            "Callosum-Control: 1\r\nContent-Type: application/json\r\n"
            "Content-Length: %zu\r\n",
            r->body ? strlen(r->body) : 0);
  fprintf(out, "\r\n%s", r->body ? r->body : "");
  bool sent =
      fclose(out) == 0 ? send_all(x, text, length) : fail_with(x, ENOMEM);
  free(text);
  return sent;
}

/* -- The answer ------------------------------------------------------------ */

/* Reads some more. Returns how much, 0 at the end, or a negative errno. */
static ssize_t fill(struct exchange *x) {
  if (x->length + PIECE > x->size) {
    size_t size = x->size > 0 ? 2 * x->size : (size_t)PIECE * 2;
    char *bytes = size <= 4 * (size_t)BODY_MAX ? realloc(x->bytes, size) : NULL;
    if (!bytes) return -ENOMEM;
    x->bytes = bytes;
    x->size = size;
  }
  for (;;) {
    ssize_t n = recv(x->fd, x->bytes + x->length, PIECE, 0);
    if (n >= 0) {
      x->length += (size_t)n;
      return n;
    }
    if (errno == EINTR) continue;
    int err = errno == EAGAIN ? wait_for(x, POLLIN) : errno;
    if (err != 0) return -err;
  }
}

static bool more(struct exchange *x) {
  ssize_t n = fill(x);

  if (n < 0) return fail_with(x, (int)-n);
  if (n == 0 && x->length == 0)
    return fail(x,
                "%s has closed the connection without an answer: the host "
                "is ending, or has too many; try again",
                x->request->address);
  return n > 0 ? true : fail_stranger(x, "its answer is not complete");
}

/* The next line, without its end; NULL if there is none. It moves when more is
 * read. */
static char *read_line(struct exchange *x) {
  size_t seen = x->at;

  for (;;) {
    char *from = x->bytes + x->at, *end = NULL;
    if (x->length > seen) end = memchr(x->bytes + seen, '\n', x->length - seen);
    if (end) {
      x->at = (size_t)(end + 1 - x->bytes);
      if (end > from && end[-1] == '\r') end--;
      *end = '\0';
      return from;
    }
    seen = x->length;
    if (seen - x->at > HEAD_MAX) {
      fail_stranger(x, "it has too long a line");
      return NULL;
    }
    if (!more(x)) return NULL;
  }
}

struct head {
  int status;
  bool chunked, has_length;
  unsigned long long body;
};

/* What is behind "name:", or NULL. */
static const char *value_of(const char *line, const char *name) {
  size_t length = strlen(name);
  if (strncasecmp(line, name, length) != 0 || line[length] != ':') return NULL;
  line += length + 1;
  return line + strspn(line, " \t");
}

static bool read_headers(struct exchange *x, struct head *head) {
  size_t from = x->at;
  char *line, *end;

  while ((line = read_line(x)) && *line) {
    const char *length = value_of(line, "Content-Length"),
               *coding = value_of(line, "Transfer-Encoding");
    if (coding) head->chunked = strcasecmp(coding, "chunked") == 0;
    if (coding && !head->chunked)
      return fail_stranger(x, "it has a transfer coding of its own");
    if (length) {
      head->body = strtoull(length, &end, 10);
      head->has_length = isdigit((unsigned char)*length) && !*end;
      if (!head->has_length || head->body > BODY_MAX)
        return fail_stranger(x, "its length is no number, or too high");
    }
    if (x->at - from > HEAD_MAX)
      return fail_stranger(x, "it has too many headers");
  }
  return line != NULL;
}

static bool read_head(struct exchange *x, struct head *head) {
  do {
    *head = (struct head){0};
    char *line = read_line(x);
    if (!line) return false;
    if (sscanf(line, "HTTP/1.%*1[01] %3d", &head->status) != 1 ||
        head->status < 100)
      return fail_stranger(x, "it does not speak HTTP/1.1");
    if (!read_headers(x, head)) return false;
  } while (head->status < 200);
  return true;
}

static bool has(struct exchange *x, size_t count) {
  while (x->length - x->at < count)
    if (!more(x)) return false;
  return true;
}

/* Moves the chunks together, and the body to where it begins. */
static bool read_chunks(struct exchange *x, size_t *length) {
  size_t from = x->at;
  char *line, *end;

  for (*length = 0; (line = read_line(x)) != NULL;) {
    unsigned long long size = strtoull(line, &end, 16);
    if (!isxdigit((unsigned char)*line) || (*end && !strchr("; \t", *end)) ||
        size > BODY_MAX - *length)
      return fail_stranger(x, "a chunk has no size, or too high a one");
    if (size == 0) break;
    if (!has(x, (size_t)size + 2)) return false;
    memmove(x->bytes + from + *length, x->bytes + x->at, (size_t)size);
    *length += (size_t)size;
    x->at += (size_t)size;
    line = read_line(x);
    if (line && *line) return fail_stranger(x, "a chunk has no end");
  }
  while (line && (line = read_line(x)) && *line) {
  }
  x->at = from;
  return line != NULL;
}

static bool read_rest(struct exchange *x, size_t *length) {
  ssize_t n = 1;

  while (n > 0 && x->length - x->at <= BODY_MAX) n = fill(x);
  *length = x->length - x->at;
  if (n < 0) return fail_with(x, (int)-n);
  return n == 0 ? true : fail_stranger(x, "its answer is too long");
}

static bool read_answer(struct exchange *x, struct cli_answer *answer) {
  struct head head;
  size_t length = 0;
  bool whole = read_head(x, &head);

  if (whole && head.chunked) {
    whole = read_chunks(x, &length);
  } else if (whole && head.has_length) {
    length = (size_t)head.body;
    whole = has(x, length);
  } else if (whole && head.status != 204) {
    whole = read_rest(x, &length);
  }
  if (!whole) return false;
  answer->status = head.status;
  answer->length = length;
  answer->body = malloc(length + 1);
  if (!answer->body) return fail_with(x, ENOMEM);
  if (length > 0) memcpy(answer->body, x->bytes + x->at, length);
  answer->body[length] = '\0';
  return true;
}

bool cli_client_ask(const struct cli_request *request,
                    struct cli_answer *answer, char why[CLI_WHY]) {
  struct exchange x = {.request = request,
                       .fd = -1,
                       .deadline = now_ms() + request->ms,
                       .why = why};

  bool done = is_path(request->address) ? connect_path(&x) : connect_port(&x);
  done = done && send_request(&x) && read_answer(&x, answer);
  if (x.fd >= 0) close(x.fd);
  free(x.bytes);
  answer->refused = x.refused;
  return done;
}

void cli_client_encode(char *target, size_t size, const char *text) {
  size_t used = strlen(target);

  for (; *text && used + 4 <= size; text++) {
    unsigned char c = (unsigned char)*text;
    bool plain = isascii(c) && (isalnum(c) || strchr("-._~", c));
    used += (size_t)snprintf(target + used, size - used,
                             plain ? "%c" : "%%%02X", c);
  }
}
