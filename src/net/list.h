/* Private to src/net, src/rover, src/relay and src/front: uthash's lists. A
 * failed assertion of theirs would print and abort, which a library must not
 * do. */
#ifndef NET_LIST_H
#define NET_LIST_H

#ifndef NDEBUG
#define NDEBUG
#endif

#include <utlist.h>

#endif
