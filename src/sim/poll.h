/* Private to src/sim: epoll, and poll(). */
#ifndef SIM_POLL_H
#define SIM_POLL_H

#include <poll.h>
#include <sys/epoll.h>

#include "machine.h"

/* A new descriptor, or -EMFILE. */
int sim__epoll_new(void);

/* These are of epoll_ctl() and epoll_wait() without a timeout; errors are
 * returned as negative numbers. */
int sim__epoll_ctl(struct sim__file *epoll, int op, int fd,
                   const struct epoll_event *event);
int sim__epoll_wait(struct sim__file *epoll, struct epoll_event *events,
                    int room);

bool sim__is_epoll(const struct sim__file *file);

/* Whether an epoll of the running machine has an event. */
bool sim__has_events(int fd);

/* Something has happened to a file: `key` is what, as the kernel's wake-ups
 * have it, EPOLLIN, EPOLLOUT or EPOLLERR; or 0, any of them. Level-triggered
 * ones look again, edge-triggered ones have an edge. */
void sim__poll_wake(struct sim__file *file, uint32_t key);

/* A file is about to be freed. */
void sim__poll_forget(struct sim__file *file);

/* Frees what is kept for further watches. */
void sim__polls_end(void);

/* poll() without a timeout. Descriptors that are not virtual are ready. */
int sim__poll(struct pollfd *fds, nfds_t count);

#endif
