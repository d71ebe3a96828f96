/* Private to src/rover: the servers of a table by their ids. */
#ifndef ROVER_IDS_H
#define ROVER_IDS_H

#include "base.h"

/* The hash of an id in this table, never 0. Prefetches its place, as waiting for
 * that would take as long as all else that is done with a server. */
uint32_t rover__ids_seek(const struct rover__ids *ids, const char *id);

/* One of that id, or NULL. */
rover_server_t *rover__ids_find(const struct rover__ids *ids, uint32_t hash,
                                const char *id);

/* Adds a server, even if there is one of its id. Returns false if there is no
 * memory. */
bool rover__ids_add(struct rover__ids *ids, rover_server_t *server);

/* Removes a server that was added. */
void rover__ids_remove(struct rover__ids *ids, const rover_server_t *server);

void rover__ids_clear(struct rover__ids *ids);

#endif
