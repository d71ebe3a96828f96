/* Private to src/rover: the table of a rover's servers. */
#ifndef ROVER_SERVERS_H
#define ROVER_SERVERS_H

#include "base.h"

/* A random server that is not paused, or NULL if none was found. Lowers *awake
 * to the earliest end of a pause among the servers drawn. */
rover_server_t *rover__servers_pick(rover_t *rover, uint64_t *awake);

/* The rover's server with the same id and address, or NULL. */
rover_server_t *rover__servers_same(const rover_t *rover,
                                    const rover_server_t *as);

enum rover__class rover__servers_class(const rover_t *rover,
                                       const rover_server_t *server);

/* The server with that id, unless it is set aside; or NULL. */
rover_server_t *rover__servers_asked(const rover_t *rover, const char *id);

/* The same, even if it is hidden. */
rover_server_t *rover__servers_find(const rover_t *rover, const char *id);

/* It is steered in another way now, see steer.c. */
void rover__servers_reclass(rover_t *rover, rover_server_t *server);

/* It is there again, if the program had dropped it. */
void rover__servers_return(rover_t *rover, rover_server_t *server);

/* It is to be told of like one that was added. */
void rover__servers_announce(rover_t *rover, rover_server_t *server);

/* The rover's servers were replaced: its tallies and attempts follow, or these
 * are cancelled. */
void rover__servers_follow(rover_t *rover);

/* The rover's servers have taken the place of the other's: their TLS resumes
 * the sessions of those of the same ids. */
void rover__servers_follow_tls(rover_t *rover, const rover_t *other);

/* Calls back for new servers, as long as the turn lasts. */
void rover__servers_tell(struct net__source *news);

/* The rover has a new table, and `other` the one that it had before: what was
 * to be told of is still told. */
void rover__servers_pass_news(rover_t *rover, const rover_t *other);

ptrdiff_t rover__servers_memory(const rover_t *rover); /* of all servers */
void rover__servers_clear(rover_t *rover);

#endif
