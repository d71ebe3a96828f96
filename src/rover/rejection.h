/* Private to src/rover: which slots are rejected without a callback. */
#ifndef ROVER_REJECTION_H
#define ROVER_REJECTION_H

#include "base.h"

bool rover__rejects(rover_t *rover, const rover_server_t *server, int slot);

/* An attempt was rejected: counts that, and sets when the next is made. */
void rover__rejected(rover_t *rover);

#endif
