#include "conn.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#include "writer.h"

/* The life of a connection: it is idle until the first byte of a request, reads
 * until that is whole, is answered, and is idle again. Requests that arrive
 * meanwhile wait, the first few in `in` and the others in the kernel: nothing
 * is read while an answer is under way. After the last answer, it lingers: what
 * the other side still sends is thrown away, as closing before it has been read
 * would reset the connection, and the answer would be lost. Each of these has
 * its deadline, but for the time that an answer takes to be known. */

enum {
  READ_MS = 5000,   /* for a request, and for the first one from the start */
  IDLE_MS = 90000,  /* a scraper comes once a minute */
  WRITE_MS = 30000, /* for an answer */
  LINGER_MS = 1000
};

enum state { IDLE, READING, ANSWERING, LINGERING };

struct admin__conn {
  union {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
  } io;
  uv_timer_t deadline;
  uv_write_t write;
  uv_shutdown_t shutdown;
  struct admin__conns *conns;
  struct admin__conn *prev, *next;
  const struct admin__door *door;
  enum state state;
  unsigned handles; /* not closed yet */
  bool closing;
  bool ended;  /* the other side has */
  bool last;   /* the request is; none is wanted behind it */
  bool writes; /* a write is under way */
  int awaits;
  struct admin__terms terms; /* of the answer */
  struct admin__writer writer;
  size_t length; /* of what has arrived */
  char in[ADMIN_HEAD_MAX + ADMIN_BODY_MAX];
};

int *admin__conn_awaits(struct admin__conn *conn) { return &conn->awaits; }

const struct admin__door *admin__conn_door(const struct admin__conn *conn) {
  return conn->door;
}

struct admin__conn *admin__conn_next(const struct admin__conns *conns,
                                     const struct admin__conn *conn) {
  return conn ? conn->next : conns->list;
}

/* -- Closing --------------------------------------------------------------- */

static void report_closed(struct admin__conns *conns) {
  if (conns->closing && conns->handles == 0) {
    conns->closing = false;
    conns->closed(conns->data);
  }
}

static void on_closed(uv_handle_t *handle) {
  struct admin__conn *conn = handle->data;
  struct admin__conns *conns = conn->conns;

  conns->handles--;
  if (--conn->handles > 0) return;
  admin__writer_free(&conn->writer);
  free(conn);
  report_closed(conns);
}

static void close_conn(struct admin__conn *conn) {
  if (conn->closing) return;
  conn->closing = true;
  DL_DELETE(conn->conns->list, conn);
  conn->conns->count--;
  uv_close(&conn->io.handle, on_closed);
  uv_close((uv_handle_t *)&conn->deadline, on_closed);
  conn->conns->freed(conn->conns->data);
}

/* -- States ---------------------------------------------------------------- */

static void on_late(uv_timer_t *timer);

/* Those that have just changed come last. */
static void enter(struct admin__conn *conn, enum state state, uint64_t ms) {
  struct admin__conns *conns = conn->conns;

  conn->state = state;
  DL_DELETE(conns->list, conn);
  DL_APPEND(conns->list, conn);
  if (ms > 0) uv_timer_start(&conn->deadline, on_late, ms, 0);
  else uv_timer_stop(&conn->deadline);
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buffer) {
  struct admin__conn *conn = handle->data;
  size_t used = conn->state == LINGERING ? 0 : conn->length;
  (void)size;
  *buffer = uv_buf_init(conn->in + used, (unsigned)(sizeof conn->in - used));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer);

static void on_shutdown(uv_shutdown_t *request, int status) {
  struct admin__conn *conn = request->handle->data;
  if (status < 0 || conn->ended) close_conn(conn);
}

/* It may be reading already. */
static void read_on(struct admin__conn *conn) {
  int err = uv_read_start(&conn->io.stream, on_alloc, on_read);
  if (err < 0 && err != UV_EALREADY) close_conn(conn);
}

static void linger(struct admin__conn *conn) {
  enter(conn, LINGERING, LINGER_MS);
  if (uv_shutdown(&conn->shutdown, &conn->io.stream, on_shutdown) < 0)
    close_conn(conn);
  else if (!conn->ended) read_on(conn);
}

