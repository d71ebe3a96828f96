/* Private to src/host: some of a rover's servers, as they are at a time. */
#ifndef HOST_ROWS_H
#define HOST_ROWS_H

#include <callosum/host.h>
#include <jansson.h>
#include <stdbool.h>

struct host__row;

struct host__rows {
  struct host__row *rows;
  size_t count;
  size_t found; /* how many there would be without a limit */
  uint64_t connections; /* of all servers of the rover */
  int *slots;           /* of the rows, one after the other */
};

/* Takes those that the options ask for; returns whether there was memory. To be
 * released in any case. */
bool host__rows_take(struct host__rows *rows, rover_t *rover,
                     const rover_host_status_options_t *options);
void host__rows_free(struct host__rows *rows);

/* An object with what there is to know of a row; or NULL. */
json_t *host__rows_json(const struct host__rows *rows, size_t index);

#endif
