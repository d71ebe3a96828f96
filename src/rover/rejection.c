#include "rejection.h"

#include "../net/options.h"
#include "keep.h"
#include "server.h"
#include "socket.h"

/* Which slots a rover rejects by itself, and when it tries again. One limit is
 * declared, an option; another is the highest slot that is kept, once there are
 * as many sockets as may be; the third follows what a program keeps, together
 * with the interval after an attempt that was rejected, which grows until both
 * are set again. */

int rover_set_slot_limit(rover_t *rover, unsigned limit) {
  if (rover->closing || limit > ROVER_SLOT_LIMIT_MAX) return UV_EINVAL;
  rover->options.slot_limit = limit > 0 ? limit : ROVER_SLOT_LIMIT_MAX;
  return 0;
}

static bool is_valid(const rover_rejection_t *r) {
  return r->slot_limit <= ROVER_SLOT_LIMIT_MAX && r->interval <= ROVER_MS_MAX &&
         r->max_interval <= ROVER_MS_MAX &&
         (r->growth == 0 || (r->growth >= 1 && r->growth <= ROVER_MS_MAX)) &&
         net__is_FRACTION(r->jitter, 0, 1) && NET__IS_UNUSED(r->reserved);
}

int rover_set_rejection(rover_t *rover, const rover_rejection_t *rejection) {
  static const rover_rejection_t none;
  if (!rejection) rejection = &none;
  if (rover->closing || !is_valid(rejection)) return UV_EINVAL;
  rover->rejection = (struct rover__rejection){
      .set = *rejection, .interval = (double)rejection->interval};
  return 0;
}

uint64_t rover_rejections(const rover_t *rover) {
  return rover->rejection.count;
}

int rover_server_is_exempt(const rover_server_t *server) {
  return server->exempt;
}

unsigned rover_drops(const rover_t *rover) { return rover->drops; }

void rover_limit_until_drop(rover_t *rover) {
  rover->rejection.until_drop = true;
  rover->rejection.drops = rover->drops;
}

static unsigned limit_of(const rover_t *rover) {
  const struct rover__rejection *r = &rover->rejection;
  bool over = r->until_drop && r->drops != rover->drops;
  return over ? 0 : r->set.slot_limit;
}

bool rover__rejects(rover_t *rover, const rover_server_t *server, int slot) {
  unsigned limit = limit_of(rover);
  if ((unsigned)slot >= rover->options.slot_limit) return true;
  if (rover->stats.kept >= rover->options.max_kept &&
      slot >= rover__socket_highest(rover)->slot)
    return true;
  return limit > 0 && (unsigned)slot >= limit && !server->exempt;
}

/* From the end of the attempt to the next, in ms, for an interval above 0. */
static uint64_t next_interval(rover_t *rover) {
  struct rover__rejection *r = &rover->rejection;
  double most = r->set.max_interval > 0 ? (double)r->set.max_interval
                                        : (double)ROVER_MS_MAX;

  if (r->count > r->set.patience && r->set.growth > 0)
    r->interval *= r->set.growth;
  if (r->interval > most) r->interval = most;
  double spread = r->set.jitter;
  if (spread > 0)
    spread *= rover__random_fraction(&rover->random.picks) * 2 - 1;
  uint64_t ms = (uint64_t)(r->interval * (1 + spread));
  return ms > 0 ? ms : 1;
}

void rover__rejected(rover_t *rover) {
  rover->stats.rejected++;
  rover->rejection.count++;
  if (rover->rejection.set.interval == 0) return;
  uint64_t ms = next_interval(rover);
  if (rover->started) rover__rove_in(rover, ms);
}
