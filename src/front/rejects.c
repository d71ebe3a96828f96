#include "rejects.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../net/list.h"
#include "../net/proxy.h"
#include "front.h"

/* Connections are closed while events are delivered. The callback may do
 * anything, so it is called once all of them are. */

struct front__reject {
  struct front__reject *prev, *next;
  union net__proxy_name peer;
  int status;
  const char *what;
  char reason[];
};

/* If there is no memory, it has been counted all the same. */
void front__rejects_add(rover_front_t *front, int status, const char *what,
                        const char *reason, const struct sockaddr *peer) {
  size_t size = strlen(reason) + 1;

  if (!front->options.events.reject) return;
  struct front__reject *reject = malloc(sizeof *reject + size);
  if (!reject) return;
  *reject = (struct front__reject){.status = status, .what = what};
  memcpy(reject->reason, reason, size);
  if (peer) net__proxy_set_name(&reject->peer, peer);
  else reject->peer.any.sa_family = AF_UNIX;
  DL_APPEND(front->rejects, reject);
}

static void notify(rover_front_t *front, const struct front__reject *reject) {
  const union net__proxy_name *peer = &reject->peer;
  char host[INET6_ADDRSTRLEN] = "", text[768];

  if (peer->any.sa_family == AF_INET)
    inet_ntop(AF_INET, &peer->v4.sin_addr, host, sizeof host);
  if (peer->any.sa_family == AF_INET6)
    inet_ntop(AF_INET6, &peer->v6.sin6_addr, host, sizeof host);
  snprintf(text, sizeof text, "a client%s%s was %s: %s", *host ? " from " : "",
           host, reject->what, reject->reason);
  front->options.events.reject(front, reject->status, text, &peer->any);
}

bool front__rejects_notify(rover_front_t *front) {
  struct front__reject *reject = front->rejects;

  if (!reject) return false;
  DL_DELETE(front->rejects, reject);
  if (front->options.events.reject) notify(front, reject);
  free(reject);
  return true;
}

void front__rejects_clear(rover_front_t *front) {
  struct front__reject *reject, *next;

  DL_FOREACH_SAFE(front->rejects, reject, next) { free(reject); }
  front->rejects = NULL;
}
