/* Private to src/rover: a handle of libuv's for the descriptor of a socket, for
 * libuv's calls that query or set something. libuv neither polls, reads nor
 * writes it. */
#ifndef ROVER_HANDLE_H
#define ROVER_HANDLE_H

#include "base.h"

struct rover__handle;

/* Makes it; once it is closed, which also closes the descriptor, it frees
 * itself. Errors: UV_ENOMEM. */
int rover__handle_open(struct rover__handle **handle, rover_t *rover, int fd);
uv_stream_t *rover__handle_stream(struct rover__handle *handle);
void rover__handle_close(struct rover__handle *handle);

#endif
