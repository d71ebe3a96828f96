#include "hold.h"

#include "../net/list.h"
#include "base.h"

/* Those who hold servers of a rover, in a list of its own: from the time they
 * join until they leave it, or it closes. */

void rover_holder_join(rover_t *rover, rover_holder_t *holder) {
  holder->rover = rover;
  DL_APPEND(rover->holders, holder);
}

void rover_holder_leave(rover_holder_t *holder) {
  if (!holder->rover) return;
  DL_DELETE(holder->rover->holders, holder);
  holder->rover = NULL;
}

int rover_is_awaiting(const rover_t *rover) {
  const rover_holder_t *holder = rover->holders;
  while (holder && !holder->pending) holder = holder->next;
  return holder != NULL;
}

void rover_holders_pass(rover_t *from, rover_t *to) {
  while (from->holders) {
    rover_holder_t *holder = from->holders;
    rover_holder_leave(holder);
    rover_holder_join(to, holder);
  }
}

void rover__holders_let_go(rover_t *rover) {
  while (rover->holders) {
    rover_holder_t *holder = rover->holders;
    rover_holder_leave(holder);
    holder->gone(holder);
  }
}
