/* Private to src/discover: the kind "http". */
#ifndef DISCOVER_HTTP_H
#define DISCOVER_HTTP_H

struct discover__kind;

extern const struct discover__kind discover__http;

#endif