/* -- Answering ------------------------------------------------------------- */

static void consume(struct admin__conn *conn);

/* Whether a request has, without the empty lines that some programs send behind
 * the one before. */
static bool has_begun(struct admin__conn *conn) {
  size_t empty = 0;

  while (conn->length - empty >= 2 && !memcmp(conn->in + empty, "\r\n", 2))
    empty += 2;
  conn->length -= empty;
  memmove(conn->in, conn->in + empty, conn->length);
  return conn->length > 1 || (conn->length == 1 && *conn->in != '\r');
}

static void on_answered(struct admin__conn *conn) {
  bool closes = conn->writer.closes;

  admin__writer_free(&conn->writer);
  if (closes) {
    linger(conn);
    return;
  }
  bool begun = has_begun(conn);
  enter(conn, begun ? READING : IDLE, begun ? READ_MS : IDLE_MS);
  consume(conn);
}

static void write_next(struct admin__conn *conn);

static void on_written(uv_write_t *request, int status) {
  struct admin__conn *conn = request->data;

  conn->writes = false;
  if (conn->closing) return;
  if (status < 0) close_conn(conn);
  else write_next(conn);
}

static void write_next(struct admin__conn *conn) {
  const char *bytes;
  long length = admin__writer_next(&conn->writer, &bytes);
  uv_buf_t buffer = uv_buf_init((char *)bytes, (unsigned)length);

  if (length == 0) {
    on_answered(conn);
    return;
  }
  conn->write.data = conn;
  conn->writes = true;
  if (length < 0 ||
      uv_write(&conn->write, &conn->io.stream, &buffer, 1, on_written) < 0)
    close_conn(conn);
}

void admin__conn_answer(struct admin__conn *conn,
                        const struct admin__answer *answer) {
  int err = admin__writer_begin(&conn->writer, answer, &conn->terms);

  conn->awaits = 0;
  if (conn->last) conn->writer.closes = true;
  uv_timer_start(&conn->deadline, on_late, WRITE_MS, 0);
  if (err < 0) close_conn(conn);
  else write_next(conn);
}

static void refuse(struct admin__conn *conn, int status, const char *why) {
  struct admin__answer answer = admin__answer_text(status, why);

  conn->terms.closes = true;
  admin__conn_answer(conn, &answer);
}

/* -- Requests -------------------------------------------------------------- */

/* The connection's own address; NULL if it has none. */
static const struct sockaddr *own_address(const struct admin__conn *conn,
                                          struct sockaddr_storage *name) {
  int size = sizeof *name;

  if (conn->door->is_unix) return NULL;
  return uv_tcp_getsockname(&conn->io.tcp, (struct sockaddr *)name, &size) < 0
             ? NULL
             : (const struct sockaddr *)name;
}

static void respond(struct admin__conn *conn,
                    const struct admin__request *request) {
  struct sockaddr_storage name;
  const char *why;

  conn->terms = (struct admin__terms){
      .head_only = request->method == ADMIN_HEAD,
      .is_old = request->minor == 0,
      .closes = !request->keeps_open,
      .gzip = admin__text_accepts(request->accept_encoding, "gzip")};
  int status =
      admin__door_check(conn->door, own_address(conn, &name), request, &why);
  if (status == 0) conn->conns->respond(conn->conns->data, conn, request);
  else refuse(conn, status, why);
}

/* Answers the first of the requests that have arrived, if it is whole. */
static void consume(struct admin__conn *conn) {
  struct admin__request request;
  const char *why;

  int result = admin__request_parse(conn->in, conn->length, &request, &why);
  if (result == 0 && conn->ended) {
    close_conn(conn);
    return;
  }
  if (result == 0) {
    read_on(conn);
    return;
  }
  uv_read_stop(&conn->io.stream);
  enter(conn, ANSWERING, 0);
  if (result < 0) {
    conn->terms = (struct admin__terms){0};
    refuse(conn, -result, why);
    return;
  }
  respond(conn, &request);
  /* What an answer refers to is copied by now. */
  conn->length -= request.length;
  memmove(conn->in, conn->in + request.length, conn->length);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer) {
  struct admin__conn *conn = stream->data;
  (void)buffer;

  if (n == 0) return;
  if (n < 0 || conn->state == LINGERING) {
    if (n == UV_EOF && conn->state == READING) {
      conn->ended = true;
      consume(conn);
    } else if (n < 0) {
      close_conn(conn);
    }
    return;
  }
  conn->length += (size_t)n;
  if (conn->state == IDLE && has_begun(conn)) enter(conn, READING, READ_MS);
  consume(conn);
}

