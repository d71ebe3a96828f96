/* The promises of <callosum/rover.h> about small writes while several sockets
 * are ready at once. */
#include "rovers.h"

#include <unistd.h>

enum { COUNT = 8 };

static struct told told;
static rover_t *rover;
static int listener;
static struct one {
  rover_socket_t *socket;
  int peer;
  int drained, done, closed;
  bool held; /* its last answer was, for a while */
  int status; /* of the close */
  char answer[COUNT + 2];
} all[COUNT];
static int calls; /* of the data callback, since they were asked */
static void (*answer)(struct one *one);

static struct one *one_of(rover_socket_t *socket) {
  return rover_socket_data(socket);
}

static void on_data(rover_socket_t *socket, const char *bytes, size_t length) {
  CHECK(bytes && length > 0);
  calls++;
  answer(one_of(socket));
}

static void on_drain(rover_socket_t *socket) {
  EQUAL(0, rover_socket_write_queue_size(socket));
  one_of(socket)->drained++;
}

static void on_close(rover_socket_t *socket, int status) {
  one_of(socket)->closed++;
  one_of(socket)->status = status;
}

static const rover_socket_events_t events = {
    .data = on_data, .drain = on_drain, .close = on_close};

static void on_done(rover_socket_t *socket, int status, void *arg) {
  EQUAL(0, status);
  CHECK(arg == NULL);
  one_of(socket)->done++;
}

static void keep_all(void (*fn)(struct one *one)) {
  int small = 4096;
  listener = listening();
  CHECK(setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof small) == 0);
  rover = roving(&told, port_of(listener), NULL);
  answer = fn;
  for (int i = 0; i < COUNT; i++) {
    all[i] = (struct one){.peer = kept(rover, &told, listener, "7\r\n")};
    all[i].socket = told.socket;
    rover_socket_set_events(told.socket, &events, &all[i]);
    EQUAL(0, rover_socket_read_start(told.socket));
  }
  settle();
}

/* All of them have a question, which mostly come at once. */
static void ask_all(void) {
  calls = 0;
  for (int i = 0; i < COUNT; i++) say(all[i].peer, "?");
  UNTIL(calls == COUNT);
}

static void done(void) {
  finish(rover, &told);
  close(listener);
  for (int i = 0; i < COUNT; i++) close(all[i].peer);
}

static int wrote(const struct one *one, const char *text, rover_done_cb cb) {
  uv_buf_t buffer = uv_buf_init((char *)text, (unsigned)strlen(text));
  return rover_socket_write(one->socket, &buffer, 1, cb, NULL);
}

static int has_come(const struct one *one) {
  char byte;
  return recv(one->peer, &byte, 1, MSG_PEEK) == 1;
}

/* -- Cases ---------------------------------------------------------------- */

static void answer_twice(struct one *one) {
  EQUAL(0, wrote(one, "one, ", NULL));
  EQUAL(0, wrote(one, "two", NULL));
  one->held = !has_come(one);
}

static void together(void) {
  int held;

  keep_all(answer_twice);
  do {
    held = 0;
    ask_all();
    for (int i = 0; i < COUNT; i++) {
      char bytes[64] = "";
      UNTIL(has_come(&all[i]));
      if (!all[i].held) {
        hear(all[i].peer, "one, two");
        continue;
      }
      CHECK(recv(all[i].peer, bytes, sizeof bytes, 0) > 0);
      SAME("one, two", bytes);
      held++;
    }
  } while (held < COUNT / 2);
  for (int i = 0; i < COUNT; i++) EQUAL(0, all[i].drained);
  done();
}

static void answer_others(struct one *one) {
  for (int i = 0; i < COUNT; i++) {
    const char *text = &all[i] == one ? "b" : "a";
    EQUAL(0, wrote(&all[i], text, NULL));
    strcat(all[i].answer, text);
  }
  strcat(one->answer, "c");
  EQUAL(0, wrote(one, "c", NULL));
}

static void order(void) {
  keep_all(answer_others);
  ask_all();
  for (int i = 0; i < COUNT; i++) {
    char bytes[COUNT + 2] = "";
    for (int length = 0; length < COUNT + 1; length++)
      UNTIL(recv(all[i].peer, bytes + length, 1, 0) == 1);
    CHECK(is_open(all[i].peer)); /* and no more has come */
    SAME(all[i].answer, bytes);
  }
  done();
}

