/* Private to src/sim: names, and what libuv does in threads.
 *
 * libuv's threads run as coroutines of this one: they work once the machine that
 * asked has nothing else to do, in the order in which it asked, and their
 * answers arrive some virtual time later. So uv_cancel(), uv_queue_work(),
 * asynchronous uv_fs_* and uv_getaddrinfo() are the real ones. Files are those
 * of this computer; names are only those below. */
#ifndef SIM_WORK_H
#define SIM_WORK_H

#include "route.h"

/* How long an answer takes, in ns: a name's (200 µs) and any other's (50 µs).
 * May be changed at any time. */
extern uint64_t sim__lookup_time, sim__work_time;

/* A name that all machines can look up; several addresses by several calls. It
 * is not case-sensitive. "localhost" and literals are known, and everything
 * else does not exist (EAI_NONAME). */
void sim__name_add(const char *name, struct sim__machine *machine);

#endif
