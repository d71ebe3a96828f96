/* Private to src/discover: the kind "consul". */
#ifndef DISCOVER_CONSUL_H
#define DISCOVER_CONSUL_H

struct discover__kind;

extern const struct discover__kind discover__consul;

#endif