static void answer_more(struct one *one) {
  char bytes[1024];
  uv_buf_t buffer = uv_buf_init(bytes, sizeof bytes);
  memset(bytes, 'x', sizeof bytes);
  for (int i = 0; i < 64; i++) {
    bytes[0] = (char)i;
    EQUAL(0, rover_socket_write(one->socket, &buffer, 1, NULL, NULL));
  }
}

static void more(void) {
  keep_all(answer_more);
  ask_all();
  for (int i = 0; i < COUNT; i++) {
    size_t heard = 0;
    while (heard < 64 * 1024) {
      char bytes[1024];
      ssize_t n;
      UNTIL((n = recv(all[i].peer, bytes, 1024 - heard % 1024, 0)) > 0);
      if (heard % 1024 == 0) EQUAL((int)(heard / 1024), bytes[0]);
      heard += (size_t)n;
    }
  }
  done();
}

/* Whatever is asked for next finds that the bytes were sent. */
static void answer_and_act(struct one *one) {
  int fd;

  EQUAL(0, wrote(one, "answer", NULL));
  switch ((int)(one - all)) {
    case 0: EQUAL(0, rover_socket_write_queue_size(one->socket)); break;
    case 1: EQUAL(0, wrote(one, "", on_done)); break;
    case 2: EQUAL(0, rover_socket_shutdown(one->socket, NULL, NULL)); break;
    case 3: rover_socket_close(one->socket); break;
    case 4:
      CHECK((fd = rover_socket_detach(one->socket)) >= 0);
      close(fd);
      break;
    case 5:
      CHECK(rover_socket_stream(one->socket) != NULL);
      EQUAL(0, wrote(one, " more", NULL));
      break;
    default: break;
  }
}

static void acts(void) {
  keep_all(answer_and_act);
  ask_all();
  for (int i = 0; i < COUNT; i++)
    hear(all[i].peer, i == 5 ? "answer more" : "answer");
  for (int i = 2; i <= 4; i++) EQUAL(0, (int)drained(all[i].peer));
  UNTIL(all[1].done && all[3].closed && all[4].closed);
  EQUAL(0, all[3].status);
  EQUAL(0, all[4].status);
  done();
}

static void answer_the_lost(struct one *one) {
  reset(one->peer);
  one->peer = -1;
  int err = wrote(one, "lost", NULL);
  CHECK(err == 0 || err == UV_ECONNRESET);
}

static void lost(void) {
  keep_all(answer_the_lost);
  ask_all();
  for (int i = 0; i < COUNT; i++) {
    UNTIL(all[i].closed);
    EQUAL(UV_ECONNRESET, all[i].status);
  }
  done();
}

static size_t written;

static void answer_the_slow(struct one *one) {
  if (one == all) answer_more(one);
  if (one == all) written += 64 * 1024;
}

static void ignore(struct one *one) { CHECK(one != NULL); }

/* What the kernel does not take is queued, and drain comes. */
static void slow(void) {
  written = 0;
  keep_all(answer_the_slow);
  do ask_all();
  while (rover_socket_write_queue_size(all[0].socket) == 0);
  EQUAL(0, all[0].drained);
  answer = ignore;
  EQUAL(0, rover_socket_shutdown(all[0].socket, NULL, NULL));
  EQUAL((long)written, (long)drained(all[0].peer));
  UNTIL(all[0].drained);
  EQUAL(1, all[0].drained);
  done();
}

const struct check checks[] = {
    {"rover_socket_write()", "sends small writes of a callback together, once "
                             "others that are due have run", together},
    {"rover_socket_write()", "may then be of any socket, and keeps their order",
     order},
    {"rover_socket_write()", "then sends as much as there is", more},
    {"rover_socket_write()", "has sent small writes before whatever is asked "
                             "for next", acts},
    {"rover_socket_write()", "closes the socket if small writes are refused "
                             "later", lost},
    {"the drain callback", "comes if small writes had to be queued", slow},
    {NULL, NULL, NULL}};
