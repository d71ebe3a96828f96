/* Private to src/discover: the kind "kubernetes". */
#ifndef DISCOVER_KUBERNETES_H
#define DISCOVER_KUBERNETES_H

struct discover__kind;

extern const struct discover__kind discover__kubernetes;

#endif
