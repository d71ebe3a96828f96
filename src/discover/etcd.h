/* Private to src/discover: the kind "etcd". */
#ifndef DISCOVER_ETCD_H
#define DISCOVER_ETCD_H

struct discover__kind;

extern const struct discover__kind discover__etcd;

#endif
