/* Private to src/discover: the kinds "dns" and "srv". */
#ifndef DISCOVER_DNS_H
#define DISCOVER_DNS_H

struct discover__kind;

extern const struct discover__kind discover__dns, discover__srv;

#endif
