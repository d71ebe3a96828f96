#include "handle.h"

#include <stdlib.h>

struct rover__handle {
  uv_tcp_t tcp;
  rover_t *rover; /* it holds a reference, until it is closed */
};

static void on_closed(uv_handle_t *tcp) {
  struct rover__handle *handle = (struct rover__handle *)tcp; /* first field */
  rover__unref(handle->rover);
  free(handle);
}

int rover__handle_open(struct rover__handle **out, rover_t *rover, int fd) {
  struct rover__handle *handle = calloc(1, sizeof *handle);
  if (!handle) return UV_ENOMEM;
  uv_tcp_init(rover->loop, &handle->tcp);
  handle->rover = rover;
  rover->refs++;
  int err = uv_tcp_open(&handle->tcp, fd);
  if (err < 0) rover__handle_close(handle);
  else *out = handle;
  return err;
}

uv_stream_t *rover__handle_stream(struct rover__handle *handle) {
  return (uv_stream_t *)&handle->tcp;
}

void rover__handle_close(struct rover__handle *handle) {
  uv_close((uv_handle_t *)&handle->tcp, on_closed);
}
