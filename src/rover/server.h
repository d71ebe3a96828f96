/* Private to src/rover: one server. */
#ifndef ROVER_SERVER_H
#define ROVER_SERVER_H

#include "base.h"

struct rover_server_s {
  struct rover__tally *tally; /* of its id; NULL until the first attempt */
  uint64_t paused_until;      /* see net__now() */
  uint32_t index; /* in the table's `all` */
  uint32_t hash;  /* of its id in one table, see ids.h */
  unsigned refs : 27;
  unsigned exempt : 1; /* see rover_server_exempt() */
  unsigned mark : 1;
  unsigned fate : 2; /* used by rover_server_set() alone */
  unsigned is_new : 1; /* its `added` callback is still to come */
  unsigned short port;
  unsigned short host; /* its offset in text */
  uint32_t weight;       /* 0: none was given */
  unsigned holders : 28; /* see hold.h */
  unsigned declared : 1;
  unsigned dropped : 1; /* by the program, though it is held */
  unsigned plain : 1;   /* without TLS */
  unsigned has_tls : 1; /* of its own */
  char text[];          /* id NUL host NUL, and then the pointer to that */
};

/* `hash` is of its id. Returns NULL if there is no memory. */
rover_server_t *rover__server_new(const rover_server_entry_t *entry,
                                  uint32_t hash);

/* What the server was made of. */
rover_server_entry_t rover__server_entry(const rover_server_t *server);

/* Whether it has the address of the other one. */
bool rover__server_is_at(const rover_server_t *server,
                         const rover_server_t *other);

/* Whether it has that address and is secured like that. */
bool rover__server_is(const rover_server_t *server,
                      const rover_server_entry_t *entry);

/* The TLS of its connections, or NULL. */
struct net__tls_context *rover__server_tls(const rover_t *rover,
                                           const rover_server_t *server);

/* How many bytes it takes, including its entries in the table. */
ptrdiff_t rover__server_memory(const rover_server_t *server);

#endif
