/* Private to src/net, src/rover and src/relay: lists of uthash's. What these
 * assert would print and abort, which a library must not. */
#ifndef NET_LIST_H
#define NET_LIST_H

#ifndef NDEBUG
#define NDEBUG
#endif

#include <utlist.h>

#endif
