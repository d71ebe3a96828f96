/* Private to src/sim: pipes, eventfds, and splice(). Negative errno on
 * failure. */
#ifndef SIM_PIPE_H
#define SIM_PIPE_H

#include "machine.h"

int sim__pipe(int fds[2], int flags);
int sim__eventfd(unsigned count, int flags);

bool sim__is_eventfd(const struct sim__file *file);

/* An inotify that never has anything to report: files do not change here. */
int sim__inotify(int flags);

/* F_GETPIPE_SZ and F_SETPIPE_SZ; -EBADF for what is no pipe. */
int sim__pipe_size(struct sim__file *file, int wanted);

/* FIONREAD. */
int sim__pipe_unread(struct sim__file *file, int *count);

/* Between a socket and a pipe, either way. */
ssize_t sim__splice(struct sim__file *from, struct sim__file *to, size_t size);

#endif