static bool has_unread(const struct admin__conn *conn) {
  uv_os_fd_t fd;
  char byte;

  return uv_fileno(&conn->io.handle, &fd) == 0 &&
         recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* If the loop was blocked, the request may be there by now. */
static void on_late(uv_timer_t *timer) {
  struct admin__conn *conn = timer->data;

  if (conn->state == READING && has_unread(conn)) {
    uv_timer_start(timer, on_late, 1, 0);
    return;
  }
  if (conn->state != READING || conn->length == 0) {
    close_conn(conn);
    return;
  }
  uv_read_stop(&conn->io.stream);
  conn->terms = (struct admin__terms){0};
  enter(conn, ANSWERING, 0);
  refuse(conn, 408, "the request took too long");
}

/* -- Life ------------------------------------------------------------------ */

/* Who has to go: the one that has not sent anything for longest, then the one
 * that has not sent a whole request, then one that does not read its answer.
 * NULL if all others have just asked. */
static struct admin__conn *find_victim(struct admin__conns *conns) {
  struct admin__conn *each, *slow = NULL, *reads = NULL;

  DL_FOREACH(conns->list, each) {
    bool is_idle = each->state == IDLE || each->state == LINGERING ||
                   (each->state == READING && each->length == 0);
    if (is_idle && !has_unread(each)) return each;
    if (!reads && each->state == READING && each->length > 0 &&
        !has_unread(each))
      reads = each;
    if (!slow && each->state == ANSWERING && each->writes) slow = each;
  }
  return reads ? reads : slow;
}

static struct admin__conn *make(struct admin__conns *conns,
                                const struct admin__door *door) {
  struct admin__conn *conn = malloc(sizeof *conn);

  if (!conn) return NULL;
  /* All but the buffer, whose pages are not touched until they are used. */
  memset(conn, 0, offsetof(struct admin__conn, in));
  conn->conns = conns;
  conn->door = door;
  if (door->is_unix) uv_pipe_init(conns->loop, &conn->io.pipe, 0);
  else uv_tcp_init(conns->loop, &conn->io.tcp);
  uv_timer_init(conns->loop, &conn->deadline);
  conn->io.handle.data = conn->deadline.data = conn;
  conn->handles = 2;
  conns->handles += 2;
  conns->count++;
  DL_APPEND(conns->list, conn);
  return conn;
}

int admin__conn_new(struct admin__conns *conns, int fd,
                    const struct admin__door *door) {
  if (conns->count >= ADMIN_CONN_COUNT) {
    struct admin__conn *victim = find_victim(conns);
    if (victim) close_conn(victim);
  }
  struct admin__conn *conn =
      conns->count < ADMIN_CONN_MAX ? make(conns, door) : NULL;
  if (!conn) {
    close(fd);
    return conns->count < ADMIN_CONN_MAX ? UV_ENOMEM : 0;
  }
  int err = door->is_unix ? uv_pipe_open(&conn->io.pipe, fd)
                          : uv_tcp_open(&conn->io.tcp, fd);
  if (err < 0) close(fd);
  if (err == 0) err = uv_read_start(&conn->io.stream, on_alloc, on_read);
  enter(conn, READING, READ_MS);
  if (err < 0) close_conn(conn);
  return err;
}

void admin__conns_finish(struct admin__conns *conns) {
  struct admin__conn *each, *next;

  DL_FOREACH_SAFE(conns->list, each, next) {
    each->last = true;
    if (each->state == IDLE) close_conn(each);
  }
}

void admin__conns_close(struct admin__conns *conns) {
  struct admin__conn *each, *next;

  conns->closing = true;
  DL_FOREACH_SAFE(conns->list, each, next) close_conn(each);
  report_closed(conns);
}
