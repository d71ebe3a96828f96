/* The promises of <callosum/rover.h> about the memory that rovers count. */
#include "rovers.h"

#include "rover/reload.h"

static struct told told;
static size_t memory;
static const rover_options_t counted = {.memory = &memory};

static void grow_and_shrink(void) {
  static char bytes[1 << 20];
  uv_buf_t buffer = uv_buf_init(bytes, sizeof bytes);
  int listener = listening();
  memory = 0;
  rover_t *rover = roving(&told, 0, &counted);
  size_t before = memory;
  CHECK(before > 0);
  EQUAL(0, rover_server_add(rover, "s", "127.0.0.1", port_of(listener)));
  EQUAL(0, rover_server_add(rover, "t", "127.0.0.1", 1));
  CHECK(memory > before);
  EQUAL(1, rover_server_drop(rover, "t"));
  before = memory;
  rover_server_entry_t list[] = {{.id = "t", .host = "127.0.0.1", .port = 1},
                                 {.id = "s", .host = "127.0.0.1", .port = 1},
                                 {.id = "nowhere"}};
  EQUAL(UV_EINVAL, rover_server_set(rover, list, 3, NULL));
  EQUAL(before, memory);
  EQUAL(0, rover_server_set(rover, list, 2, NULL));
  CHECK(memory > before);
  list[1].port = port_of(listener);
  EQUAL(0, rover_server_set(rover, list + 1, 1, NULL));
  EQUAL(before, memory);
  EQUAL(0, rover_connect(rover));
  CHECK(memory > before);
  size_t during = memory;
  int fd = accepted(listener);
  say(fd, "0\r\n");
  UNTIL(told.connections == 1 && memory < during);
  before = memory; /* what is counted of the server stays */

  size_t queued = 0;
  while (queued < 4 * sizeof bytes) {
    EQUAL(0, rover_socket_write(told.socket, &buffer, 1, NULL, NULL));
    queued = rover_socket_write_queue_size(told.socket);
  }
  CHECK(memory > before + queued);
  rover_socket_close(told.socket);
  UNTIL(memory == before);
  finish(rover, &told);
  EQUAL(0, memory);
  close(fd);
  close(listener);
}

static void share(void) {
  struct told other_told;
  memory = 0;
  rover_t *rover = roving(&told, 1, &counted);
  size_t one = memory;
  rover_t *other = roving(&other_told, 1, &counted);
  EQUAL(2 * one, memory);
  EQUAL(0, rover_server_add(other, "more", "127.0.0.1", 1));
  rover_exchange(rover, other);
  finish(rover, &other_told);
  CHECK(memory <= one);
  finish(other, &told);
  EQUAL(0, memory);
}

const struct check checks[] = {
    {"a rover's memory", "is counted as it takes it and gives it back",
     grow_and_shrink},
    {"a rover's memory", "is counted in one place with that of others", share},
    {NULL, NULL, NULL}};
