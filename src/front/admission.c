#include "admission.h"

#include <unistd.h>

#include "../net/descriptor.h"
#include "addresses.h"
#include "front.h"
#include "rejects.h"

/* Who may connect: nobody in a drain or while the backend is down; no more than
 * there may be; and of these who is allowed, and trusted if it has to send a
 * PROXY header. */

bool front__trusts(const rover_front_t *front, const struct sockaddr *peer) {
  return peer->sa_family == AF_UNIX ||
         net__cidrs_contain(front->trusted, front->trusted_count, peer);
}

void front__admission_reject(rover_front_t *front, int status,
                             const char *reason, const struct sockaddr *peer) {
  front->stats.rejected++;
  front__rejects_add(front, status,
                     status == UV_EPROTO ? "reset: its PROXY header is wrong"
                                         : "reset",
                     reason, peer);
}

/* Whether its address may connect. */
static bool is_allowed(rover_front_t *front, int fd,
                       const struct sockaddr *peer,
                       struct front__address **address) {
  const rover_front_options_t *o = &front->options;

  if (front->allow_count > 0 &&
      !net__cidrs_contain(front->allow, front->allow_count, peer))
    return false;
  if (o->accept_proxy && !front__trusts(front, peer)) {
    front__admission_reject(front, UV_EACCES, FRONT_UNTRUSTED, peer);
    net__fd_reset_on_close(fd);
    return false;
  }
  if (o->max_per_address == UINT32_MAX) return true;
  *address = front__addresses_add(&front->addresses, peer, o->max_per_address);
  return *address != NULL;
}

/* Whether there are descriptors to connect it to the backend with, and to turn
 * others away with. */
static bool can_connect(rover_front_t *front) {
  if (front__reserve(front)) return true;
  front__backend_report(front, UV_EMFILE);
  return false;
}

bool front__gives_slots(const rover_front_t *front) {
  return !front->drain.refuses && front__backend_is_up(&front->backend) &&
         front->stats.open + front->stats.held < front->options.max_clients;
}

bool front__admits(rover_front_t *front, int fd, const union net__address *peer,
                   struct front__address **address) {
  return front__gives_slots(front) && can_connect(front) &&
         (!peer || is_allowed(front, fd, &peer->any, address));
}

void front__refuse(rover_front_t *front, int fd) {
  front->stats.accepted++;
  front->stats.refused++;
  close(fd);
}
