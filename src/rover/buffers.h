/* Private to src/rover: sends a list of buffers over a connection, under TLS in
 * as few records as it can. */
#ifndef ROVER_BUFFERS_H
#define ROVER_BUFFERS_H

#include <uv.h>

#include "../net/epoll.h"

/* Returns how many bytes were sent, of more buffers than the kernel takes at
 * once only the first, or a negative errno; UV_EAGAIN if none can be sent now. */
int rover__buffers_send(const struct net__poll *poll, const uv_buf_t buffers[],
                        unsigned count);

#endif
